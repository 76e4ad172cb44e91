//! How proxies find the endpoints of a cluster.

use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
    LbPolicy,
};
use mesh_xds::envoy::dynamic_forward_proxy::cluster::ClusterConfig;
use mesh_xds::envoy::dynamic_forward_proxy::cluster::cluster_config::ClusterImplementationSpecifier;
use mesh_xds::envoy::endpoint::ClusterLoadAssignment;
use mesh_xds::pack;

use crate::listener::{ads, dns_cache};
use crate::service::{Discovery, Service};

/// Says in the cluster how its endpoints are found; gives them back if they are a resource of their own.
pub(super) fn apply(
    cluster: &mut Cluster,
    service: &Service,
    assignment: ClusterLoadAssignment,
) -> Option<ClusterLoadAssignment> {
    let kind = match &service.discovery {
        Discovery::Members => DiscoveryType::Eds,
        Discovery::Dns {
            one_address: false, ..
        } => DiscoveryType::StrictDns,
        Discovery::Dns {
            one_address: true, ..
        } => DiscoveryType::LogicalDns,
        Discovery::Requested => {
            requested(cluster);
            return None;
        }
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind as i32));
    if kind == DiscoveryType::Eds {
        cluster.eds_cluster_config = Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        });
        return Some(assignment);
    }
    cluster.dns_lookup_family = DnsLookupFamily::V4Preferred as i32;
    cluster.load_assignment = Some(assignment);
    None
}

/// The endpoint is the host that a request asks for.
pub(super) fn requested(cluster: &mut Cluster) {
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(
            dns_cache(),
        )),
        ..ClusterConfig::default()
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
        typed_config: Some(pack(&config)),
    }));
    cluster.lb_policy = LbPolicy::ClusterProvided as i32;
}
