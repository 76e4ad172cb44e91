//! On whose behalf clusters and routes are written.

use mesh_xds::Locality;
use mesh_xds::node::{NodeMetadata, ProxyKind};

use crate::mesh::Mesh;
use crate::workload::Labels;

/// A proxy that calls services, as far as what it gets depends on it. Equal ones share what they get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Client {
    /// Its namespace: it decides which DestinationRule counts, and what short names mean.
    pub(crate) namespace: String,
    /// Those of its labels that some rule asks for, see [`Mesh::client_labels`].
    pub(crate) labels: Labels,
    /// Where it runs; empty as long as no rule asks for it.
    pub(crate) locality: Locality,
    /// It stands at the edge.
    pub(crate) is_gateway: bool,
}

impl Client {
    /// The proxy of a node whose workload has these labels.
    pub(crate) fn new(mesh: &Mesh, node: &NodeMetadata, labels: &Labels) -> Self {
        let asked = |(key, _): &(&String, &String)| mesh.client_labels.contains(*key);
        let labels = labels.iter().filter(asked);
        Self {
            namespace: node.namespace.clone(),
            labels: labels.map(|(k, v)| (k.clone(), v.clone())).collect(),
            locality: match mesh.destination_rules.ask_for_localities() {
                true => node.locality.clone(),
                false => Locality::default(),
            },
            is_gateway: node.kind == ProxyKind::Gateway,
        }
    }
}
