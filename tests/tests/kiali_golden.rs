//! Promise: the graph is Kiali's graph.
//!
//! Kiali's own graph tests as data: each PromQL query with the vector that answers it, and the JSON
//! that must come out. The cases are not part of this repository; they are looked for beside it, or
//! where `MESH_CORPUS` points.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use mesh_api::graph::engine::{Answer, build, questions};
use mesh_api::graph::labels::{Label, Labels, Sample};
use mesh_api::graph::params::{Ambient, GraphQuery, NodeScope};
use mesh_api::graph::{Annotations, ServiceNotes, Window, kiali};
use mesh_xds::mesh::edge_delta::Reporter;
use mesh_xds::mesh::{EdgeDelta, Workload};
use serde_json::Value;

fn corpus() -> Result<PathBuf> {
    let root = std::env::var_os("MESH_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join("promql");
    ensure!(
        folder.join("kiali-golden/index.json").is_file(),
        "Kiali's golden graphs are not at {}: set MESH_CORPUS to the folder that has \
         promql/kiali-golden in it",
        folder.display()
    );
    Ok(folder)
}

fn read(folder: &std::path::Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    let found = value.get(field).and_then(Value::as_str);
    found.with_context(|| format!("no text in `{field}`"))
}

/// The query of a request's path and parameters.
fn parse(request: &str) -> Result<GraphQuery> {
    let (path, parameters) = request.split_once('?').context("no parameters")?;
    let pairs: Vec<(&str, &str)> = parameters
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let now = SystemTime::now();
    let path: Vec<&str> = path.split('/').skip(3).collect();
    let (namespace, node) = match path.as_slice() {
        ["graph"] => return Ok(GraphQuery::namespaces(pairs, now)?),
        [ns, "workloads", name, "graph"] => (ns, NodeScope::Workload((*name).into())),
        [ns, "services", name, "graph"] => (ns, NodeScope::Service((*name).into())),
        [ns, "applications", app, "graph"] => (ns, NodeScope::App((*app).into(), None)),
        [ns, "applications", app, "versions", version, "graph"] => {
            let version = Some((*version).into());
            (ns, NodeScope::App((*app).into(), version))
        }
        _ => bail!("no graph has this path"),
    };
    Ok(GraphQuery::node(namespace, node, pairs, now)?)
}

fn samples(vector: &Value) -> Result<Vec<Sample>> {
    let series = vector.as_array().context("no vector")?;
    let sample = |one: &Value| {
        let metric = one.get("metric").and_then(Value::as_object)?;
        let labels: Labels = metric
            .iter()
            .filter_map(|(name, value)| Some((Label::from_name(name)?, value.as_str()?)))
            .collect();
        Some(Sample {
            labels,
            value: one.get("value")?.as_f64()?,
        })
    };
    let parsed: Option<Vec<Sample>> = series.iter().map(sample).collect();
    parsed.context("a sample lacks its metric or value")
}

/// The answers to all of the graph's queries, or the first query that the case does not list: a
/// listed one answers, any other must not be sent.
fn answers(
    query: &GraphQuery,
    listed: &BTreeMap<String, Vec<Sample>>,
) -> std::result::Result<Vec<Answer>, String> {
    let mut found = Vec::new();
    for question in questions(query) {
        let text = question.query.to_string();
        let Some(samples) = listed.get(&text) else {
            return Err(text);
        };
        found.push(Answer {
            question,
            samples: samples.clone(),
        });
    }
    Ok(found)
}

fn play(folder: &std::path::Path, case: &Value) -> Result<()> {
    let input = read(folder, text(case, "input")?)?;
    let expected = read(folder, text(case, "expected")?)?;
    let mut query = parse(text(&input, "request")?)?;
    let mut listed = BTreeMap::new();
    for one in input["queries"].as_array().context("no queries")? {
        listed.insert(text(one, "query")?.to_owned(), samples(&one["result"])?);
    }
    // Kiali drops the ambient half of a query where the cluster has no ambient mesh, which the
    // request does not tell, but the listed queries do.
    let mut unlisted = String::new();
    for ambient in [Ambient::None, Ambient::Total] {
        query.ambient = ambient;
        match answers(&query, &listed) {
            Err(text) => unlisted = text,
            Ok(answers) => {
                let annotations = Annotations {
                    accessible: Some(BTreeSet::from(["bookinfo".to_owned()])),
                    ..Annotations::default()
                };
                let graph = build(&query, &answers, &annotations);
                return compare(&expected, &kiali::to_json(&graph), "");
            }
        }
    }
    bail!("the case does not list the query {unlisted}")
}

/// Equal as JSON; the error names the first place that differs.
fn compare(expected: &Value, found: &Value, place: &str) -> Result<()> {
    match (expected, found) {
        (Value::Object(one), Value::Object(two)) => {
            let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            for name in names {
                let absent = || Value::String("(absent)".into());
                let left = one.get(name).cloned().unwrap_or_else(absent);
                let right = two.get(name).cloned().unwrap_or_else(absent);
                compare(&left, &right, &format!("{place}.{name}"))?;
            }
            Ok(())
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (index, (left, right)) in one.iter().zip(two).enumerate() {
                compare(left, right, &format!("{place}[{index}]"))?;
            }
            Ok(())
        }
        _ => {
            ensure!(expected == found, "{place}: not {found}, but {expected}");
            Ok(())
        }
    }
}

#[test]
fn kialis_golden_graphs_come_out_equal() -> Result<()> {
    let folder = corpus()?.join("kiali-golden");
    let index = read(&folder, "index.json")?;
    let mut played = 0;
    let mut failed = Vec::new();
    for case in index["cases"].as_array().context("no cases")? {
        // Waypoints are Kubernetes objects: a mesh without Kubernetes has none.
        if case["needs_kubernetes_objects"] == true {
            continue;
        }
        played += 1;
        if let Err(error) = play(&folder, case) {
            failed.push(format!("{}: {error:#}", text(case, "test")?));
        }
    }
    ensure!(played > 0, "there is no case in {}", folder.display());
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// What one proxy reports of a minute: requests by code and flags, or bytes of TCP.
fn reported(
    reporter: Reporter,
    ends: [&Workload; 2],
    protocol: &str,
    (code, flags, requests): (u32, &str, u64),
    (milliseconds, bytes): (u64, u64),
) -> EdgeDelta {
    let [source, destination] = ends;
    let service = &destination.app;
    let namespace = &destination.namespace;
    EdgeDelta {
        reporter: reporter.into(),
        source: Some(source.clone()),
        destination: Some(destination.clone()),
        service_host: format!("{service}.{namespace}.svc.cluster.local"),
        service_name: service.clone(),
        service_namespace: namespace.clone(),
        protocol: protocol.into(),
        response_code: code,
        response_flags: flags.into(),
        security_policy: match (reporter, protocol) {
            (Reporter::Destination, "http") => "mutual_tls".into(),
            (Reporter::Destination, _) => "none".into(),
            _ => "unknown".into(),
        },
        requests,
        duration_ms_sum: milliseconds * requests,
        request_bytes: bytes,
        response_bytes: bytes,
        ..EdgeDelta::default()
    }
}

#[test]
fn the_example_graph_comes_out_equal() -> Result<()> {
    let expected = read(&corpus()?, "example-graph.json")?;
    let workload = |namespace: &str, name: &str, app: &str, version: &str| Workload {
        name: name.into(),
        namespace: namespace.into(),
        app: app.into(),
        version: version.into(),
        canonical_service: app.into(),
        canonical_revision: version.into(),
        cluster: "east".into(),
        principal: format!("spiffe://cluster.local/ns/{namespace}/sa/{app}"),
    };
    let gateway = workload("edge", "edge-gateway", "edge-gateway", "latest");
    let web = workload("shop", "web-v1", "web", "v1");
    let cart = workload("shop", "cart-v1", "cart", "v1");
    let mut database = workload("shop", "cartdb-v1", "cartdb", "v1");
    database.principal.clear();
    let mut plain_cart = cart.clone();
    plain_cart.principal.clear();

    // A minute's requests, so that ten a second are 600.
    let http = [
        ([&gateway, &web], (200, "-", 570), 25, 4096 * 57),
        ([&gateway, &web], (404, "-", 30), 25, 4096 * 3),
        ([&web, &cart], (200, "-", 1080), 48, 8192 * 54),
        ([&web, &cart], (503, "UF,URX", 72), 48, 8192 * 4),
        ([&web, &cart], (503, "UO", 48), 48, 8192 * 2),
    ];
    let window = Window::new();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    for reporter in [Reporter::Source, Reporter::Destination] {
        for (ends, responses, milliseconds, bytes) in http {
            let report = reported(reporter, ends, "http", responses, (milliseconds, bytes));
            window.record(end, 1, &report);
        }
        let bytes = (0, 1024 * 60);
        let ends = [&plain_cart, &database];
        window.record(end, 1, &reported(reporter, ends, "tcp", (0, "-", 0), bytes));
    }
    let pairs = [
        ("namespaces", "shop"),
        ("graphType", "workload"),
        ("duration", "60s"),
        ("responseTime", "avg"),
    ];
    let query = GraphQuery::namespaces(pairs, end)?;
    let mut annotations = Annotations::default();
    let breaker = ServiceNotes {
        circuit_breaker: true,
        ..ServiceNotes::default()
    };
    annotations
        .services
        .insert(("shop".into(), "cart".into()), breaker);
    let graph = mesh_api::graph::query(&window, &query, &annotations);
    compare(&expected, &kiali::to_json(&graph), "")
}
