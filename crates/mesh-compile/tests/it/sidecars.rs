//! What sidecars are told: hosts, VirtualServices, DestinationRules, inbound chains.

use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::listener::Listener;
use mesh_xds::envoy::route::RouteConfiguration;
use mesh_xds::envoy::route::route::Action;
use mesh_xds::node::NodeMetadata;
use mesh_xds::{ResourceSet, metadata};

use super::summary::{endpoints, messages, names, routes, routes_at, summary};
use super::support::{config, group, instance, istio, model, service, sidecar, sidecar_of};

const A: &str = "a.default.svc.cluster.local";

fn virtual_service(namespace: &str, name: &str, spec: &str) -> String {
    istio("VirtualService", namespace, name, spec)
}

/// Routes for a host of the sidecars in `default`.
fn at(yaml: &str, domain: &str) -> Vec<String> {
    routes_at(&sidecar_of(yaml, "default", "w"), "http_proxy", domain)
}

fn domains(set: &ResourceSet) -> Vec<String> {
    let hosts = messages::<RouteConfiguration>(set)
        .into_iter()
        .flat_map(|c| c.virtual_hosts);
    hosts.map(|host| host.domains.join(" ")).collect()
}

#[test]
fn services_are_known_by_all_their_names() {
    let yaml = [
        service("default", "a", 80),
        service("default", "b", 9080),
        service("other", "c", 80),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: d}\n\
         spec: {ports: [{name: http, port: 80}, {name: grpc, port: 90}, {name: udp-x, port: 53}]}\n"
            .to_owned(),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: e}\n\
         spec: {ports: [{name: http-x, port: 81}, {name: http-y, port: 82}]}\n"
            .to_owned(),
    ]
    .concat();
    insta::assert_yaml_snapshot!(domains(&sidecar_of(&yaml, "default", "w")));
    let elsewhere = domains(&sidecar_of(&yaml, "other", "w"));
    assert!(elsewhere[0].contains("a.default.svc"), "{elsewhere:?}");
    assert!(
        !elsewhere[0].split(' ').any(|domain| domain == "a"),
        "{elsewhere:?}"
    );
}

#[test]
fn unknown_hosts_are_answered_with_a_sentence_where_only_known_ones_are_allowed() {
    let yaml = istio(
        "Sidecar",
        "default",
        "s",
        "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}",
    );
    let set = sidecar_of(&yaml, "default", "w");
    let seen = routes(&set, "http_proxy");
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].starts_with("*: block_all: /* => 502 \"no service"),
        "{seen:?}"
    );
}

#[test]
fn short_names_belong_to_the_rules_namespace() {
    let yaml = [
        service("default", "a", 80),
        service("other", "a", 80),
        virtual_service(
            "other",
            "r",
            "{hosts: [a], http: [{name: r, route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    assert_eq!(at(&yaml, A), [format!("default: /* => outbound|80||{A}")]);
    assert_eq!(
        at(&yaml, "a.other.svc.cluster.local"),
        ["r: /* => outbound|80||a.other.svc.cluster.local"]
    );
}

#[test]
fn the_oldest_virtual_service_of_the_most_specific_host_wins() {
    let rule = |name: &str, host: &str| {
        let spec = format!(
            "{{hosts: ['{host}'], http: [{{name: {name}, route: [{{destination: {{host: a}}}}]}}]}}"
        );
        virtual_service("default", name, &spec)
    };
    let all = [
        service("default", "a", 80),
        service("default", "b", 80),
        rule("wide", "*.cluster.local"),
        rule("narrow", "*.default.svc.cluster.local"),
        rule("zzz-first", "a"),
        rule("aaa-second", "a"),
    ]
    .concat();
    assert_eq!(at(&all, A), [format!("zzz-first: /* => outbound|80||{A}")]);
    assert_eq!(
        at(&all, "b.default.svc.cluster.local"),
        [format!("narrow: /* => outbound|80||{A}")]
    );
    let hosts = domains(&sidecar_of(&all, "default", "w"));
    assert!(
        !hosts.iter().any(|hosts| hosts.contains("*.")),
        "services have their routes: {hosts:?}"
    );
}

#[test]
fn a_virtual_service_without_mesh_means_nothing_to_sidecars() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "edge-only",
            "{hosts: [a], gateways: [edge], http: [{route: [{destination: {host: b}}]}]}",
        ),
        virtual_service(
            "default",
            "no-http",
            "{hosts: [a], http: [], tcp: [{route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    assert_eq!(at(&yaml, A), [format!("default: /* => outbound|80||{A}")]);
}

#[test]
fn the_gateways_of_a_match_replace_those_of_the_whole() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], gateways: [edge], http: [
              {name: for-mesh, match: [{uri: {exact: /m}, gateways: [mesh]}], route: [{destination: {host: a}}]},
              {name: for-edge, match: [{uri: {exact: /e}}], route: [{destination: {host: a}}]},
              {name: rest, route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    assert_eq!(at(&yaml, A), [format!("for-mesh: /m => outbound|80||{A}")]);
}

#[test]
fn routes_keep_their_order_until_one_always_matches() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [
              {name: one, match: [{name: x, uri: {prefix: /x}}, {uri: {regex: '/y.*'}, method: {exact: GET}}], route: [{destination: {host: a}}]},
              {name: two, match: [{uri: {exact: /z}, ignoreUriCase: true}, {uri: {prefix: /}}, {uri: {exact: /never}}], route: [{destination: {host: a}}]},
              {name: never, route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    assert_eq!(
        at(&yaml, A),
        [
            format!("one.x: /x* => outbound|80||{A}"),
            format!("one: ~/y.* [:method =GET] => outbound|80||{A}"),
            format!("two: /z (any case) => outbound|80||{A}"),
            format!("two: /* => outbound|80||{A}"),
        ]
    );
}

#[test]
fn headers_and_authority_are_conditions() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [{match: [{authority: {prefix: a}, headers: {x-user: {exact: me}, cookie: {regex: '.*v=1.*'}, there: {}}, withoutHeaders: {gone: {}}}], route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    assert_eq!(
        at(&yaml, A),
        [format!(
            "/* [:authority a*] [cookie ~.*v=1.*] [there present] [x-user =me] [!gone present] => outbound|80||{A}"
        )]
    );
}

#[test]
fn destinations_get_their_weights_and_ports() {
    let rule = |destinations: &str| {
        let spec = format!("{{hosts: [a], http: [{{route: [{destinations}]}}]}}");
        let two_ports = "---\napiVersion: v1\nkind: Service\nmetadata: {name: two}\n\
             spec: {ports: [{name: http-x, port: 81}, {name: http-y, port: 9080}]}\n";
        let services = service("default", "a", 80) + &service("default", "b", 8080) + two_ports;
        let yaml = services + &virtual_service("default", "r", &spec);
        at(&yaml, A).remove(0)
    };
    let b = "b.default.svc.cluster.local";
    assert_eq!(
        rule("{destination: {host: b}, weight: 0}"),
        format!("/* => outbound|8080||{b}"),
        "alone, whatever its weight; the service's only port"
    );
    assert_eq!(
        rule(
            "{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 0}, {destination: {host: two, port: {number: 81}}, weight: 2}"
        ),
        format!("/* => 1 outbound|80||{A}, 2 outbound|81||two.default.svc.cluster.local")
    );
    assert_eq!(
        rule("{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 7}"),
        format!("/* => outbound|8080||{b}")
    );
    assert_eq!(
        rule("{destination: {host: two}}"),
        "/* => outbound|80||two.default.svc.cluster.local",
        "several ports and none named: the listener's"
    );
    assert_eq!(
        rule("{destination: {host: api.example.com}}"),
        "/* => outbound|80||api.example.com",
        "no such service: the cluster does not exist"
    );
}

#[test]
fn only_clusters_that_routes_lead_to_exist() {
    let yaml = [
        service("default", "a", 80),
        service("default", "unused", 80),
        istio("DestinationRule", "default", "a", "{host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}"),
        virtual_service("default", "unused", "{hosts: [unused], http: [{route: [{destination: {host: a}}]}]}"),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [{route: [{destination: {host: a, subset: v1}, weight: 1}, {destination: {host: a, subset: v3}, weight: 1}, {destination: {host: a, port: {number: 81}}, weight: 1}]}]}",
        ),
    ]
    .concat();
    let set = sidecar_of(&yaml, "default", "w");
    assert_eq!(
        names::<Cluster>(&set),
        [
            "PassthroughCluster".to_owned(),
            format!("outbound|80|v1|{A}"),
            format!("outbound|80||{A}")
        ]
    );
    let routes = routes_at(&set, "http_proxy", A).remove(0);
    assert!(
        routes.contains(&format!("1 outbound|80|v3|{A}, 1 outbound|81||{A}")),
        "{routes}"
    );
}

#[test]
fn the_clients_destination_rules_come_first() {
    let rule = |namespace: &str, name: &str, host: &str, subset: &str| {
        let spec =
            format!("{{host: '{host}', subsets: [{{name: s, labels: {{version: {subset}}}}}]}}");
        istio("DestinationRule", namespace, name, &spec)
    };
    let base = [
        service("default", "a", 80),
        group("default", "v1", "a", "v1"),
        group("default", "v2", "a", "v2"),
        group("default", "v3", "a", "v3"),
        group("client", "w", "w", "v1"),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [{route: [{destination: {host: a, subset: s}}]}]}",
        ),
    ]
    .concat();
    let chosen = |rules: &[String], client: &str| {
        let instances = ["v1", "v2", "v3"].map(|v| instance("default", v, "10.0.0.2", &[]));
        let set = model(&(base.clone() + &rules.concat()), &instances)
            .resources_for(&sidecar(client, "w"));
        endpoints(&set, &format!("outbound|80|s|{A}"))
            .iter()
            .map(|endpoint| endpoint.rsplit(' ').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let own = rule("client", "own", A, "v1");
    let service = rule("default", "service", "a", "v2");
    let root = rule("istio-system", "root", "*.cluster.local", "v3");
    let all = [root.clone(), service.clone(), own];
    assert_eq!(chosen(&all, "client"), ["v1"]);
    assert_eq!(chosen(&all, "default"), ["v2"]);
    assert_eq!(chosen(std::slice::from_ref(&root), "client"), ["v3"]);
    assert_eq!(
        chosen(&[root.clone(), service.clone()], "istio-system"),
        ["v2"]
    );

    let wider = rule("default", "wider", "*.default.svc.cluster.local", "v1");
    assert_eq!(
        chosen(&[wider, service.clone()], "default"),
        ["v2"],
        "the most specific host"
    );
    let younger = rule("default", "aaa", A, "v1");
    assert_eq!(
        chosen(&[service, younger], "default"),
        ["v2"],
        "the first meaning of a name"
    );
}

#[test]
fn rules_of_one_namespace_join_their_subsets() {
    let yaml = [
        service("default", "a", 80),
        istio("DestinationRule", "default", "first", "{host: a, subsets: [{name: one}]}"),
        istio("DestinationRule", "default", "second", "{host: a, subsets: [{name: two}]}"),
        virtual_service("default", "r", "{hosts: [a], http: [{route: [{destination: {host: a, subset: one}, weight: 1}, {destination: {host: a, subset: two}, weight: 1}]}]}"),
    ]
    .concat();
    assert_eq!(
        names::<Cluster>(&sidecar_of(&yaml, "default", "w")),
        [
            "PassthroughCluster".to_owned(),
            format!("outbound|80|one|{A}"),
            format!("outbound|80|two|{A}")
        ]
    );
}

#[test]
fn hosts_that_are_no_services_have_routes_too() {
    let yaml = [
        service("default", "a", 80),
        virtual_service("default", "r", "{hosts: [shop.example.com, '*.example.org'], http: [{route: [{destination: {host: a}}]}]}"),
        virtual_service("default", "s", "{hosts: [shop.example.com], http: [{name: late, route: [{destination: {host: a}}]}]}"),
        virtual_service("default", "t", "{hosts: [a.default], http: [{name: dotted, route: [{destination: {host: a}}]}]}"),
    ]
    .concat();
    let set = sidecar_of(&yaml, "default", "w");
    assert_eq!(
        routes_at(&set, "http_proxy", "shop.example.com"),
        [format!("/* => outbound|80||{A}")]
    );
    assert_eq!(routes_at(&set, "http_proxy", "*.example.org:80").len(), 1);
    assert_eq!(
        routes_at(&set, "http_proxy", "a.default"),
        [format!("dotted: /* => outbound|80||{A}")],
        "what a rule names comes before a service's short forms"
    );
    let all: Vec<String> = domains(&set)
        .iter()
        .flat_map(|d| d.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut unique = all.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(
        unique.len(),
        all.len(),
        "Envoy refuses a domain that is there twice"
    );
}

#[test]
fn routes_retry_what_was_not_processed_and_have_no_time_limit() {
    let set = sidecar_of(&service("default", "a", 80), "default", "w");
    let configuration = messages::<RouteConfiguration>(&set).remove(0);
    assert_eq!(
        configuration.validate_clusters.map(|flag| flag.value),
        Some(false)
    );
    let Some(Action::Route(action)) = &configuration.virtual_hosts[0].routes[0].action else {
        panic!("the default route forwards");
    };
    assert_eq!(action.timeout, Some(Default::default()));
    let policy = action
        .retry_policy
        .clone()
        .expect("retries are on by default");
    assert_eq!(
        policy.retry_on,
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(policy.num_retries.map(|number| number.value), Some(2));
}

#[test]
fn the_meshs_retries_hold_where_a_route_says_nothing() {
    let retries = mesh_config::model::Retries {
        attempts: 7,
        ..Default::default()
    };
    let mut settings = mesh_compile::Settings::default();
    settings.mesh.default_retries = Some(retries);
    let yaml = service("default", "a", 80);
    let model = mesh_compile::Model::build(&config(&yaml), &[], &settings);
    let set = model.resources_for(&sidecar("default", "w"));
    let configuration = messages::<RouteConfiguration>(&set).remove(0);
    let Some(Action::Route(action)) = &configuration.virtual_hosts[0].routes[0].action else {
        panic!("the default route forwards");
    };
    let policy = action.retry_policy.clone().expect("it is switched on");
    assert_eq!(policy.num_retries.map(|number| number.value), Some(7));
}

#[test]
fn inbound_chains_follow_the_services_that_select_the_workload() {
    let yaml = [
        group("default", "w", "a", "v1"),
        service("default", "a", 80),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  selector: {version: v1}\n  \
         ports: [{name: http, port: 81, targetPort: 80}, {name: grpc, port: 90}, {name: admin, port: 91, targetPort: nowhere}]\n"
            .to_owned(),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: everyone}\nspec: {ports: [{name: http, port: 80}]}\n".to_owned(),
        service("other", "a", 80),
        istio("DestinationRule", "other", "b", "{host: b.default.svc.cluster.local, subsets: [{name: x}]}"),
    ]
    .concat();
    let node = NodeMetadata {
        app_ports: [("80".to_owned(), 8080), ("grpc".to_owned(), 9000)].into(),
        ..sidecar("default", "w")
    };
    let all = summary(&model(&yaml, &[]).resources_for(&node));
    insta::assert_yaml_snapshot!(all["listeners"]["virtualInbound"]["chains"]);
    let clusters = all["clusters"]
        .as_object()
        .expect("clusters by name")
        .iter();
    let inbound: Vec<_> = clusters
        .filter(|(name, _)| name.starts_with("inbound"))
        .collect();
    insta::assert_yaml_snapshot!(inbound);
}

#[test]
fn a_workload_of_no_service_takes_nothing() {
    let set = sidecar_of(&service("default", "a", 80), "default", "w");
    let listeners = summary(&set)["listeners"].clone();
    let chains = &listeners["virtualInbound"]["chains"];
    assert_eq!(chains.as_array().map(Vec::len), Some(1));
    assert_eq!(chains[0]["server_names"][0], "blackhole");
    assert_eq!(
        chains[0]["http"]["routes"].as_array().map(Vec::len),
        Some(0)
    );
    assert!(listeners.get("inboundPlain").is_none());
}

#[test]
fn inbound_listeners_know_everyone_who_may_call() {
    let yaml = [
        group("default", "w", "a", "v1"),
        group("other", "x", "b", "v2"),
        service("default", "a", 80),
    ]
    .concat();
    let node = NodeMetadata {
        plain_listener: true,
        ..sidecar("default", "w")
    };
    let set = model(&yaml, &[]).resources_for(&node);
    for listener in messages::<Listener>(&set) {
        let data = listener.metadata.unwrap_or_default();
        let own = metadata::workload(&data).expect("every listener names its workload");
        assert_eq!(own.principal, "spiffe://cluster.local/ns/default/sa/a");
        let peers = metadata::peers(&data);
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        if listener.name == "virtualOutbound" {
            assert!(names.is_empty());
        } else {
            assert_eq!(names, ["w", "x", "istio-ingressgateway"]);
            assert_eq!(
                peers[2].principal,
                "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
            );
        }
    }
}
