//! `tls` and `tcp` routes of VirtualServices: which clusters the connections of a listener go to.
//!
//! Sidecars listen for each service at an address of its own, so everything that a match asks for but the server
//! name is known when the routes are written. At a gateway Istio looks at a match's port and gateways alone: subnets and labels are of no use where the
//! clients are strangers and the address is the gateway's own.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_config::model::{IpBlock, Layer4Match, RouteDestination};
use mesh_xds::envoy::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};

use crate::client::Client;
use crate::route::{Router, fitting};
use crate::service::{Port, Service};
use crate::virtual_service::{MESH, VirtualService};
use crate::workload::has_labels;

/// Where connections go that ask for one of some server names.
#[derive(Debug)]
pub(crate) struct SniRoute {
    /// Lower case: exact, or `*.suffix`.
    pub(crate) names: Vec<String>,
    pub(crate) to: ClusterSpecifier,
}

/// The clusters of a route's destinations, chosen once for each connection. `None` if no destination has a
/// weight.
pub(crate) fn destinations(
    router: &mut Router<'_>,
    virtual_service: &VirtualService,
    route: &[RouteDestination],
    port: u16,
) -> Option<ClusterSpecifier> {
    let mut target = |to: &RouteDestination| {
        let parts = (to.host.as_str(), to.subset.as_deref(), to.port);
        router.target(virtual_service.namespace(), parts, port)
    };
    // A destination that is alone takes everything, whatever its weight.
    if let [only] = route {
        return Some(ClusterSpecifier::Cluster(target(only)));
    }
    let weighted: Vec<_> = route.iter().filter(|to| to.weight > 0).collect();
    let weights = fitting(weighted.iter().map(|to| to.weight));
    let clusters: Vec<_> = weighted
        .into_iter()
        .zip(weights)
        .map(|(to, weight)| ClusterWeight {
            name: target(to),
            weight,
            ..ClusterWeight::default()
        })
        .collect();
    match clusters.as_slice() {
        [] => None,
        [only] => Some(ClusterSpecifier::Cluster(only.name.clone())),
        _ => Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters,
        })),
    }
}

/// Where the connections at a port of a gateway go: what the first `tcp` route says that is meant for them.
pub(crate) fn at_gateway(
    router: &mut Router<'_>,
    virtual_service: &VirtualService,
    gateway: &str,
    port: u16,
) -> Option<ClusterSpecifier> {
    let route = virtual_service.tcp().iter().find(|route| {
        let always = route.matches.is_empty() && virtual_service.binds_whole(gateway);
        let entries = &route.matches;
        always
            || entries
                .iter()
                .any(|entry| is_meant(virtual_service, entry, gateway, port))
    })?;
    destinations(router, virtual_service, &route.route, port)
}

/// Where TLS at a port of a gateway goes that it does not terminate.
pub(crate) fn by_server_name(
    router: &mut Router<'_>,
    virtual_service: &VirtualService,
    gateway: &str,
    port: u16,
) -> Vec<SniRoute> {
    let mut routes = Vec::new();
    for route in virtual_service.tls() {
        for entry in &route.matches {
            if is_meant(virtual_service, &entry.layer4, gateway, port)
                && let Some(to) = destinations(router, virtual_service, &route.route, port)
            {
                let names = entry.sni_hosts.clone();
                routes.push(SniRoute { names, to });
            }
        }
    }
    routes
}

/// Where the connections go that a client of the mesh makes to a port of a service: what the first `tcp` route
/// says that is meant for them. `rules` are those that the client follows for the service.
pub(crate) fn in_mesh(
    router: &mut Router<'_>,
    rules: &[&VirtualService],
    service: &Service,
    port: &Port,
) -> Option<ClusterSpecifier> {
    let number = port.number;
    rules.iter().find_map(|rule| {
        let route = rule.tcp().iter().find(|route| {
            let always = route.matches.is_empty() && rule.binds_whole(MESH);
            let mut entries = route.matches.iter();
            always || entries.any(|entry| takes(rule, entry, router.client, service, number))
        })?;
        destinations(router, rule, &route.route, number)
    })
}

/// Where the TLS of a client of the mesh goes to a port of a service, by server name; each name is in the first
/// route only that is meant for it. `rules` are as for [`in_mesh`].
pub(crate) fn in_mesh_by_server_name(
    router: &mut Router<'_>,
    rules: &[&VirtualService],
    service: &Service,
    port: &Port,
) -> Vec<SniRoute> {
    let number = port.number;
    let mut taken = BTreeSet::new();
    let mut routes = Vec::new();
    for rule in rules {
        let entries = (rule.tls().iter())
            .flat_map(|route| route.matches.iter().map(move |entry| (route, entry)));
        for (route, entry) in entries {
            if !takes(rule, &entry.layer4, router.client, service, number) {
                continue;
            }
            let names = entry.sni_hosts.iter().filter(|name| !taken.contains(*name));
            let names: BTreeSet<String> = names.cloned().collect();
            if !names.is_empty()
                && let Some(to) = destinations(router, rule, &route.route, number)
            {
                taken.extend(names.iter().cloned());
                let names = names.into_iter().collect();
                routes.push(SniRoute { names, to });
            }
        }
    }
    routes
}

/// Whether an entry is meant for what this client sends to a port of a service.
fn takes(
    rule: &VirtualService,
    entry: &Layer4Match,
    client: &Client,
    service: &Service,
    port: u16,
) -> bool {
    let namespace = entry.source_namespace.as_ref();
    is_meant(rule, entry, MESH, port)
        && has_labels(&client.labels, &entry.source_labels)
        && namespace.is_none_or(|namespace| *namespace == client.namespace)
        && (entry.destination_subnets.is_empty() || is_within(service, &entry.destination_subnets))
}

/// Whether a service is known under an address of one of these subnets.
fn is_within(service: &Service, subnets: &[String]) -> bool {
    let written = (service.addresses.iter()).filter_map(|address| address.parse().ok());
    let addresses: Vec<IpAddr> = written.chain([service.address.into()]).collect();
    let blocks = subnets.iter().filter_map(|subnet| IpBlock::parse(subnet));
    blocks.into_iter().any(|block| {
        let mut addresses = addresses.iter();
        addresses.any(|address| block.contains(*address))
    })
}

fn is_meant(
    virtual_service: &VirtualService,
    entry: &Layer4Match,
    gateway: &str,
    port: u16,
) -> bool {
    entry.port.is_none_or(|own| own == port) && virtual_service.binds_by(&entry.gateways, gateway)
}
