//! What edges carry beside their traffic: padlocks and principals, response times, throughput.

use std::collections::HashSet;

use super::map::TrafficMap;
use super::questions::Purpose;
use super::series::{known, parties};
use super::{Answer, legs};
use crate::graph::labels::{Label, Labels, Sample};
use crate::graph::model::Security;
use crate::graph::params::GraphQuery;
use crate::graph::traffic::Protocol;

/// Decorates the edges of one namespace's map.
pub(super) fn edges(map: &mut TrafficMap, query: &GraphQuery, answers: &[&Answer]) {
    // What an earlier query said stays: a later one sees the same traffic from its other end.
    let mut times = HashSet::new();
    for answer in answers {
        for sample in &answer.samples {
            match answer.question.purpose {
                Purpose::Traffic(_) => {}
                Purpose::ResponseTime => response_time(map, query, sample, &mut times),
                Purpose::Security => security(map, query, sample),
                Purpose::Throughput => throughput(map, query, sample),
            }
        }
    }
}

/// Only on the last leg: the response times of several workloads make no response time of their
/// service.
fn response_time(
    map: &mut TrafficMap,
    query: &GraphQuery,
    sample: &Sample,
    taken: &mut HashSet<(String, String, Protocol)>,
) {
    let labels = &sample.labels;
    let protocol = labels
        .get(Label::RequestProtocol)
        .and_then(Protocol::from_name);
    let (Some(protocol), Some((source, destination))) = (protocol, parties(labels)) else {
        return;
    };
    if !sample.value.is_finite() {
        return;
    }
    let Some((from, to)) = legs(query, source, destination).pop() else {
        return;
    };
    let place = (
        from.identify(query.graph_type).1,
        to.identify(query.graph_type).1,
        protocol,
    );
    if taken.insert(place)
        && let Some(edge) = map.edge(query.graph_type, &from, &to, protocol)
    {
        edge.response_time = Some(sample.value);
    }
}

fn security(map: &mut TrafficMap, query: &GraphQuery, sample: &Sample) {
    let labels = &sample.labels;
    let Some(policy) = labels.get(Label::ConnectionSecurityPolicy) else {
        return;
    };
    let Some((source, destination)) = parties(labels) else {
        return;
    };
    for (from, to) in legs(query, source, destination) {
        for protocol in Protocol::ALL {
            let Some(edge) = map.edge(query.graph_type, &from, &to, protocol) else {
                continue;
            };
            let security = &mut edge.security;
            match policy {
                "mutual_tls" => security.mutual += sample.value,
                "none" => security.plain += sample.value,
                _ => security.unreported += sample.value,
            }
            principals(security, labels);
        }
    }
}

/// The first series names them.
fn principals(security: &mut Security, labels: &Labels) {
    let verified = |label| {
        let principal = labels.get(label)?;
        known(principal).then(|| principal.to_owned())
    };
    if security.source_principal.is_none() {
        security.source_principal = verified(Label::SourcePrincipal);
    }
    if security.destination_principal.is_none() {
        security.destination_principal = verified(Label::DestinationPrincipal);
    }
}

/// TCP has no throughput of its own: its rate is one.
fn throughput(map: &mut TrafficMap, query: &GraphQuery, sample: &Sample) {
    let labels = &sample.labels;
    let Some((source, destination)) = parties(labels) else {
        return;
    };
    for (from, to) in legs(query, source, destination) {
        for protocol in [Protocol::Grpc, Protocol::Http] {
            if let Some(edge) = map.edge(query.graph_type, &from, &to, protocol) {
                *edge.throughput.get_or_insert(0.0) += sample.value;
            }
        }
    }
}
