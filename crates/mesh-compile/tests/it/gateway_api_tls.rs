//! Listeners of the Gateway API behind TLS and of TCP, with their routes, certificates and authorities.

use std::collections::BTreeSet;

use mesh_xds::envoy::listener::Listener;
use mesh_xds::envoy::route::RouteConfiguration;
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::tls::Secret;

use super::summary::{messages, names};
use super::support::{gateway_of, service};

const PEM: &str = "\"-----BEGIN CERTIFICATE-----\"";

fn api(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A Gateway `gw` in `default`, with services `a` and `b`.
fn gateway(spec: &str) -> String {
    let spec = format!("{{gatewayClassName: istio, {spec}}}");
    service("default", "a", 80)
        + &service("default", "b", 80)
        + &api("Gateway", "default", "gw", &spec)
}

fn secret(namespace: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: {namespace}}}\n\
         stringData: {{tls.crt: {PEM}, tls.key: {PEM}}}\n"
    )
}

fn https(name: &str, more: &str, secret: &str) -> String {
    format!(
        "{{name: {name}, port: 443, protocol: HTTPS, {more} tls: {{certificateRefs: [{secret}]}}}}"
    )
}

/// A route of connections to `a` or `b`, of the service's own name.
fn bytes(kind: &str, more: &str, to: &str) -> String {
    let spec = format!(
        "{{parentRefs: [{{name: gw}}], {more} rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]}}"
    );
    api(kind, "default", to, &spec)
}

/// `server names => prefix of the chain's name` of each chain at a port.
fn chains(yaml: &str) -> Vec<String> {
    let set = gateway_of(yaml);
    messages::<Listener>(&set)
        .iter()
        .flat_map(|listener| &listener.filter_chains)
        .map(|chain| {
            let names = chain
                .filter_chain_match
                .as_ref()
                .map(|on| on.server_names.join(","));
            let is_ended = chain.transport_socket.is_some();
            format!("{} ended here: {is_ended}", names.unwrap_or_default())
        })
        .collect()
}

#[test]
fn a_secret_of_another_namespace_is_used_with_a_grant_only() {
    let listener = https("web", "", "{name: cert, namespace: safe}");
    let ungranted = gateway(&format!("listeners: [{listener}]")) + &secret("safe");
    assert!(messages::<Listener>(&gateway_of(&ungranted)).is_empty());
    let granted = ungranted
        + &api(
            "ReferenceGrant",
            "safe",
            "grant",
            "{from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], \
              to: [{group: '', kind: Secret, name: cert}]}",
        );
    let set = gateway_of(&granted);
    assert_eq!(names::<Secret>(&set), ["kubernetes-gateway://safe/cert"]);
}

#[test]
fn requests_for_another_listeners_host_are_misdirected() {
    let listeners = [
        https("any", "", "{name: cert}"),
        https("x", "hostname: x.example,", "{name: cert}"),
    ];
    let yaml = gateway(&format!("listeners: [{}]", listeners.join(", "))) + &secret("default");
    let set = gateway_of(&yaml);
    let refused: BTreeSet<String> = messages::<RouteConfiguration>(&set)
        .iter()
        .flat_map(|routes| routes.virtual_hosts.clone())
        .filter(|host| {
            let action = host.routes.first().and_then(|route| route.action.as_ref());
            matches!(action, Some(Action::DirectResponse(answer)) if answer.status == 421)
        })
        .map(|host| host.name)
        .collect();
    // At the listener for any host it is the other's host, and the other way round every other host.
    assert_eq!(
        refused,
        BTreeSet::from(["*:443".to_owned(), "x.example:443".to_owned()])
    );
}

#[test]
fn connections_are_told_apart_by_their_server_name() {
    let listener = |tls: &str| {
        gateway(&format!(
            "listeners: [{{name: tls, port: 443, protocol: TLS, hostname: '*.example', tls: {{{tls}}}}}]"
        )) + &secret("default")
            + &bytes("TLSRoute", "hostnames: [a.example, other.org],", "a")
            + &bytes("TLSRoute", "hostnames: [b.example],", "b")
    };
    assert_eq!(
        chains(&listener("mode: Passthrough")),
        ["a.example ended here: false", "b.example ended here: false"]
    );
    assert_eq!(
        chains(&listener("certificateRefs: [{name: cert}]")),
        ["a.example ended here: true", "b.example ended here: true"]
    );
}

#[test]
fn the_oldest_tcp_route_has_all_connections() {
    let yaml = gateway("listeners: [{name: tcp, port: 9000, protocol: TCP}]")
        + &bytes("TCPRoute", "", "b").replace(
            "{name: b, namespace",
            "{name: b, creationTimestamp: '2026-01-01T00:00:00Z', namespace",
        )
        + &bytes("TCPRoute", "", "a").replace(
            "{name: a, namespace",
            "{name: a, creationTimestamp: '2026-02-01T00:00:00Z', namespace",
        );
    let set = gateway_of(&yaml);
    assert_eq!(
        names::<mesh_xds::envoy::cluster::Cluster>(&set),
        ["outbound|80||b.default.svc.cluster.local"]
    );
}

#[test]
fn clients_are_verified_by_the_authorities_of_their_port() {
    let frontend = "tls: {frontend: {default: {validation: {caCertificateRefs: \
                    [{group: '', kind: ConfigMap, name: ca}]}}}}";
    let listener = https("web", "", "{name: cert}");
    let yaml = gateway(&format!("{frontend}, listeners: [{listener}]")) + &secret("default");
    // Without authorities there is nobody who could be let in.
    assert!(messages::<Listener>(&gateway_of(&yaml)).is_empty());
    let known = format!(
        "{yaml}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: default}}\n\
         data: {{ca.crt: {PEM}}}\n"
    );
    let set = gateway_of(&known);
    assert_eq!(
        names::<Secret>(&set),
        [
            "configmap://default/ca",
            "kubernetes-gateway://default/cert"
        ]
    );
}
