//! TCP proxies: the filter of chains whose bytes nobody looks into.
//!
//! A chain that goes on as it was keeps its [`TcpProxy`], and with it the place in the round of its weights.

use std::sync::Arc;
use std::time::Duration;

use mesh_xds::envoy::tcp_proxy as pb;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};

use super::field::{At, Refusal, length, sort_fields};
use super::route::sum_of_weights;
use super::{Split, TcpProxy, hash};

/// Attempts to get a connection, if the filter does not say: those of a request with Istio's two retries.
const ATTEMPTS: u32 = 3;
/// Envoy's default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Reads a TCP proxy; `before` is the one that it replaces.
pub(super) fn compile(
    at: &At<'_>,
    message: &pb::TcpProxy,
    before: Option<&Arc<TcpProxy>>,
    workers: usize,
) -> Result<Arc<TcpProxy>, Refusal> {
    use pb::TcpProxy as Message;
    sort_fields!(at, message => Message {
        takes { idle_timeout, max_connect_attempts, cluster_specifier, hash_policy }
        // A name for statistics.
        ignores { stat_prefix }
        refuses {
            on_demand, metadata_match, downstream_idle_timeout, upstream_idle_timeout, access_log,
            backoff_options, tunneling_config, max_downstream_connection_duration,
            max_downstream_connection_duration_jitter_percentage, access_log_flush_interval,
            flush_access_log_on_connected, access_log_options, proxy_protocol_tlvs,
            proxy_protocol_tlv_merge_policy, upstream_connect_mode, max_early_data_bytes, check_drain_close,
        }
    });
    let targets = match cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            vec![(name.as_str().into(), 1)]
        }
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            weighted(&at.field("weighted_clusters"), clusters)?
        }
        _ => return Err(at.refuse("names no cluster; set cluster or weighted_clusters")),
    };
    let attempts = max_connect_attempts.as_ref().map_or(ATTEMPTS, |n| n.value);
    if attempts == 0 {
        return Err(at.field("max_connect_attempts").refuse("must be 1 or more"));
    }
    let idle_timeout = match idle_timeout {
        None => Some(IDLE_TIMEOUT),
        Some(timeout) => {
            let timeout = length(&at.field("idle_timeout"), timeout)?;
            (!timeout.is_zero()).then_some(timeout)
        }
    };
    let now = TcpProxy {
        split: Split::new(targets, workers),
        attempts,
        idle_timeout,
        by_source: hash::by_source(at, hash_policy)?,
    };
    let goes_on = |before: &&Arc<TcpProxy>| {
        before.split.targets == now.split.targets
            && before.split.state.len() == workers
            && before.attempts == now.attempts
            && before.idle_timeout == now.idle_timeout
            && before.by_source == now.by_source
    };
    Ok(before
        .filter(goes_on)
        .cloned()
        .unwrap_or_else(|| Arc::new(now)))
}

fn weighted(at: &At<'_>, message: &WeightedCluster) -> Result<Vec<(Arc<str>, u32)>, Refusal> {
    let WeightedCluster { clusters } = message;
    let mut targets = Vec::with_capacity(clusters.len());
    for (i, target) in clusters.iter().enumerate() {
        let at = at.item("clusters", i);
        sort_fields!(at, target => ClusterWeight {
            takes { name, weight }
            ignores {}
            refuses { metadata_match }
        });
        if name.is_empty() {
            return Err(at.field("name").refuse("is empty"));
        }
        targets.push((name.as_str().into(), *weight));
    }
    sum_of_weights(at, &targets)?;
    Ok(targets)
}

#[cfg(test)]
mod tests;
