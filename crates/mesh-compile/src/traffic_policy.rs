//! A DestinationRule's policy in the words of an Envoy cluster, as Istio says it.

use mesh_config::model::{
    Algorithm, ConnectionPool, HashTable, Keepalive, LoadBalancer, OutlierDetection, Warmup,
};
use mesh_xds::envoy::cluster::circuit_breakers::Thresholds;
use mesh_xds::envoy::cluster::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
    RoundRobinLbConfig, SlowStartConfig,
    common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
};
use mesh_xds::envoy::cluster::{
    CircuitBreakers, Cluster, OutlierDetection as Outlier, UpstreamConnectionOptions,
};
use mesh_xds::envoy::core::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, RuntimeDouble, TcpKeepalive,
};
use mesh_xds::envoy::http_protocol_options::HttpProtocolOptions;
use mesh_xds::envoy::http_protocol_options::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_xds::envoy::protobuf::{BoolValue, Duration, UInt32Value, UInt64Value};
use mesh_xds::envoy::types::Percent;

use crate::destination_rule::Policy;
use crate::locality;

/// Makes a cluster follow a policy.
pub(crate) fn apply(cluster: &mut Cluster, policy: &Policy) {
    let none = ConnectionPool::default();
    connection_pool(
        cluster,
        policy.parts.connection_pool.as_ref().unwrap_or(&none),
    );
    if let Some(balancer) = &policy.parts.load_balancer {
        load_balancer(cluster, balancer);
    }
    let mut common = CommonLbConfig::default();
    if let Some(outlier) = &policy.parts.outlier_detection {
        cluster.outlier_detection = Some(outlier_detection(outlier));
        // Said even if it is 0: Envoy's own is 50 %.
        common.healthy_panic_threshold = Some(Percent {
            value: f64::from(outlier.min_health_percent),
        });
    }
    if locality::has_shares(policy) {
        common.locality_config_specifier = Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
            LocalityWeightedLbConfig::default(),
        ));
    }
    cluster.common_lb_config = (common != CommonLbConfig::default()).then_some(common);
}

/// No limits: Envoy's own would be 1024, and 3 for retries.
pub(crate) fn no_limits() -> CircuitBreakers {
    breakers(&ConnectionPool::default())
}

fn breakers(pool: &ConnectionPool) -> CircuitBreakers {
    let limit = |limit: Option<u32>| number(Some(limit.unwrap_or(u32::MAX)));
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(pool.max_connections),
            max_pending_requests: limit(pool.max_pending_requests),
            max_requests: limit(pool.max_requests),
            max_retries: limit(pool.max_retries),
            track_remaining: true,
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}

fn connection_pool(cluster: &mut Cluster, pool: &ConnectionPool) {
    if let Some(timeout) = pool.connect_timeout {
        cluster.connect_timeout = Some(duration(timeout));
    }
    cluster.circuit_breakers = Some(breakers(pool));
    if let Some(keepalive) = &pool.keepalive {
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..UpstreamConnectionOptions::default()
        });
    }
}

fn tcp_keepalive(keepalive: &Keepalive) -> TcpKeepalive {
    let seconds = |length: Option<std::time::Duration>| {
        number(length.map(|length| u32::try_from(length.as_secs().max(1)).unwrap_or(u32::MAX)))
    };
    TcpKeepalive {
        keepalive_probes: number(keepalive.probes),
        keepalive_time: seconds(keepalive.time),
        keepalive_interval: seconds(keepalive.interval),
    }
}

/// What a policy says about HTTP connections.
pub(crate) fn http_options(options: &mut HttpProtocolOptions, policy: &Policy) {
    let Some(pool) = &policy.parts.connection_pool else {
        return;
    };
    let common = CommonOptions {
        idle_timeout: pool
            .http_idle_timeout
            .or(pool.tcp_idle_timeout)
            .map(duration),
        max_connection_duration: pool.max_connection_duration.map(duration),
        max_requests_per_connection: number(pool.max_requests_per_connection),
        ..CommonOptions::default()
    };
    options.common_http_protocol_options = (common != CommonOptions::default()).then_some(common);
    let Some(streams) = pool.max_concurrent_streams else {
        return;
    };
    let http2: Option<&mut Http2ProtocolOptions> = match &mut options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => auto.http2_protocol_options.as_mut(),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match &mut explicit.protocol_config {
                Some(ProtocolConfig::Http2ProtocolOptions(http2)) => Some(http2),
                _ => None,
            }
        }
        _ => None,
    };
    if let Some(http2) = http2 {
        http2.max_concurrent_streams = number(Some(streams));
    }
}

fn load_balancer(cluster: &mut Cluster, balancer: &LoadBalancer) {
    let slow_start_config = balancer.warmup.as_ref().map(slow_start);
    let has_warmup = slow_start_config.is_some();
    let (policy, config) = match &balancer.algorithm {
        Algorithm::RoundRobin => (
            LbPolicy::RoundRobin,
            has_warmup.then_some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                slow_start_config,
            })),
        ),
        Algorithm::Random => (LbPolicy::Random, None),
        Algorithm::ConsistentHash(hash) => match hash.table {
            HashTable::Ring(size) => (
                LbPolicy::RingHash,
                Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                    minimum_ring_size: Some(UInt64Value {
                        value: size.unwrap_or(1024),
                    }),
                    ..RingHashLbConfig::default()
                })),
            ),
            HashTable::Maglev(size) => (
                LbPolicy::Maglev,
                size.map(|size| {
                    LbConfig::MaglevLbConfig(MaglevLbConfig {
                        table_size: Some(UInt64Value { value: size }),
                    })
                }),
            ),
        },
        // There is no address that the client asked for besides the service's own.
        Algorithm::LeastRequest | Algorithm::Passthrough => (
            LbPolicy::LeastRequest,
            has_warmup.then_some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                slow_start_config,
                ..LeastRequestLbConfig::default()
            })),
        ),
    };
    cluster.lb_policy = policy as i32;
    cluster.lb_config = config;
}

#[expect(
    clippy::cast_precision_loss,
    reason = "thousandths of what a person writes"
)]
fn slow_start(warmup: &Warmup) -> SlowStartConfig {
    let thousandths = |number: u64| number as f64 / 1000.0;
    SlowStartConfig {
        slow_start_window: Some(duration(warmup.duration)),
        aggression: warmup.milli_aggression.map(|aggression| RuntimeDouble {
            default_value: thousandths(aggression),
            // Envoy asks for a name although nothing reads it.
            runtime_key: "mesh.aggression".to_owned(),
        }),
        min_weight_percent: warmup.minimum_millipercent.map(|percent| Percent {
            value: thousandths(percent),
        }),
    }
}

fn outlier_detection(outlier: &OutlierDetection) -> Outlier {
    let enforcing = |limit: Option<u32>| number(limit.map(|limit| if limit > 0 { 100 } else { 0 }));
    let local = outlier
        .consecutive_local_failures
        .filter(|limit| outlier.split_local_errors && *limit > 0);
    Outlier {
        consecutive_5xx: number(outlier.consecutive_5xx),
        enforcing_consecutive_5xx: enforcing(outlier.consecutive_5xx),
        consecutive_gateway_failure: number(outlier.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforcing(outlier.consecutive_gateway_errors),
        split_external_local_origin_errors: outlier.split_local_errors,
        consecutive_local_origin_failure: number(local),
        enforcing_consecutive_local_origin_failure: enforcing(local),
        enforcing_success_rate: number(Some(0)),
        enforcing_local_origin_success_rate: outlier
            .split_local_errors
            .then_some(UInt32Value { value: 0 }),
        interval: outlier.interval.map(duration),
        base_ejection_time: outlier.base_ejection_time.map(duration),
        max_ejection_percent: number(outlier.max_ejection_percent),
        // Ten percent of a few endpoints would be none.
        always_eject_one_host: Some(BoolValue { value: true }),
        ..Outlier::default()
    }
}

fn number(value: Option<u32>) -> Option<UInt32Value> {
    value.map(|value| UInt32Value { value })
}

/// A length of time as protobuf has it.
pub(crate) fn duration(length: std::time::Duration) -> Duration {
    Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or_default(),
    }
}
