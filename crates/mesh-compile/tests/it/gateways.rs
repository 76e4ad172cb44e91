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
    assert_eq!(
        names::<Listener>(&set),
        ["0.0.0.0_80", "0.0.0.0_8443", "0.0.0.0_9000"]
    );
    assert_eq!(
        names::<RouteConfiguration>(&set),
        ["http.80", "http.9000", "https.8443.p8443.edge.default"]
    );
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
    let set = gateway_of(&tls_first.concat());
    assert_eq!(
        names::<RouteConfiguration>(&set),
        ["https.443.p443.one.default"]
    );
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

/// Chains of a listener as `SERVER_NAMES -> CLUSTERS OR ROUTES`.
fn chains(set: &mesh_xds::ResourceSet, listener: &str) -> Vec<String> {
    use mesh_xds::envoy::listener::filter::ConfigType;
    use mesh_xds::envoy::tcp_proxy::TcpProxy;
    use mesh_xds::envoy::tcp_proxy::tcp_proxy::ClusterSpecifier;
    let listeners = messages::<Listener>(set);
    let listener = listeners.iter().find(|known| known.name == listener);
    let chains = listener.into_iter().flat_map(|known| &known.filter_chains);
    chains
        .map(|chain| {
            let names = chain
                .filter_chain_match
                .as_ref()
                .map(|m| m.server_names.join(","));
            let Some(ConfigType::TypedConfig(any)) = &chain.filters[0].config_type else {
                panic!("a filter without configuration")
            };
            let to = match mesh_xds::unpack::<TcpProxy>(any).map(|proxy| proxy.cluster_specifier) {
                Ok(Some(ClusterSpecifier::Cluster(cluster))) => cluster,
                Ok(Some(ClusterSpecifier::WeightedClusters(weighted))) => {
                    let clusters = weighted.clusters.iter();
                    clusters
                        .map(|c| format!("{} {}", c.name, c.weight))
                        .collect::<Vec<_>>()
                        .join(", ")
                }
                _ => chain.name.clone(),
            };
            format!("{} -> {to}", names.unwrap_or_default()).replace(A, "a")
        })
        .collect()
}

#[test]
fn connections_are_routed_by_server_name_port_and_weight() {
    let service = service("default", "a", 80);
    let edge = gateway_named(
        "default",
        "edge",
        "{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']},
         {port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.com'], tls: {mode: PASSTHROUGH}},
         {port: {number: 443, name: ended, protocol: TLS}, hosts: [db.org], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}},
         {port: {number: 15443, name: auto, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}",
    );
    let tcp = istio(
        "VirtualService",
        "default",
        "tcp",
        &format!("{{hosts: ['*'], gateways: [edge], tcp: [
          {{match: [{{port: 1}}], route: [{{destination: {{host: nobody}}}}]}},
          {{route: [{{destination: {{host: {A}}}, weight: 9}}, {{destination: {{host: {A}, subset: none}}, weight: 1}},
                    {{destination: {{host: {A}, subset: zero}}}}]}}]}}"),
    );
    let tls = istio(
        "VirtualService",
        "default",
        "tls",
        &format!("{{hosts: [a.com, b.com], gateways: [edge], tls: [
          {{match: [{{sniHosts: [a.com]}}, {{sniHosts: [b.com], port: 1}}], route: [{{destination: {{host: {A}}}}}]}},
          {{match: [{{sniHosts: [a.com, b.com]}}], route: [{{destination: {{host: {A}, port: {{number: 81}}}}}}]}}]}}"),
    );
    let set = gateway_of(&[service, edge, tcp, tls].concat());
    let split = "outbound|80||a 9, outbound|80|none|a 1";
    assert_eq!(chains(&set, "0.0.0.0_9000"), [format!(" -> {split}")]);
    assert_eq!(
        chains(&set, "0.0.0.0_443"),
        [
            "a.com -> outbound|80||a".to_owned(),
            // The name that is taken already stays where it is.
            "b.com -> outbound|81||a".to_owned(),
            format!("db.org -> {split}"),
        ]
    );
    assert_eq!(
        chains(&set, "0.0.0.0_15443"),
        ["outbound_.80_._.a -> outbound_.80_._.a"]
    );
    assert!(names::<Cluster>(&set).contains(&format!("outbound_.80_._.{A}")));
}

#[test]
fn plain_requests_are_sent_to_https_also_without_a_virtual_service() {
    let edge = gateway_named(
        "default",
        "edge",
        "{port: {number: 80, name: p, protocol: HTTP}, hosts: ['*.com'], tls: {httpsRedirect: true}},
         {port: {number: 80, name: q, protocol: HTTP}, hosts: [b.org]}",
    );
    let bound = bound("default", "vs", "a.com, b.org", "edge", ALWAYS);
    let set = gateway_of(&[service("default", "a", 80), edge, bound].concat());
    let hosts: Vec<_> = messages::<RouteConfiguration>(&set)[0]
        .virtual_hosts
        .iter()
        .map(|host| (host.domains[0].clone(), host.require_tls, host.routes.len()))
        .collect();
    let expected = [("a.com", 2, 1), ("b.org", 0, 1), ("*.com", 2, 0)];
    assert_eq!(
        hosts,
        expected.map(|(host, tls, routes)| (host.to_owned(), tls, routes))
    );
}

#[test]
fn a_gateway_gets_the_secrets_that_it_names_of_its_own_namespace() {
    use mesh_xds::envoy::tls::Secret;
    let kept = |namespace: &str, name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             stringData: {{tls.crt: c, tls.key: k, ca.crt: r}}\n"
        )
    };
    let https = |port: u16, credential: &str| {
        format!(
            "{{port: {{number: {port}, name: p{port}, protocol: HTTPS}}, hosts: ['*'], tls: {{mode: MUTUAL, credentialName: {credential}}}}}"
        )
    };
    let servers = [
        https(443, "mine"),
        https(444, "other"),
        https(445, "default/other"),
    ];
    let edge = gateway_named("default", "edge", &servers.join(", "));
    let yaml = [
        kept("istio-system", "mine"),
        kept("istio-system", "unused"),
        kept("default", "other"),
        edge,
    ];
    let set = gateway_of(&yaml.concat());
    assert_eq!(
        names::<Secret>(&set),
        ["kubernetes://mine", "kubernetes://mine-cacert"]
    );
}
