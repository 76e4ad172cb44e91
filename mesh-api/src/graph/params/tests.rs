//! Every parameter, and every way to get one wrong.

use std::time::{Duration, SystemTime};

use super::{
    Ambient, Appenders, GraphQuery, GraphType, NodeScope, ParamError, Rate, ResponseTime, Scope,
    Throughput,
};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000)
}

fn parse(pairs: &[(&str, &str)]) -> Result<GraphQuery, ParamError> {
    GraphQuery::namespaces(pairs.iter().copied(), now())
}

#[test]
fn has_kialis_defaults() {
    let query = parse(&[("namespaces", "shop, edge,shop")]).expect("valid");
    assert_eq!(
        query.scope,
        Scope::Namespaces(["edge".to_owned(), "shop".to_owned()].into())
    );
    assert_eq!(query.graph_type, GraphType::Workload);
    assert_eq!((query.duration, query.query_time), (600, 1_764_000_000));
    assert_eq!(query.appenders, Appenders::ALL);
    assert_eq!(query.rate_tcp, Rate::Sent);
    assert_eq!(query.ambient, Ambient::Total);
    assert_eq!(query.response_time, ResponseTime::Quantile(0.95));
    assert_eq!(query.throughput, Throughput::Response);
}

#[test]
fn takes_every_parameter() {
    let query = parse(&[
        ("namespaces", "shop"),
        ("graphType", "service"),
        ("duration", "1h30m"),
        ("queryTime", "1700000000"),
        ("rateHttp", "none"),
        ("rateGrpc", "total"),
        ("rateTcp", "received"),
        ("includeIdleEdges", "true"),
        ("boxBy", "namespace,app"),
        ("appenders", "health,deadNode"),
        ("responseTime", "avg"),
        ("throughputType", "request"),
        ("refreshInterval", "15000"),
    ])
    .expect("valid");
    assert_eq!(query.graph_type, GraphType::Service);
    assert!(query.inject_service_nodes, "a service graph injects them");
    assert_eq!((query.duration, query.query_time), (5400, 1_700_000_000));
    assert!(!query.rate_http);
    assert_eq!(
        (query.rate_grpc, query.rate_tcp),
        (Rate::Total, Rate::Received)
    );
    assert!(query.box_by.namespace && query.box_by.app && !query.box_by.cluster);
    assert_eq!(
        query.appenders,
        Appenders {
            health: true,
            ..Appenders::NONE
        }
    );
    assert_eq!(query.response_time, ResponseTime::Average);
    assert_eq!(query.throughput, Throughput::Request);
}

#[test]
fn present_and_empty_appenders_are_none() {
    let query = parse(&[("namespaces", "shop"), ("appenders", "")]).expect("valid");
    assert_eq!(query.appenders, Appenders::NONE);
}

#[test]
fn an_error_names_the_parameter() {
    let cases = [
        ("graphType", "bubbles"),
        ("duration", "0s"),
        ("duration", "10"),
        ("duration", "s"),
        ("duration", "-5m"),
        ("duration", "999999999999999999w"),
        ("duration", "1µ"),
        ("queryTime", "yesterday"),
        ("rateHttp", "all"),
        ("rateGrpc", "x"),
        ("rateTcp", "requests"),
        ("ambientTraffic", "some"),
        ("injectServiceNodes", "maybe"),
        ("includeIdleEdges", ""),
        ("boxBy", "colour"),
        ("appenders", "securityPolicy,nonsense"),
        ("responseTime", "90"),
        ("throughputType", "both"),
        ("clusterName", "a b"),
    ];
    for (name, value) in cases {
        let error = parse(&[("namespaces", "shop"), (name, value)])
            .expect_err("refused")
            .to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
    for value in ["", " , ", "a\"b", "ns/x"] {
        let error = parse(&[("namespaces", value)]).expect_err("refused");
        assert!(error.to_string().contains("`namespaces`"), "{error}");
    }
}

#[test]
fn a_node_graph_checks_its_names() {
    let node = NodeScope::App("web".into(), Some("v1".into()));
    let query = GraphQuery::node("shop", node.clone(), [], now()).expect("valid");
    assert_eq!(query.requested_namespaces(), ["shop"].into());
    let error =
        GraphQuery::node("shop", NodeScope::Service("a b".into()), [], now()).expect_err("refused");
    assert!(error.to_string().contains("`service`"), "{error}");
}
