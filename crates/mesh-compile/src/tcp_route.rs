//! `tls` and `tcp` routes of VirtualServices: which clusters the connections of a listener go to.
//!
//! At a gateway Istio looks at a match's port and gateways alone: subnets and labels are of no use where the
//! clients are strangers and the address is the gateway's own.

use mesh_config::model::{Layer4Match, RouteDestination};
use mesh_xds::envoy::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};

use crate::route::Router;
use crate::virtual_service::VirtualService;

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
    let clusters: Vec<_> = route
        .iter()
        .filter(|to| to.weight > 0)
        .map(|to| ClusterWeight {
            name: target(to),
            weight: to.weight,
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

fn is_meant(
    virtual_service: &VirtualService,
    entry: &Layer4Match,
    gateway: &str,
    port: u16,
) -> bool {
    entry.port.is_none_or(|own| own == port) && virtual_service.binds_by(&entry.gateways, gateway)
}
