//! Retry policies.

use http::StatusCode;
use mesh_xds::envoy::route::RetryPolicy;
use mesh_xds::envoy::route::retry_policy::RetryBackOff;

use crate::snapshot::field::{At, Refusal, length, sort_fields};
use crate::snapshot::{Backoff, Conditions, Retry};

/// When and how often a request is tried again.
pub(super) fn compile(at: &At<'_>, message: &RetryPolicy) -> Result<Retry, Refusal> {
    sort_fields!(at, message => RetryPolicy {
        takes {
            retry_on, num_retries, per_try_timeout, retry_host_predicate, retry_priority,
            retriable_status_codes, retry_back_off,
        }
        // How hard to look for a host that was not tried: we always take another if there is one.
        ignores { host_selection_retry_max_attempts }
        refuses {
            per_try_idle_timeout, retry_options_predicates, rate_limited_retry_back_off, retriable_headers,
            retriable_request_headers, refresh_cluster_on_retry,
        }
    });
    for (i, predicate) in retry_host_predicate.iter().enumerate() {
        if predicate.name != "envoy.retry_host_predicates.previous_hosts" {
            let message = format!("{:?} is not supported", predicate.name);
            return Err(at.item("retry_host_predicate", i).refuse(message));
        }
    }
    // Endpoints that were not tried come first, whatever their priority.
    if let Some(priority) = retry_priority
        && priority.name != "envoy.retry_priorities.previous_priorities"
    {
        let message = format!("{:?} is not supported", priority.name);
        return Err(at.field("retry_priority").refuse(message));
    }
    let mut on = Conditions::default();
    for name in retry_on.split(',').map(str::trim) {
        let condition = match name {
            "" => Conditions::default(),
            name => Conditions::of(name).ok_or_else(|| {
                at.field("retry_on")
                    .refuse(format!("{name:?} is not supported"))
            })?,
        };
        on = on | condition;
    }
    let statuses = retriable_status_codes.iter().enumerate().map(|(i, code)| {
        let status = u16::try_from(*code).ok();
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        status.ok_or_else(|| {
            let message = format!("{code} is no HTTP status");
            at.item("retriable_status_codes", i).refuse(message)
        })
    });
    let per_try_timeout = match per_try_timeout {
        Some(limit) => Some(length(&at.field("per_try_timeout"), limit)?),
        None => None,
    };
    let attempts = num_retries.as_ref().map_or(1, |number| number.value);
    Ok(Retry {
        attempts: if retry_on.is_empty() { 0 } else { attempts },
        on,
        statuses: statuses.collect::<Result<_, _>>()?,
        per_try_timeout: per_try_timeout.filter(|limit| !limit.is_zero()),
        avoid_tried: !retry_host_predicate.is_empty(),
        backoff: match retry_back_off {
            Some(pauses) => backoff(&at.field("retry_back_off"), pauses)?,
            None => Backoff::default(),
        },
    })
}

fn backoff(at: &At<'_>, message: &RetryBackOff) -> Result<Backoff, Refusal> {
    sort_fields!(at, message => RetryBackOff {
        takes { base_interval, max_interval }
        ignores {}
        refuses {}
    });
    let place = at.field("base_interval");
    let base = base_interval
        .as_ref()
        .ok_or_else(|| place.refuse("is missing"))?;
    let base = length(&place, base)?;
    if base.is_zero() {
        return Err(place.refuse("must be more than 0s"));
    }
    let mut pauses = Backoff::from_base(base);
    if let Some(max) = max_interval {
        let place = at.field("max_interval");
        pauses.max = length(&place, max)?;
        if pauses.max < base {
            return Err(place.refuse("must not be less than base_interval"));
        }
    }
    Ok(pauses)
}
