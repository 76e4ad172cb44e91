//! Gateways: who opens them, with which certificates, and what other Gateways open at the same place.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::index::{Index, certificate, server_port};
use super::secret;
use super::view::{
    Found, Labels, full_name, in_words, items, labels, listed, selects, spec, spec_each, text,
};
use super::workloads::Workload;
use super::{GATEWAY_CONFLICT, NOT_FOUND, NOT_OPENED, PORT_NOT_OPEN, SAME_CERTIFICATE};
use crate::model::{Gateway, Kind, Object, ObjectKey};
use crate::servers;

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    let selector = labels(spec(found.object, &["selector"]));
    let workloads: Vec<_> = index.workloads().selected_by(&selector).collect();
    if let Some(first) = workloads.first() {
        ports(index, &selector, &workloads, found);
        secret::look(index, first.namespace, found);
    } else if index.options.complete || !index.options.gateways.is_empty() {
        let message = format!(
            "no gateway has the labels {}, so nobody opens these servers; correct the selector, or start a gateway \
             with these labels",
            in_words(&selector)
        );
        found.tell(&NOT_FOUND, "spec.selector", message);
    }
    let told = conflicts(index, &selector, found);
    not_opened(index, &told, found);
    same_certificate(index, &selector, found);
}

/// What the Services in front of a Gateway's workloads let through.
fn ports(
    index: &Index<'_>,
    selector: &Labels<'_>,
    workloads: &[&Workload<'_>],
    found: &mut Found<'_>,
) {
    let mut open: BTreeSet<i64> = BTreeSet::new();
    let mut has_service = false;
    for gateway in &index.options.gateways {
        let own = gateway.labels.iter();
        let own: Labels<'_> = own
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        if !selects(selector, &own) {
            continue;
        }
        match &gateway.ports {
            // It opens what it is asked to.
            None => return,
            Some(ports) => {
                has_service = true;
                open.extend(ports.iter().map(|port| i64::from(*port)));
            }
        }
    }
    for workload in workloads {
        for service in index.config.in_namespace(Kind::Service, workload.namespace) {
            let chosen = labels(spec(service, &["selector"]));
            if !selects(&chosen, &workload.labels) {
                continue;
            }
            has_service = true;
            for (_, port) in spec_each(service, "ports") {
                if !matches!(text(port, "protocol"), "" | "TCP") {
                    continue;
                }
                let number = |key: &str| port.get(key).and_then(Value::as_i64);
                open.extend(number("port").into_iter().chain(number("targetPort")));
            }
        }
    }
    if !has_service && !index.options.complete {
        return;
    }
    for (s, server) in spec_each(found.object, "servers") {
        let Some(port) = server_port(server).filter(|port| !open.contains(port)) else {
            continue;
        };
        let message = format!(
            "port {port} is opened by the gateway with the labels {}, but no Service in front of it has that port, so \
             that nobody may reach it; add it to the Service",
            in_words(selector)
        );
        found.tell(
            &PORT_NOT_OPEN,
            format!("spec.servers[{s}].port.number"),
            message,
        );
    }
}

/// Other Gateways of the same workload that open the same host on the same port. Returns the servers for which that
/// is so.
fn conflicts(index: &Index<'_>, selector: &Labels<'_>, found: &mut Found<'_>) -> BTreeSet<usize> {
    let mut told = BTreeSet::new();
    for (s, server) in spec_each(found.object, "servers") {
        let Some(port) = server_port(server) else {
            continue;
        };
        let bind = text(server, "bind");
        let mut others = BTreeSet::new();
        for host in items(server.get("hosts")).iter().filter_map(Value::as_str) {
            let known = index.gateways().by_host.get(&(port, host));
            for (other_bind, other) in known.into_iter().flatten() {
                if *other_bind == bind
                    && other.key() != found.object.key()
                    && at_one_workload(index, selector, other)
                {
                    others.insert(full_name(other));
                }
            }
        }
        if !others.is_empty() {
            let others: Vec<String> = others.into_iter().collect();
            let message = format!(
                "{} opens the same host on port {port} of the same gateway, and only the oldest counts; keep the host \
                 in one of them",
                listed(&others)
            );
            found.tell(&GATEWAY_CONFLICT, format!("spec.servers[{s}]"), message);
            told.insert(s);
        }
    }
    told
}

/// Servers that older ones stand in the way of, unless that has been told.
fn not_opened(index: &Index<'_>, told: &BTreeSet<usize>, found: &mut Found<'_>) {
    let key = found.object.key();
    for (s, reason) in index.not_opened().get(&key).into_iter().flatten() {
        if !told.contains(s) {
            let message = format!("this server is not opened: {reason}");
            found.tell(&NOT_OPENED, format!("spec.servers[{s}]"), message);
        }
    }
}

/// The servers that no gateway opens because of older ones: by Gateway, with the reason. Gateways meet if they have the
/// same selector, or if a gateway that is known to run has the labels that both ask for.
pub(super) fn all_not_opened(index: &Index<'_>) -> HashMap<ObjectKey, BTreeMap<usize, String>> {
    let all: Vec<(&Object, &Gateway)> = index
        .config
        .gateways()
        .map(|(object, gateway)| (&**object, gateway))
        .collect();
    let mut groups: BTreeMap<Labels<'_>, Vec<(&Object, &Gateway)>> = BTreeMap::new();
    for (object, gateway) in &all {
        let selector = gateway.selector.iter();
        let selector = selector.map(|(key, value)| (key.as_str(), value.as_str()));
        let group = groups.entry(selector.collect()).or_default();
        group.push((object, gateway));
    }
    let at_running = index.options.gateways.iter().map(|running| {
        let selects = |(key, value): (&String, &String)| running.labels.get(key) == Some(value);
        let selected = all.iter().copied();
        selected
            .filter(|(_, gateway)| gateway.selector.iter().all(selects))
            .collect()
    });
    let mut not_opened: HashMap<ObjectKey, BTreeMap<usize, String>> = HashMap::new();
    for group in at_running.chain(groups.into_values()) {
        let merged = servers::merge(group.iter().map(|(_, gateway)| &*gateway.servers));
        for skipped in merged.skipped {
            // A server that is itself at fault has been told of when it was read.
            let Some((gateway, server)) = skipped.by else {
                continue;
            };
            let other = full_name(group[gateway].0);
            let reason = format!(
                "{}, which is spec.servers[{server}] of {other}; give it a port or hosts of its own",
                skipped.reason
            );
            let own = not_opened.entry(group[skipped.gateway].0.key());
            own.or_default().entry(skipped.index).or_insert(reason);
        }
    }
    not_opened
}

/// Whether both select the same labels, or one selects more and some workload has all of them.
fn at_one_workload(index: &Index<'_>, selector: &Labels<'_>, other: &Object) -> bool {
    let other = labels(spec(other, &["selector"]));
    if *selector == other {
        return true;
    }
    (selects(selector, &other) || selects(&other, selector))
        && index
            .workloads()
            .selected_by(selector)
            .any(|workload| selects(&other, &workload.labels))
}

/// Other Gateways that the same workload, or a more special one, opens with the same certificate.
fn same_certificate(index: &Index<'_>, selector: &Labels<'_>, found: &mut Found<'_>) {
    for (s, server) in spec_each(found.object, "servers") {
        let Some(certificate) = certificate(server) else {
            continue;
        };
        let known = index.gateways().by_certificate.get(&certificate);
        let others = known.into_iter().flatten().filter(|other| {
            let wanted = labels(spec(other, &["selector"]));
            other.key() != found.object.key() && selects(selector, &wanted)
        });
        let mut others: Vec<String> = others.map(|other| full_name(other)).collect();
        others.dedup();
        if !others.is_empty() {
            let message = format!(
                "{} shows the same certificate; a client that reuses its HTTP/2 connection for a host of the other \
                 Gateway gets 404; put the hosts into one server, or use other certificates",
                listed(&others)
            );
            return found.tell(&SAME_CERTIFICATE, format!("spec.servers[{s}].tls"), message);
        }
    }
}
