//! The graph while it grows: nodes by identity, edges by their ends and protocol.
//!
//! A node's edges hang on it, so that merging two namespaces' maps can move a node with all that
//! leaves it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::series::{Kind, Party, known};
use crate::graph::model::{Health, Node, NodeType, Security, ServiceName, ServiceNotes, Status};
use crate::graph::params::GraphType;
use crate::graph::traffic::{EdgeTraffic, NodeTraffic, Protocol};

/// An edge that grows, kept under its source.
#[derive(Clone, Debug, Default)]
pub(super) struct GrowingEdge {
    pub(super) traffic: EdgeTraffic,
    pub(super) security: Security,
    pub(super) response_time: Option<f64>,
    pub(super) throughput: Option<f64>,
    pub(super) health: Option<Status>,
    /// What has been counted already, whoever reported it.
    seen: HashSet<u64>,
}

/// A node with the edges that leave it, by target and protocol.
#[derive(Clone, Debug)]
pub(super) struct GrowingNode {
    pub(super) node: Node,
    pub(super) edges: BTreeMap<(String, Protocol), GrowingEdge>,
    /// A service behind which the mesh ends.
    pub(super) is_egress: bool,
}

/// Nodes by identity.
#[derive(Clone, Debug, Default)]
pub(super) struct TrafficMap(pub(super) BTreeMap<String, GrowingNode>);

/// One rate between two parties.
pub(super) struct Call<'a> {
    /// The same for both reports of one call, see [`fingerprint`].
    pub(super) fingerprint: u64,
    pub(super) protocol: Protocol,
    pub(super) rate: f64,
    pub(super) code: &'a str,
    pub(super) flags: &'a str,
    pub(super) host: &'a str,
}

impl TrafficMap {
    /// Counts a call, unless the other side reported the same one before.
    pub(super) fn add(
        &mut self,
        graph_type: GraphType,
        source: &Party<'_>,
        destination: &Party<'_>,
        call: &Call<'_>,
    ) {
        let from = self.node(graph_type, source);
        let to = self.node(graph_type, destination);
        if let Some(target) = self.0.get_mut(&to)
            && known(destination.service)
        {
            target.node.dest_services.insert(ServiceName {
                cluster: destination.cluster.to_owned(),
                namespace: destination.service_namespace.to_owned(),
                name: destination.service.to_owned(),
            });
        }
        let Some(origin) = self.0.get_mut(&from) else {
            return;
        };
        let edge = origin.edges.entry((to.clone(), call.protocol)).or_default();
        if !edge.seen.insert(call.fingerprint) {
            return;
        }
        edge.traffic
            .add(call.protocol, call.rate, call.code, call.flags, call.host);
        origin.node.traffic.add_outbound(call.protocol, call.rate);
        if let Some(target) = self.0.get_mut(&to) {
            let traffic = &mut target.node.traffic;
            traffic.add_inbound(call.protocol, call.rate, call.code);
        }
    }

    /// Finds or adds the node of a party, and returns its identity.
    fn node(&mut self, graph_type: GraphType, party: &Party<'_>) -> String {
        let (kind, key) = party.identify(graph_type);
        let found = self
            .0
            .entry(key)
            .or_insert_with_key(|key| new_node(graph_type, kind, key, party));
        if known(party.workload) && !found.node.workloads.contains(party.workload) {
            found.node.workloads.insert(party.workload.to_owned());
        }
        found.node.key.clone()
    }

    /// The edge between two parties, if there is one.
    pub(super) fn edge(
        &mut self,
        graph_type: GraphType,
        source: &Party<'_>,
        destination: &Party<'_>,
        protocol: Protocol,
    ) -> Option<&mut GrowingEdge> {
        let (_, from) = source.identify(graph_type);
        let (_, to) = destination.identify(graph_type);
        self.0.get_mut(&from)?.edges.get_mut(&(to, protocol))
    }

    /// Adds a namespace's map. Where both have a node, the one from its own namespace is kept, since
    /// only there all of its traffic was asked for, and the other's edges are added where they lack.
    pub(super) fn merge(&mut self, namespace: &str, other: TrafficMap) {
        for (key, mut theirs) in other.0 {
            let Some(ours) = self.0.get_mut(&key) else {
                self.0.insert(key, theirs);
                continue;
            };
            if theirs.node.namespace == namespace {
                std::mem::swap(ours, &mut theirs);
            }
            ours.node.workloads.append(&mut theirs.node.workloads);
            for ((to, protocol), edge) in theirs.edges {
                let place = (to, protocol);
                if ours.edges.contains_key(&place) {
                    continue;
                }
                let rate = edge.traffic.rates.total;
                ours.node.traffic.add_outbound(protocol, rate);
                ours.edges.insert(place, edge);
            }
        }
    }

    /// Identities of the nodes that something leads to.
    pub(super) fn targets(&self) -> BTreeSet<&str> {
        self.0
            .values()
            .flat_map(|node| node.edges.keys().map(|(to, _)| to.as_str()))
            .collect()
    }
}

/// One number for all that makes two reports be about the same call. Different metrics of one call add
/// up. The parties are the series' own, also where a service node comes between them: its versions are
/// different calls.
pub(super) fn fingerprint(
    metric: &str,
    source: &Party<'_>,
    destination: &Party<'_>,
    call: &Call<'_>,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    metric.hash(&mut hasher);
    source.hash(&mut hasher);
    destination.hash(&mut hasher);
    call.code.hash(&mut hasher);
    call.flags.hash(&mut hasher);
    call.host.hash(&mut hasher);
    hasher.finish()
}

fn new_node(graph_type: GraphType, kind: Kind, key: &str, party: &Party<'_>) -> GrowingNode {
    let health: Option<Health> = None;
    let mut node = Node {
        key: key.to_owned(),
        node_type: NodeType::Unknown,
        cluster: party.cluster.to_owned(),
        namespace: party.home().to_owned(),
        workload: party.workload.to_owned(),
        app: party.app.to_owned(),
        version: party.version.to_owned(),
        service: party.service.to_owned(),
        dest_services: BTreeSet::new(),
        workloads: BTreeSet::new(),
        traffic: NodeTraffic::default(),
        parent: None,
        box_kind: None,
        health,
        notes: ServiceNotes::default(),
        gateway: None,
        is_inaccessible: false,
        is_injected: false,
        is_outside: false,
        is_root: false,
    };
    match kind {
        Kind::UnknownSource => {}
        Kind::App => {
            node.node_type = NodeType::App;
            node.service.clear();
            if graph_type != GraphType::VersionedApp {
                node.workload.clear();
                node.version.clear();
            }
        }
        Kind::Service => {
            node.node_type = NodeType::Service;
            node.workload.clear();
            node.app.clear();
            node.version.clear();
        }
        Kind::Workload => {
            node.node_type = NodeType::Workload;
            node.service.clear();
            for field in [&mut node.app, &mut node.version] {
                if !known(field) {
                    field.clear();
                }
            }
        }
    }
    let is_egress = kind == Kind::Service && super::series::EGRESS.contains(&party.service);
    GrowingNode {
        node,
        edges: BTreeMap::new(),
        is_egress,
    }
}
