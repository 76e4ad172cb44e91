//! Listeners at the loopback addresses of services, for an app that reaches them by their names: one for each
//! service port, HTTP by the routes of all requests, opaque TCP by the `tcp` and `tls` routes of VirtualServices
//! (`tcp_route.rs`), or else to the service itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::listener::{FilterChain, FilterChainMatch};
use mesh_xds::envoy::tcp_proxy::tcp_proxy::ClusterSpecifier;
use mesh_xds::{Base, Resource, ResourceSet, ResourceType, Workload, names};

use super::{OUTBOUND_ADDRESS, requests};
use crate::Protocol;
use crate::client::Client;
use crate::encoded::Security;
use crate::listener::{listener, tls_inspector};
use crate::mesh::Mesh;
use crate::route::Router;
use crate::service::{Port, Service};
use crate::tcp_route;
use crate::virtual_service::VirtualService;
use crate::visibility::Scope;

/// What the sidecars of equal clients share, each part made when the first of them asks for it.
#[derive(Debug)]
pub(super) struct ByAddress {
    client: Client,
    /// What they share without addresses.
    base: Base,
    opaque: OnceLock<Opaque>,
    /// By workload, since a listener names the one whose traffic it takes.
    listeners: BTreeMap<String, OnceLock<Vec<AtPort>>>,
}

/// Where bytes go that nobody looks into.
#[derive(Debug, Default)]
struct Opaque {
    /// By the address and port at which they come in.
    chains: HashMap<(Ipv4Addr, u16), Vec<FilterChain>>,
    /// What is shared without addresses, and the clusters of these chains with their endpoints.
    base: Base,
}

/// A listener and its port.
type AtPort = (u16, Arc<Resource>);

impl ByAddress {
    pub(super) fn new(mesh: &Mesh, client: &Client, base: &Base) -> Self {
        let groups = mesh.workloads.groups_in(&client.namespace);
        Self {
            client: client.clone(),
            base: base.clone(),
            opaque: OnceLock::new(),
            listeners: groups
                .map(|group| (group.to_owned(), OnceLock::new()))
                .collect(),
        }
    }

    /// What a sidecar that listens at addresses shares with equal clients.
    pub(super) fn base(&self, mesh: &Mesh) -> &Base {
        &self.opaque(mesh).base
    }

    fn opaque(&self, mesh: &Mesh) -> &Opaque {
        let build = || Opaque::build(mesh, &self.client, &self.base);
        self.opaque.get_or_init(build)
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
        let opaque = self.opaque(mesh);
        let build = || listeners(mesh, &self.client, opaque, workload);
        let unknown = OnceLock::new();
        let shared = self.listeners.get(&workload.name).unwrap_or(&unknown);
        for (port, listener) in shared.get_or_init(build) {
            if !app_ports.contains(port) {
                set.insert_resource(ResourceType::Listener, Arc::clone(listener));
            }
        }
    }
}

impl Opaque {
    fn build(mesh: &Mesh, client: &Client, base: &Base) -> Self {
        let scope = Scope::new(&mesh.sidecars, client);
        let mut router = Router::new(mesh, client);
        let mut chains = HashMap::new();
        for (address, service, port) in served(mesh, client) {
            if port.protocol == Protocol::Opaque {
                let place = (address, port.number);
                chains.insert(
                    place,
                    opaque_chains(mesh, &mut router, &scope, service, port),
                );
            }
        }
        let clusters = &router.clusters;
        Self {
            base: base.with(
                mesh.encoded
                    .clusters(mesh, client, Security::Ours, clusters),
            ),
            chains,
        }
    }
}

/// The chains of an opaque port: one for each `tls` route if it is for TLS and has some, so that no other server
/// name is taken; else a single one.
fn opaque_chains(
    mesh: &Mesh,
    router: &mut Router<'_>,
    scope: &Scope<'_>,
    service: &Service,
    port: &Port,
) -> Vec<FilterChain> {
    let meant = service.alias_of.as_ref();
    let meant = meant.and_then(|host| Some(mesh.services.get(host)?.as_ref()));
    let hosts = [Some(service), meant].into_iter().flatten();
    let namespace = &router.client.namespace;
    let rules: Vec<&VirtualService> = hosts
        .flat_map(|service| {
            let rules = mesh.virtual_services.all_in_mesh(&service.host);
            rules.filter(|rule| {
                rule.is_visible_in(namespace) && scope.follows(rule.namespace(), &service.host)
            })
        })
        .collect();
    let name = names::cluster(names::OUTBOUND, port.number, None, &service.host);
    if port.is_tls {
        let routes = tcp_route::in_mesh_by_server_name(router, &rules, service, port);
        if !routes.is_empty() {
            let chain = |route: tcp_route::SniRoute| FilterChain {
                filter_chain_match: Some(FilterChainMatch {
                    transport_protocol: "tls".to_owned(),
                    // Whatever is asked for, if `*` is among them.
                    server_names: match route.names.iter().any(|name| name == "*") {
                        true => Vec::new(),
                        false => route.names,
                    },
                    ..FilterChainMatch::default()
                }),
                ..router.tcp_chain(&name, route.to)
            };
            return routes.into_iter().map(chain).collect();
        }
    }
    let by_rule = (!port.is_tls).then(|| tcp_route::in_mesh(router, &rules, service, port));
    let to = by_rule.flatten().unwrap_or_else(|| {
        let host = (meant.unwrap_or(service).host.as_str(), None, None);
        ClusterSpecifier::Cluster(router.target(&service.namespace, host, port.number))
    });
    vec![router.tcp_chain(&name, to)]
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
            let service = mesh.services.get(host)?.as_ref();
            if !scope.knows(service, *number) {
                return None;
            }
            Some((*address, service, service.port(*number)?))
        })
}

fn listeners(mesh: &Mesh, client: &Client, opaque: &Opaque, workload: &Workload) -> Vec<AtPort> {
    let requests = requests(mesh);
    served(mesh, client)
        // A service could have chosen the address that is the sidecar's already.
        .filter(|(address, _, port)| {
            (address.to_string().as_str(), port.number) != OUTBOUND_ADDRESS
        })
        .map(|(address, _, port)| {
            let number = port.number;
            let chains = opaque.chains.get(&(address, number));
            let address = address.to_string();
            let mut message = listener(
                names::service_listener(&address, number),
                (&address, number),
                TrafficDirection::Outbound,
                workload,
            );
            message.filter_chains = chains.map_or_else(|| vec![requests.clone()], Clone::clone);
            let mut chains = message.filter_chains.iter();
            if chains.any(|chain| chain.filter_chain_match.is_some()) {
                message.listener_filters = vec![tls_inspector()];
            }
            (number, Arc::new(Resource::new(&message)))
        })
        .collect()
}
