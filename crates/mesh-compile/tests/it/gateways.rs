//! What gateways are told: ports, hosts, binding and merging.

use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::listener::Listener;
use mesh_xds::envoy::route::RouteConfiguration;
use mesh_xds::node::NodeMetadata;

use super::summary::{messages, names, routes};
use super::support::{gateway, gateway_of, group, istio, model, service};

const A: &str = "a.default.svc.cluster.local";

/// A Gateway `edge` in `default` with one HTTP server on port 80.
fn edge(hosts: &str) -> String {
    gateway_named("default", "edge", &server(80, "HTTP", hosts))
}

fn server(port: u16, protocol: &str, hosts: &str) -> String {
    let tls = match protocol {
        "HTTPS" => ", tls: {mode: SIMPLE, credentialName: c}",
        _ => "",
    };
    format!(
        "{{port: {{number: {port}, name: p{port}, protocol: {protocol}}}, hosts: [{hosts}]{tls}}}"
    )
}

fn gateway_named(namespace: &str, name: &str, servers: &str) -> String {
    let spec = format!("{{selector: {{istio: ingressgateway}}, servers: [{servers}]}}");
    istio("Gateway", namespace, name, &spec)
}

/// A VirtualService with one route for each match, to service `a`.
fn bound(namespace: &str, name: &str, hosts: &str, gateway: &str, matches: &[&str]) -> String {
    let routes: Vec<String> = matches
        .iter()
        .map(|matches| {
            format!("{{name: {name}{matches}, route: [{{destination: {{host: {A}}}}}]}}")
        })
        .collect();
    let routes = routes.join(", ");
    let spec = format!("{{hosts: [{hosts}], gateways: ['{gateway}'], http: [{routes}]}}");
    istio("VirtualService", namespace, name, &spec)
}

const ALWAYS: &[&str] = &[""];

fn at_80(objects: &[String]) -> Vec<String> {
    let yaml = service("default", "a", 80) + &objects.concat();
    routes(&gateway_of(&yaml), "http.80")
        .iter()
        .map(|line| line.replace(&format!("outbound|80||{A}"), "a"))
        .collect()
}

#[test]
fn a_port_is_open_only_where_a_gateway_selects_this_workload() {
    assert!(gateway_of(&service("default", "a", 80)).is_empty());
    let other = "{selector: {istio: egressgateway}, servers: [{port: {number: 80, name: p, protocol: HTTP}, hosts: ['*']}]}";
    assert!(gateway_of(&istio("Gateway", "default", "edge", other)).is_empty());
    let set = gateway_of(&gateway_named(
        "default",
        "edge",
        &[
            server(80, "HTTP", "'*'"),
            server(8443, "HTTPS", "'*'"),
            server(9000, "GRPC", "'*'"),
        ]
        .join(", "),
    ));
    assert_eq!(names::<Listener>(&set), ["0.0.0.0_80", "0.0.0.0_9000"]);
    assert_eq!(names::<RouteConfiguration>(&set), ["http.80", "http.9000"]);
    assert!(
        messages::<RouteConfiguration>(&set)
            .iter()
            .all(|c| c.ignore_port_in_host_matching)
    );
}

#[test]
fn the_first_server_of_a_port_decides_its_protocol() {
    let tls_first = [
        gateway_named("default", "one", &server(443, "HTTPS", "'*'")),
        gateway_named("default", "two", &server(443, "HTTP", "'*'")),
    ];
    assert!(gateway_of(&tls_first.concat()).is_empty());
    let http_first = [tls_first[1].clone(), tls_first[0].clone()];
    assert_eq!(
        names::<Listener>(&gateway_of(&http_first.concat())),
        ["0.0.0.0_443"]
    );
}

#[test]
fn labels_of_a_workload_group_replace_the_built_in_ones() {
    let yaml = edge("'*'") + &group("istio-system", "istio-ingressgateway", "other", "v1");
    assert!(gateway_of(&yaml).is_empty());
    let custom = istio(
        "Gateway",
        "default",
        "edge",
        "{selector: {app: other}, servers: [{port: {number: 80, name: p, protocol: HTTP}, hosts: ['*']}]}",
    );
    let yaml = custom + &group("edge", "mine", "other", "v1");
    let node = NodeMetadata {
        namespace: "edge".into(),
        workload_group: "mine".into(),
        ..gateway()
    };
    assert_eq!(
        names::<Listener>(&model(&yaml, &[]).resources_for(&node)),
        ["0.0.0.0_80"]
    );
    assert_eq!(
        model(&yaml, &[]).workload(&node).principal,
        "spiffe://cluster.local/ns/edge/sa/other"
    );
}

#[test]
fn nothing_bound_is_a_virtual_host_without_routes() {
    assert_eq!(at_80(&[edge("'*'")]), ["*: "]);
    let unbound = bound("default", "r", "'*'", "other", ALWAYS);
    assert_eq!(at_80(&[edge("'*'"), unbound]), ["*: "]);
    let other_host = bound("default", "r", "b.example.com", "edge", ALWAYS);
    assert_eq!(at_80(&[edge("a.example.com"), other_host]), ["*: "]);
}

#[test]
fn hosts_are_those_that_gateway_and_rule_have_in_common() {
    for (server, rule, expected) in [
        ("'*'", "'*'", "*"),
        ("'*'", "a.example.com", "a.example.com"),
        ("a.example.com", "'*'", "a.example.com"),
        ("'*.example.com'", "'*'", "*.example.com"),
        ("'*.example.com'", "x.y.example.com", "x.y.example.com"),
        ("x.example.com", "'*.example.com'", "x.example.com"),
        ("'*.example.com'", "'*.x.example.com'", "*.x.example.com"),
        ("'*'", "a", A),
    ] {
        let rule = bound("default", "r", rule, "edge", ALWAYS);
        let seen = at_80(&[edge(server), rule]);
        assert_eq!(seen, [format!("{expected}: r: /* => a")], "{server}");
    }
}

#[test]
fn more_specific_hosts_come_first() {
    let rule = bound(
        "default",
        "r",
        "'*.example.com', a.example.org",
        "edge",
        ALWAYS,
    );
    assert_eq!(
        at_80(&[edge("'*'"), rule]),
        ["a.example.org: r: /* => a", "*.example.com: r: /* => a"]
    );
}

#[test]
fn a_servers_namespace_restricts_who_may_bind() {
    let rules = [
        bound("default", "own", "own.example.com", "default/edge", ALWAYS),
        bound(
            "other",
            "foreign",
            "foreign.example.com",
            "default/edge",
            ALWAYS,
        ),
    ];
    let hosts = |written: &str| {
        let mut objects = vec![edge(written)];
        objects.extend(rules.iter().cloned());
        at_80(&objects)
            .iter()
            .map(|line| line.split(':').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        hosts("'*/*.example.com'"),
        ["foreign.example.com", "own.example.com"]
    );
    assert_eq!(hosts("'./*.example.com'"), ["own.example.com"]);
    assert_eq!(hosts("'other/*.example.com'"), ["foreign.example.com"]);
    assert_eq!(hosts("'third/*.example.com'"), ["*"]);
}

#[test]
fn a_gateway_is_named_with_its_namespace_from_elsewhere() {
    let unqualified = bound("other", "r", "'*'", "edge", ALWAYS);
    assert_eq!(
        at_80(&[edge("'*'"), unqualified]),
        ["*: "],
        "its own namespace has no such Gateway"
    );
    let qualified = bound("other", "r", "'*'", "default/edge", ALWAYS);
    assert_eq!(at_80(&[edge("'*'"), qualified]), ["*: r: /* => a"]);
}

#[test]
fn rules_for_one_host_are_joined_by_age_with_catch_alls_last() {
    let objects = [
        edge("'*'"),
        bound(
            "default",
            "zz-oldest",
            "a.example.com",
            "edge",
            &[", match: [{uri: {exact: /1}}]", ""],
        ),
        bound(
            "default",
            "aa-younger",
            "a.example.com",
            "edge",
            &[", match: [{uri: {prefix: /2}}]"],
        ),
        bound(
            "default",
            "youngest",
            "a.example.com",
            "edge",
            &[", match: [{uri: {regex: '.*'}}]"],
        ),
    ];
    assert_eq!(
        at_80(&objects),
        ["a.example.com: zz-oldest: /1 => a; aa-younger: /2* => a; zz-oldest: /* => a"]
    );
}

#[test]
fn servers_of_several_gateways_share_a_port() {
    let objects = [
        gateway_named("default", "one", &server(80, "HTTP", "a.example.com")),
        gateway_named(
            "default",
            "two",
            &server(80, "HTTP", "a.example.com, b.example.com"),
        ),
        istio(
            "VirtualService",
            "default",
            "both",
            &format!(
                "{{hosts: ['*'], gateways: [one, two], http: [{{name: both, match: [{{uri: {{prefix: /x}}}}], route: [{{destination: {{host: {A}}}}}]}}]}}"
            ),
        ),
    ];
    assert_eq!(
        at_80(&objects),
        [
            "a.example.com: both: /x* => a",
            "b.example.com: both: /x* => a"
        ]
    );
}

#[test]
fn sidecar_routes_stay_out_of_gateways() {
    let mesh_only = bound("default", "r", "a.example.com", "mesh", ALWAYS);
    assert_eq!(at_80(&[edge("'*'"), mesh_only]), ["*: "]);
    let by_match = bound(
        "default",
        "r",
        "a.example.com",
        "mesh",
        &[", match: [{uri: {prefix: /}, gateways: [edge]}]"],
    );
    assert_eq!(
        at_80(&[edge("'*'"), by_match]),
        ["a.example.com: r: /* => a"]
    );
}

#[test]
fn a_gateway_knows_only_the_clusters_that_it_sends_to() {
    let yaml = [
        service("default", "a", 80),
        service("default", "b", 80),
        edge("'*'"),
        bound("default", "r", "'*'", "edge", ALWAYS),
    ]
    .concat();
    assert_eq!(
        names::<Cluster>(&gateway_of(&yaml)),
        [format!("outbound|80||{A}")]
    );
}
