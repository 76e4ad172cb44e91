//! Deployments and Pods, which the mesh does not start: whether Services and proxies can live with them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::index::Index;
use super::view::{Found, at, full_name, items, labels, listed, selects, spec, spec_each, text};
use super::workloads::{injection, injects};
use super::{JWKS_UNRESTRICTED, PROTOCOL_CONFLICT, RESERVED_USER, TARGET_PORT_CONFLICT};
use crate::model::Kind;

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    user(found, &["spec", "template", "spec"]);
    let labels = &found.object.metadata.labels;
    let is_waypoint = labels
        .get("gateway.istio.io/managed")
        .is_some_and(|by| by == "istio.io-mesh-controller");
    if !is_waypoint && is_in_mesh(index, found) {
        services(index, found);
    }
    if labels.get("app").is_some_and(|app| app == "istiod") {
        fetched_keys(index, found);
    }
}

fn is_in_mesh(index: &Index<'_>, found: &Found<'_>) -> bool {
    injection(found.object).unwrap_or_else(|| {
        index
            .find("", "Namespace", "", found.namespace())
            .is_some_and(|namespace| injects(namespace))
    })
}

/// Services that lead to the same workload and do not go together.
fn services(index: &Index<'_>, found: &mut Found<'_>) {
    let own = labels(spec(found.object, &["template", "metadata", "labels"]));
    let mut protocols: BTreeMap<i64, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    let mut targets: BTreeMap<String, BTreeMap<i64, &str>> = BTreeMap::new();
    for service in index.config.in_namespace(Kind::Service, found.namespace()) {
        let selector = labels(spec(service, &["selector"]));
        if selector.is_empty() || !selects(&selector, &own) {
            continue;
        }
        let name = service.metadata.name.as_str();
        for (_, port) in spec_each(service, "ports") {
            let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
            let protocol = match text(port, "protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            let users = protocols.entry(number).or_default().entry(protocol);
            users.or_default().insert(name);
            let target = match port.get("targetPort") {
                Some(Value::String(name)) if !name.is_empty() => name.clone(),
                Some(Value::Number(number)) if number.as_i64() != Some(0) => number.to_string(),
                _ => number.to_string(),
            };
            targets.entry(target).or_default().insert(number, name);
        }
    }
    for (port, users) in protocols.iter().filter(|(_, users)| users.len() > 1) {
        let users: Vec<String> = users
            .iter()
            .flat_map(|(protocol, names)| {
                names.iter().map(move |name| format!("{name} ({protocol})"))
            })
            .collect();
        let message = format!(
            "its Services have port {port} with different protocols: {}; give each protocol a port of its own",
            users.join(", ")
        );
        found.tell(&PROTOCOL_CONFLICT, "metadata.name", message);
    }
    for (target, users) in targets.iter().filter(|(_, users)| users.len() > 1) {
        let users: Vec<String> = users
            .iter()
            .map(|(port, name)| format!("{port} of {name}"))
            .collect();
        let message = format!(
            "different ports of its Services lead to its port {target}: {}; use one port for one targetPort",
            users.join(", ")
        );
        found.tell(&TARGET_PORT_CONFLICT, "metadata.name", message);
    }
}

/// The user whose traffic Istio's redirection leaves alone.
const PROXY_USER: i64 = 1337;

/// Programs that run as the proxy's user; `path` leads to the pod's spec.
pub(super) fn user(found: &mut Found<'_>, path: &[&str]) {
    let labels = &found.object.metadata.labels;
    if labels.contains_key("istio") || labels.get("release").is_some_and(|name| name == "istio") {
        return;
    }
    let Some(pod) = at(&found.object.raw, path) else {
        return;
    };
    let is_reserved = |of: &Value| {
        at(of, &["securityContext", "runAsUser"]).and_then(Value::as_i64) == Some(PROXY_USER)
    };
    let mut containers = items(pod.get("containers")).iter();
    let found_one = containers.any(|container| {
        !matches!(text(container, "name"), "istio-proxy" | "istio-operator")
            && is_reserved(container)
    });
    if is_reserved(pod) || found_one {
        let message = "user 1337 is reserved for Istio's proxy, and its traffic would go past the mesh; use another \
                       user";
        found.tell(&RESERVED_USER, path.join("."), message);
    }
}

/// An istiod that fetches keys from wherever it is told.
fn fetched_keys(index: &Index<'_>, found: &mut Found<'_>) {
    const SWITCH: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";
    let containers = items(spec(found.object, &["template", "spec", "containers"]));
    let mut variables = containers
        .iter()
        .flat_map(|container| items(container.get("env")));
    let is_restricted = variables
        .any(|variable| text(variable, "name") == SWITCH && !text(variable, "value").is_empty());
    let checks = index.all("security.istio.io", "RequestAuthentication");
    let names: Vec<String> = checks.map(|check| full_name(check)).collect();
    if is_restricted || names.is_empty() {
        return;
    }
    let message = format!(
        "keys may be fetched from any address for {}; set {SWITCH} to restrict that",
        listed(&names)
    );
    found.tell(&JWKS_UNRESTRICTED, "metadata.name", message);
}
