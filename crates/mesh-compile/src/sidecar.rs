//! A sidecar's resources: what it takes for its workload (`inbound`), and where it may send that workload's
//! traffic: requests by their Host, and what comes in at the services' own addresses (`addresses`).

mod addresses;
mod inbound;

use std::collections::HashSet;
use std::sync::Arc;

use mesh_config::model::OutboundPolicy;
use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::listener::FilterChain;
use mesh_xds::envoy::route::{Route, VirtualHost};
use mesh_xds::node::NodeMetadata;
use mesh_xds::{Base, Resource, ResourceSet, ResourceType, names};

use self::addresses::ByAddress;
use self::inbound::Inbound;
use crate::client::Client;
use crate::encoded::Security;
use crate::listener::{Callers, http_chain, listener, rds, route_configuration};
use crate::mesh::Mesh;
use crate::route::{Router, direct_response};
use crate::service::{Port, Service};
use crate::virtual_service::{MESH, VirtualService};
use crate::visibility::Scope;
use crate::{cluster, matcher, route};

const OUTBOUND_ADDRESS: (&str, u16) = ("127.0.0.1", 15001);

/// What a host that is no service's own name is taken for.
const HTTP_PORT: u16 = 80;

/// All resources of one sidecar; `outbound` is what it shares with equal clients.
pub(crate) fn resources(mesh: &Mesh, node: &NodeMetadata, outbound: &Outbound) -> ResourceSet {
    let own = mesh.workloads.of_node(node);
    let mut set = ResourceSet::with_base(match node.listen_services {
        true => outbound.by_address.base(mesh),
        false => &outbound.base,
    });
    let mut virtual_outbound = listener(
        names::VIRTUAL_OUTBOUND.to_owned(),
        OUTBOUND_ADDRESS,
        TrafficDirection::Outbound,
        &own.workload,
    );
    virtual_outbound.filter_chains = vec![requests(mesh)];
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
    if node.listen_services {
        let app_ports = own.ports.known().chain(inbound.app_ports()).collect();
        outbound
            .by_address
            .add_to(&mut set, mesh, &own.workload, &app_ports);
    }
    set
}

/// HTTP requests to wherever their Host says.
fn requests(mesh: &Mesh) -> FilterChain {
    http_chain(
        names::OUTBOUND_ROUTES,
        names::OUTBOUND_ROUTES,
        rds(names::OUTBOUND_ROUTES),
        Callers::App,
        &mesh.settings.mesh,
    )
}

/// What the sidecars of equal clients have in common: routes, clusters and endpoints.
#[derive(Debug)]
pub(crate) struct Outbound {
    base: Base,
    by_address: ByAddress,
}

impl Outbound {
    pub(crate) fn build(mesh: &Mesh, client: &Client) -> Self {
        let mut router = Router::new(mesh, client);
        let mut hosts = Hosts::default();
        let scope = Scope::new(&mesh.sidecars, client);
        for service in mesh.services.values() {
            let meant = service.alias_of.as_ref();
            let meant = meant.and_then(|host| mesh.services.get(host));
            let ports = service.request_ports();
            for port in ports.filter(|port| scope.knows(service, port.number)) {
                let rule = |host: &str| rule_for(mesh, client, &scope, host, port.number);
                let routes = match rule(&service.host).or_else(|| rule(&meant?.host)) {
                    Some(rule) => router.routes(rule, MESH, port.number),
                    None => vec![router.default_route(meant.unwrap_or(service), port)],
                };
                hosts.add_service(service, port, routes, &client.namespace);
            }
        }
        for (_, rule) in mesh.virtual_services.of_gateway(MESH) {
            if !rule.speaks_for(MESH, client, HTTP_PORT) || !rule.is_visible_in(&client.namespace) {
                continue;
            }
            let is_followed = |host: &&String| scope.follows(rule.namespace(), host);
            let others = rule.hosts.iter().filter(|host| !is_served(mesh, host));
            for host in others.filter(is_followed) {
                let routes = router.routes(rule, MESH, HTTP_PORT);
                hosts.add_other(host, routes);
            }
        }
        let outbound = scope.outbound().unwrap_or(mesh.settings.mesh.outbound);
        let virtual_hosts = hosts.into_virtual_hosts(match outbound {
            OutboundPolicy::AllowAny => allow_any,
            OutboundPolicy::RegistryOnly => block_all,
        });
        let routes = route_configuration(names::OUTBOUND_ROUTES, virtual_hosts);
        let mut resources = vec![(ResourceType::Route, Arc::new(Resource::new(&routes)))];
        if outbound == OutboundPolicy::AllowAny {
            let cluster = Resource::new(&cluster::passthrough(mesh));
            resources.push((ResourceType::Cluster, Arc::new(cluster)));
        }
        let clusters = &router.clusters;
        resources.extend(
            mesh.encoded
                .clusters(mesh, client, Security::Ours, clusters),
        );
        let base = resources.into_iter().collect();
        Self {
            by_address: ByAddress::new(mesh, client, &base),
            base,
        }
    }
}

/// The VirtualService that a client follows for a host and port.
fn rule_for<'a>(
    mesh: &'a Mesh,
    client: &Client,
    scope: &Scope<'_>,
    host: &str,
    port: u16,
) -> Option<&'a VirtualService> {
    mesh.virtual_services.in_mesh(host, |rule| {
        rule.speaks_for(MESH, client, port)
            && rule.is_visible_in(&client.namespace)
            && scope.follows(rule.namespace(), host)
    })
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
        let mut short: Vec<String> = Vec::new();
        if !service.is_entry {
            short.extend(forms(format!("{name}.{namespace}.svc")));
            short.extend(forms(format!("{name}.{namespace}")));
            if namespace == client {
                short.extend(forms(name.clone()));
            }
        }
        short.extend(service.addresses.iter().flat_map(|address| match address {
            v6 if v6.contains(':') => forms(format!("[{v6}]")),
            v4 => forms(v4.clone()),
        }));
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
            include_request_attempt_count: true,
            ..VirtualHost::default()
        };
        self.virtual_hosts.push((host, domains));
    }

    /// `rest` makes the one for all other hosts.
    fn into_virtual_hosts(mut self, rest: fn() -> VirtualHost) -> Vec<VirtualHost> {
        let mut taken: HashSet<String> = HashSet::new();
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
            hosts.push(rest());
        }
        hosts
    }
}

/// Hosts that the mesh does not know are asked themselves.
fn allow_any() -> VirtualHost {
    VirtualHost {
        name: "allow_any".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            name: "allow_any".to_owned(),
            ..route::local(cluster::PASSTHROUGH)
        }],
        ..VirtualHost::default()
    }
}

/// Hosts that the mesh does not know are refused.
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
