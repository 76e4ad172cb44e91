//! Which DestinationRule a client follows, and what it makes of clusters.

use std::collections::BTreeMap;

use mesh_compile::{Model, Settings};
use mesh_config::model::MeshConfig;
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::LbPolicy;
use mesh_xds::node::NodeMetadata;

use super::summary::messages;
use super::support::{config, gateway, group, istio, model, service, sidecar};

const WEB: &str = "outbound|80||web.shop.svc.cluster.local";

fn clusters(model: &Model, node: &NodeMetadata) -> BTreeMap<String, Cluster> {
    messages::<Cluster>(&model.resources_for(node))
        .into_iter()
        .map(|cluster| (cluster.name.clone(), cluster))
        .collect()
}

fn balancer(model: &Model, node: &NodeMetadata, cluster: &str) -> LbPolicy {
    clusters(model, node)[cluster].lb_policy()
}

fn rule(namespace: &str, name: &str, host: &str, rest: &str) -> String {
    istio(
        "DestinationRule",
        namespace,
        name,
        &format!("{{host: {host}{rest}}}"),
    )
}

fn simple(balancer: &str) -> String {
    format!(", trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}")
}

fn mesh(rules: &[String]) -> Model {
    let base = [
        service("shop", "web", 80),
        group("shop", "web", "web", "v1"),
        group("other", "caller", "caller", "v1"),
        group("other", "bystander", "bystander", "v1"),
        istio(
            "Gateway",
            "istio-system",
            "edge",
            "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
        ),
        istio(
            "VirtualService",
            "shop",
            "web",
            "{hosts: [web.example.com], gateways: [istio-system/edge], http: [{route: [{destination: {host: web}}]}]}",
        ),
    ];
    model(&[base.concat(), rules.concat()].concat(), &[])
}

#[test]
fn the_clients_namespace_hides_the_services_and_this_the_root() {
    let host = "web.shop.svc.cluster.local";
    let root = rule("istio-system", "r", "'*.local'", &simple("RANDOM"));
    let own = rule("shop", "o", "web", &simple("ROUND_ROBIN"));
    let clients = rule("other", "c", host, &simple("LEAST_REQUEST"));
    let caller = sidecar("other", "caller");
    let expect = |rules: &[String], expected| {
        assert_eq!(balancer(&mesh(rules), &caller, WEB), expected);
    };
    expect(&[], LbPolicy::LeastRequest);
    expect(std::slice::from_ref(&root), LbPolicy::Random);
    expect(&[root.clone(), own.clone()], LbPolicy::RoundRobin);
    expect(
        &[root.clone(), own.clone(), clients],
        LbPolicy::LeastRequest,
    );
    // The gateway stands in the root namespace, where rules for everybody are: the service's own come first.
    let both = mesh(&[root, own]);
    assert_eq!(balancer(&both, &gateway(), WEB), LbPolicy::RoundRobin);
    // What is private to the root namespace is meant for the gateway.
    let private = rule(
        "istio-system",
        "p",
        host,
        &(simple("RANDOM") + ", exportTo: ['.']"),
    );
    let own = rule("shop", "o", "web", &simple("ROUND_ROBIN"));
    let both = mesh(&[private, own]);
    assert_eq!(balancer(&both, &gateway(), WEB), LbPolicy::Random);
    assert_eq!(balancer(&both, &caller, WEB), LbPolicy::RoundRobin);
}

#[test]
fn a_rule_is_for_those_to_whom_it_is_exported_and_whom_it_selects() {
    let caller = sidecar("other", "caller");
    let bystander = sidecar("other", "bystander");
    let to = |list: &str| {
        let rest = simple("RANDOM") + &format!(", exportTo: [{list}]");
        balancer(&mesh(&[rule("shop", "o", "web", &rest)]), &caller, WEB)
    };
    assert_eq!(to("'*'"), LbPolicy::Random);
    assert_eq!(to("other"), LbPolicy::Random);
    assert_eq!(to("'.'"), LbPolicy::LeastRequest);
    assert_eq!(to("third"), LbPolicy::LeastRequest);

    // What a rule that says nothing means is the mesh's to say.
    let settings = Settings {
        mesh: MeshConfig {
            default_destination_rule_export_to: vec![".".to_owned()],
            ..MeshConfig::default()
        },
        ..Settings::default()
    };
    let rules = [rule("shop", "o", "web", &simple("RANDOM"))].concat();
    let yaml = service("shop", "web", 80) + &rules;
    let private = Model::build(&config(&yaml), &[], &settings);
    assert_eq!(balancer(&private, &caller, WEB), LbPolicy::LeastRequest);
    let own = sidecar("shop", "caller");
    assert_eq!(balancer(&private, &own, WEB), LbPolicy::Random);

    let selected = simple("RANDOM") + ", workloadSelector: {matchLabels: {app: caller}}";
    let host = "web.shop.svc.cluster.local";
    let selected = mesh(&[
        rule("other", "s", host, &selected),
        rule("other", "t", host, &simple("ROUND_ROBIN")),
    ]);
    assert_eq!(balancer(&selected, &caller, WEB), LbPolicy::Random);
    assert_eq!(balancer(&selected, &bystander, WEB), LbPolicy::RoundRobin);
}

#[test]
fn rules_for_one_host_are_merged_and_the_most_specific_host_counts() {
    let subset = |name: &str, balancer: &str| {
        format!(
            "{{name: {name}, labels: {{version: v1}}, trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}}}"
        )
    };
    let routes = istio(
        "VirtualService",
        "shop",
        "split",
        "{hosts: [web], http: [{route: [{destination: {host: web, subset: v1}, weight: 1}, \
         {destination: {host: web, subset: v2}, weight: 1}]}]}",
    );
    let first = format!(
        "{}, subsets: [{}]",
        simple("RANDOM"),
        subset("v1", "RANDOM")
    );
    let second = format!(
        "{}, subsets: [{}, {}]",
        simple("ROUND_ROBIN"),
        subset("v1", "ROUND_ROBIN"),
        subset("v2", "ROUND_ROBIN")
    );
    let wide = rule(
        "shop",
        "a",
        "'*.shop.svc.cluster.local'",
        &simple("ROUND_ROBIN"),
    );
    let model = mesh(&[
        wide,
        rule("shop", "b", "web", &first),
        rule("shop", "c", "web", &second),
        routes,
    ]);
    let caller = sidecar("shop", "web");
    let of = |subset: &str| {
        let name = format!("outbound|80|{subset}|web.shop.svc.cluster.local");
        balancer(&model, &caller, &name)
    };
    assert_eq!(balancer(&model, &gateway(), WEB), LbPolicy::Random);
    assert_eq!(of("v1"), LbPolicy::Random);
    assert_eq!(of("v2"), LbPolicy::RoundRobin);
}

#[test]
fn a_ports_policy_inherits_nothing() {
    let policy = "trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}, loadBalancer: {simple: RANDOM}, \
                  portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}]}";
    let caller = sidecar("other", "caller");
    let timeout = |model: &Model| {
        let timeout = clusters(model, &caller)[WEB].connect_timeout;
        timeout.map(|timeout| timeout.seconds)
    };
    let port = mesh(&[rule("shop", "o", "web", &format!(", {policy}"))]);
    assert_eq!(balancer(&port, &caller, WEB), LbPolicy::RoundRobin);
    assert_eq!(timeout(&port), Some(10));
    let elsewhere = policy.replace("number: 80", "number: 81");
    let elsewhere = mesh(&[rule("shop", "o", "web", &format!(", {elsewhere}"))]);
    assert_eq!(balancer(&elsewhere, &caller, WEB), LbPolicy::Random);
    assert_eq!(timeout(&elsewhere), Some(3));
}
