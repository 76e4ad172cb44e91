//! The graph as Kiali's API answers it: the same names, the same order, rates as strings.
//!
//! Kiali's page, and every script that reads its graph, can read this one.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::model::{Codes, Edge, Graph, Health, Node, NodeType, WorkloadStatus};
use super::traffic::{EdgeTraffic, NodeTraffic, Protocol};

/// The graph in Kiali's shape.
#[must_use]
pub fn to_json(graph: &Graph) -> Value {
    let ids: Vec<String> = graph.nodes.iter().map(|node| node_id(&node.key)).collect();
    let nodes: Vec<Value> = graph
        .nodes
        .iter()
        .zip(&ids)
        .map(|(node, id)| json!({ "data": node_data(node, id, &ids) }))
        .collect();
    let edges: Vec<Value> = graph
        .edges
        .iter()
        .map(|edge| json!({ "data": edge_data(edge, &ids[edge.source], &ids[edge.target]) }))
        .collect();
    json!({
        "timestamp": graph.timestamp,
        "duration": graph.duration,
        "graphType": graph.graph_type.as_str(),
        "elements": { "nodes": nodes, "edges": edges },
    })
}

/// The id of a node: its identity, hashed.
#[must_use]
pub fn node_id(key: &str) -> String {
    sha256_hex(key)
}

/// The id of an edge.
#[must_use]
pub fn edge_id(source: &str, target: &str, protocol: Protocol) -> String {
    sha256_hex(&format!("{source}.{target}.{}", protocol.as_str()))
}

fn sha256_hex(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    digest(&SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// A JSON object that leaves out what is empty.
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, value);
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.put(name, true);
        }
    }
}

fn node_data(node: &Node, id: &str, ids: &[String]) -> Value {
    let mut data = Object(Map::new());
    data.put("id", id);
    if let Some(parent) = node.parent {
        data.put("parent", ids[parent].as_str());
    }
    data.put("nodeType", node.node_type.as_str());
    data.put("cluster", node.cluster.as_str());
    data.put("namespace", node.namespace.as_str());
    data.text("workload", &node.workload);
    data.text("app", &node.app);
    data.text("version", &node.version);
    data.text("service", &node.service);
    if !node.dest_services.is_empty() {
        let services: Vec<Value> = node
            .dest_services
            .iter()
            .map(|service| {
                json!({
                    "cluster": service.cluster,
                    "namespace": service.namespace,
                    "name": service.name,
                })
            })
            .collect();
        data.put("destServices", services);
    }
    let traffic = node_traffic(&node.traffic);
    if !traffic.is_empty() {
        data.put("traffic", traffic);
    }
    let health = node.health.as_ref();
    data.put(
        "healthData",
        health.map_or(Value::Null, |h| health_data(node, h)),
    );
    let notes = &node.notes;
    data.flag("hasCB", notes.circuit_breaker);
    data.flag("hasFaultInjection", notes.fault_injection);
    data.flag("hasMirroring", notes.mirroring);
    data.flag("hasRequestRouting", notes.request_routing);
    data.flag("hasRequestTimeout", notes.request_timeout);
    data.flag("hasTrafficShifting", notes.traffic_shifting);
    if let Some(hosts) = &notes.virtual_service {
        data.put("hasVS", hostnames(hosts));
    }
    data.text("isBox", node.box_kind.map_or("", |kind| kind.as_str()));
    if let Some(hosts) = &node.gateway {
        data.put(
            "isGateway",
            json!({
                "ingressInfo": hostnames(hosts),
                "egressInfo": {},
                "gatewayAPIInfo": {},
            }),
        );
    }
    data.flag("isInaccessible", node.is_inaccessible);
    data.flag("isInjected", node.is_injected);
    data.flag("isOutside", node.is_outside);
    data.flag("isRoot", node.is_root);
    Value::Object(data.0)
}

fn hostnames(hosts: &[String]) -> Value {
    if hosts.is_empty() {
        json!({})
    } else {
        json!({ "hostnames": hosts })
    }
}

fn node_traffic(traffic: &NodeTraffic) -> Vec<Value> {
    Protocol::ALL
        .into_iter()
        .filter_map(|protocol| {
            let rates = traffic.get(protocol);
            let (inbound, out) = (&rates.inbound, rates.outbound);
            let named: &[(&str, f64)] = match protocol {
                Protocol::Grpc => &[
                    ("grpcIn", inbound.total),
                    ("grpcInErr", inbound.grpc_errors),
                    ("grpcInNoResponse", inbound.no_response),
                    ("grpcOut", out),
                ],
                Protocol::Http => &[
                    ("httpIn", inbound.total),
                    ("httpIn3xx", inbound.redirects),
                    ("httpIn4xx", inbound.client_errors),
                    ("httpIn5xx", inbound.server_errors),
                    ("httpInNoResponse", inbound.no_response),
                    ("httpOut", out),
                ],
                Protocol::Tcp => &[("tcpIn", inbound.total), ("tcpOut", out)],
            };
            let rates = rate_strings(named);
            (!rates.is_empty()).then(|| json!({ "protocol": protocol.as_str(), "rates": rates }))
        })
        .collect()
}

fn rate_strings(named: &[(&str, f64)]) -> Map<String, Value> {
    named
        .iter()
        .filter(|(_, rate)| *rate > 0.0)
        .map(|(name, rate)| ((*name).to_owned(), rate_text(*rate).into()))
        .collect()
}

/// Two decimals, and up to five where it takes them to show one significant digit.
#[must_use]
pub fn rate_text(rate: f64) -> String {
    let mut decimals = 0;
    let mut shifted = rate;
    while decimals < 5 && shifted < 1.0 {
        shifted *= 10.0;
        decimals += 1;
    }
    format!("{rate:.*}", decimals.max(2))
}

fn edge_data(edge: &Edge, source: &str, target: &str) -> Value {
    let mut data = Object(Map::new());
    data.put("id", edge_id(source, target, edge.protocol));
    data.put("source", source);
    data.put("target", target);
    let security = &edge.security;
    data.text(
        "destPrincipal",
        security
            .destination_principal
            .as_deref()
            .unwrap_or_default(),
    );
    data.text(
        "healthStatus",
        edge.health.map_or("", |health| health.as_str()),
    );
    if let Some(percent) = security.percent_mutual() {
        data.put("isMTLS", format!("{percent:.0}"));
    }
    if let Some(time) = edge.response_time {
        data.put("responseTime", format!("{time:.0}"));
    }
    data.text(
        "sourcePrincipal",
        security.source_principal.as_deref().unwrap_or_default(),
    );
    if let Some(throughput) = edge.throughput {
        data.put("throughput", format!("{throughput:.0}"));
    }
    data.put("traffic", edge_traffic(edge));
    Value::Object(data.0)
}

fn edge_traffic(edge: &Edge) -> Value {
    let rates = &edge.traffic.rates;
    let percent = |value: f64| (value > 0.0).then(|| Value::from(format!("{value:.1}")));
    let named: &[(&str, f64)] = match edge.protocol {
        Protocol::Grpc => &[
            ("grpc", rates.total),
            ("grpcErr", rates.grpc_errors),
            ("grpcNoResponse", rates.no_response),
        ],
        Protocol::Http => &[
            ("http", rates.total),
            ("http3xx", rates.redirects),
            ("http4xx", rates.client_errors),
            ("http5xx", rates.server_errors),
            ("httpNoResponse", rates.no_response),
        ],
        Protocol::Tcp => &[("tcp", rates.total)],
    };
    let mut shown: BTreeMap<String, Value> = rate_strings(named).into_iter().collect();
    let protocol = edge.protocol.as_str();
    if edge.protocol != Protocol::Tcp {
        let errors = percent(rates.percent_errors());
        let requests = percent(edge.percent_of_source);
        shown.extend(errors.map(|value| (format!("{protocol}PercentErr"), value)));
        shown.extend(requests.map(|value| (format!("{protocol}PercentReq"), value)));
    }
    let mut traffic = Object(Map::new());
    traffic.put("protocol", protocol);
    if rates.total > 0.0 {
        traffic.put("rates", Map::from_iter(shown));
        traffic.put("responses", responses(&edge.traffic));
    }
    Value::Object(traffic.0)
}

fn responses(traffic: &EdgeTraffic) -> Map<String, Value> {
    let total = traffic.rates.total;
    let shares = |parts: &BTreeMap<String, f64>| -> Map<String, Value> {
        parts
            .iter()
            .map(|(name, rate)| {
                let percent = rate / total * 100.0;
                (name.clone(), format!("{percent:.1}").into())
            })
            .collect()
    };
    traffic
        .responses
        .iter()
        .map(|(code, found)| {
            let mut detail = Object(Map::new());
            for (name, parts) in [("flags", &found.flags), ("hosts", &found.hosts)] {
                if !parts.is_empty() {
                    detail.put(name, shares(parts));
                }
            }
            (code.clone(), Value::Object(detail.0))
        })
        .collect()
}

fn health_data(node: &Node, health: &Health) -> Value {
    let mut status = Object(Map::new());
    if health.error_ratio > 0.0 {
        status.put("errorRatio", number(health.error_ratio));
    }
    status.put("status", health.status.as_str());
    if health.request_rate > 0.0 {
        status.put("totalRequestRate", number(health.request_rate));
    }
    let mut data = Object(Map::new());
    data.put(
        "requests",
        json!({
            "healthAnnotations": {},
            "inbound": codes(&health.inbound),
            "outbound": codes(&health.outbound),
        }),
    );
    data.put("status", Value::Object(status.0));
    let adds_up = node.workload.is_empty();
    match (node.node_type, health.workloads.first()) {
        (NodeType::Service, _) => {}
        (NodeType::App | NodeType::Box, _) if adds_up => {
            let all: Vec<Value> = health.workloads.iter().map(workload_status).collect();
            data.put("workloadStatuses", all);
        }
        (_, Some(one)) => data.put("workloadStatus", workload_status(one)),
        (_, None) => {}
    }
    Value::Object(data.0)
}

fn workload_status(workload: &WorkloadStatus) -> Value {
    let instances = workload.instances;
    json!({
        "name": workload.name,
        "desiredReplicas": instances,
        "currentReplicas": instances,
        "availableReplicas": instances,
        "syncedProxies": instances,
    })
}

fn codes(codes: &Codes) -> Map<String, Value> {
    codes
        .iter()
        .map(|(protocol, by_code)| {
            let rates: Map<String, Value> = by_code
                .iter()
                .map(|(code, rate)| (code.clone(), number(*rate)))
                .collect();
            (protocol.as_str().to_owned(), Value::Object(rates))
        })
        .collect()
}

/// A number without the noise of adding floats, and without a fraction where there is none.
fn number(value: f64) -> Value {
    let rounded = super::promql::round(value);
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        Value::from(rounded as i64)
    } else {
        Value::from(rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::{node_id, number, rate_text};

    #[test]
    fn ids_are_hashed_identities() {
        assert_eq!(
            node_id("wl_east_shop_web-v1"),
            "e7f0562a02e0b26f1c8e2a5ddceea45e34171737efe2ef8cc4cf8ce465e91b28"
        );
    }

    #[test]
    fn a_rate_shows_a_significant_digit() {
        let cases = [
            (10.0, "10.00"),
            (0.5, "0.50"),
            (0.015, "0.01"),
            (0.004, "0.004"),
            (0.0005, "0.0005"),
            (0.000_02, "0.00002"),
            (0.000_001, "0.00000"),
        ];
        for (rate, text) in cases {
            assert_eq!(rate_text(rate), text);
        }
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        assert_eq!(number(10.0).to_string(), "10");
        assert_eq!(number(0.1 + 0.2).to_string(), "0.3");
    }
}
