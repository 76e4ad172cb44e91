//! A cluster's balancing, protocols and limits.

use std::time::Duration;

use mesh_xds::envoy::cluster::circuit_breakers::Thresholds;
use mesh_xds::envoy::cluster::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use mesh_xds::envoy::cluster::{CircuitBreakers, UpstreamConnectionOptions};
use mesh_xds::envoy::core::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, RoutingPriority,
};
use mesh_xds::envoy::http_protocol_options::HttpProtocolOptions;
use mesh_xds::envoy::http_protocol_options::http_protocol_options::{
    AutoHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_xds::envoy::protobuf::{Any, UInt32Value, UInt64Value};

use crate::snapshot::field::{At, Refusal, is_set, length, sort_fields, unpack};
use crate::snapshot::{Balance, Connections, Keepalive, Warmup};
use crate::upstream::breaker::Limits;
use crate::upstream::table::Spread;

/// How an endpoint is chosen, and how new ones get their share.
pub(super) fn balance(
    at: &At<'_>,
    policy: i32,
    config: Option<&LbConfig>,
) -> Result<(Balance, Option<Warmup>), Refusal> {
    let mut warmup = None;
    let mut spread = None;
    match config {
        None => {}
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            let at = at.field("least_request_lb_config");
            sort_fields!(at, config => LeastRequestLbConfig {
                takes { choice_count, slow_start_config }
                ignores {}
                refuses { active_request_bias }
            });
            if choice_count.as_ref().is_some_and(|count| count.value != 2) {
                return Err(at.field("choice_count").refuse("must be 2"));
            }
            warmup = slow_start(&at.field("slow_start_config"), slow_start_config.as_ref())?;
        }
        Some(LbConfig::RoundRobinLbConfig(config)) => {
            let at = at.field("round_robin_lb_config");
            sort_fields!(at, config => RoundRobinLbConfig {
                takes { slow_start_config }
                ignores {}
                refuses {}
            });
            warmup = slow_start(&at.field("slow_start_config"), slow_start_config.as_ref())?;
        }
        Some(LbConfig::RingHashLbConfig(config)) => {
            let at = at.field("ring_hash_lb_config");
            sort_fields!(at, config => RingHashLbConfig {
                takes { minimum_ring_size, maximum_ring_size }
                ignores {}
                refuses { hash_function }
            });
            let size = |given: &Option<UInt64Value>| given.as_ref().map(|size| size.value);
            let maximum = size(maximum_ring_size).unwrap_or(LARGEST_RING);
            if maximum > LARGEST_RING {
                return Err(at
                    .field("maximum_ring_size")
                    .refuse(format!("must be at most {LARGEST_RING}")));
            }
            let minimum = size(minimum_ring_size).unwrap_or(RING);
            if minimum == 0 || minimum > maximum {
                return Err(at
                    .field("minimum_ring_size")
                    .refuse(format!("must be from 1 to {maximum}")));
            }
            spread = Some(Spread::Ring { minimum, maximum });
        }
        Some(LbConfig::MaglevLbConfig(config)) => {
            let at = at.field("maglev_lb_config");
            sort_fields!(at, config => MaglevLbConfig {
                takes { table_size }
                ignores {}
                refuses {}
            });
            let size = table_size.as_ref().map_or(MAGLEV, |size| size.value);
            if !(2..=LARGEST_MAGLEV).contains(&size) || !is_prime(size) {
                return Err(at
                    .field("table_size")
                    .refuse(format!("must be a prime number up to {LARGEST_MAGLEV}")));
            }
            spread = Some(Spread::Maglev { size });
        }
        Some(_) => return Err(at.field("lb_config").unsupported()),
    }
    let ring = Spread::Ring {
        minimum: RING,
        maximum: LARGEST_RING,
    };
    let balance = match (LbPolicy::try_from(policy), spread) {
        (Ok(LbPolicy::RoundRobin), None) => Balance::RoundRobin,
        // Provided: that of clusters that know their endpoints by themselves; each has one, then.
        (Ok(LbPolicy::LeastRequest | LbPolicy::ClusterProvided), None) => Balance::LeastRequest,
        (Ok(LbPolicy::Random), None) => Balance::Random,
        (Ok(LbPolicy::RingHash), None) => Balance::Hash(ring),
        (Ok(LbPolicy::RingHash), Some(spread @ Spread::Ring { .. }))
        | (Ok(LbPolicy::Maglev), Some(spread @ Spread::Maglev { .. })) => Balance::Hash(spread),
        (Ok(LbPolicy::Maglev), None) => Balance::Hash(Spread::Maglev { size: MAGLEV }),
        (_, Some(_)) => return Err(at.field("lb_config").refuse("does not go with lb_policy")),
        _ => {
            return Err(at.field("lb_policy").refuse(
                "only ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH and MAGLEV are supported",
            ));
        }
    };
    Ok((balance, warmup))
}

/// Envoy's defaults and limits.
const RING: u64 = 1024;
const LARGEST_RING: u64 = 8 << 20;
const MAGLEV: u64 = 65_537;
const LARGEST_MAGLEV: u64 = 5_000_011;

fn is_prime(number: u64) -> bool {
    (2..)
        .take_while(|n| n * n <= number)
        .all(|n| !number.is_multiple_of(n))
}

fn slow_start(at: &At<'_>, config: Option<&SlowStartConfig>) -> Result<Option<Warmup>, Refusal> {
    let Some(config) = config else {
        return Ok(None);
    };
    sort_fields!(at, config => SlowStartConfig {
        takes { slow_start_window, aggression, min_weight_percent }
        ignores {}
        refuses {}
    });
    let window = slow_start_window.as_ref();
    let window = window.ok_or_else(|| at.field("slow_start_window").refuse("is missing"))?;
    let aggression = aggression
        .as_ref()
        .map_or(1.0, |double| double.default_value);
    if !(aggression > 0.0 && aggression.is_finite()) {
        return Err(at.field("aggression").refuse("must be above 0"));
    }
    let least = min_weight_percent
        .as_ref()
        .map_or(10.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&least) {
        return Err(at
            .field("min_weight_percent")
            .refuse("must be from 0 to 100"));
    }
    Ok(Some(Warmup {
        window: length(&at.field("slow_start_window"), window)?,
        least: least / 100.0,
        aggression,
    }))
}

/// A percentage, cut to a whole one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is from 0 to 100"
)]
pub(super) fn whole_percent(at: &At<'_>, percent: f64) -> Result<u32, Refusal> {
    if !(0.0..=100.0).contains(&percent) {
        return Err(at.refuse("must be from 0 to 100"));
    }
    Ok(percent as u32)
}

/// TCP keep-alive.
pub(super) fn keepalive(
    at: &At<'_>,
    message: &UpstreamConnectionOptions,
) -> Result<Option<Keepalive>, Refusal> {
    sort_fields!(at, message => UpstreamConnectionOptions {
        takes { tcp_keepalive }
        ignores { happy_eyeballs_config }
        refuses { set_local_interface_name_on_upstream_connections }
    });
    let seconds = |value: &Option<UInt32Value>| {
        value
            .as_ref()
            .map(|seconds| Duration::from_secs(u64::from(seconds.value)))
    };
    Ok(tcp_keepalive.as_ref().map(|message| Keepalive {
        probes: message.keepalive_probes.as_ref().map(|probes| probes.value),
        time: seconds(&message.keepalive_time),
        interval: seconds(&message.keepalive_interval),
    }))
}

/// HTTP/2 in plain text, and the protocols offered over TLS where the context names none.
pub(super) fn protocols(
    at: &At<'_>,
    any: &Any,
    connections: &mut Connections,
) -> Result<(bool, &'static [&'static str]), Refusal> {
    let options: HttpProtocolOptions = unpack(at, any)?;
    sort_fields!(at, &options => HttpProtocolOptions {
        takes { upstream_protocol_options, common_http_protocol_options }
        ignores {}
        refuses {
            upstream_http_protocol_options, http_filters,
            header_validation_config, outlier_detection, request_mirror_policies, hash_policy, retry_policy,
        }
    });
    if let Some(common) = common_http_protocol_options {
        lifetimes(
            &at.field("common_http_protocol_options"),
            common,
            connections,
        )?;
    }
    match upstream_protocol_options {
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => {
            let at = at.field("auto_config");
            sort_fields!(at, auto => AutoHttpConfig {
                takes { http_protocol_options, http2_protocol_options }
                ignores {}
                refuses { http3_protocol_options, alternate_protocols_cache_options }
            });
            only_defaults(
                &at.field("http_protocol_options"),
                http_protocol_options.as_ref(),
            )?;
            streams(
                &at.field("http2_protocol_options"),
                http2_protocol_options.as_ref(),
                connections,
            )?;
            Ok((false, &["h2", "http/1.1"]))
        }
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            let at = at.field("explicit_http_config");
            match &explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(options)) => {
                    only_defaults(&at.field("http_protocol_options"), Some(options))?;
                    Ok((false, &["http/1.1"]))
                }
                Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                    streams(
                        &at.field("http2_protocol_options"),
                        Some(options),
                        connections,
                    )?;
                    Ok((true, &["h2"]))
                }
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                    Err(at.field("http3_protocol_options").unsupported())
                }
                None => Err(at.refuse("names no protocol")),
            }
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => {
            Err(at.field("use_downstream_protocol_config").unsupported())
        }
        None => Err(at.refuse("names no protocol")),
    }
}

/// How long connections live.
fn lifetimes(
    at: &At<'_>,
    message: &CommonOptions,
    connections: &mut Connections,
) -> Result<(), Refusal> {
    sort_fields!(at, message => CommonOptions {
        takes { idle_timeout, max_connection_duration, max_requests_per_connection }
        ignores {}
        refuses {
            max_connection_duration_jitter, max_headers_count, max_response_headers_kb, max_stream_duration,
            headers_with_underscores_action,
        }
    });
    if let Some(idle) = idle_timeout {
        connections.idle = Some(length(&at.field("idle_timeout"), idle)?);
    }
    if let Some(age) = max_connection_duration {
        let age = length(&at.field("max_connection_duration"), age)?;
        connections.age = (!age.is_zero()).then_some(age);
    }
    connections.requests = max_requests_per_connection
        .as_ref()
        .map_or(0, |most| most.value);
    Ok(())
}

/// How many requests an HTTP/2 connection carries at once; all else must be as usual.
fn streams(
    at: &At<'_>,
    options: Option<&Http2ProtocolOptions>,
    connections: &mut Connections,
) -> Result<(), Refusal> {
    let Some(options) = options else {
        return Ok(());
    };
    connections.streams = options
        .max_concurrent_streams
        .as_ref()
        .map_or(0, |most| most.value);
    let others = Http2ProtocolOptions {
        max_concurrent_streams: None,
        ..options.clone()
    };
    only_defaults(at, Some(&others))
}

fn only_defaults<T: Default + PartialEq>(at: &At<'_>, options: Option<&T>) -> Result<(), Refusal> {
    match options {
        Some(options) if is_set(options) => Err(at.unsupported()),
        _ => Ok(()),
    }
}

/// How much there may be at once. Istio raises Envoy's limits to the maximum where the user gives none: that is
/// no limit at all, and so is what is not said.
pub(super) fn limits(at: &At<'_>, message: &CircuitBreakers) -> Result<Option<Limits>, Refusal> {
    sort_fields!(at, message => CircuitBreakers {
        takes { thresholds }
        ignores {}
        refuses { per_host_thresholds }
    });
    let mut limits = Limits::NONE;
    for (i, message) in thresholds.iter().enumerate() {
        let at = at.item("thresholds", i);
        sort_fields!(at, message => Thresholds {
            takes {
                priority, max_connections, max_pending_requests, max_requests, max_retries, max_connection_pools,
            }
            ignores { track_remaining }
            refuses { retry_budget }
        });
        let is_set = |limit: &Option<UInt32Value>| {
            limit
                .as_ref()
                .map(|limit| limit.value)
                .filter(|limit| *limit != u32::MAX)
        };
        if is_set(max_connection_pools).is_some() {
            return Err(at
                .field("max_connection_pools")
                .refuse("limits are not supported"));
        }
        if *priority != RoutingPriority::Default as i32 {
            // Requests of this proxy are all of default priority.
            continue;
        }
        for (limit, given) in [
            (&mut limits.connections, max_connections),
            (&mut limits.pending, max_pending_requests),
            (&mut limits.requests, max_requests),
            (&mut limits.retries, max_retries),
        ] {
            *limit = is_set(given).unwrap_or(u32::MAX);
        }
    }
    Ok((limits != Limits::NONE).then_some(limits))
}
