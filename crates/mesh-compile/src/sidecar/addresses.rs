//! Listeners at the loopback addresses of services, for an app that reaches them by their names: one for each
//! service port, HTTP by the routes of all requests, opaque TCP to the service itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::{Resource, ResourceSet, ResourceType, Workload, names};

use super::{OUTBOUND_ADDRESS, cluster_resources, requests};
use crate::Protocol;
use crate::client::Client;
use crate::listener::{listener, tcp_chain};
use crate::mesh::Mesh;
use crate::route::ClusterRef;
use crate::service::{Port, Service};
use crate::visibility::Scope;

/// What the sidecars of equal clients share, each part made when the first of them asks for it.
#[derive(Debug)]
pub(super) struct ByAddress {
    client: Client,
    /// Clusters and endpoints for opaque ports: no route leads to them.
    clusters: OnceLock<Vec<(ResourceType, Arc<Resource>)>>,
    /// By workload, since a listener names the one whose traffic it takes.
    listeners: BTreeMap<String, OnceLock<Vec<AtPort>>>,
}

/// A listener and its port.
type AtPort = (u16, Arc<Resource>);

impl ByAddress {
    pub(super) fn new(mesh: &Mesh, client: &Client) -> Self {
        let groups = mesh.workloads.groups_in(&client.namespace);
        Self {
            client: client.clone(),
            clusters: OnceLock::new(),
            listeners: groups
                .map(|group| (group.to_owned(), OnceLock::new()))
                .collect(),
        }
    }

    /// Adds what a sidecar of this workload listens on, except for the ports that its application has at every
    /// address.
    pub(super) fn add_to(
        &self,
        set: &mut ResourceSet,
        mesh: &Mesh,
        workload: &Workload,
        app_ports: &BTreeSet<u16>,
    ) {
        for (resource_type, resource) in self.clusters.get_or_init(|| self.clusters(mesh)) {
            set.insert_resource(*resource_type, Arc::clone(resource));
        }
        let build = || listeners(mesh, &self.client, workload);
        let unknown = OnceLock::new();
        let shared = self.listeners.get(&workload.name).unwrap_or(&unknown);
        for (port, listener) in shared.get_or_init(build) {
            if !app_ports.contains(port) {
                set.insert_resource(ResourceType::Listener, Arc::clone(listener));
            }
        }
    }

    fn clusters(&self, mesh: &Mesh) -> Vec<(ResourceType, Arc<Resource>)> {
        served(mesh, &self.client)
            .filter(|(_, _, port)| port.protocol == Protocol::Opaque)
            .flat_map(|(_, service, port)| {
                let reference = ClusterRef {
                    host: service.host.clone(),
                    port: port.number,
                    subset: None,
                };
                cluster_resources(mesh, &self.client, &reference)
            })
            .collect()
    }
}

/// The service ports that have an address to listen at.
fn served<'a>(
    mesh: &'a Mesh,
    client: &'a Client,
) -> impl Iterator<Item = (Ipv4Addr, &'a Service, &'a Port)> {
    let scope = Scope::new(&mesh.sidecars, client);
    mesh.addresses
        .iter()
        .filter_map(move |((address, number), host)| {
            let service = mesh.services.get(host)?;
            if !scope.knows(service, *number) {
                return None;
            }
            Some((*address, service, service.port(*number)?))
        })
}

fn listeners(mesh: &Mesh, client: &Client, workload: &Workload) -> Vec<AtPort> {
    let requests = requests(mesh);
    served(mesh, client)
        // A service could have chosen the address that is the sidecar's already.
        .filter(|(address, _, port)| {
            (address.to_string().as_str(), port.number) != OUTBOUND_ADDRESS
        })
        .map(|(address, service, port)| {
            let number = port.number;
            let address = address.to_string();
            let mut message = listener(
                names::service_listener(&address, number),
                (&address, number),
                TrafficDirection::Outbound,
                workload,
            );
            message.filter_chains = vec![match port.protocol {
                Protocol::Http | Protocol::Http2 => requests.clone(),
                Protocol::Opaque => {
                    let cluster = names::cluster(names::OUTBOUND, number, None, &service.host);
                    tcp_chain(&cluster, &cluster)
                }
            }];
            (number, Arc::new(Resource::new(&message)))
        })
        .collect()
}
