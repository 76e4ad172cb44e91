//! The pictures: stable, well-formed, and safe whatever the names are.

use std::time::{Duration, Instant, SystemTime};

use mesh_xds::mesh::edge_delta::Reporter;
use mesh_xds::mesh::{EdgeDelta, Workload};
use proptest::prelude::*;

use super::{dot, inline_svg, mermaid, summary, svg, table};
use crate::graph::model::{Annotations, Graph, ServiceNotes};
use crate::graph::params::{GraphQuery, GraphType, Rate};
use crate::graph::{Window, query};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000)
}

fn workload(app: &str, version: &str) -> Workload {
    Workload {
        name: format!("{app}-{version}"),
        namespace: "shop".into(),
        canonical_service: app.into(),
        canonical_revision: version.into(),
        cluster: "mesh".into(),
        ..Workload::default()
    }
}

/// A call as the destination reports it.
fn call(from: Option<Workload>, to: Workload, requests: u64, code: u32) -> EdgeDelta {
    let security = if from.is_some() { "mutual_tls" } else { "none" };
    EdgeDelta {
        reporter: Reporter::Destination.into(),
        source: from,
        service_name: to.canonical_service.clone(),
        service_host: format!("{}.shop", to.canonical_service),
        service_namespace: "shop".into(),
        destination: Some(to),
        protocol: "http".into(),
        response_code: code,
        security_policy: security.into(),
        requests,
        duration_buckets: vec![0, 0, 0, 0, requests],
        ..EdgeDelta::default()
    }
}

fn graph(calls: &[EdgeDelta], inject: bool) -> Graph {
    let window = Window::new();
    for call in calls {
        window.record(now(), 1, call);
    }
    let duration = Duration::from_secs(60);
    let mut asked = GraphQuery::new(["shop"], GraphType::VersionedApp, duration, now());
    asked.inject_service_nodes = inject;
    asked.rate_tcp = Rate::Total;
    asked.include_idle_edges = true;
    let mut annotations = Annotations::default();
    let weighted = ServiceNotes {
        traffic_shifting: true,
        ..ServiceNotes::default()
    };
    let place = ("shop".into(), "web".into());
    annotations.services.insert(place, weighted);
    let gone = ("shop".into(), "gone-v1".into());
    annotations.instances.insert(gone, 0);
    query(&window, &asked, &annotations)
}

fn shop(requests: u64) -> Vec<EdgeDelta> {
    let (v1, v2) = (workload("web", "v1"), workload("web", "v2"));
    let cart = workload("cart", "v1");
    vec![
        call(None, v1.clone(), requests, 200),
        call(Some(v1), cart.clone(), requests * 2, 200),
        call(Some(v2), cart, requests, 503),
    ]
}

/// Every tag is closed in order, and every attribute quoted.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        assert!(
            !rest[..start].contains('>'),
            "a stray > in {}",
            &rest[..start]
        );
        let end = rest[start..].find('>').expect("a tag ends") + start;
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split([' ', '\n']).next().expect("a name"));
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    let ampersands = svg.split('&').skip(1);
    for after in ampersands {
        let entity = after.split(';').next().unwrap_or_default();
        assert!(
            ["amp", "lt", "gt", "quot", "#39"].contains(&entity),
            "&{entity}"
        );
    }
}

/// The places of all nodes.
fn places(svg: &str) -> Vec<&str> {
    let lines = svg.lines();
    lines
        .filter(|line| line.starts_with("<rect class=\"card\""))
        .collect()
}

#[test]
fn a_picture_shows_names_shares_locks_and_bypasses() {
    let graph = graph(&shop(60), false);
    let picture = svg(&graph);
    assert_well_formed(&picture);
    for text in [
        ">Traffic in shop<",
        "the 60 s until 2025-11-24 16:00:00 UTC, by app and version",
        ">v1<",
        ">v2<",
        ">cart<",
        ">web<",
        ">outside the mesh<",
        ">100% · 2 rps<",
        ">p95 24 ms",
        ">100% errors<",
        ">weighted<",
        "class=\"line past bypass\"",
        "class=\"line failing\"",
        "class=\"lock-body\"",
        "class=\"open-body\"",
        "prefers-color-scheme:dark",
    ] {
        assert!(picture.contains(text), "{text} is not in {picture}");
    }
    assert!(!picture.contains("<script") && !picture.contains("href"));
}

/// A connection of which so much was reported.
fn session(received: u64, sent: u64, opened: u64) -> EdgeDelta {
    EdgeDelta {
        protocol: "tcp".into(),
        request_bytes: received,
        response_bytes: sent,
        connections_opened: opened,
        duration_buckets: vec![],
        ..call(Some(workload("web", "v1")), workload("db", "v1"), 0, 0)
    }
}

#[test]
fn connections_are_drawn_with_their_bytes_both_ways_and_their_padlock() {
    let graph = graph(&[session(60_000, 678_000, 1)], false);
    let picture = svg(&graph);
    assert_well_formed(&picture);
    for text in [
        ">12.3 kB/s<",
        "class=\"line tcp\"",
        "class=\"lock-body\"",
        "web (v1) → db (v1), tcp",
    ] {
        assert!(picture.contains(text), "{text} is not in {picture}");
    }
    assert!(
        dot(&graph).contains("12.3 kB/s\\nmutual TLS"),
        "{}",
        dot(&graph)
    );
    assert!(mermaid(&graph).contains("12.3 kB/s<br/>mutual TLS"));
    assert!(table(&graph).contains("<td>tcp</td><td>12.3 kB/s</td>"));
    assert_eq!(
        summary(&graph),
        "No edge is in trouble. All traffic is under mutual TLS."
    );
}

#[test]
fn a_silent_connection_stays_in_the_picture() {
    let graph = graph(&[session(0, 0, 1)], false);
    let picture = svg(&graph);
    assert!(picture.contains(">open, idle<"), "{picture}");
    assert!(picture.contains("class=\"line idle\""));
}

#[test]
fn what_runs_no_more_is_marked() {
    let to_gone = [call(None, workload("gone", "v1"), 60, 200)];
    let picture = svg(&graph(&to_gone, false));
    assert_eq!(picture.matches(">gone</text>").count(), 2, "{picture}");
    let to_web = [call(None, workload("web", "v1"), 60, 200)];
    assert!(!svg(&graph(&to_web, false)).contains(">gone<"));
}

#[test]
fn a_page_has_the_picture_without_what_it_brings_itself() {
    let graph = graph(&shop(60), false);
    let picture = inline_svg(&graph);
    assert_well_formed(&picture);
    assert!(!picture.contains("<style") && !picture.contains("style="));
    assert!(!picture.contains("UTC"), "it would change each second");
    assert!(picture.contains("aria-label=\"Traffic in shop\""));
    assert_eq!(places(&picture), places(&svg(&graph)));
    assert_well_formed(&table(&graph));
    assert_eq!(table(&graph).matches("<tr ").count(), graph.edges.len());
    let said = summary(&graph);
    assert_eq!(
        said,
        "100% of the requests from web v2 to cart (v1) fail. One edge has traffic in plain text."
    );
}

#[test]
fn other_rates_move_nothing() {
    let (one, two) = (graph(&shop(60), false), graph(&shop(6_000_000), false));
    let (one, two) = (svg(&one), svg(&two));
    assert_ne!(one, two);
    assert_eq!(places(&one), places(&two));
    assert_eq!(places(&one).len(), 3);
}

#[test]
fn a_layout_is_computed_once() {
    let (one, two) = (graph(&shop(1), true), graph(&shop(2), true));
    let (one, two) = (super::layout::of(&one), super::layout::of(&two));
    assert!(std::sync::Arc::ptr_eq(&one, &two));
}

#[test]
fn names_cannot_break_out() {
    let evil = "\"><script>alert('&')</script>\u{1b}]--\\";
    let calls = [call(
        Some(workload(evil, "v1")),
        workload("x\" ]; y -> z [label=\"#quot;`", evil),
        60,
        200,
    )];
    let graph = graph(&calls, true);
    let picture = svg(&graph);
    assert_well_formed(&picture);
    assert!(!picture.contains("<script") && !picture.contains('\u{1b}'));
    let dot = dot(&graph);
    assert!(!dot.contains('\u{1b}'));
    for line in dot.lines() {
        let quotes = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(quotes.matches('"').count() % 2, 0, "{line}");
    }
    let mermaid = mermaid(&graph);
    assert!(!mermaid.contains("<script") && !mermaid.contains('`'));
    for line in mermaid.lines().skip(3) {
        assert!(line.matches('"').count() <= 2, "{line}");
    }
}

#[test]
fn long_names_are_cut_and_told_in_full_below_the_pointer() {
    let long = "a-service-with-a-name-that-is-much-too-long-for-any-card";
    let graph = graph(&[call(None, workload(long, "v1"), 60, 200)], false);
    let picture = svg(&graph);
    assert!(
        picture.contains(">a-service-with-a-name-that-is…<"),
        "{picture}"
    );
    assert!(picture.contains(&format!("<title>{long}\n")));
}

#[test]
fn an_empty_graph_says_so_and_what_to_do() {
    let graph = graph(&[], false);
    let picture = svg(&graph);
    assert_well_formed(&picture);
    for picture in [picture, dot(&graph), mermaid(&graph)] {
        assert!(picture.contains("No traffic was reported in shop in the last 60 s."));
        assert!(picture.contains("curl http://GATEWAY-ADDRESS/"));
        assert!(picture.contains("No proxy has reported traffic to this mesh-api so far."));
    }
    assert_eq!(summary(&graph), "No traffic in the last 60 s.");
    let elsewhere = EdgeDelta {
        service_namespace: "other".into(),
        destination: Some(Workload {
            namespace: "other".into(),
            ..workload("web", "v1")
        }),
        ..call(None, workload("web", "v1"), 60, 200)
    };
    let picture = svg(&self::graph(&[elsewhere], false));
    assert!(
        picture.contains("The last report came from web-v1 in other at 2025-11-24 16:00:00 UTC."),
        "{picture}"
    );
}

#[test]
fn dot_has_clusters_shapes_and_styles() {
    let dot = dot(&graph(&shop(60), true));
    for text in [
        "digraph mesh {",
        "rankdir=LR;",
        "label=\"web\"; style=rounded;",
        "shape=diamond",
        "label=\"outside the mesh\\nno proxy, no identity\", shape=ellipse",
        "style=dotted]",
        "mutual TLS",
    ] {
        assert!(dot.contains(text), "{text} is not in {dot}");
    }
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
}

#[test]
fn mermaid_has_subgraphs_labels_and_styles() {
    let mermaid = mermaid(&graph(&shop(60), false));
    for text in [
        "---\ntitle: \"Traffic in shop",
        "\nflowchart LR\n",
        "subgraph n0 [\"web\"]",
        "([\"outside the mesh<br/>no proxy, no identity\"])",
        "-.->|\"100% · 1 rps<br/>p95 24 ms<br/>plain text<br/>outside the mesh\"|",
        "-->|\"100% · 2 rps<br/>p95 24 ms<br/>mutual TLS\"|",
        "linkStyle",
        "stroke:#d1293d",
    ] {
        assert!(mermaid.contains(text), "{text} is not in {mermaid}");
    }
    let opened = mermaid.matches("subgraph").count();
    assert_eq!(opened, mermaid.matches("\n  end\n").count());
}

#[test]
fn a_thousand_nodes_are_drawn_in_part_and_in_time() {
    let calls: Vec<EdgeDelta> = (0..1000_usize)
        .flat_map(|to| [to / 3, to / 2].map(|from| (from, to)))
        .map(|(from, to)| {
            let (from, to_name) = (format!("s{from}"), format!("s{to}"));
            let requests = 2000 - to as u64;
            call(
                Some(workload(&from, "v1")),
                workload(&to_name, "v1"),
                requests,
                200,
            )
        })
        .collect();
    let graph = graph(&calls, false);
    assert_eq!(graph.nodes.len(), 1000);
    let begun = Instant::now();
    let picture = svg(&graph);
    // Generous: an unoptimised build on a busy machine. `dagre` would take minutes.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_well_formed(&picture);
    assert!(picture.contains("only the 300 busiest nodes, 700 are left out"));
    assert!(picture.contains(">s0<") && !picture.contains(">s999<"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Circles, loops, boxes, several edges between the same two: everything is placed.
    #[test]
    fn any_graph_can_be_drawn(
        edges in prop::collection::vec((0_usize..9, 0_usize..9, 0_usize..3), 0..24),
        versions in 1_usize..4,
        inject in any::<bool>(),
    ) {
        let member = |index: usize| {
            workload(&format!("s{}", index / versions), &format!("v{}", index % versions))
        };
        let calls: Vec<EdgeDelta> = edges
            .iter()
            .map(|(from, to, kind)| {
                let from = (*kind > 0).then(|| member(*from));
                let mut call = call(from, member(*to), 60, 200);
                if *kind == 2 {
                    call.protocol = "grpc".into();
                    call.grpc_status = "0".into();
                }
                call
            })
            .collect();
        let graph = graph(&calls, inject);
        let picture = svg(&graph);
        assert_well_formed(&picture);
        let nodes = graph.nodes.iter().filter(|node| node.box_kind.is_none()).count();
        prop_assert_eq!(picture.matches("<g id=\"n-").count() - boxes(&graph), nodes);
        prop_assert_eq!(picture.matches("<g id=\"e-").count(), graph.edges.len());
        prop_assert_eq!(picture.matches("<g id=\"l-").count(), graph.edges.len());
        prop_assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }
}

fn boxes(graph: &Graph) -> usize {
    graph
        .nodes
        .iter()
        .filter(|node| node.box_kind.is_some())
        .count()
}
