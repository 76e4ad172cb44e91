//! Who knows which services: `exportTo` and Sidecars.

use mesh_xds::envoy::cluster::Cluster;

use super::summary::{names, routes_at};
use super::support::{group, istio, service, sidecar_of};

/// The services that a workload's sidecar can send requests to.
fn known(yaml: &str, namespace: &str, workload: &str) -> Vec<String> {
    let clusters = names::<Cluster>(&sidecar_of(yaml, namespace, workload));
    let hosts = clusters
        .iter()
        .filter_map(|name| name.strip_prefix("outbound|80||"));
    hosts
        .map(|host| host.trim_end_matches(".svc.cluster.local").to_owned())
        .collect()
}

fn services() -> String {
    [
        service("default", "a", 80),
        service("default", "b", 80),
        service("other", "c", 80),
        group("default", "web", "web", "v1"),
        group("default", "job", "job", "v1"),
    ]
    .concat()
}

#[test]
fn a_sidecar_narrows_what_is_known() {
    for (hosts, expected) in [
        ("'*/*'", &["a.default", "b.default", "c.other"][..]),
        ("./*", &["a.default", "b.default"]),
        ("default/a.default.svc.cluster.local", &["a.default"]),
        ("other/*", &["c.other"]),
        ("'*/*', ~other/*", &["a.default", "b.default"]),
        ("~/*", &[]),
    ] {
        let rule = istio(
            "Sidecar",
            "default",
            "s",
            &format!("{{egress: [{{hosts: [{hosts}]}}]}}"),
        );
        let yaml = services() + &rule;
        assert_eq!(known(&yaml, "default", "web"), expected, "{hosts}");
        assert_eq!(
            known(&yaml, "other", "web").len(),
            3,
            "it is for its own namespace"
        );
    }
}

#[test]
fn the_sidecar_that_selects_a_workload_comes_first_and_that_of_the_root_last() {
    let yaml = services()
        + &istio(
            "Sidecar",
            "istio-system",
            "all",
            "{egress: [{hosts: ['other/*']}]}",
        );
    assert_eq!(known(&yaml, "default", "web"), ["c.other"]);
    let yaml = yaml + &istio("Sidecar", "default", "own", "{egress: [{hosts: ['./*']}]}");
    assert_eq!(known(&yaml, "default", "web"), ["a.default", "b.default"]);
    let yaml = yaml
        + &istio(
            "Sidecar",
            "default",
            "web",
            "{workloadSelector: {labels: {app: web}}, egress: [{hosts: [./b.default.svc.cluster.local]}]}",
        );
    assert_eq!(known(&yaml, "default", "web"), ["b.default"]);
    assert_eq!(known(&yaml, "default", "job"), ["a.default", "b.default"]);
    assert_eq!(known(&yaml, "other", "x"), ["c.other"]);
}

#[test]
fn a_listener_with_a_port_is_for_that_port() {
    let rule = "{egress: [{port: {number: 80, protocol: HTTP, name: web}, hosts: [./a.default.svc.cluster.local]}, {hosts: ['*/*']}]}";
    let yaml =
        services() + &service("default", "d", 8080) + &istio("Sidecar", "default", "s", rule);
    assert_eq!(known(&yaml, "default", "web"), ["a.default"]);
    let clusters = names::<Cluster>(&sidecar_of(&yaml, "default", "web"));
    assert!(clusters.contains(&"outbound|8080||d.default.svc.cluster.local".to_owned()));
}

#[test]
fn services_and_rules_are_seen_where_they_are_exported_to() {
    let private = service("other", "p", 80).replace(
        "name: p,",
        "name: p, annotations: {networking.istio.io/exportTo: .},",
    );
    let yaml = services() + &private;
    assert!(!known(&yaml, "default", "web").contains(&"p.other".to_owned()));
    assert!(known(&yaml, "other", "web").contains(&"p.other".to_owned()));

    let rule = istio(
        "VirtualService",
        "default",
        "r",
        "{hosts: [a], exportTo: [.], http: [{name: rule, route: [{destination: {host: b}}]}]}",
    );
    let yaml = services() + &rule;
    let host = "a.default.svc.cluster.local";
    let first = |namespace: &str| {
        routes_at(&sidecar_of(&yaml, namespace, "web"), "http_proxy", host).remove(0)
    };
    assert!(first("default").starts_with("rule:"));
    assert!(first("other").starts_with("default:"));
}
