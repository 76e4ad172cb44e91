//! Retry policies: only what was provably not processed is tried again.

use mesh_xds::envoy::route::RetryPolicy;

use crate::snapshot::field::{At, Refusal, sort_fields};

/// Conditions under which the upstream has provably not processed a request.
const SAFE_TO_RETRY: [&str; 4] = [
    "connect-failure",
    "refused-stream",
    "reset-before-request",
    "http3-post-connect-failure",
];

/// How often a request may be tried again.
pub(super) fn compile(at: &At<'_>, message: &RetryPolicy) -> Result<u32, Refusal> {
    sort_fields!(at, message => RetryPolicy {
        takes { retry_on, num_retries, retry_host_predicate }
        // How hard to look for a host that was not tried: we always take another if there is one.
        ignores { host_selection_retry_max_attempts }
        refuses {
            per_try_timeout, per_try_idle_timeout, retry_priority, retry_options_predicates,
            retriable_status_codes, retry_back_off, rate_limited_retry_back_off, retriable_headers,
            retriable_request_headers, refresh_cluster_on_retry,
        }
    });
    for (i, predicate) in retry_host_predicate.iter().enumerate() {
        if predicate.name != "envoy.retry_host_predicates.previous_hosts" {
            let message = format!("{:?} is not supported", predicate.name);
            return Err(at.item("retry_host_predicate", i).refuse(message));
        }
    }
    let conditions = || {
        retry_on
            .split(',')
            .map(str::trim)
            .filter(|condition| !condition.is_empty())
    };
    if let Some(unsafe_one) = conditions().find(|condition| !SAFE_TO_RETRY.contains(condition)) {
        return Err(at.field("retry_on").refuse(format!(
            "{unsafe_one:?} is not supported: only what was provably not processed is tried again ({})",
            SAFE_TO_RETRY.join(", ")
        )));
    }
    match conditions().next() {
        Some(_) => Ok(num_retries.as_ref().map_or(1, |number| number.value)),
        None => Ok(0),
    }
}
