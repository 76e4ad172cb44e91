//! Does what a VirtualService leads to exist: hosts, ports, subsets?

use crate::analysis::hosts::{self, Destination, exported_to, ports};
use crate::analysis::index::{Index, bound_to_mesh};
use crate::analysis::view::{Found, full_name, spec_each, spec_texts};
use crate::analysis::{
    NO_EFFECT_AT_GATEWAY, NOT_FOUND, OPAQUE_PORTS, PORT_NEEDED, SUBSET_WITHOUT_RULE,
};
use crate::config::{DOMAIN, resolve_host, service_host, split_host};
use crate::model::{Kind, Object, Protocol, ServicePort};
use crate::suggest::suggest;

/// The destinations. What sends requests astray refuses a write; the rest may still come.
pub(in crate::analysis) fn destinations(index: &Index<'_>, found: &mut Found<'_>) {
    let exported = exported_to(found.object);
    for destination in hosts::destinations(found.object) {
        if destination.host.is_empty() {
            let message = "the destination names no host; name one";
            found.tell(&NOT_FOUND, format!("{}.host", destination.path), message);
            continue;
        }
        let host = resolve_host(destination.host, found.namespace());
        match index.hosts().visible(&host, found.namespace(), &exported) {
            Some(known) => port(known, &destination, &host, found),
            None => unknown_host(index, &destination, &host, found),
        }
        subset(index, &destination, &host, found);
    }
}

fn unknown_host(
    index: &Index<'_>,
    destination: &Destination<'_>,
    host: &str,
    found: &mut Found<'_>,
) {
    let field = format!("{}.host", destination.path);
    if let Some(owner) = index.hosts().anyone(host) {
        let message = format!(
            "{host} is not exported to where this VirtualService acts; add the namespace to the exportTo of {}, or \
             send to another host",
            owner.key()
        );
        return found.tell(&NOT_FOUND, field, message);
    }
    let message = match meant(index, destination.host, host) {
        Some(meant) => format!("no Service has the host {host}; did you mean {meant}?"),
        None => match split_host(host) {
            Some((name, namespace)) => format!(
                "no Service has the host {host}; apply a Service {name} in the namespace {namespace} first, or \
                 correct the host"
            ),
            None => format!(
                "no Service has the host {host}; a short name stands for a Service of this object's namespace, a \
                 full one ends in .svc.{DOMAIN}, and a host outside the mesh needs a ServiceEntry"
            ),
        },
    };
    if destination.is_http_route {
        found.refuse(&NOT_FOUND, field, message);
    } else {
        found.tell(&NOT_FOUND, field, message);
    }
}

/// The host that was probably meant by one that does not exist.
fn meant(index: &Index<'_>, written: &str, host: &str) -> Option<String> {
    let config = index.config;
    // `reviews.default`: Istio takes it as a full name.
    let completed = format!("{written}.svc.{DOMAIN}");
    if config.service(&completed).is_some() {
        return Some(completed);
    }
    let (name, namespace) = split_host(host)?;
    let mut same_name = config
        .of_kind(Kind::Service)
        .filter(|service| service.metadata.name == name);
    if let Some(service) = same_name.next() {
        return Some(service.host());
    }
    let neighbours = config
        .in_namespace(Kind::Service, namespace)
        .map(|service| service.metadata.name.as_str());
    suggest(name, neighbours).map(|near| service_host(near, namespace))
}

fn port(known: &Object, destination: &Destination<'_>, host: &str, found: &mut Found<'_>) {
    let ports = ports(known);
    let listed: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let listed = listed.join(", ");
    match destination.port {
        None if ports.len() > 1 => {
            let message =
                format!("{host} has several ports; say which one with port.number: {listed}");
            found.tell(&PORT_NEEDED, destination.path.clone(), message);
        }
        Some(port) if !ports.contains(&port) => {
            let field = format!("{}.port.number", destination.path);
            let message = format!("{host} has no port {port}; it has {listed}");
            if known.kind == Kind::Service && destination.is_http_route {
                found.refuse(&NOT_FOUND, field, message);
            } else {
                found.tell(&NOT_FOUND, field, message);
            }
        }
        _ => {}
    }
}

fn subset(index: &Index<'_>, destination: &Destination<'_>, host: &str, found: &mut Found<'_>) {
    let subset = destination.subset;
    if subset.is_empty() {
        return;
    }
    let field = format!("{}.subset", destination.path);
    // Without the host, the subset is not what is wrong.
    let has_host = index.hosts().anyone(host).is_some();
    let Some(known) = index.subsets(host) else {
        if !has_host {
            return;
        }
        let message = format!(
            "no DestinationRule defines the subset {subset} of {host} yet; until one does, requests for it are \
             answered with 503"
        );
        return found.tell(&SUBSET_WITHOUT_RULE, field, message);
    };
    if known.contains(&subset) {
        return;
    }
    let message = match suggest(subset, known.iter().copied()) {
        Some(near) => format!("{host} has no subset {subset}; did you mean {near}?"),
        None if known.is_empty() => format!(
            "{host} has no subset {subset}; add it to its DestinationRule, which has no subsets"
        ),
        None => format!(
            "{host} has no subset {subset}; its DestinationRules define {}",
            known.join(", ")
        ),
    };
    if destination.is_http_route && has_host {
        found.refuse(&NOT_FOUND, field, message);
    } else {
        found.tell(&NOT_FOUND, field, message);
    }
}

/// At a gateway, a route without a subset goes to all endpoints, whatever another VirtualService of that host says.
pub(super) fn unaffected_at_gateways(index: &Index<'_>, found: &mut Found<'_>) {
    if spec_texts(found.object, "gateways").next().is_none() {
        return;
    }
    let mut told = Vec::new();
    for destination in hosts::destinations(found.object) {
        if !destination.is_http_route || !destination.subset.is_empty() {
            continue;
        }
        let host = resolve_host(destination.host, found.namespace());
        for rule in index.rules_for(&host) {
            let name = full_name(rule.object);
            if !rule.is_own || !rule.names_subset || told.contains(&name) {
                continue;
            }
            let message = format!(
                "this route goes to every endpoint of {host}: the subsets that {name} chooses for it have no effect \
                 on requests that come through these gateways; name them here, too"
            );
            told.push(name);
            found.tell(&NO_EFFECT_AT_GATEWAY, destination.path.clone(), message);
        }
    }
}

/// HTTP routes change nothing for a service whose bytes nobody looks into.
pub(super) fn opaque_hosts(index: &Index<'_>, found: &mut Found<'_>) {
    if spec_each(found.object, "http").next().is_none() || !bound_to_mesh(found.object) {
        return;
    }
    for (h, host) in spec_texts(found.object, "hosts").enumerate() {
        let host = resolve_host(host, found.namespace());
        let Some((_, service)) = index.config.service(&host) else {
            continue;
        };
        let mut protocols = service.ports.iter().map(ServicePort::protocol);
        if !service.ports.is_empty() && protocols.all(|spoken| spoken == Protocol::Opaque) {
            let message = format!(
                "{host} has opaque TCP ports only, and http routes do not apply to them; if it speaks HTTP, say so \
                 with http at the beginning of the port's name, or with its appProtocol"
            );
            found.tell(&OPAQUE_PORTS, format!("spec.hosts[{h}]"), message);
        }
    }
}
