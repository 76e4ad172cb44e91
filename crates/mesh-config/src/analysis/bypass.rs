//! Ways past the mesh: what Istio has no word for, and what its users run into first.
//!
//! A rule acts only where a proxy of the mesh carries the request. A client that reaches a workload through a
//! published port passes none; a workload that calls another one passes its own sidecar, which follows only rules
//! that are bound to `mesh`.

use super::index::{Index, Rule};
use super::view::{
    Found, full_name, labels, listed, own_labels, selects, spec, spec_each, spec_texts,
};
use super::{NOT_BETWEEN_SERVICES, PAST_THE_MESH};
use crate::config::{resolve_host, split_host};
use crate::model::Kind;

/// A Service that lets clients in past the rules that are written for it.
pub(super) fn published(index: &Index<'_>, found: &mut Found<'_>) {
    let service = found.object;
    let Some((field, way)) = way_in(found) else {
        return;
    };
    let host = service.host();
    let rules = index.rules_for(&host);
    let has_subsets = index
        .subsets(&host)
        .is_some_and(|subsets| !subsets.is_empty());
    if (rules.is_empty() && !has_subsets) || is_in_front_of_a_gateway(index, found) {
        return;
    }
    let names: Vec<String> = rules.iter().map(|rule| full_name(rule.object)).collect();
    let lost = match names.as_slice() {
        [] => "its DestinationRule has no effect on them".to_owned(),
        names => format!(
            "the rules of VirtualService {} have no effect on them",
            listed(names)
        ),
    };
    let at_gateway = rules
        .iter()
        .any(|rule| bound_gateways(rule).next().is_some());
    let way_out = if at_gateway {
        "send clients to the gateway, and make the Service a ClusterIP"
    } else {
        "let clients in through a Gateway that the VirtualService is bound to, and make the Service a ClusterIP"
    };
    let message = format!(
        "requests that come in through its {way} pass no proxy of the mesh: {lost}, there is no mTLS, and the graph \
         shows no gateway in front of it; {way_out}"
    );
    found.tell(&PAST_THE_MESH, field, message);
}

/// The field by which clients outside get in, and its word.
fn way_in(found: &Found<'_>) -> Option<(String, String)> {
    let service = found.object;
    let kind = spec(service, &["type"]).and_then(|kind| kind.as_str());
    match kind {
        Some("LoadBalancer") => return Some(("spec.type".into(), "load balancer".into())),
        Some("NodePort") => return Some(("spec.type".into(), "node port".into())),
        _ => {}
    }
    if spec_each(service, "externalIPs").next().is_some() {
        return Some(("spec.externalIPs".into(), "external addresses".into()));
    }
    let mut ports = spec_each(service, "ports");
    let (p, _) =
        ports.find(|(_, port)| port.get("nodePort").is_some_and(|port| !port.is_null()))?;
    Some((format!("spec.ports[{p}].nodePort"), "node port".into()))
}

/// Whether the Service leads to a gateway: then its clients do come in through the mesh.
fn is_in_front_of_a_gateway(index: &Index<'_>, found: &Found<'_>) -> bool {
    let selector = labels(spec(found.object, &["selector"]));
    if selector.is_empty() {
        return false;
    }
    let mut gateways = index.workloads().gateways.iter();
    let is_known = gateways.any(|gateway| selects(&selector, &gateway.labels));
    let is_opened = || {
        index.gateways().by_selector.values().any(|(wanted, _)| {
            !wanted.is_empty()
                && (selects(wanted, &selector) || *wanted == own_labels(found.object))
        })
    };
    is_known || is_opened()
}

fn bound_gateways<'a>(rule: &'a Rule<'_>) -> impl Iterator<Item = &'a str> {
    spec_texts(rule.object, "gateways").filter(|name| *name != "mesh")
}

/// Rules for a gateway alone, while others in the mesh call the same host by its name.
pub(super) fn between_services(index: &Index<'_>, found: &mut Found<'_>) {
    let object = found.object;
    if super::index::bound_to_mesh(object) {
        return;
    }
    let mut hosts: Vec<String> = Vec::new();
    for destination in super::hosts::destinations(object) {
        let host = resolve_host(destination.host, found.namespace());
        if destination.is_http_route && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    for host in hosts {
        let rules = index.rules_for(&host);
        let own = rules.iter().find(|rule| rule.object.key() == object.key());
        let is_ruled = rules.iter().any(|rule| rule.in_mesh);
        if !own.is_some_and(|rule| rule.chooses) || is_ruled {
            continue;
        }
        let Some(caller) = caller(index, &host) else {
            continue;
        };
        let message = format!(
            "it is bound to gateways only, so its choice among the endpoints of {host} has no effect on what others in \
             the mesh send there, {caller} for example; add mesh to its gateways and {host} to its hosts if they are \
             meant, too"
        );
        found.tell(&NOT_BETWEEN_SERVICES, "spec.gateways", message);
        return;
    }
}

/// A workload of the mesh that may call a Service: one that is not behind it.
fn caller(index: &Index<'_>, host: &str) -> Option<String> {
    let (name, namespace) = split_host(host)?;
    let service = index.config.find(Kind::Service, namespace, name)?;
    let selector = labels(spec(service, &["selector"]));
    let mut callers = index.workloads().written().filter(|workload| {
        let is_behind = workload.namespace == namespace && selects(&selector, &workload.labels);
        workload.in_mesh && !is_behind
    });
    callers
        .next()
        .map(|workload| format!("{}/{}", workload.namespace, workload.name))
}
