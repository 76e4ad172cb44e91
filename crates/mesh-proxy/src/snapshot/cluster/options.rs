//! A cluster's balancing, protocols and limits.

use mesh_xds::envoy::cluster::CircuitBreakers;
use mesh_xds::envoy::cluster::circuit_breakers::Thresholds;
use mesh_xds::envoy::cluster::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, RoundRobinLbConfig,
};
use mesh_xds::envoy::http_protocol_options::HttpProtocolOptions;
use mesh_xds::envoy::http_protocol_options::http_protocol_options::{
    AutoHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_xds::envoy::protobuf::Any;

use crate::snapshot::Balance;
use crate::snapshot::field::{At, Refusal, is_set, sort_fields, unpack};

/// How an endpoint is chosen.
pub(super) fn balance(
    at: &At<'_>,
    policy: i32,
    config: Option<&LbConfig>,
) -> Result<Balance, Refusal> {
    match config {
        None => {}
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            let at = at.field("least_request_lb_config");
            sort_fields!(at, config => LeastRequestLbConfig {
                takes { choice_count }
                ignores {}
                refuses { active_request_bias, slow_start_config }
            });
            if choice_count.as_ref().is_some_and(|count| count.value != 2) {
                return Err(at.field("choice_count").refuse("must be 2"));
            }
        }
        Some(LbConfig::RoundRobinLbConfig(config)) => {
            let at = at.field("round_robin_lb_config");
            sort_fields!(at, config => RoundRobinLbConfig {
                takes {}
                ignores {}
                refuses { slow_start_config }
            });
        }
        Some(_) => return Err(at.field("lb_config").unsupported()),
    }
    match LbPolicy::try_from(policy) {
        Ok(LbPolicy::RoundRobin) => Ok(Balance::RoundRobin),
        // That of clusters that know their endpoints by themselves; each has one, then.
        Ok(LbPolicy::LeastRequest | LbPolicy::ClusterProvided) => Ok(Balance::LeastRequest),
        Ok(LbPolicy::Random) => Ok(Balance::Random),
        _ => Err(at
            .field("lb_policy")
            .refuse("only ROUND_ROBIN, LEAST_REQUEST and RANDOM are supported")),
    }
}

/// HTTP/2 in plain text, and the protocols offered over TLS where the context names none.
pub(super) fn protocols(
    at: &At<'_>,
    any: &Any,
) -> Result<(bool, &'static [&'static str]), Refusal> {
    let options: HttpProtocolOptions = unpack(at, any)?;
    sort_fields!(at, &options => HttpProtocolOptions {
        takes { upstream_protocol_options }
        ignores {}
        refuses {
            common_http_protocol_options, upstream_http_protocol_options, http_filters,
            header_validation_config, outlier_detection, request_mirror_policies, hash_policy, retry_policy,
        }
    });
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
            only_defaults(
                &at.field("http2_protocol_options"),
                http2_protocol_options.as_ref(),
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
                    only_defaults(&at.field("http2_protocol_options"), Some(options))?;
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

fn only_defaults<T: Default + PartialEq>(at: &At<'_>, options: Option<&T>) -> Result<(), Refusal> {
    match options {
        Some(options) if is_set(options) => Err(at.unsupported()),
        _ => Ok(()),
    }
}

/// Istio raises Envoy's limits to the maximum: that is none, which is what we have.
pub(super) fn without_limits(at: &At<'_>, message: &CircuitBreakers) -> Result<(), Refusal> {
    sort_fields!(at, message => CircuitBreakers {
        takes { thresholds }
        ignores {}
        refuses { per_host_thresholds }
    });
    for (i, message) in thresholds.iter().enumerate() {
        let at = at.item("thresholds", i);
        sort_fields!(at, message => Thresholds {
            takes {
                max_connections, max_pending_requests, max_requests, max_retries, max_connection_pools,
            }
            ignores { priority, track_remaining }
            refuses { retry_budget }
        });
        for (field, limit) in [
            ("max_connections", max_connections),
            ("max_pending_requests", max_pending_requests),
            ("max_requests", max_requests),
            ("max_retries", max_retries),
            ("max_connection_pools", max_connection_pools),
        ] {
            if limit.as_ref().is_some_and(|limit| limit.value != u32::MAX) {
                return Err(at.field(field).refuse("limits are not supported"));
            }
        }
    }
    Ok(())
}
