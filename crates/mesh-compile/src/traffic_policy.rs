//! A DestinationRule's policy in the words of an Envoy cluster, as Istio says it.

use mesh_config::model::{Algorithm, ConnectionPool, LoadBalancer};
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::LbPolicy;
use mesh_xds::envoy::protobuf::Duration;

use crate::destination_rule::Policy;

/// Makes a cluster follow a policy.
pub(crate) fn apply(cluster: &mut Cluster, policy: &Policy) {
    if let Some(pool) = &policy.parts.connection_pool {
        connection_pool(cluster, pool);
    }
    if let Some(balancer) = &policy.parts.load_balancer {
        load_balancer(cluster, balancer);
    }
}

fn load_balancer(cluster: &mut Cluster, balancer: &LoadBalancer) {
    cluster.lb_policy = match &balancer.algorithm {
        Algorithm::RoundRobin => LbPolicy::RoundRobin,
        Algorithm::Random => LbPolicy::Random,
        _ => LbPolicy::LeastRequest,
    } as i32;
}

fn connection_pool(cluster: &mut Cluster, pool: &ConnectionPool) {
    if let Some(timeout) = pool.connect_timeout {
        cluster.connect_timeout = Some(duration(timeout));
    }
}

/// A length of time as protobuf has it.
pub(crate) fn duration(length: std::time::Duration) -> Duration {
    Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or_default(),
    }
}
