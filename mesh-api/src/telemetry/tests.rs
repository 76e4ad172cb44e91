//! Who may report what, and how often it counts.

use std::path::Path;

use mesh_identity::TrustDomain;

use super::*;

const GROUP: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web-v1, namespace: shop}
spec: {template: {serviceAccount: web}}
";

fn peer(namespace: &str, account: &str) -> SpiffeId {
    let domain = TrustDomain::new("cluster.local").unwrap();
    SpiffeId::workload(&domain, namespace, account).unwrap()
}

fn edge(reporter: Reporter, namespace: &str, name: &str) -> EdgeDelta {
    let own = Workload {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        ..Workload::default()
    };
    EdgeDelta {
        reporter: reporter.into(),
        source: Some(own.clone()),
        destination: Some(own),
        ..EdgeDelta::default()
    }
}

fn accepted(peer: &SpiffeId, edge: &EdgeDelta) -> bool {
    let objects = mesh_config::parse(Path::new("test.yaml"), GROUP).unwrap();
    let config: Config = objects.into_iter().map(|one| one.object).collect();
    check(&config, peer, edge).is_ok()
}

#[test]
fn a_proxy_reports_its_own_side_only() {
    let web = peer("shop", "web");
    for reporter in [Reporter::Source, Reporter::Destination] {
        let own = edge(reporter, "shop", "web-v1");
        assert!(accepted(&web, &own));
        assert!(!accepted(&peer("shop", "other"), &own));
        assert!(!accepted(&peer("default", "web"), &own));
        assert!(!accepted(&web, &edge(reporter, "shop", "web-v2")));
    }
    assert!(!accepted(
        &web,
        &edge(Reporter::Unspecified, "shop", "web-v1")
    ));
    let mut nobody = edge(Reporter::Source, "shop", "web-v1");
    nobody.source = None;
    assert!(!accepted(&web, &nobody));
    // The other side is the reporter's word.
    let mut other = edge(Reporter::Source, "shop", "web-v1");
    other.destination = Some(Workload::default());
    assert!(accepted(&web, &other));
}

#[test]
fn a_principal_is_the_certificates_own() {
    let web = peer("shop", "web");
    let mut own = edge(Reporter::Source, "shop", "web-v1");
    for (principal, good) in [
        (web.as_str(), true),
        ("spiffe://cluster.local/ns/shop/sa/other", false),
    ] {
        own.source.as_mut().unwrap().principal = principal.to_owned();
        assert_eq!(accepted(&web, &own), good, "{principal}");
    }
}

#[test]
fn a_gateway_needs_no_group() {
    let gateway = peer("istio-system", "istio-ingressgateway-service-account");
    let own = edge(Reporter::Source, "istio-system", "istio-ingressgateway");
    assert!(accepted(&gateway, &own));
    assert!(!accepted(&peer("istio-system", "mesh-api"), &own));
}

#[test]
fn labels_have_an_end() {
    let web = peer("shop", "web");
    let mut own = edge(Reporter::Source, "shop", "web-v1");
    own.service_host = "x".repeat(LONGEST_LABEL);
    assert!(accepted(&web, &own));
    own.service_host.push('x');
    assert!(!accepted(&web, &own));
}

#[test]
fn a_report_counts_once_in_each_life_of_each_proxy() {
    let mut processes = Processes::default();
    let now = Instant::now();
    let mut new = |account: &str, life: &str, sequence| {
        let report = EdgeReport {
            sequence,
            process_id: life.to_owned(),
            edges: Vec::new(),
        };
        processes.is_new(&peer("shop", account), &report, now)
    };
    assert!(new("web", "a", 0));
    assert!(!new("web", "a", 0));
    assert!(new("web", "a", 7), "some were lost");
    assert!(!new("web", "a", 6));
    assert!(new("web", "b", 0));
    assert!(new("other", "a", 0));
}
