//! What a sidecar takes for its workload: mutual TLS from the mesh, and plain text from outside of it.

use std::collections::BTreeMap;

use mesh_config::model::{IngressListener, MeshConfig, Protocol};
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::listener::{FilterChain, FilterChainMatch, Listener};
use mesh_xds::envoy::route::VirtualHost;
use mesh_xds::node::NodeMetadata;
use mesh_xds::{metadata, names};

use crate::listener::{Callers, http_chain, inline, listener, tcp_chain, tls_inspector};
use crate::mesh::Mesh;
use crate::route::local;
use crate::service::{Port, Service};
use crate::workload::{NodeWorkload, has_labels};
use crate::{cluster, tls};

const INBOUND_ADDRESS: (&str, u16) = ("0.0.0.0", 15006);
const PLAIN_ADDRESS: (&str, u16) = ("0.0.0.0", 15005);

/// What TLS settles where requests are taken.
const HTTP: &[&str] = &["h2", "http/1.1"];

/// What the workload takes: the ports of all services that select it.
pub(super) struct Inbound<'a> {
    served: Vec<Served<'a>>,
    pub(super) clusters: Vec<Cluster>,
    by_app_port: BTreeMap<u16, Vec<(&'a Service, &'a Port)>>,
}

/// A service's port that leads to this workload.
struct Served<'a> {
    service: &'a Service,
    port: &'a Port,
    cluster: String,
}

impl<'a> Inbound<'a> {
    pub(super) fn build(mesh: &'a Mesh, node: &NodeMetadata, own: &NodeWorkload) -> Self {
        let mut by_app_port: BTreeMap<_, Vec<(&Service, &Port)>> = BTreeMap::new();
        let sidecar = mesh.sidecars.of(&node.namespace, &own.labels);
        let ingress = sidecar.map_or(&[][..], |sidecar| &sidecar.ingress);
        let mut found = Vec::new();
        for service in mesh.services_in(&node.namespace) {
            if service.selector.is_empty() || !has_labels(&own.labels, &service.selector) {
                continue;
            }
            for port in &service.ports {
                let app_port = own.ports.resolve(&port.target, &port.name);
                if let Some(app_port) = app_port
                    .or(port.otherwise)
                    .and_then(|p| taken_at(ingress, p))
                {
                    by_app_port
                        .entry(app_port)
                        .or_default()
                        .push((service, port));
                    found.push((service, port, app_port));
                }
            }
        }
        let mut clusters = BTreeMap::new();
        let mut served = Vec::new();
        for (service, port, app_port) in found {
            // Two services over one port of the application differ in name and maybe in protocol.
            let users = &by_app_port[&app_port];
            let alone = users.iter().all(|(other, _)| other.host == service.host);
            let host = if alone { "" } else { service.host.as_str() };
            let name = names::cluster(names::INBOUND, app_port, None, host);
            clusters.entry(name.clone()).or_insert_with(|| {
                // Bytes go through a cluster of any protocol, requests do not.
                let speaks_http = |(other, port): &&(&Service, &Port)| {
                    other.host == service.host && port.protocol != Protocol::Opaque
                };
                let port = users
                    .iter()
                    .find(speaks_http)
                    .map_or(port, |(_, port)| port);
                cluster::inbound(name.clone(), app_port, port, &[service])
            });
            served.push(Served {
                service,
                port,
                cluster: name,
            });
        }
        Self {
            served,
            clusters: clusters.into_values().collect(),
            by_app_port,
        }
    }

    /// The ports of the application that services lead to.
    pub(super) fn app_ports(&self) -> impl Iterator<Item = u16> {
        self.by_app_port.keys().copied()
    }

    /// Mutual TLS from the mesh; the server name says which service is asked for.
    pub(super) fn listener(&self, mesh: &Mesh, own: &NodeWorkload) -> Listener {
        let mut listener = listener(
            names::VIRTUAL_INBOUND.to_owned(),
            INBOUND_ADDRESS,
            TrafficDirection::Inbound,
            &own.workload,
        );
        if let Some(data) = &mut listener.metadata {
            metadata::set_peers(data, &mesh.workloads.peers());
        }
        listener.listener_filters = vec![tls_inspector()];
        let chains = self.served.iter().map(|served| served.tls_chain(mesh));
        listener.filter_chains = chains.collect();
        if listener.filter_chains.is_empty() {
            listener.filter_chains.push(blackhole(mesh));
        }
        listener
    }

    /// Plain text from outside the mesh, for the first port of the first service.
    pub(super) fn plain_listener(&self, mesh: &Mesh, own: &NodeWorkload) -> Option<Listener> {
        let first = self.served.first()?;
        let mut listener = listener(
            names::INBOUND_PLAIN.to_owned(),
            PLAIN_ADDRESS,
            TrafficDirection::Inbound,
            &own.workload,
        );
        if let Some(data) = &mut listener.metadata {
            metadata::set_peers(data, &mesh.workloads.peers());
        }
        listener.filter_chains = vec![first.chain(Callers::Strangers, &mesh.settings.mesh)];
        Some(listener)
    }
}

/// Where the application takes what is meant for one of its ports: a Sidecar's `ingress` says of all of them, or
/// of none if there is none.
fn taken_at(ingress: &[IngressListener], port: u16) -> Option<u16> {
    if ingress.is_empty() {
        return Some(port);
    }
    let listener = ingress.iter().find(|listener| listener.port == port)?;
    Some(listener.app_port.unwrap_or(port))
}

/// Envoy refuses a listener without chains, so a workload of no service has one for a name that nobody asks for.
fn blackhole(mesh: &Mesh) -> FilterChain {
    let name = "blackhole";
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            server_names: vec![name.to_owned()],
            ..FilterChainMatch::default()
        }),
        transport_socket: Some(tls::inbound(&mesh.settings, HTTP)),
        ..http_chain(
            name,
            name,
            inline(name, Vec::new()),
            Callers::Ours,
            &mesh.settings.mesh,
        )
    }
}

impl Served<'_> {
    fn tls_chain(&self, mesh: &Mesh) -> FilterChain {
        let Service { host, .. } = self.service;
        let port = self.port.number;
        let subsets = mesh.destination_rules.subsets_of(host);
        let all = [None].into_iter().chain(subsets.into_iter().map(Some));
        let mut server_names: Vec<String> =
            all.map(|subset| names::sni(port, subset, host)).collect();
        if self.service.only_port().is_some() {
            server_names.push(format!("*.{host}"));
        }
        let alpn = match self.port.protocol {
            Protocol::Opaque => &[],
            Protocol::Http | Protocol::Http2 => HTTP,
        };
        FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                server_names,
                ..FilterChainMatch::default()
            }),
            transport_socket: Some(tls::inbound(&mesh.settings, alpn)),
            ..self.chain(Callers::Ours, &mesh.settings.mesh)
        }
    }

    fn chain(&self, callers: Callers, mesh: &MeshConfig) -> FilterChain {
        let name = names::cluster(names::INBOUND, self.port.number, None, &self.service.host);
        if self.port.protocol == Protocol::Opaque {
            return tcp_chain(&name, &self.cluster);
        }
        let host = VirtualHost {
            name: format!("inbound|http|{}", self.port.number),
            domains: vec!["*".to_owned()],
            routes: vec![local(&self.cluster)],
            ..VirtualHost::default()
        };
        http_chain(
            &name,
            &self.cluster,
            inline(&name, vec![host]),
            callers,
            mesh,
        )
    }
}
