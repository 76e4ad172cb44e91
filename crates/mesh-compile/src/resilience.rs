//! Timeouts, retries, faults and mirrors of a route, in the form in which Istio's control plane sends them.

use std::time::Duration;

use mesh_config::model::{AbortStatus, Fault, Retries, Share};
use mesh_xds::envoy::core::RuntimeFractionalPercent;
use mesh_xds::envoy::fault::fault_abort::ErrorType;
use mesh_xds::envoy::fault::{FaultAbort, HttpFault};
use mesh_xds::envoy::fault_delay::FaultDelay;
use mesh_xds::envoy::fault_delay::fault_delay::FaultDelaySecifier;
use mesh_xds::envoy::previous_hosts::PreviousHostsPredicate;
use mesh_xds::envoy::previous_priorities::PreviousPrioritiesConfig;
use mesh_xds::envoy::protobuf::{self, Any, BoolValue, UInt32Value};
use mesh_xds::envoy::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use mesh_xds::envoy::route::route_action::RequestMirrorPolicy;
use mesh_xds::envoy::route::{RetryPolicy, RouteAction};
use mesh_xds::envoy::types::FractionalPercent;
use mesh_xds::envoy::types::fractional_percent::DenominatorType;
use mesh_xds::pack;

/// Istio's default conditions. The gRPC ones are what a service says of itself.
const RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

const STATUS_CODES: &str = "retriable-status-codes";

/// The filter that makes failures on purpose: in a chain, and in what a route says to it.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";

/// Limits the time of an action's requests; zero is no limit. What gRPC's clients ask for counts up to that.
pub(crate) fn limit_time(action: &mut RouteAction, timeout: Option<Duration>) {
    // Without a word Envoy would take 15 seconds.
    let timeout = Some(duration(timeout.unwrap_or_default()));
    action.timeout = timeout;
    #[allow(
        deprecated,
        reason = "Istio sends it: what takes its place ends streams in other ways"
    )]
    {
        action.max_grpc_timeout = timeout;
    }
}

/// What is tried again; `None` if nothing is. `hashed` requests must not look for other hosts.
pub(crate) fn retry_policy(retries: Option<&Retries>, hashed: bool) -> Option<RetryPolicy> {
    let default = Retries {
        attempts: 2,
        ..Retries::default()
    };
    let retries = retries.unwrap_or(&default);
    if retries.attempts == 0 {
        return None;
    }
    let (retry_on, retriable_status_codes) = conditions(&retries.on);
    let avoid_tried = retries.ignore_previous_hosts.unwrap_or(!hashed);
    let priority = RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack(
            &PreviousPrioritiesConfig {
                update_frequency: 2,
            },
        ))),
    };
    let another_host = || RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(
            &PreviousHostsPredicate::default(),
        ))),
    };
    Some(RetryPolicy {
        retry_on,
        retriable_status_codes,
        num_retries: Some(UInt32Value {
            value: retries.attempts,
        }),
        per_try_timeout: retries.per_try_timeout.map(duration),
        retry_host_predicate: avoid_tried.then(another_host).into_iter().collect(),
        host_selection_retry_max_attempts: if avoid_tried { 5 } else { 0 },
        retry_priority: retries.remote_localities.then_some(priority),
        retry_back_off: retries.backoff.map(|base| RetryBackOff {
            base_interval: Some(duration(base)),
            max_interval: None,
        }),
        ..RetryPolicy::default()
    })
}

/// Numbers among the conditions are statuses.
fn conditions(written: &[String]) -> (String, Vec<u32>) {
    if written.is_empty() {
        return (RETRY_ON.to_owned(), Vec::new());
    }
    let statuses: Vec<u32> = written.iter().filter_map(|one| one.parse().ok()).collect();
    let words = written.iter().map(String::as_str);
    let mut words: Vec<&str> = words.filter(|one| one.parse::<u32>().is_err()).collect();
    if !statuses.is_empty() && !words.contains(&STATUS_CODES) {
        words.push(STATUS_CODES);
    }
    (words.join(","), statuses)
}

/// What a route says to the fault filter.
pub(crate) fn fault(fault: &Fault) -> Any {
    let delay = fault.delay.map(|delay| FaultDelay {
        percentage: Some(fraction(delay.share)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(delay.time))),
    });
    let abort = fault.abort.map(|abort| FaultAbort {
        percentage: Some(fraction(abort.share)),
        error_type: Some(match abort.status {
            AbortStatus::Http(code) => ErrorType::HttpStatus(u32::from(code)),
            AbortStatus::Grpc(code) => ErrorType::GrpcStatus(u32::from(code)),
        }),
        ..FaultAbort::default()
    });
    pack(&HttpFault {
        delay,
        abort,
        ..HttpFault::default()
    })
}

/// Copies for a cluster.
pub(crate) fn mirror(cluster: String, share: Share) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster,
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(fraction(share)),
            ..RuntimeFractionalPercent::default()
        }),
        trace_sampled: Some(BoolValue { value: false }),
        ..RequestMirrorPolicy::default()
    }
}

fn fraction(share: Share) -> FractionalPercent {
    FractionalPercent {
        numerator: share.0,
        denominator: DenominatorType::Million as i32,
    }
}

fn duration(time: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        // Below a billion.
        nanos: time.subsec_nanos() as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(on: &[&str]) -> Retries {
        Retries {
            attempts: 3,
            on: on.iter().map(|one| (*one).to_owned()).collect(),
            ..Retries::default()
        }
    }

    fn policy(on: &[&str]) -> (String, Vec<u32>) {
        let policy = retry_policy(Some(&retries(on)), false).expect("there are attempts");
        (policy.retry_on, policy.retriable_status_codes)
    }

    #[test]
    fn retries_are_on_by_default_and_zero_attempts_switch_them_off() {
        let policy = retry_policy(None, false).expect("the default");
        assert_eq!(policy.retry_on, RETRY_ON);
        assert_eq!(policy.num_retries, Some(UInt32Value { value: 2 }));
        assert_eq!(policy.retry_host_predicate.len(), 1);
        assert_eq!(policy.host_selection_retry_max_attempts, 5);
        assert_eq!(retry_policy(Some(&Retries::default()), false), None);
        let hashed = retry_policy(None, true).expect("the default");
        assert!(hashed.retry_host_predicate.is_empty());
    }

    #[test]
    fn numbers_are_statuses() {
        assert_eq!(policy(&[]), (RETRY_ON.to_owned(), vec![]));
        let only = policy(&["503", "418"]);
        assert_eq!(only, ("retriable-status-codes".to_owned(), vec![503, 418]));
        let both = policy(&["5xx", "409", "retriable-status-codes"]);
        assert_eq!(both, ("5xx,retriable-status-codes".to_owned(), vec![409]));
    }

    #[test]
    fn everything_that_is_written_is_sent() {
        let all = Retries {
            per_try_timeout: Some(Duration::from_millis(1500)),
            remote_localities: true,
            ignore_previous_hosts: Some(false),
            backoff: Some(Duration::from_millis(5)),
            ..retries(&["reset"])
        };
        let policy = retry_policy(Some(&all), false).expect("there are attempts");
        let half = protobuf::Duration {
            seconds: 1,
            nanos: 500_000_000,
        };
        assert_eq!(policy.per_try_timeout, Some(half));
        assert!(policy.retry_priority.is_some());
        assert!(policy.retry_host_predicate.is_empty());
        let backoff = policy.retry_back_off.expect("it is written");
        assert_eq!(
            backoff.base_interval.map(|base| base.nanos),
            Some(5_000_000)
        );
    }
}
