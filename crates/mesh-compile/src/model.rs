//! The crate's front door: what goes in, and what comes out for one proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mesh_config::Config;
use mesh_config::model::MeshConfig;
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::{ResourceSet, Workload};

use crate::client::Client;
use crate::mesh::Mesh;
use crate::sidecar::Outbound;
use crate::view::ServiceView;
use crate::{gateway, sidecar, view};

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The domain of SPIFFE ids, without `spiffe://`.
    pub trust_domain: String,
    /// The namespace of mesh-wide DestinationRules and of the built-in gateway.
    pub root_namespace: String,
    /// What the metric labels `source_cluster` and `destination_cluster` say.
    pub cluster_id: String,
    /// Istio's MeshConfig.
    pub mesh: MeshConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            cluster_id: "mesh".to_owned(),
            mesh: MeshConfig::default(),
        }
    }
}

/// One running workload, as its agent registered it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Its namespace.
    pub namespace: String,
    /// Its WorkloadGroup; while there is none of this name, the instance is no endpoint of anything.
    pub group: String,
    /// Unique in the namespace.
    pub name: String,
    /// IP address or DNS name at which other proxies reach its agent. A stock Envoy takes addresses only.
    pub address: String,
    /// The agent's port for mutual TLS.
    pub inbound_port: u16,
    /// The application's ports, by name or by number in decimal; they win over those of the group.
    pub app_ports: BTreeMap<String, u16>,
    /// Where the agent takes plain text from outside the mesh, if it does.
    pub plain_address: Option<SocketAddr>,
}

/// The mesh at one moment.
#[derive(Debug)]
pub struct Model {
    mesh: Mesh,
    /// What sidecars share that are the same client, computed when the first of them asks.
    outbound: Mutex<BTreeMap<Client, Arc<OnceLock<Outbound>>>>,
}

impl Model {
    /// Joins configuration and registrations. The order of `instances` does not matter.
    #[must_use]
    pub fn build(config: &Config, instances: &[Instance], settings: &Settings) -> Self {
        Self::of(Mesh::build(config, instances, settings, None))
    }

    /// The same as [`Model::build`], but what has not changed since this model is taken from it. What an object means
    /// is looked at again only if it is another [`mesh_config::SharedObject`].
    #[must_use]
    pub fn next(&self, config: &Config, instances: &[Instance], settings: &Settings) -> Self {
        // All that is kept was made under the same settings.
        let previous = Some(&self.mesh).filter(|mesh| mesh.settings == *settings);
        Self::of(Mesh::build(config, instances, settings, previous))
    }

    fn of(mesh: Mesh) -> Self {
        Self {
            mesh,
            outbound: Mutex::default(),
        }
    }

    /// Everything that a proxy needs, and nothing else.
    #[must_use]
    pub fn resources_for(&self, node: &NodeMetadata) -> ResourceSet {
        match node.kind {
            ProxyKind::Gateway => gateway::resources(&self.mesh, node),
            ProxyKind::Sidecar => {
                let labels = self.mesh.workloads.of_node(node).labels;
                let client = Client::new(&self.mesh, node, &labels);
                let mut shared = self.outbound.lock().unwrap_or_else(PoisonError::into_inner);
                let outbound = Arc::clone(shared.entry(client.clone()).or_default());
                drop(shared);
                let build = || Outbound::build(&self.mesh, &client);
                sidecar::resources(&self.mesh, node, outbound.get_or_init(build))
            }
        }
    }

    /// Who the workload beside a proxy is: named after its WorkloadGroup, so that instances of one group are
    /// one workload in metrics and graphs.
    #[must_use]
    pub fn workload(&self, node: &NodeMetadata) -> Workload {
        self.mesh.workloads.of_node(node).workload
    }

    /// All services with their endpoints, by host.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceView> {
        view::services(&self.mesh)
    }
}
