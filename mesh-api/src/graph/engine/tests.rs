//! The rules, one by one, on reports as proxies send them.

use std::time::{Duration, SystemTime};

use mesh_xds::mesh::edge_delta::Reporter;
use mesh_xds::mesh::{EdgeDelta, Workload};

use crate::graph::model::{Annotations, Edge, Graph, Node, NodeType, ServiceNotes, Status};
use crate::graph::params::{Appenders, BoxBy, GraphQuery, GraphType, NodeScope};
use crate::graph::traffic::Protocol;
use crate::graph::{Window, query};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000)
}

fn workload(namespace: &str, app: &str, version: &str) -> Option<Workload> {
    Some(Workload {
        name: format!("{app}-{version}"),
        namespace: namespace.into(),
        app: app.into(),
        version: version.into(),
        canonical_service: app.into(),
        canonical_revision: version.into(),
        cluster: "mesh".into(),
        principal: format!("spiffe://cluster.local/ns/{namespace}/sa/{app}"),
    })
}

/// 60 requests in the window, answered with 200 under mutual TLS.
fn call(
    reporter: Reporter,
    source: Option<Workload>,
    destination: Option<Workload>,
    service: &str,
) -> EdgeDelta {
    let destination_reports = reporter == Reporter::Destination;
    let secured = match (destination_reports, source.is_some()) {
        (false, _) => "unknown",
        (true, true) => "mutual_tls",
        (true, false) => "none",
    };
    EdgeDelta {
        reporter: reporter.into(),
        source,
        destination,
        service_host: format!("{service}.shop.svc.cluster.local"),
        service_name: service.into(),
        service_namespace: "shop".into(),
        protocol: "http".into(),
        response_code: 200,
        response_flags: "-".into(),
        security_policy: secured.into(),
        requests: 60,
        response_bytes: 6000,
        duration_buckets: vec![0, 0, 0, 60],
        ..EdgeDelta::default()
    }
}

fn both(
    source: &Option<Workload>,
    destination: &Option<Workload>,
    service: &str,
) -> [EdgeDelta; 2] {
    [Reporter::Source, Reporter::Destination]
        .map(|reporter| call(reporter, source.clone(), destination.clone(), service))
}

/// Gateway → web (two versions) → cart, and web called from outside the mesh.
fn shop() -> Window {
    let window = Window::new();
    let gateway = workload("istio-system", "istio-ingressgateway", "latest");
    let (v1, v2) = (workload("shop", "web", "v1"), workload("shop", "web", "v2"));
    let cart = workload("shop", "cart", "v1");
    let mut reports = Vec::new();
    reports.extend(both(&gateway, &v1, "web"));
    reports.extend(both(&gateway, &v2, "web"));
    reports.extend(both(&v1, &cart, "cart"));
    reports.extend(both(&v2, &cart, "cart"));
    reports.push(call(Reporter::Destination, None, v1, "web"));
    for report in &reports {
        window.record(now(), 1, report);
    }
    window
}

fn asked(graph_type: GraphType) -> GraphQuery {
    GraphQuery::new(["shop"], graph_type, Duration::from_secs(60), now())
}

fn graph(window: &Window, asked: &GraphQuery) -> Graph {
    query(window, asked, &Annotations::default())
}

fn node<'a>(graph: &'a Graph, key: &str) -> &'a Node {
    graph
        .nodes
        .iter()
        .find(|node| node.key == key)
        .unwrap_or_else(|| panic!("no node {key} in {:#?}", keys(graph)))
}

fn edge<'a>(graph: &'a Graph, from: &str, to: &str) -> &'a Edge {
    graph
        .edges
        .iter()
        .find(|edge| graph.nodes[edge.source].key == from && graph.nodes[edge.target].key == to)
        .unwrap_or_else(|| panic!("no edge {from} → {to}"))
}

fn keys(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.key.as_str()).collect()
}

const GATEWAY: &str = "vapp_mesh_istio-system_istio-ingressgateway-latest";
const V1: &str = "vapp_mesh_shop_web-v1";
const V2: &str = "vapp_mesh_shop_web-v2";
const CART: &str = "vapp_mesh_shop_cart-v1";
const OUTSIDE: &str = "unknown_unknown_source";

#[test]
fn both_ends_of_a_call_are_one_call() {
    let graph = graph(&shop(), &asked(GraphType::VersionedApp));
    assert_eq!(
        keys(&graph),
        ["box_mesh_shop_web", GATEWAY, CART, V1, V2, OUTSIDE]
    );
    assert_eq!(graph.edges.len(), 5);
    let to_v1 = edge(&graph, GATEWAY, V1);
    assert_eq!(to_v1.traffic.rates.total, 1.0);
    assert_eq!(to_v1.percent_of_source, 50.0);
    let traffic = node(&graph, V1).traffic.get(Protocol::Http);
    assert_eq!((traffic.inbound.total, traffic.outbound), (2.0, 1.0));
}

#[test]
fn edges_between_agents_are_locked_and_those_from_outside_are_not() {
    let graph = graph(&shop(), &asked(GraphType::VersionedApp));
    let locked = &edge(&graph, GATEWAY, V1).security;
    assert_eq!(locked.percent_mutual(), Some(100.0));
    assert_eq!(
        locked.source_principal.as_deref(),
        Some("spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway")
    );
    let open = &edge(&graph, OUTSIDE, V1).security;
    assert_eq!((open.percent_mutual(), open.plain), (None, 1.0));
    assert_eq!(open.source_principal, None);
}

#[test]
fn edges_carry_response_time_and_throughput() {
    let graph = graph(&shop(), &asked(GraphType::VersionedApp));
    let to_cart = edge(&graph, V1, CART);
    assert_eq!(to_cart.response_time, Some(9.75));
    assert_eq!(to_cart.throughput, Some(100.0));
}

#[test]
fn roots_and_outsiders_are_marked() {
    let graph = graph(&shop(), &asked(GraphType::VersionedApp));
    let gateway = node(&graph, GATEWAY);
    assert!(gateway.is_root && gateway.is_outside && !gateway.is_inaccessible);
    let outside = node(&graph, OUTSIDE);
    assert!(outside.is_root && outside.is_inaccessible && !outside.is_outside);
    assert!(!node(&graph, V1).is_root && !node(&graph, V1).is_outside);
}

#[test]
fn versions_are_boxed_by_app() {
    let graph = graph(&shop(), &asked(GraphType::VersionedApp));
    let parent = node(&graph, V1).parent.expect("in a box");
    assert_eq!(node(&graph, V2).parent, Some(parent));
    assert_eq!(graph.nodes[parent].app, "web");
    assert_eq!(node(&graph, CART).parent, None);
    let health = graph.nodes[parent].health.as_ref().expect("asked for");
    assert_eq!(health.workloads.len(), 2);
}

#[test]
fn an_app_graph_adds_versions_up() {
    let graph = graph(&shop(), &asked(GraphType::App));
    let web = node(&graph, "app_mesh_shop_web");
    assert_eq!(web.traffic.get(Protocol::Http).inbound.total, 3.0);
    assert!(web.workload.is_empty() && web.version.is_empty());
    let cart = edge(&graph, "app_mesh_shop_web", "app_mesh_shop_cart");
    assert_eq!(cart.traffic.rates.total, 2.0);
}

#[test]
fn injected_services_stand_between_client_and_workload() {
    let mut asked = asked(GraphType::Workload);
    asked.inject_service_nodes = true;
    let graph = graph(&shop(), &asked);
    let service = node(&graph, "svc_mesh_shop_web");
    assert!(service.is_injected);
    assert_eq!(service.node_type, NodeType::Service);
    let gateway = "wl_mesh_istio-system_istio-ingressgateway-latest";
    let whole = edge(&graph, gateway, "svc_mesh_shop_web");
    assert_eq!(whole.traffic.rates.total, 2.0);
    assert_eq!(
        whole.response_time, None,
        "several workloads have no common quantile"
    );
    assert_eq!(whole.security.percent_mutual(), Some(100.0));
    let part = edge(&graph, "svc_mesh_shop_web", "wl_mesh_shop_web-v2");
    assert_eq!(part.traffic.rates.total, 1.0);
    assert_eq!(part.response_time, Some(9.75));
}

#[test]
fn a_service_graph_has_services_and_roots() {
    let mut asked = asked(GraphType::Service);
    asked.inject_service_nodes = true;
    let graph = graph(&shop(), &asked);
    assert_eq!(
        keys(&graph),
        [
            "wl_mesh_istio-system_istio-ingressgateway-latest",
            "svc_mesh_shop_cart",
            "svc_mesh_shop_web",
            OUTSIDE
        ]
    );
    let between = edge(&graph, "svc_mesh_shop_web", "svc_mesh_shop_cart");
    assert_eq!(between.traffic.rates.total, 2.0);
}

#[test]
fn a_request_that_reached_nobody_ends_at_its_service() {
    let window = Window::new();
    let gateway = workload("istio-system", "istio-ingressgateway", "latest");
    let mut failed = call(Reporter::Source, gateway, None, "web");
    failed.response_code = 503;
    failed.response_flags = "UH".into();
    window.record(now(), 1, &failed);
    let graph = graph(&window, &asked(GraphType::VersionedApp));
    let edge = edge(&graph, GATEWAY, "svc_mesh_shop_web");
    assert_eq!(edge.traffic.rates.server_errors, 1.0);
    assert_eq!(edge.traffic.responses["503"].flags["UH"], 1.0);
    assert_eq!(edge.health, Some(Status::Failure));
}

#[test]
fn a_node_graph_shows_the_node_and_its_neighbours() {
    let window = shop();
    let about = |node| {
        let pairs = [("graphType", "workload"), ("duration", "60s")];
        let asked = GraphQuery::node("shop", node, pairs, now()).expect("valid");
        let graph = graph(&window, &asked);
        keys(&graph)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (v1, v2) = ("wl_mesh_shop_web-v1", "wl_mesh_shop_web-v2");
    let gateway = "wl_mesh_istio-system_istio-ingressgateway-latest";
    let cart = "wl_mesh_shop_cart-v1";
    let workload = about(NodeScope::Workload("web-v1".into()));
    assert_eq!(workload, [gateway, cart, v1, OUTSIDE]);
    assert_eq!(about(NodeScope::Service("cart".into())), [cart, v1, v2]);
    let app = NodeScope::App("web".into(), Some("v2".into()));
    assert_eq!(about(app), [gateway, cart, v2]);
    assert!(about(NodeScope::Service("nobody".into())).is_empty());
}

#[test]
fn several_namespaces_count_an_edge_once() {
    let window = shop();
    let mut asked = asked(GraphType::VersionedApp);
    let both = GraphQuery::new(
        ["shop", "istio-system"],
        GraphType::VersionedApp,
        Duration::from_secs(60),
        now(),
    );
    asked.scope = both.scope;
    let graph = graph(&window, &asked);
    assert_eq!(graph.edges.len(), 5);
    let gateway = node(&graph, GATEWAY);
    assert_eq!(gateway.traffic.get(Protocol::Http).outbound, 2.0);
    assert!(!gateway.is_outside);
}

#[test]
fn appenders_that_were_not_asked_for_do_not_run() {
    let mut asked = asked(GraphType::VersionedApp);
    asked.appenders = Appenders::NONE;
    let graph = graph(&shop(), &asked);
    let to_v1 = edge(&graph, GATEWAY, V1);
    assert_eq!(to_v1.security, crate::graph::model::Security::default());
    assert_eq!((to_v1.response_time, to_v1.throughput), (None, None));
    assert_eq!((to_v1.health, &node(&graph, V1).health), (None, &None));
}

#[test]
fn protocols_that_were_not_asked_for_are_left_out() {
    let mut asked = asked(GraphType::VersionedApp);
    asked.rate_http = false;
    assert!(graph(&shop(), &asked).nodes.is_empty());
}

#[test]
fn namespaces_are_boxed_only_if_there_are_several() {
    let mut asked = asked(GraphType::Workload);
    asked.box_by = BoxBy {
        namespace: true,
        cluster: true,
        ..BoxBy::default()
    };
    let graph = graph(&shop(), &asked);
    assert_eq!(keys(&graph)[0], "box_mesh_shop");
    assert_eq!(node(&graph, "wl_mesh_shop_web-v1").parent, Some(0));
    let boxes = graph.nodes.iter().filter(|node| node.box_kind.is_some());
    assert_eq!(
        boxes.count(),
        1,
        "one member alone makes no box, one cluster neither"
    );
}

#[test]
fn configuration_makes_badges() {
    let mut annotations = Annotations::default();
    annotations.gateways.insert(
        ("istio-system".into(), "istio-ingressgateway-latest".into()),
        vec!["*".into()],
    );
    let notes = ServiceNotes {
        virtual_service: Some(vec!["web.shop.svc.cluster.local".into()]),
        traffic_shifting: true,
        ..ServiceNotes::default()
    };
    let place = ("shop".into(), "web".into());
    annotations.services.insert(place, notes.clone());
    let gone = ("shop".into(), "cart-v1".into());
    annotations.instances.insert(gone, 0);
    let graph = query(&shop(), &asked(GraphType::VersionedApp), &annotations);
    assert_eq!(node(&graph, GATEWAY).gateway, Some(vec!["*".into()]));
    assert_eq!(node(&graph, V1).notes, notes);
    assert_eq!(node(&graph, CART).notes, ServiceNotes::default());
    let cart = node(&graph, CART)
        .health
        .as_ref()
        .map(|health| health.status);
    assert_eq!(cart, Some(Status::NotReady));
}

#[test]
fn nothing_reported_is_an_empty_graph() {
    let graph = graph(&Window::new(), &asked(GraphType::VersionedApp));
    assert!(graph.nodes.is_empty() && graph.edges.is_empty());
    assert_eq!(graph.namespaces, ["shop"]);
}
