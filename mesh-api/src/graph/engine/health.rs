//! Health by Kiali's default tolerances.
//!
//! A tolerance names codes, and the share of them from which something is degraded or failing. The
//! worst tolerance decides, inbound and outbound alike, and so does the worse of requests and
//! instances.

use std::collections::BTreeMap;

use super::map::TrafficMap;
use crate::graph::model::{Annotations, Codes, Health, Node, NodeType, Status, WorkloadStatus};
use crate::graph::traffic::{EdgeTraffic, Protocol};

/// Percent of matching responses from which it is degraded or failing.
struct Tolerance {
    protocols: &'static [Protocol],
    matches: fn(&str) -> bool,
    degraded: f64,
    failure: f64,
}

const TOLERANCES: [Tolerance; 4] = [
    Tolerance {
        protocols: &[Protocol::Http],
        matches: |code| is_status(code, '5'),
        degraded: 0.0,
        failure: 10.0,
    },
    Tolerance {
        protocols: &[Protocol::Http],
        matches: |code| is_status(code, '4'),
        degraded: 10.0,
        failure: 20.0,
    },
    Tolerance {
        protocols: &[Protocol::Grpc],
        matches: |code| matches!(code.parse::<u8>(), Ok(1..=16)),
        degraded: 0.0,
        failure: 10.0,
    },
    Tolerance {
        protocols: &[Protocol::Http, Protocol::Grpc],
        matches: |code| code == "-",
        degraded: 0.0,
        failure: 10.0,
    },
];

fn is_status(code: &str, class: char) -> bool {
    code.len() == 3 && code.starts_with(class) && code.bytes().all(|b| b.is_ascii_digit())
}

/// The verdict on some requests: the worst status, and the ratio in percent that led to it.
fn verdict(codes: &Codes) -> (Status, f64) {
    let mut worst = (Status::NotAvailable, 0.0);
    for (protocol, by_code) in codes {
        let total: f64 = by_code.values().sum();
        if *protocol == Protocol::Tcp || total <= 0.0 {
            continue;
        }
        worst = worse(worst, (Status::Healthy, 0.0));
        for tolerance in &TOLERANCES {
            if !tolerance.protocols.contains(protocol) {
                continue;
            }
            let matching: f64 = by_code
                .iter()
                .filter(|(code, _)| (tolerance.matches)(code))
                .map(|(_, rate)| rate)
                .sum();
            let ratio = matching / total * 100.0;
            let status = if ratio <= 0.0 {
                Status::Healthy
            } else if ratio >= tolerance.failure {
                Status::Failure
            } else if ratio >= tolerance.degraded {
                Status::Degraded
            } else {
                Status::Healthy
            };
            // Errors that are tolerated do not count as the reason.
            let reason = if status == Status::Healthy {
                0.0
            } else {
                ratio
            };
            worst = worse(worst, (status, reason));
        }
    }
    worst
}

fn worse(one: (Status, f64), two: (Status, f64)) -> (Status, f64) {
    if two.0 > one.0 || (two.0 == one.0 && two.1 > one.1) {
        two
    } else {
        one
    }
}

/// A workload that is meant to have no instance is not ready; a registered one has its proxy.
fn workload_status(instances: u32) -> Status {
    if instances == 0 {
        Status::NotReady
    } else {
        Status::Healthy
    }
}

fn add_codes(into: &mut Codes, protocol: Protocol, traffic: &EdgeTraffic) {
    let by_code = into.entry(protocol).or_default();
    for (code, responses) in &traffic.responses {
        *by_code.entry(code.clone()).or_default() += responses.rate;
    }
}

/// Judges every node and edge of the map.
pub(super) fn judge(map: &mut TrafficMap, annotations: &Annotations) {
    let mut inbound: BTreeMap<String, Codes> = BTreeMap::new();
    let mut outbound: BTreeMap<String, Codes> = BTreeMap::new();
    for (key, node) in &mut map.0 {
        for ((to, protocol), edge) in &mut node.edges {
            let mut codes = Codes::new();
            add_codes(&mut codes, *protocol, &edge.traffic);
            let (status, _) = verdict(&codes);
            edge.health = (status != Status::NotAvailable).then_some(status);
            add_codes(
                inbound.entry(to.clone()).or_default(),
                *protocol,
                &edge.traffic,
            );
            add_codes(
                outbound.entry(key.clone()).or_default(),
                *protocol,
                &edge.traffic,
            );
        }
    }
    for (key, node) in &mut map.0 {
        let node = &mut node.node;
        let there = node.node_type != NodeType::Unknown
            && !(node.node_type == NodeType::Service && node.is_inaccessible);
        if there {
            let inbound = inbound.remove(key).unwrap_or_default();
            // A service calls nobody: what leaves its node goes to its own workloads.
            let outbound = match node.node_type {
                NodeType::Service => Codes::new(),
                _ => outbound.remove(key).unwrap_or_default(),
            };
            node.health = Some(node_health(inbound, outbound, workloads(node, annotations)));
        }
    }
}

fn workloads(node: &Node, annotations: &Annotations) -> Vec<WorkloadStatus> {
    if node.node_type == NodeType::Service {
        return vec![];
    }
    node.workloads
        .iter()
        .map(|name| {
            let place = (node.namespace.clone(), name.clone());
            WorkloadStatus {
                name: name.clone(),
                instances: annotations.instances.get(&place).copied().unwrap_or(1),
            }
        })
        .collect()
}

fn node_health(inbound: Codes, outbound: Codes, workloads: Vec<WorkloadStatus>) -> Health {
    let (mut status, error_ratio) = worse(verdict(&inbound), verdict(&outbound));
    for workload in &workloads {
        status = status.max(workload_status(workload.instances));
    }
    let request_rate = [&inbound, &outbound]
        .into_iter()
        .flatten()
        .filter(|(protocol, _)| **protocol != Protocol::Tcp)
        .flat_map(|(_, by_code)| by_code.values())
        .sum();
    Health {
        status,
        error_ratio,
        request_rate,
        inbound,
        outbound,
        workloads,
    }
}

/// The health of several nodes taken together, as that of the app that they are versions of.
pub(super) fn together<'a>(members: impl IntoIterator<Item = &'a Health>) -> Option<Health> {
    let (mut inbound, mut outbound, mut workloads) = (Codes::new(), Codes::new(), vec![]);
    let mut any = false;
    for member in members {
        any = true;
        for (into, from) in [
            (&mut inbound, &member.inbound),
            (&mut outbound, &member.outbound),
        ] {
            for (protocol, by_code) in from {
                let ours = into.entry(*protocol).or_default();
                for (code, rate) in by_code {
                    *ours.entry(code.clone()).or_default() += rate;
                }
            }
        }
        workloads.extend(member.workloads.iter().cloned());
    }
    any.then(|| node_health(inbound, outbound, workloads))
}

#[cfg(test)]
mod tests {
    use super::{node_health, verdict};
    use crate::graph::model::{Codes, Status, WorkloadStatus};
    use crate::graph::traffic::Protocol;

    fn codes(protocol: Protocol, rates: &[(&str, f64)]) -> Codes {
        let by_code = rates
            .iter()
            .map(|(code, rate)| ((*code).to_owned(), *rate))
            .collect();
        Codes::from([(protocol, by_code)])
    }

    #[test]
    fn the_tolerances_are_kialis() {
        let cases: [(Protocol, &str, f64, Status); 12] = [
            (Protocol::Http, "500", 10.0, Status::Failure),
            (Protocol::Http, "503", 9.9, Status::Degraded),
            (Protocol::Http, "404", 9.9, Status::Healthy),
            (Protocol::Http, "404", 10.0, Status::Degraded),
            (Protocol::Http, "404", 20.0, Status::Failure),
            (Protocol::Http, "301", 90.0, Status::Healthy),
            (Protocol::Http, "-", 0.1, Status::Degraded),
            (Protocol::Grpc, "14", 10.0, Status::Failure),
            (Protocol::Grpc, "16", 1.0, Status::Degraded),
            (Protocol::Grpc, "-", 50.0, Status::Failure),
            (Protocol::Grpc, "17", 50.0, Status::Healthy),
            (Protocol::Tcp, "-", 100.0, Status::NotAvailable),
        ];
        for (protocol, code, percent, expected) in cases {
            let fine = if protocol == Protocol::Grpc {
                "0"
            } else {
                "200"
            };
            let found = verdict(&codes(
                protocol,
                &[(code, percent), (fine, 100.0 - percent)],
            ));
            assert_eq!(found.0, expected, "{protocol:?} {code} at {percent}%");
        }
    }

    #[test]
    fn the_reason_is_the_ratio_that_decided() {
        let inbound = codes(Protocol::Http, &[("200", 9.5), ("404", 0.5)]);
        let outbound = codes(Protocol::Http, &[("200", 18.0), ("503", 2.0)]);
        let health = node_health(inbound.clone(), outbound, vec![]);
        assert_eq!((health.status, health.error_ratio), (Status::Failure, 10.0));
        assert_eq!(health.request_rate, 30.0);
        let tolerated = node_health(inbound, Codes::new(), vec![]);
        assert_eq!(
            (tolerated.status, tolerated.error_ratio),
            (Status::Healthy, 0.0)
        );
    }

    #[test]
    fn a_workload_without_instances_is_not_ready() {
        let gone = WorkloadStatus {
            name: "web-v1".into(),
            instances: 0,
        };
        let health = node_health(Codes::new(), Codes::new(), vec![gone]);
        assert_eq!(health.status, Status::NotReady);
        let nothing = node_health(Codes::new(), Codes::new(), vec![]);
        assert_eq!(nothing.status, Status::NotAvailable);
    }
}
