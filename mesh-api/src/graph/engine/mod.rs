//! Kiali's rules: from series to nodes and edges.
//!
//! No I/O: [`questions`] says what to ask, whoever answers (our window, a Prometheus, a test), and
//! [`build`] makes the graph of the answers. Read [`questions`], then `series` (one series as a
//! call), `map` (the growing graph), `decorate` (what edges carry beside traffic), `finish` (what is
//! decided when all is known).

mod decorate;
mod finish;
mod health;
mod map;
mod questions;
mod reduce;
mod series;

pub use questions::{Question, questions};

use self::map::{Call, TrafficMap, fingerprint};
use self::questions::Purpose;
use self::series::{Party, known, parties, response_code};
use super::labels::{Label, Labels, Sample};
use super::model::{Annotations, Graph};
use super::params::{GraphQuery, GraphType, Rate, Scope};
use super::promql::Metric;
use super::traffic::Protocol;

/// A question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One of [`questions`].
    pub question: Question,
    /// Its instant vector.
    pub samples: Vec<Sample>,
}

/// Builds the graph that was asked for from the answers to [`questions`], in their order.
#[must_use]
pub fn build(query: &GraphQuery, answers: &[Answer], annotations: &Annotations) -> Graph {
    let mut whole = TrafficMap::default();
    for namespace in query.requested_namespaces() {
        let mut map = TrafficMap::default();
        let about: Vec<&Answer> = answers
            .iter()
            .filter(|answer| answer.question.namespace == namespace)
            .collect();
        for answer in &about {
            if let Purpose::Traffic(metric) = answer.question.purpose {
                for sample in &answer.samples {
                    add(&mut map, query, metric, sample);
                }
            }
        }
        decorate::edges(&mut map, query, &about);
        whole.merge(namespace, map);
    }
    let accessible = annotations.accessible.as_ref();
    finish::mark_outsiders(&mut whole, &query.requested_namespaces(), accessible);
    if query.appenders.istio {
        finish::annotate(&mut whole, annotations);
    }
    if query.appenders.health {
        health::judge(&mut whole, annotations);
    }
    finish::mark_roots(&mut whole);
    // A node graph keeps its workloads: it is asked for to see more, not less.
    let namespaces = matches!(query.scope, Scope::Namespaces(_));
    if query.graph_type == GraphType::Service && namespaces {
        whole = reduce::to_services(&whole);
    }
    finish::graph(whole, query)
}

/// Adds one series of a traffic query.
fn add(map: &mut TrafficMap, query: &GraphQuery, metric: Metric, sample: &Sample) {
    let Some(mut call) = call(query, metric, sample) else {
        return;
    };
    let Some((source, destination)) = parties(&sample.labels) else {
        return;
    };
    call.fingerprint = fingerprint(metric.as_str(), &source, &destination, &call);
    let graph_type = query.graph_type;
    if injects(query, &destination) {
        let service = destination.service_only();
        map.add(graph_type, &source, &service, &call);
        map.add(graph_type, &service, &destination, &call);
        let (_, key) = service.identify(graph_type);
        if let Some(injected) = map.0.get_mut(&key) {
            injected.node.is_injected = true;
        }
    } else {
        map.add(graph_type, &source, &destination, &call);
    }
}

/// Whether a service node comes between: not where the destination is one already.
fn injects(query: &GraphQuery, destination: &Party<'_>) -> bool {
    query.inject_service_nodes
        && known(destination.service)
        && destination.service != "PassthroughCluster"
        && destination.identify(query.graph_type).0 != series::Kind::Service
}

/// What a series of a traffic metric says, or `None` if that was not asked for or a label lacks.
fn call<'a>(query: &GraphQuery, metric: Metric, sample: &'a Sample) -> Option<Call<'a>> {
    let labels = &sample.labels;
    let host = labels.get(Label::DestinationService)?;
    let (protocol, code, flags) = match metric {
        Metric::Requests => request(query, labels)?,
        Metric::TcpSentBytes | Metric::TcpReceivedBytes => {
            (Protocol::Tcp, "", labels.get(Label::ResponseFlags)?)
        }
        _ => (Protocol::Grpc, "", ""),
    };
    Some(Call {
        fingerprint: 0,
        protocol,
        rate: sample.value,
        code,
        flags,
        host,
    })
}

fn request<'a>(query: &GraphQuery, labels: &'a Labels) -> Option<(Protocol, &'a str, &'a str)> {
    let name = labels.get(Label::RequestProtocol)?;
    let code = labels.get(Label::ResponseCode)?;
    let flags = labels.get(Label::ResponseFlags)?;
    let protocol = Protocol::from_name(name)?;
    let wanted = match protocol {
        Protocol::Http => query.rate_http,
        Protocol::Grpc => query.rate_grpc == Rate::Requests,
        Protocol::Tcp => false,
    };
    let code = response_code(name, code, labels.get(Label::GrpcResponseStatus));
    wanted.then_some((protocol, code, flags))
}

/// Both legs of a call where a service node came between, else the call itself.
fn legs<'a>(
    query: &GraphQuery,
    source: Party<'a>,
    destination: Party<'a>,
) -> Vec<(Party<'a>, Party<'a>)> {
    if injects(query, &destination) {
        let service = destination.service_only();
        vec![(source, service), (service, destination)]
    } else {
        vec![(source, destination)]
    }
}

#[cfg(test)]
mod tests;
