//! A gateway's resources: listeners for the ports that Gateways open on it, and the hosts behind them.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::Config;
use mesh_config::model::GatewayServer;
use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::route::{Route, RouteConfiguration, VirtualHost};
use mesh_xds::node::NodeMetadata;
use mesh_xds::{ResourceSet, names};

use crate::client::Client;
use crate::cluster;
use crate::host::{intersection, specificity};
use crate::listener::{Callers, http_chain, listener, rds, route_configuration};
use crate::mesh::Mesh;
use crate::route::{Router, catch_all_last};
use crate::virtual_service::VirtualService;
use crate::workload::{Labels, has_labels};

/// Protocols in which a server is served so far.
const SERVED: [&str; 3] = ["HTTP", "HTTP2", "GRPC"];

/// A Gateway by the name to which VirtualServices bind.
#[derive(Debug)]
pub(crate) struct Gateway {
    namespace: String,
    /// `namespace/name`
    name: String,
    selector: Labels,
    servers: Vec<GatewayServer>,
}

/// All Gateways, oldest first.
pub(crate) fn build(config: &Config) -> Vec<Gateway> {
    config
        .gateways()
        .map(|(object, spec)| Gateway {
            namespace: object.metadata.namespace.clone(),
            name: format!("{}/{}", object.metadata.namespace, object.metadata.name),
            selector: spec.selector.clone(),
            servers: spec.servers.clone(),
        })
        .collect()
}

/// All resources of one gateway.
pub(crate) fn resources(mesh: &Mesh, node: &NodeMetadata) -> ResourceSet {
    let own = mesh.workloads.of_node(node);
    let client = Client::new(mesh, node, &own.labels);
    let mut set = ResourceSet::new();
    let mut router = Router::new(mesh, &client);
    for (port, servers) in ports(mesh, &own.labels) {
        let routes = names::gateway_routes(port);
        let mut opened = listener(
            names::gateway_listener(port),
            ("0.0.0.0", port),
            TrafficDirection::Outbound,
            &own.workload,
        );
        opened.filter_chains = vec![http_chain(
            &routes,
            &names::gateway_listener(port),
            rds(&routes),
            Callers::Strangers,
            &mesh.settings.mesh,
        )];
        set.insert(&opened);
        set.insert(&RouteConfiguration {
            ignore_port_in_host_matching: true,
            ..route_configuration(&routes, virtual_hosts(mesh, &mut router, port, &servers))
        });
    }
    for reference in &router.clusters {
        if let Some((cluster, endpoints)) = cluster::outbound(mesh, &client, reference) {
            set.insert(&cluster);
            if let Some(endpoints) = endpoints {
                set.insert(&endpoints);
            }
        }
    }
    set
}

/// The servers of each port that this workload opens. The oldest server of a port decides what the port is: one
/// in a protocol that does not mix with it is passed over, and a port that is not HTTP is not opened at all.
fn ports<'a>(
    mesh: &'a Mesh,
    labels: &Labels,
) -> BTreeMap<u16, Vec<(&'a Gateway, &'a GatewayServer)>> {
    let mut ports: BTreeMap<u16, Vec<_>> = BTreeMap::new();
    let mut others = BTreeSet::new();
    let selects = |gateway: &&Gateway| has_labels(labels, &gateway.selector);
    for gateway in mesh.gateways.iter().filter(selects) {
        for server in &gateway.servers {
            let port = server.port.number;
            if !SERVED.contains(&server.port.protocol.as_str()) {
                others.extend((!ports.contains_key(&port)).then_some(port));
            } else if !others.contains(&port) {
                ports.entry(port).or_default().push((gateway, server));
            }
        }
    }
    ports
}

/// The virtual hosts of a port: what server hosts and VirtualService hosts have in common.
fn virtual_hosts(
    mesh: &Mesh,
    router: &mut Router<'_>,
    port: u16,
    servers: &[(&Gateway, &GatewayServer)],
) -> Vec<VirtualHost> {
    let mut domains: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for (virtual_service, bindings) in bound(mesh, router.client, port, servers).into_values() {
        // By way of two Gateways the same route would be there twice.
        let mut own: BTreeMap<String, Vec<Route>> = BTreeMap::new();
        for binding in bindings {
            let routes = router.routes(virtual_service, &binding.gateway.name, port);
            for domain in binding.domains {
                let known = own.entry(domain).or_default();
                let new: Vec<_> = routes
                    .iter()
                    .filter(|r| !known.contains(r))
                    .cloned()
                    .collect();
                known.extend(new);
            }
        }
        for (domain, routes) in own {
            domains.entry(domain).or_default().extend(routes);
        }
    }
    if domains.is_empty() {
        domains.insert("*".to_owned(), Vec::new());
        return hosts(domains, |_| "blackhole".to_owned());
    }
    hosts(domains, |domain| format!("{domain}:{port}"))
}

fn hosts(domains: BTreeMap<String, Vec<Route>>, name: impl Fn(&str) -> String) -> Vec<VirtualHost> {
    let mut hosts: Vec<_> = domains
        .into_iter()
        .map(|(domain, routes)| VirtualHost {
            name: name(&domain),
            domains: vec![domain],
            routes: catch_all_last(routes),
            include_request_attempt_count: true,
            ..VirtualHost::default()
        })
        .collect();
    hosts.sort_by(|one, other| specificity(&one.domains[0]).cmp(&specificity(&other.domains[0])));
    hosts
}

/// The hosts under which a VirtualService is on a port by way of one Gateway.
struct Binding<'a> {
    gateway: &'a Gateway,
    domains: BTreeSet<String>,
}

/// Every VirtualService that binds to a port, oldest first, with its bindings in the order of the Gateways.
fn bound<'a>(
    mesh: &'a Mesh,
    client: &Client,
    port: u16,
    servers: &[(&'a Gateway, &'a GatewayServer)],
) -> BTreeMap<usize, (&'a VirtualService, Vec<Binding<'a>>)> {
    let mut bound = BTreeMap::new();
    // The servers of a Gateway come one after the other.
    for servers in servers.chunk_by(|(one, _), (other, _)| one.name == other.name) {
        let Some((gateway, _)) = servers.first().copied() else {
            continue;
        };
        for (age, virtual_service) in mesh.virtual_services.of_gateway(&gateway.name) {
            let is_visible = virtual_service.is_visible_in(&gateway.namespace);
            if !is_visible || !virtual_service.speaks_for(&gateway.name, client, port) {
                continue;
            }
            let namespace = virtual_service.namespace();
            let open = servers
                .iter()
                .flat_map(|(_, server)| &server.hosts)
                .filter_map(|written| open_to(gateway, written, namespace));
            let domains = open
                .flat_map(|host| {
                    let own = virtual_service.hosts.iter();
                    own.filter_map(move |own| intersection(host, own))
                })
                .map(str::to_owned)
                .collect();
            let (_, bindings) = bound
                .entry(age)
                .or_insert_with(|| (virtual_service, Vec::new()));
            bindings.push(Binding { gateway, domains });
        }
    }
    bound
}

/// A server's `[namespace/]host`, if VirtualServices of this namespace may bind to it.
fn open_to<'a>(gateway: &Gateway, written: &'a str, namespace: &str) -> Option<&'a str> {
    let Some((allowed, host)) = written.split_once('/') else {
        return Some(written);
    };
    let open = match allowed {
        "*" => true,
        "." => gateway.namespace == namespace,
        named => named == namespace,
    };
    open.then_some(host)
}
