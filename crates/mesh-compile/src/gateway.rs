//! A gateway's resources: listeners for the addresses that Gateways open on it, and the hosts behind them.
//!
//! Which servers go together is settled by [`mesh_config::servers`]. In plain text all servers of a port share one
//! filter chain and its routes; behind TLS each server has its own, chosen by server name. `gateway/tls.rs` says
//! how TLS is terminated, `gateway/secrets.rs` what with.

mod layer4;
pub(crate) mod secrets;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::model::{GatewayServer, ServerProtocol, ServerTls, ServerTlsMode};
use mesh_config::servers::{self, Opened, ServerAddress, ServerRef};
use mesh_config::{Config, servers::bare_host};
use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::listener::{FilterChain, FilterChainMatch};
use mesh_xds::envoy::route::virtual_host::TlsRequirementType;
use mesh_xds::envoy::route::{Route, RouteConfiguration, VirtualHost};
use mesh_xds::node::NodeMetadata;
use mesh_xds::{Base, ResourceSet, ResourceType, names};

use crate::client::Client;
use crate::encoded::Security;
use crate::host::{intersection, specificity};
use crate::listener::{Callers, http_chain, listener, rds, route_configuration, tls_inspector};
use crate::mesh::Mesh;
use crate::route::{Router, catch_all_last};
use crate::virtual_service::VirtualService;
use crate::workload::{Labels, has_labels};

/// A Gateway by the name to which VirtualServices bind.
#[derive(Debug)]
pub(crate) struct Gateway {
    namespace: String,
    /// Without its namespace.
    own_name: String,
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
            own_name: object.metadata.name.clone(),
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
    let selects = |gateway: &&Gateway| has_labels(&own.labels, &gateway.selector);
    let gateways: Vec<&Gateway> = mesh.gateways.iter().filter(selects).collect();
    let merged = servers::merge(gateways.iter().map(|gateway| gateway.servers.as_slice()));
    let mut edge = Edge {
        mesh,
        client: &client,
        gateways,
        router: Router::new(mesh, &client),
        set: ResourceSet::new(),
        passed_on: BTreeSet::new(),
    };
    for (address, opened) in &merged.opened {
        let chains = match opened {
            Opened::Http(servers) => vec![edge.plain(address, servers)],
            Opened::Tcp(server) => edge.tcp(server).into_iter().collect(),
            Opened::Tls(servers) => edge.tls(address, servers),
        };
        // A listener without chains would only take connections in order to close them.
        if chains.is_empty() {
            continue;
        }
        let ip = address.bind.as_deref().unwrap_or("0.0.0.0");
        let mut message = listener(
            names::gateway_listener(address.bind.as_deref(), address.port),
            (ip, address.port),
            TrafficDirection::Outbound,
            &own.workload,
        );
        if matches!(opened, Opened::Tls(_)) {
            message.listener_filters = vec![tls_inspector()];
        }
        message.filter_chains = chains;
        edge.set.insert(&message);
    }
    edge.finish()
}

/// A gateway's resources while they are put together.
struct Edge<'a> {
    mesh: &'a Mesh,
    client: &'a Client,
    /// Those that select this workload, oldest first.
    gateways: Vec<&'a Gateway>,
    router: Router<'a>,
    set: ResourceSet,
    /// Clusters whose TLS is that of the clients.
    passed_on: BTreeSet<crate::route::ClusterRef>,
}

impl<'a> Edge<'a> {
    fn finish(self) -> ResourceSet {
        let Self {
            mesh,
            client,
            router,
            set,
            passed_on,
            ..
        } = self;
        let own = ResourceType::ALL.into_iter().flat_map(|resource_type| {
            let resources = set.iter(resource_type);
            resources.map(move |resource| (resource_type, Arc::clone(resource)))
        });
        let clusters = [
            (Security::Ours, &router.clusters),
            (Security::Theirs, &passed_on),
        ];
        let clusters = clusters.into_iter().flat_map(|(security, clusters)| {
            (mesh.encoded).clusters(mesh, client, security, clusters)
        });
        // Thousands of clusters are put in order at once.
        let base: Base = own.chain(clusters).collect();
        ResourceSet::with_base(&base)
    }

    fn gateway(&self, server: &ServerRef<'_>) -> &'a Gateway {
        self.gateways[server.gateway]
    }

    /// Requests in plain text, for all servers of the address together.
    fn plain(&mut self, address: &ServerAddress, servers: &[ServerRef<'_>]) -> FilterChain {
        let bind = address.bind.as_deref();
        let routes = names::gateway_routes(bind, address.port);
        self.requests(&routes, address.port, servers);
        let stat_prefix = names::gateway_listener(bind, address.port);
        let spelling = &self.mesh.settings.mesh;
        http_chain(
            &routes,
            &stat_prefix,
            rds(&routes),
            Callers::Clients,
            spelling,
        )
    }

    /// The route configuration of some servers.
    fn requests(&mut self, name: &str, port: u16, servers: &[ServerRef<'_>]) {
        let servers: Vec<_> = servers
            .iter()
            .map(|server| (self.gateway(server), server.server))
            .collect();
        self.router.tls = servers
            .iter()
            .any(|(_, server)| server.port.protocol == ServerProtocol::Https);
        let hosts = virtual_hosts(self.mesh, &mut self.router, port, &servers);
        self.set.insert(&RouteConfiguration {
            ignore_port_in_host_matching: true,
            ..route_configuration(name, hosts)
        });
    }

    /// A chain for each server behind TLS, or for each `tls` route where it is not terminated.
    fn tls(&mut self, address: &ServerAddress, servers: &[ServerRef<'_>]) -> Vec<FilterChain> {
        let mut chains = Vec::new();
        let mut taken = BTreeSet::new();
        for server in servers {
            let Some(tls) = &server.server.tls else {
                continue;
            };
            for (mut chain, names) in self.chains(address, server, tls) {
                // Envoy takes no two chains for the same name; the older one keeps it.
                let names: Vec<String> = names
                    .into_iter()
                    .filter(|name| taken.insert(name.clone()))
                    .collect();
                if names.is_empty() {
                    continue;
                }
                chain.filter_chain_match = Some(FilterChainMatch {
                    transport_protocol: "tls".to_owned(),
                    // Whatever is asked for, if `*` is among them.
                    server_names: match names.iter().any(|name| name == "*") {
                        true => Vec::new(),
                        false => names,
                    },
                    ..FilterChainMatch::default()
                });
                chains.push(chain);
            }
        }
        chains
    }

    /// The chains of a server behind TLS, each with the server names that it is for.
    fn chains(
        &mut self,
        address: &ServerAddress,
        server: &ServerRef<'_>,
        tls: &ServerTls,
    ) -> Vec<(FilterChain, Vec<String>)> {
        let port = address.port;
        let hosts = || {
            let hosts = server.server.hosts.iter();
            hosts.map(|host| bare_host(host).to_owned()).collect()
        };
        match (tls.mode, server.server.port.protocol) {
            (ServerTlsMode::AutoPassthrough, _) => self.auto_passthrough(server),
            (ServerTlsMode::Passthrough, _) => self.passthrough(server),
            (_, ServerProtocol::Https) => {
                let gateway = self.gateway(server);
                let port_name = (port, server.server.port.name.as_str());
                let name = names::gateway_tls_routes(
                    address.bind.as_deref(),
                    port_name,
                    &gateway.own_name,
                    &gateway.namespace,
                );
                self.requests(&name, port, std::slice::from_ref(server));
                let stat_prefix = names::gateway_listener(address.bind.as_deref(), port);
                let routes = rds(&name);
                let spelling = &self.mesh.settings.mesh;
                let mut chain = http_chain(&name, &stat_prefix, routes, Callers::Clients, spelling);
                chain.transport_socket = Some(self.terminated(tls, &["h2", "http/1.1"]));
                vec![(chain, hosts())]
            }
            _ => {
                let Some(mut chain) = self.tcp(server) else {
                    return Vec::new();
                };
                chain.transport_socket = Some(self.terminated(tls, &[]));
                vec![(chain, hosts())]
            }
        }
    }
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
    let redirected = redirected(mesh, router.client, port, servers);
    for domain in &redirected {
        domains.entry(domain.clone()).or_default();
    }
    for tls in servers.iter().filter_map(|(_, server)| server.tls.as_ref()) {
        for host in &tls.misdirected {
            let routes = domains.entry(host.clone()).or_default();
            routes.push(crate::action::misdirected());
        }
    }
    if domains.is_empty() {
        domains.insert("*".to_owned(), Vec::new());
        return hosts(domains, &redirected, |_| "blackhole".to_owned());
    }
    hosts(domains, &redirected, |domain| format!("{domain}:{port}"))
}

/// The hosts whose requests have to be behind TLS: those of servers with `httpsRedirect`, with and without a
/// VirtualService.
fn redirected(
    mesh: &Mesh,
    client: &Client,
    port: u16,
    servers: &[(&Gateway, &GatewayServer)],
) -> BTreeSet<String> {
    let redirects = |(_, server): &&(&Gateway, &GatewayServer)| {
        server.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    };
    let mut all = BTreeSet::new();
    for server in servers.iter().filter(redirects) {
        all.extend(server.1.hosts.iter().map(|host| bare_host(host).to_owned()));
        let bound = bound(mesh, client, port, std::slice::from_ref(server)).into_values();
        let bindings = bound.flat_map(|(_, bindings)| bindings);
        all.extend(bindings.flat_map(|binding| binding.domains));
    }
    all
}

fn hosts(
    domains: BTreeMap<String, Vec<Route>>,
    redirected: &BTreeSet<String>,
    name: impl Fn(&str) -> String,
) -> Vec<VirtualHost> {
    let mut hosts: Vec<_> = domains
        .into_iter()
        .map(|(domain, routes)| VirtualHost {
            name: name(&domain),
            require_tls: match redirected.contains(&domain) {
                true => TlsRequirementType::All as i32,
                false => TlsRequirementType::None as i32,
            },
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
