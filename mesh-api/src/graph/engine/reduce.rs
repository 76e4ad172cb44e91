//! From a workload graph with injected services to a graph of services.

use std::collections::BTreeMap;

use super::map::{GrowingEdge, GrowingNode, TrafficMap};
use crate::graph::model::NodeType;
use crate::graph::traffic::Protocol;

/// Keeps the services and whatever sends traffic without receiving any. `service → workload →
/// service` becomes `service → service`; edges between workloads are left out.
pub(super) fn to_services(map: &TrafficMap) -> TrafficMap {
    let mut reduced = TrafficMap::default();
    for (key, node) in &map.0 {
        if node.node.node_type == NodeType::Service {
            let mut service = node.clone();
            service.edges = through_workloads(map, node);
            reduced.0.insert(key.clone(), service);
        } else if node.node.is_root {
            let mut root = node.clone();
            root.edges.retain(|(to, _), _| is_service(map, to));
            reduced.0.insert(key.clone(), root);
        }
    }
    reduced
}

fn through_workloads(
    map: &TrafficMap,
    service: &GrowingNode,
) -> BTreeMap<(String, Protocol), GrowingEdge> {
    let mut edges: BTreeMap<(String, Protocol), GrowingEdge> = BTreeMap::new();
    let mut passed = Vec::new();
    for (workload, _) in service.edges.keys() {
        // The same workload may be reached under several protocols.
        if passed.contains(&workload) {
            continue;
        }
        passed.push(workload);
        let leaving = map.0.get(workload).into_iter().flat_map(|node| &node.edges);
        for (place, edge) in leaving {
            if !is_service(map, &place.0) {
                continue;
            }
            match edges.get_mut(place) {
                Some(ours) => absorb(ours, edge),
                None => {
                    edges.insert(place.clone(), edge.clone());
                }
            }
        }
    }
    edges
}

fn absorb(ours: &mut GrowingEdge, theirs: &GrowingEdge) {
    ours.traffic.merge(&theirs.traffic);
    ours.security.mutual += theirs.security.mutual;
    ours.security.plain += theirs.security.plain;
    ours.security.unreported += theirs.security.unreported;
    ours.health = ours.health.max(theirs.health);
    if let Some(theirs) = theirs.throughput {
        *ours.throughput.get_or_insert(0.0) += theirs;
    }
}

fn is_service(map: &TrafficMap, key: &str) -> bool {
    map.0
        .get(key)
        .is_some_and(|node| node.node.node_type == NodeType::Service)
}
