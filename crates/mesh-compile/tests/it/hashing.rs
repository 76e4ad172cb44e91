//! What the routes and TCP proxies say that lead to clusters with consistent hashing.

use mesh_compile::Model;
use mesh_xds::envoy::listener::{Listener, filter};
use mesh_xds::envoy::route::RouteConfiguration;
use mesh_xds::envoy::route::route_action::hash_policy::PolicySpecifier;
use mesh_xds::envoy::route::{RouteAction, route::Action};
use mesh_xds::envoy::tcp_proxy::TcpProxy;
use mesh_xds::node::NodeMetadata;
use mesh_xds::unpack;

use super::summary::messages;
use super::support::{group, istio, model, service, sidecar};

fn rule(host: &str, policy: &str) -> String {
    istio(
        "DestinationRule",
        "shop",
        host,
        &format!(
            "{{host: {host}, trafficPolicy: {policy}, subsets: [{{name: v1, labels: {{version: v1}}}}, \
             {{name: v2, labels: {{version: v2}}, trafficPolicy: {{loadBalancer: {{consistentHash: \
             {{httpCookie: {{name: user, ttl: 0s}}}}}}}}}}]}}"
        ),
    )
}

const BY_HEADER: &str = "{loadBalancer: {consistentHash: {httpHeaderName: X-User}}}";

fn mesh(rules: &[String]) -> Model {
    let base = [
        service("shop", "web", 80),
        service("shop", "cart", 80),
        group("shop", "web", "web", "v1"),
        group("shop", "cart", "cart", "v1"),
    ];
    model(&[base.concat(), rules.concat()].concat(), &[])
}

/// The first action for requests to `web`.
fn action(model: &Model) -> RouteAction {
    let resources = model.resources_for(&sidecar("shop", "cart"));
    let hosts = messages::<RouteConfiguration>(&resources)
        .into_iter()
        .flat_map(|routes| routes.virtual_hosts);
    let is_web = |domain: &String| domain == "web.shop.svc.cluster.local";
    let mut hosts = hosts.filter(|host| host.domains.iter().any(is_web));
    let routes = hosts.next().expect("web has a virtual host").routes;
    match routes.into_iter().next().and_then(|route| route.action) {
        Some(Action::Route(action)) => action,
        other => panic!("no route: {other:?}"),
    }
}

fn hashed(action: &RouteAction) -> Vec<String> {
    let policies = action.hash_policy.iter();
    let text = |specifier: &PolicySpecifier| match specifier {
        PolicySpecifier::Header(header) => format!("header {}", header.header_name),
        PolicySpecifier::Cookie(cookie) => format!(
            "cookie {} {:?}",
            cookie.name,
            cookie.ttl.map(|ttl| ttl.seconds)
        ),
        PolicySpecifier::ConnectionProperties(source) => format!("source {}", source.source_ip),
        PolicySpecifier::QueryParameter(parameter) => format!("parameter {}", parameter.name),
        PolicySpecifier::FilterState(state) => format!("state {}", state.key),
    };
    policies
        .filter_map(|one| one.policy_specifier.as_ref())
        .map(text)
        .collect()
}

#[test]
fn the_route_of_a_service_says_what_its_rule_hashes_and_retries_where_it_was() {
    let plain = action(&mesh(&[]));
    assert_eq!(hashed(&plain), [""; 0]);
    assert_eq!(plain.retry_policy.unwrap().retry_host_predicate.len(), 1);
    let by_header = action(&mesh(&[rule("web", BY_HEADER)]));
    assert_eq!(hashed(&by_header), ["header x-user"]);
    assert!(
        by_header
            .retry_policy
            .unwrap()
            .retry_host_predicate
            .is_empty()
    );
    let of = |hash: &str| {
        let policy = format!("{{loadBalancer: {{consistentHash: {{{hash}}}}}}}");
        hashed(&action(&mesh(&[rule("web", &policy)])))
    };
    assert_eq!(of("useSourceIp: true"), ["source true"]);
    assert_eq!(of("httpQueryParameterName: q"), ["parameter q"]);
    assert_eq!(of("httpCookie: {name: c}"), ["cookie c None"]);
    assert_eq!(of("useSourceIp: false"), [""; 0]);
}

#[test]
fn a_split_has_the_policies_of_its_destinations_with_a_weight() {
    let split = |v1: u32, v2: u32| {
        let routes = format!(
            "{{hosts: [web], http: [{{route: [{{destination: {{host: web, subset: v1}}, weight: {v1}}}, \
             {{destination: {{host: web, subset: v2}}, weight: {v2}}}, {{destination: {{host: cart}}, weight: 1}}]}}]}}"
        );
        let rules = [
            rule("web", BY_HEADER),
            istio("VirtualService", "shop", "web", &routes),
        ];
        hashed(&action(&mesh(&rules)))
    };
    assert_eq!(split(1, 1), ["header x-user", "cookie user Some(0)"]);
    assert_eq!(split(1, 0), ["header x-user"]);
    assert_eq!(split(0, 0), [""; 0]);
}

#[test]
fn sessions_are_hashed_by_source_only() {
    let hashed = |policy: &str| {
        let db = service("shop", "db", 3306).replace("name: http", "name: mysql");
        let all = [db, group("shop", "db", "db", "v1"), rule("db", policy)];
        let node = NodeMetadata {
            listen_services: true,
            ..sidecar("shop", "cart")
        };
        let resources = mesh(&all).resources_for(&node);
        let listeners = messages::<Listener>(&resources).into_iter();
        let filters = listeners
            .flat_map(|one| one.filter_chains)
            .flat_map(|chain| chain.filters);
        let proxies = filters.filter_map(|filter| match filter.config_type {
            Some(filter::ConfigType::TypedConfig(any)) => unpack::<TcpProxy>(&any).ok(),
            _ => None,
        });
        let mut to_db = proxies.filter(|proxy| proxy.stat_prefix.contains("|3306|"));
        to_db.next().expect("db has a TCP proxy").hash_policy.len()
    };
    assert_eq!(
        hashed("{loadBalancer: {consistentHash: {useSourceIp: true}}}"),
        1
    );
    assert_eq!(hashed(BY_HEADER), 0);
}
