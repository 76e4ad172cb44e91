//! Clusters for tests of balancing and of outlier detection.

use std::sync::Arc;
use std::time::Duration;

use super::{ClusterState, EndpointState};
use crate::snapshot::{Balance, Cluster, Connections, Endpoint, tiers_for_tests};

/// A cluster whose endpoints have these priorities, places and weights. A place's share is that of its number
/// and one more.
pub(crate) fn cluster(balance: Balance, endpoints: &[(u32, usize, u32)]) -> Cluster {
    let endpoint = |(i, (_, _, weight)): (usize, &(u32, usize, u32))| {
        Arc::new(Endpoint {
            address: format!("10.0.0.{i}:80").into(),
            workload: Arc::default(),
            tls: None,
            weight: *weight,
            health: Arc::default(),
            state: Arc::new(EndpointState::new(1)),
        })
    };
    let all: Vec<_> = endpoints.iter().enumerate().map(endpoint).collect();
    let keys: Vec<_> = endpoints
        .iter()
        .map(|(priority, place, _)| (*priority, *place, u32::try_from(*place).unwrap_or(0) + 1))
        .collect();
    Cluster {
        name: "outbound|80||web".into(),
        service: Arc::default(),
        is_flat: endpoints.iter().all(|one| *one == (0, 0, 1))
            && !matches!(balance, Balance::Hash(_)),
        tiers: tiers_for_tests(&all, &keys, balance),
        endpoints: all,
        balance,
        warmup: None,
        panic_percent: 0,
        outlier: None,
        limits: None,
        connections: Connections::default(),
        http2: false,
        connect_timeout: Duration::from_secs(1),
        state: Arc::new(ClusterState::new(1)),
        dynamic: None,
    }
}
