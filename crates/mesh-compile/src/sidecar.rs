//! A sidecar's resources: what it takes for its workload, and where it may send that workload's requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::listener::{FilterChain, FilterChainMatch, Listener};
use mesh_xds::envoy::route::{Route, VirtualHost};
use mesh_xds::node::NodeMetadata;
use mesh_xds::{Resource, ResourceSet, ResourceType, metadata, names};

use crate::listener::{Callers, chain, inline, listener, rds, route_configuration, tls_inspector};
use crate::mesh::Mesh;
use crate::route::{Router, direct_response, local};
use crate::service::{Port, Service};
use crate::virtual_service::MESH;
use crate::workload::{NodeWorkload, has_labels};
use crate::{cluster, matcher, tls};

const OUTBOUND_ADDRESS: (&str, u16) = ("127.0.0.1", 15001);
const INBOUND_ADDRESS: (&str, u16) = ("0.0.0.0", 15006);
const PLAIN_ADDRESS: (&str, u16) = ("0.0.0.0", 15005);

/// What a host that is no service's own name is taken for.
const HTTP_PORT: u16 = 80;

/// All resources of one sidecar; `outbound` is what it shares with its namespace.
pub(crate) fn resources(mesh: &Mesh, node: &NodeMetadata, outbound: &Outbound) -> ResourceSet {
    let own = mesh.workloads.of_node(node);
    let mut set = ResourceSet::new();
    for (resource_type, resource) in &outbound.resources {
        set.insert_resource(*resource_type, Arc::clone(resource));
    }
    let mut virtual_outbound = listener(
        names::VIRTUAL_OUTBOUND.to_owned(),
        OUTBOUND_ADDRESS,
        TrafficDirection::Outbound,
        &own.workload,
    );
    virtual_outbound.filter_chains = vec![chain(
        names::OUTBOUND_ROUTES,
        names::OUTBOUND_ROUTES,
        rds(names::OUTBOUND_ROUTES),
        Callers::Ours,
    )];
    set.insert(&virtual_outbound);

    let inbound = Inbound::build(mesh, node, &own);
    for cluster in &inbound.clusters {
        set.insert(cluster);
    }
    set.insert(&inbound.listener(mesh, &own));
    if node.plain_listener
        && let Some(listener) = inbound.plain_listener(mesh, &own)
    {
        set.insert(&listener);
    }
    set
}

/// What the sidecars of a namespace have in common: routes, clusters and endpoints.
#[derive(Debug)]
pub(crate) struct Outbound {
    resources: Vec<(ResourceType, Arc<Resource>)>,
}

impl Outbound {
    pub(crate) fn build(mesh: &Mesh, namespace: &str) -> Self {
        let mut router = Router::new(mesh, namespace);
        let mut hosts = Hosts::default();
        for service in mesh.services.values() {
            let rule = mesh.virtual_services.in_mesh(&service.host);
            for port in service.request_ports() {
                let routes = match rule {
                    Some(rule) => router.routes(rule, MESH, port.number),
                    None => vec![router.default_route(service, port)],
                };
                hosts.add_service(service, port, routes, namespace);
            }
        }
        for (_, rule) in mesh.virtual_services.of_gateway(MESH) {
            if !rule.speaks_for(MESH) {
                continue;
            }
            for host in rule.hosts.iter().filter(|host| !is_served(mesh, host)) {
                let routes = router.routes(rule, MESH, HTTP_PORT);
                hosts.add_other(host, routes);
            }
        }
        let routes = route_configuration(names::OUTBOUND_ROUTES, hosts.into_virtual_hosts());
        let mut resources = vec![(ResourceType::Route, Arc::new(Resource::new(&routes)))];
        for reference in &router.clusters {
            if let Some((cluster, endpoints)) = cluster::outbound(mesh, namespace, reference) {
                resources.push((ResourceType::Cluster, Arc::new(Resource::new(&cluster))));
                resources.push((ResourceType::Endpoint, Arc::new(Resource::new(&endpoints))));
            }
        }
        Self { resources }
    }
}

/// Whether a VirtualService's host is a service's, or takes in some service's: then the service's own virtual
/// hosts have its routes already.
fn is_served(mesh: &Mesh, host: &str) -> bool {
    match host.starts_with('*') {
        true => mesh
            .services
            .keys()
            .any(|service| crate::host::covers(host, service)),
        false => mesh.services.contains_key(host),
    }
}

/// Virtual hosts with the domains that they would like to have. A domain can be in one of them only: full names
/// come first, then what VirtualServices name besides, then the short forms.
#[derive(Default)]
struct Hosts {
    virtual_hosts: Vec<(VirtualHost, [Vec<String>; 3])>,
}

impl Hosts {
    fn add_service(&mut self, service: &Service, port: &Port, routes: Vec<Route>, client: &str) {
        let Service {
            host,
            name,
            namespace,
            ..
        } = service;
        let number = port.number;
        // Without a port a name means port 80, else the service's only port.
        let is_only = service.only_port().is_some();
        let bare = number == HTTP_PORT || is_only;
        let forms = |name: String| {
            let with_port = format!("{name}:{number}");
            [with_port].into_iter().chain(bare.then_some(name))
        };
        let mut short: Vec<String> = forms(format!("{name}.{namespace}.svc")).collect();
        short.extend(forms(format!("{name}.{namespace}")));
        if namespace == client {
            short.extend(forms(name.clone()));
        }
        let full = forms(host.clone()).collect();
        self.add(
            format!("{host}:{number}"),
            routes,
            [full, Vec::new(), short],
        );
    }

    fn add_other(&mut self, host: &str, routes: Vec<Route>) {
        let with_port = format!("{host}:{HTTP_PORT}");
        let domains = if host == "*" {
            vec![host.to_owned()]
        } else {
            vec![with_port.clone(), host.to_owned()]
        };
        self.add(with_port, routes, [Vec::new(), domains, Vec::new()]);
    }

    fn add(&mut self, name: String, routes: Vec<Route>, domains: [Vec<String>; 3]) {
        let host = VirtualHost {
            name,
            routes,
            ..VirtualHost::default()
        };
        self.virtual_hosts.push((host, domains));
    }

    fn into_virtual_hosts(mut self) -> Vec<VirtualHost> {
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for class in 0..3 {
            for (host, domains) in &mut self.virtual_hosts {
                let domains = std::mem::take(&mut domains[class]);
                host.domains
                    .extend(domains.into_iter().filter(|d| taken.insert(d.clone())));
            }
        }
        // Two VirtualServices may name the same host: the first, oldest one has it.
        let hosts = self.virtual_hosts.into_iter().map(|(host, _)| host);
        let mut hosts: Vec<_> = hosts.filter(|host| !host.domains.is_empty()).collect();
        if !taken.contains("*") {
            hosts.push(block_all());
        }
        hosts
    }
}

/// The last resort: hosts that the mesh does not know.
fn block_all() -> VirtualHost {
    let words = "no service of the mesh has this host and port; ask for a service by its name, \
                 NAME.NAMESPACE.svc.cluster.local or NAME.NAMESPACE, with the port if it is not 80\n";
    VirtualHost {
        name: "block_all".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            name: "block_all".to_owned(),
            r#match: Some(matcher::always()),
            action: Some(direct_response(502, words)),
            ..Route::default()
        }],
        ..VirtualHost::default()
    }
}

/// What the workload takes: the ports of all services that select it.
struct Inbound<'a> {
    served: Vec<Served<'a>>,
    clusters: Vec<Cluster>,
}

/// A service's port that leads to this workload.
struct Served<'a> {
    service: &'a Service,
    port: &'a Port,
    cluster: String,
}

impl<'a> Inbound<'a> {
    fn build(mesh: &'a Mesh, node: &NodeMetadata, own: &NodeWorkload) -> Self {
        let mut by_app_port: BTreeMap<u16, Vec<(&Service, &Port)>> = BTreeMap::new();
        let mut found = Vec::new();
        for service in mesh.services_in(&node.namespace) {
            if service.selector.is_empty() || !has_labels(&own.labels, &service.selector) {
                continue;
            }
            for port in service.request_ports() {
                if let Some(app_port) = own.ports.resolve(&port.target, &port.name) {
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
            let message = || cluster::inbound(name.clone(), app_port, port, &[service]);
            clusters.entry(name.clone()).or_insert_with(message);
            served.push(Served {
                service,
                port,
                cluster: name,
            });
        }
        Self {
            served,
            clusters: clusters.into_values().collect(),
        }
    }

    /// Mutual TLS from the mesh; the server name says which service is asked for.
    fn listener(&self, mesh: &Mesh, own: &NodeWorkload) -> Listener {
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
        let chains = self.served.iter().map(|served| served.chain(mesh));
        listener.filter_chains = chains.collect();
        if listener.filter_chains.is_empty() {
            listener.filter_chains.push(blackhole(mesh));
        }
        listener
    }

    /// Plain text from outside the mesh, for the first port of the first service.
    fn plain_listener(&self, mesh: &Mesh, own: &NodeWorkload) -> Option<Listener> {
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
        listener.filter_chains = vec![first.http(Callers::Strangers)];
        Some(listener)
    }
}

/// Envoy refuses a listener without chains, so a workload of no service has one for a name that nobody asks for.
fn blackhole(mesh: &Mesh) -> FilterChain {
    let name = "blackhole";
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            server_names: vec![name.to_owned()],
            ..FilterChainMatch::default()
        }),
        transport_socket: Some(tls::inbound(&mesh.settings)),
        ..chain(name, name, inline(name, Vec::new()), Callers::Ours)
    }
}

impl Served<'_> {
    fn chain(&self, mesh: &Mesh) -> FilterChain {
        let Service { host, .. } = self.service;
        let port = self.port.number;
        let subsets = mesh.destination_rules.subsets_of(host);
        let all = [None].into_iter().chain(subsets.into_iter().map(Some));
        let mut server_names: Vec<String> =
            all.map(|subset| names::sni(port, subset, host)).collect();
        if self.service.only_port().is_some() {
            server_names.push(format!("*.{host}"));
        }
        FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                server_names,
                ..FilterChainMatch::default()
            }),
            transport_socket: Some(tls::inbound(&mesh.settings)),
            ..self.http(Callers::Ours)
        }
    }

    fn http(&self, callers: Callers) -> FilterChain {
        let name = names::cluster(names::INBOUND, self.port.number, None, &self.service.host);
        let host = VirtualHost {
            name: format!("inbound|http|{}", self.port.number),
            domains: vec!["*".to_owned()],
            routes: vec![local(&self.cluster)],
            ..VirtualHost::default()
        };
        chain(&name, &self.cluster, inline(&name, vec![host]), callers)
    }
}
