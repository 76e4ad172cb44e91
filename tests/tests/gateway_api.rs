//! Promise: the request rows of the Gateway API's own conformance suite come out at our gateway as it demands.
//!
//! The rows are data in `../shared/corpus/gateway-api`; without it there is nothing to play. One mesh-gateway plays
//! the suite's Gateways in turn, since they ask for the same ports. A row that comes out otherwise, or that cannot
//! be played here, stands with its reason in `gateway_api/disagreements.txt`; any other row must come out
//! right. What stands there and comes out right is printed, to be taken from the list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_tests::{Answer, Mesh, Workload, tool};
use serde_json::Value;

/// The Deployments of the suite's base manifests that answer HTTP, with their namespaces.
const BACKENDS: [(&str, &str); 6] = [
    ("infra-backend-v1", "gateway-conformance-infra"),
    ("infra-backend-v2", "gateway-conformance-infra"),
    ("infra-backend-v3", "gateway-conformance-infra"),
    ("app-backend-v1", "gateway-conformance-app-backend"),
    ("app-backend-v2", "gateway-conformance-app-backend"),
    ("web-backend", "gateway-conformance-web-backend"),
];

/// Why rows are not played: told by what they need.
fn beyond_us(test: &Value, row: &Value) -> Option<&'static str> {
    let request = &row["request"];
    if test["mesh"] == true {
        return Some("between workloads");
    }
    if row["via"]["tls"] == true {
        return Some("over TLS");
    }
    if !request["grpc_method"].is_null() {
        return Some("by gRPC");
    }
    let path = request["path"].as_str();
    match path {
        Some(path) if !path.starts_with('/') => Some("by a path that is an expression of Go"),
        Some(path) if path.contains("succeedAfter") => {
            Some("with orders for its backend that our app does not know")
        }
        Some(_) => None,
        None if request.is_null() => Some("by bytes"),
        None => None,
    }
}

fn corpus() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/gateway-api");
    root.is_dir().then_some(root)
}

/// An object of a manifest.
struct Manifest {
    kind: String,
    namespace: String,
    name: String,
    text: String,
}

impl Manifest {
    fn all(text: &str) -> Vec<Self> {
        text.replace("{GATEWAY_CLASS_NAME}", "istio")
            .split("\n---")
            .filter_map(|text| {
                let field = |prefix: &str| {
                    text.lines()
                        .find_map(|line| line.strip_prefix(prefix))
                        .map(|value| {
                            value
                                .split('#')
                                .next()
                                .unwrap_or_default()
                                .trim()
                                .to_owned()
                        })
                };
                Some(Self {
                    kind: field("kind:")?,
                    namespace: field("  namespace:").unwrap_or_else(|| "default".to_owned()),
                    name: field("  name:")?,
                    text: format!("---\n{text}\n"),
                })
            })
            .collect()
    }

    fn is_of_the_api(&self) -> bool {
        self.text.contains("gateway.networking.k8s.io/")
    }

    fn path(&self) -> String {
        let plural = format!("{}s", self.kind.to_lowercase());
        format!(
            "/apis/gateway.networking.k8s.io/v1/namespaces/{}/{plural}/{}",
            self.namespace, self.name
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_conformance_suite_come_out_right() {
    let Some(root) = corpus() else {
        eprintln!("there is no corpus beside the project, so there is nothing to play");
        return;
    };
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("the corpus is whole");
    let tests: Value = serde_json::from_str(&read("tests.public.json")).unwrap();
    let tests = tests["tests"].as_array().unwrap();
    let base = Manifest::all(&read("manifests/base/manifests.yaml"));

    let mut plan = Mesh::plan();
    for port in ports(tests) {
        plan = plan.gateway_port(port);
    }
    for (name, namespace) in BACKENDS {
        let backend = Workload::http(name).namespace(namespace);
        plan = plan.workload(backend.port("3000").port("3001"));
    }
    let mesh = plan.start().await;
    let services: String = base
        .iter()
        .filter(|one| ["Namespace", "Service"].contains(&one.kind.as_str()))
        .map(|one| one.text.as_str())
        .collect();
    mesh.apply(&services).await.unwrap();

    let mut outcomes: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for test in tests {
        let rows = test["requests"].as_array().unwrap();
        let own: Vec<Manifest> = test["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|path| Manifest::all(&read(path.as_str().unwrap())))
            .collect();
        let gateways: BTreeSet<&str> = rows
            .iter()
            .filter(|row| beyond_us(test, row).is_none())
            .filter_map(|row| row["via"]["gateway"].as_str())
            .collect();
        for gateway in gateways {
            let all = base.iter().chain(&own);
            let played: Vec<&Manifest> =
                all.filter(|one| one.is_of_the_api())
                    .filter(|one| match one.kind.as_str() {
                        "Gateway" => format!("{}/{}", one.namespace, one.name) == gateway,
                        kind => ["HTTPRoute", "GRPCRoute", "ReferenceGrant", "ListenerSet"]
                            .contains(&kind),
                    })
                    .collect();
            let text: String = played.iter().map(|one| one.text.as_str()).collect();
            let applied = mesh.apply(&text).await;
            for (index, row) in rows.iter().enumerate() {
                if row["via"]["gateway"] != gateway || beyond_us(test, row).is_some() {
                    continue;
                }
                let outcome = match &applied {
                    Ok(_) => play(&mesh, test, row)
                        .await
                        .map_err(|error| format!("{error:#}")),
                    Err(error) => Err(format!("it does not apply: {error:#}")),
                };
                outcomes.insert(
                    format!("{}[{index}]", test["test"].as_str().unwrap()),
                    outcome,
                );
            }
            for one in played {
                let url = format!("{}{}", mesh.api, one.path());
                tool::curl(&["-X", "DELETE", &url]).await.unwrap();
            }
        }
        for (index, row) in rows.iter().enumerate() {
            if let Some(why) = beyond_us(test, row) {
                let id = format!("{}[{index}]", test["test"].as_str().unwrap());
                outcomes.insert(id, Err(format!("not played: {why}")));
            }
        }
    }
    judge(&outcomes);
}

/// Holds what came out against the list of what is known to come out otherwise.
fn judge(outcomes: &BTreeMap<String, Result<(), String>>) {
    let listed: BTreeSet<&str> = include_str!("gateway_api/disagreements.txt")
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    let mut families: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    let mut surprises = Vec::new();
    for (id, outcome) in outcomes {
        let family = id.split('[').next().unwrap();
        let (right, wrong, unplayed) = families.entry(family).or_default();
        match outcome {
            Ok(()) => *right += 1,
            Err(why) if why.starts_with("not played") => *unplayed += 1,
            Err(_) => *wrong += 1,
        }
        match (outcome, listed.contains(id.as_str())) {
            (Ok(()), true) => println!("{id} comes out right now; take it from the list"),
            (Err(why), false) => surprises.push(format!("{id}: {why}")),
            _ => {}
        }
    }
    let mut table = String::new();
    for (family, (right, wrong, unplayed)) in &families {
        table +=
            &format!("{family:60} {right:4} right {wrong:4} otherwise {unplayed:4} not played\n");
    }
    let sum =
        |pick: fn(&(usize, usize, usize)) -> usize| families.values().map(pick).sum::<usize>();
    println!(
        "{table}{} right, {} otherwise, {} not played",
        sum(|f| f.0),
        sum(|f| f.1),
        sum(|f| f.2)
    );
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// The ports of all listeners that rows go to.
fn ports(tests: &[Value]) -> BTreeSet<u16> {
    let mut ports: BTreeSet<u16> = [443, 8080, 8090, 8443].into();
    for listeners in tests
        .iter()
        .filter_map(|test| test["gateways"].as_object())
        .flat_map(|all| all.values())
    {
        for listener in listeners.as_array().into_iter().flatten() {
            ports.extend(
                listener["port"]
                    .as_u64()
                    .and_then(|port| u16::try_from(port).ok()),
            );
        }
    }
    // The plan has this one anyway.
    ports.remove(&80);
    ports
}

async fn play(mesh: &Mesh, test: &Value, row: &Value) -> anyhow::Result<()> {
    let request = &row["request"];
    let host = request["host"].as_str().unwrap_or("gateway.test");
    let port = port_of(
        test,
        row,
        host.rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok()),
    );
    let door = mesh.gateway(port);
    let path = request["path"]
        .as_str()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    let method = request["method"].as_str().unwrap_or("GET");
    let ask = || async {
        let mut message = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host);
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            message = message.header(name, value.as_str().unwrap_or_default());
        }
        for (name, value) in row["expect"]["backend_sets_response_headers"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let value = value.as_str().unwrap_or_default();
            message = message.header("x-echo-set-header", format!("{name}:{value}"));
        }
        door.send(message.body(Full::<Bytes>::default())?).await
    };
    if let Some(shares) = test["expected_weights"]
        .as_array()
        .and_then(|all| all.first())
    {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for _ in 0..200 {
            *counts.entry(ask().await?.echo()?.app).or_default() += 1.0 / 200.0;
        }
        for (backend, share) in shares.as_object().context("shares")? {
            let got = counts.get(backend).copied().unwrap_or_default();
            let wanted = share.as_f64().context("a share")?;
            ensure!(
                (got - wanted).abs() <= 0.05,
                "{backend} got {got} instead of {wanted}"
            );
        }
        return Ok(());
    }
    let answer = ask().await?;
    check(request, &row["expect"], &answer, path, method)?;
    for mirror in row["expect"]["mirrored_to"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let app = mesh.app(mirror["name"].as_str().context("a name")?);
        let copies = || app.seen().iter().filter(|seen| seen.path == path).count();
        let (requests, low, high) = match mirror["percent"].as_f64() {
            None => (0, 1.0, f64::INFINITY),
            Some(percent) => (300, (percent - 15.0).max(1.0) * 3.0, (percent + 15.0) * 3.0),
        };
        for _ in 0..requests {
            ask().await?;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while (copies() as f64) < low {
            ensure!(
                Instant::now() < deadline,
                "{} copies of {path} came",
                copies()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(
            copies() as f64 <= high,
            "{} copies of {path} came",
            copies()
        );
    }
    Ok(())
}

/// The port of the listener that a row names, or that a host names, or the first one.
fn port_of(test: &Value, row: &Value, written: Option<u64>) -> u16 {
    let gateway = row["via"]["gateway"].as_str().unwrap_or_default();
    let named = row["via"]["listener"]
        .as_array()
        .and_then(|names| names.first());
    let listeners = || test["gateways"][gateway].as_array().into_iter().flatten();
    let at_written =
        listeners().find_map(|one| one["port"].as_u64().filter(|port| Some(*port) == written));
    let port = at_written.or_else(|| {
        listeners()
            .filter(|one| named.is_none_or(|name| one["name"] == *name))
            .find_map(|one| one["port"].as_u64())
    });
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
}

fn check(
    request: &Value,
    expect: &Value,
    answer: &Answer,
    path: &str,
    method: &str,
) -> anyhow::Result<()> {
    let status = u64::from(answer.status.as_u16());
    if expect["must_not_be_200"] == true {
        ensure!(status != 200, "it is 200");
        return Ok(());
    }
    let wanted: Vec<u64> = match expect["status_any_of"].as_array() {
        Some(all) => all.iter().filter_map(Value::as_u64).collect(),
        None => vec![200],
    };
    ensure!(
        wanted.contains(&status),
        "{status} instead of {wanted:?}: {}",
        answer.text()
    );
    let plain = |text: &str| text.replace(' ', "").to_ascii_lowercase();
    for (name, value) in expect["response_headers"].as_object().into_iter().flatten() {
        let got = answer.header(name).map(plain);
        ensure!(
            got == value.as_str().map(plain),
            "{name} is {got:?} instead of {value}"
        );
    }
    for (name, values) in expect["response_headers_any_of"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let got = answer.header(name).map(plain);
        let fits = |value: &Value| got == value.as_str().map(plain);
        ensure!(
            values.as_array().context("values")?.iter().any(fits),
            "{name} is {got:?}, not of {values}"
        );
    }
    for name in expect["absent_response_headers"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let name = name.as_str().context("a name")?;
        ensure!(
            answer.header(name).is_none(),
            "there is {name}: {:?}",
            answer.header(name)
        );
    }
    if expect["redirect"].is_object() {
        return redirect(&expect["redirect"], answer, path);
    }
    // A preflight is answered by the gateway itself.
    if status != 200 || method == "OPTIONS" {
        return Ok(());
    }
    let echo = answer.echo()?;
    if let Some(backend) = expect["backend"].as_str() {
        ensure!(
            echo.app == backend,
            "{} answered instead of {backend}",
            echo.app
        );
    }
    if let Some(namespace) = expect["backend_namespace"]
        .as_str()
        .filter(|one| !one.is_empty())
    {
        let known = BACKENDS.iter().find(|(name, _)| *name == echo.app);
        ensure!(
            known.is_some_and(|(_, its)| *its == namespace),
            "{} is not of {namespace}",
            echo.app
        );
    }
    let seen = if expect["request_at_backend"].is_object() {
        &expect["request_at_backend"]
    } else {
        request
    };
    if let Some(path) = seen["path"].as_str().filter(|path| !path.is_empty()) {
        ensure!(
            echo.path == path,
            "the path is {} instead of {path}",
            echo.path
        );
    }
    if let Some(host) = seen["host"].as_str().filter(|host| !host.is_empty()) {
        let host = host.split(':').next().unwrap_or_default();
        ensure!(
            echo.host.split(':').next() == Some(host),
            "the host is {} instead of {host}",
            echo.host
        );
    }
    for (name, value) in seen["headers"].as_object().into_iter().flatten() {
        let got = echo.header(&name.to_lowercase());
        ensure!(
            got.as_deref() == value.as_str(),
            "{name} is {got:?} instead of {value}"
        );
    }
    for name in seen["absent_headers"]
        .as_array()
        .or(expect["absent_headers"].as_array())
        .into_iter()
        .flatten()
    {
        let name = name.as_str().context("a name")?.to_lowercase();
        ensure!(echo.header(&name).is_none(), "there is {name}");
    }
    Ok(())
}

fn redirect(expect: &Value, answer: &Answer, path: &str) -> anyhow::Result<()> {
    let location = answer.header("location").context("there is no location")?;
    let uri: http::Uri = location.parse()?;
    let scheme = expect["scheme"]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or("http");
    ensure!(
        uri.scheme_str() == Some(scheme),
        "the scheme is of {location} instead of {scheme}"
    );
    if let Some(host) = expect["host"].as_str().filter(|text| !text.is_empty()) {
        ensure!(
            uri.host() == Some(host),
            "the host is of {location} instead of {host}"
        );
    }
    let port = match &expect["port"] {
        Value::String(port) if !port.is_empty() => Some(port.parse()?),
        Value::Number(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()),
        _ => None,
    };
    ensure!(
        uri.port_u16() == port,
        "the port is of {location} instead of {port:?}"
    );
    let wanted = expect["path"]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or(path);
    if uri.path() != wanted.split('?').next().unwrap_or_default() {
        bail!("the path is of {location} instead of {wanted}");
    }
    Ok(())
}
