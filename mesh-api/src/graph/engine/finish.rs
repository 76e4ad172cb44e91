//! What can only be decided when the whole graph is known: outsiders, roots, badges, boxes, order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::health;
use super::map::TrafficMap;
use super::series::{UNKNOWN, known};
use crate::graph::kiali::node_id;
use crate::graph::model::{Annotations, BoxKind, Edge, Graph, Node, NodeType, ServiceNotes};
use crate::graph::params::{GraphQuery, GraphType};
use crate::graph::traffic::NodeTraffic;

/// Marks what lies outside the requested namespaces, and what cannot be looked into.
pub(super) fn mark_outsiders(
    map: &mut TrafficMap,
    requested: &BTreeSet<&str>,
    accessible: Option<&BTreeSet<String>>,
) {
    for growing in map.0.values_mut() {
        let is_egress = growing.is_egress;
        let node = &mut growing.node;
        let nowhere = node.namespace == UNKNOWN && node.service == UNKNOWN;
        match node.node_type {
            NodeType::Unknown => node.is_inaccessible = true,
            NodeType::Service if nowhere || is_egress => node.is_inaccessible = true,
            _ => {
                let namespace = node.namespace.as_str();
                node.is_outside = namespace != UNKNOWN && !requested.contains(namespace);
            }
        }
        let hidden = accessible.is_some_and(|allowed| !allowed.contains(&node.namespace));
        node.is_inaccessible |= node.is_outside && hidden;
    }
}

/// Marks what sends and does not receive.
pub(super) fn mark_roots(map: &mut TrafficMap) {
    let targets: BTreeSet<String> = map.targets().into_iter().map(str::to_owned).collect();
    for (key, growing) in &mut map.0 {
        growing.node.is_root = !growing.edges.is_empty() && !targets.contains(key);
    }
}

/// Badges from the configuration.
pub(super) fn annotate(map: &mut TrafficMap, annotations: &Annotations) {
    for growing in map.0.values_mut() {
        let node = &mut growing.node;
        for workload in &node.workloads {
            let place = (node.namespace.clone(), workload.clone());
            if let Some(hosts) = annotations.gateways.get(&place) {
                node.gateway.get_or_insert_default().extend(hosts.clone());
            }
        }
        let mut services: BTreeSet<(String, String)> = node
            .dest_services
            .iter()
            .map(|service| (service.namespace.clone(), service.name.clone()))
            .collect();
        if node.node_type == NodeType::Service {
            services.insert((node.namespace.clone(), node.service.clone()));
        }
        for place in &services {
            if let Some(notes) = annotations.services.get(place) {
                take_over(&mut node.notes, notes);
            }
        }
    }
}

fn take_over(notes: &mut ServiceNotes, more: &ServiceNotes) {
    if let Some(hosts) = &more.virtual_service {
        let known = notes.virtual_service.get_or_insert_default();
        for host in hosts {
            if !known.contains(host) {
                known.push(host.clone());
            }
        }
    }
    notes.traffic_shifting |= more.traffic_shifting;
    notes.request_routing |= more.request_routing;
    notes.fault_injection |= more.fault_injection;
    notes.mirroring |= more.mirroring;
    notes.request_timeout |= more.request_timeout;
    notes.circuit_breaker |= more.circuit_breaker;
}

/// Boxes, sorts and joins nodes and edges into the finished graph.
pub(super) fn graph(map: TrafficMap, query: &GraphQuery) -> Graph {
    let mut nodes = Vec::with_capacity(map.0.len());
    let mut leaving = Vec::new();
    for (key, growing) in map.0 {
        leaving.push((key, growing.edges));
        nodes.push(growing.node);
    }
    let parents = boxes(&mut nodes, query);
    nodes.sort_by(|a, b| order(a).cmp(&order(b)));
    let places: HashMap<String, usize> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.key.clone(), index))
        .collect();
    for (child, parent) in parents {
        if let Some(&index) = places.get(&child) {
            nodes[index].parent = places.get(&parent).copied();
        }
    }
    let mut edges = Vec::new();
    for (from, targets) in leaving {
        for ((to, protocol), edge) in targets {
            let (Some(&source), Some(&target)) = (places.get(&from), places.get(&to)) else {
                continue;
            };
            let out = nodes[source].traffic.get(protocol).outbound;
            let total = edge.traffic.rates.total;
            edges.push(Edge {
                source,
                target,
                protocol,
                percent_of_source: if out > 0.0 { total / out * 100.0 } else { 0.0 },
                traffic: edge.traffic,
                security: edge.security,
                response_time: edge.response_time,
                throughput: edge.throughput,
                health: edge.health,
            });
        }
    }
    let ids: Vec<String> = nodes.iter().map(|node| node_id(&node.key)).collect();
    edges.sort_by(|a, b| {
        let place = |edge: &Edge| (ids[edge.source].as_str(), ids[edge.target].as_str());
        place(a)
            .cmp(&place(b))
            .then_with(|| a.protocol.cmp(&b.protocol))
    });
    Graph {
        timestamp: query.query_time,
        duration: query.duration,
        graph_type: query.graph_type,
        namespaces: query
            .requested_namespaces()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        response_time: query.response_time,
        last_report: None,
        nodes,
        edges,
    }
}

/// Boxes before what they hold, then by name.
fn order(node: &Node) -> (u8, &str, &str, &str, &str, &str, &str, &str) {
    let rank = match node.box_kind {
        Some(BoxKind::Cluster) => 0,
        Some(BoxKind::Namespace) => 1,
        Some(BoxKind::App) => 2,
        None => 3,
    };
    (
        rank,
        &node.cluster,
        &node.namespace,
        &node.app,
        &node.version,
        &node.service,
        &node.workload,
        &node.key,
    )
}

/// Adds the boxes, inner ones first, and returns who is in which, by identity.
fn boxes(nodes: &mut Vec<Node>, query: &GraphQuery) -> BTreeMap<String, String> {
    let mut parents = BTreeMap::new();
    let apps = matches!(query.graph_type, GraphType::App | GraphType::VersionedApp);
    if query.box_by.app || apps {
        add_boxes(nodes, &mut parents, BoxKind::App);
    }
    if query.box_by.namespace {
        add_boxes(nodes, &mut parents, BoxKind::Namespace);
    }
    if query.box_by.cluster {
        add_boxes(nodes, &mut parents, BoxKind::Cluster);
    }
    parents
}

fn add_boxes(nodes: &mut Vec<Node>, parents: &mut BTreeMap<String, String>, kind: BoxKind) {
    let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let (cluster, namespace) = (&node.cluster, &node.namespace);
        let free = !parents.contains_key(&node.key);
        let key = match kind {
            BoxKind::App if known(&node.app) => {
                format!("box_{cluster}_{namespace}_{}", node.app)
            }
            BoxKind::Namespace if free && namespace != UNKNOWN => {
                format!("box_{cluster}_{namespace}")
            }
            BoxKind::Cluster if free && cluster != UNKNOWN => format!("box_{cluster}"),
            _ => continue,
        };
        members.entry(key).or_default().push(index);
    }
    // One box around everything would say nothing.
    if kind != BoxKind::App && members.len() < 2 {
        return;
    }
    for (key, inside) in members {
        if inside.len() < 2 {
            continue;
        }
        for &index in &inside {
            parents.insert(nodes[index].key.clone(), key.clone());
        }
        let new = new_box(nodes, &inside, kind, key);
        nodes.push(new);
    }
}

fn new_box(nodes: &[Node], inside: &[usize], kind: BoxKind, key: String) -> Node {
    let first = &nodes[inside[0]];
    let is_app = kind == BoxKind::App;
    let members = || inside.iter().map(|&index| &nodes[index]);
    Node {
        key,
        node_type: NodeType::Box,
        cluster: first.cluster.clone(),
        namespace: match kind {
            BoxKind::Cluster => String::new(),
            _ => first.namespace.clone(),
        },
        workload: String::new(),
        app: if is_app {
            first.app.clone()
        } else {
            String::new()
        },
        version: String::new(),
        service: String::new(),
        dest_services: BTreeSet::new(),
        workloads: BTreeSet::new(),
        traffic: NodeTraffic::default(),
        parent: None,
        box_kind: Some(kind),
        health: if is_app {
            health::together(members().filter_map(|node| node.health.as_ref()))
        } else {
            None
        },
        notes: ServiceNotes::default(),
        gateway: None,
        is_inaccessible: is_app && members().any(|node| node.is_inaccessible),
        is_injected: false,
        is_outside: is_app && members().any(|node| node.is_outside),
        is_root: false,
    }
}
