//! Whether a request is tried again, and after which pause.
//!
//! What was provably not processed is tried again as long as the policy lets it. What may have had its effect
//! is so only if the user asked for it by naming `5xx`, `reset`, a status or the like.

use std::time::Duration;

use http::Response;
use http::header::HeaderValue;

use super::headers::MESH_ERROR;
use crate::grpc;
use crate::snapshot::{Backoff, Conditions, Retry};
use crate::upstream::Kind;

/// Whether a try that brought no response is worth another one.
pub(crate) fn after_failure(policy: &Retry, kind: Kind) -> bool {
    let on = policy.on;
    match kind {
        Kind::Unsent => on.meets(
            Conditions::CONNECT_FAILURE | Conditions::RESET_BEFORE_REQUEST | Conditions::ANY_RESET,
        ),
        Kind::Refused => on.meets(Conditions::REFUSED_STREAM | Conditions::ANY_RESET),
        Kind::Reset => on.meets(Conditions::ANY_RESET),
        Kind::BadRequest | Kind::Overflow => false,
    }
}

/// Whether a response is worth another try instead.
///
/// Istio's default policy tries again what a gRPC service calls UNAVAILABLE or CANCELLED. A proxy says that,
/// too, of a service that broke off in the middle, and then the request may have had its effect: only who asks
/// for `reset`, `5xx` or `gateway-error` wants that again.
pub(crate) fn after_response<B>(policy: &Retry, is_grpc: bool, response: &Response<B>) -> bool {
    let headers = response.headers();
    let status = is_grpc.then(|| grpc::status(headers)).flatten();
    let broke_off = || {
        let flags = headers.get(MESH_ERROR).map(HeaderValue::as_bytes);
        flags.is_some_and(|flags| {
            let mut flags = flags.split(|b| *b == b',');
            flags.any(|flag| matches!(flag, b"UC" | b"UPE" | b"UT"))
        })
    };
    policy.wants(response.status(), headers, status)
        && (status.is_none() || policy.on.meets(Conditions::ANY_RESET) || !broke_off())
}

/// How long to wait before a retry; the first one has number 1. `draw` gives a number below its argument.
pub(crate) fn pause(backoff: &Backoff, retry: u32, draw: impl FnOnce(u64) -> u64) -> Duration {
    let base = u64::try_from(backoff.base.as_micros()).unwrap_or(u64::MAX);
    let max = u64::try_from(backoff.max.as_micros()).unwrap_or(u64::MAX);
    let factor = 1_u64.checked_shl(retry).map_or(u64::MAX, |power| power - 1);
    Duration::from_micros(draw(base.saturating_mul(factor).clamp(1, max.max(1))))
}

/// The value of `x-envoy-attempt-count` for a try; the first one has number 1.
pub(crate) fn count(attempt: u32) -> HeaderValue {
    match attempt {
        1 => HeaderValue::from_static("1"),
        other => HeaderValue::from(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(names: &str) -> Retry {
        let conditions = names.split(',').filter_map(Conditions::of);
        Retry {
            attempts: 2,
            on: conditions.fold(Conditions::default(), |all, one| all | one),
            ..Retry::default()
        }
    }

    const DEFAULT: &str =
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

    #[test]
    fn without_being_told_only_what_was_not_processed_is_sent_again() {
        let policy = on(DEFAULT);
        assert!(after_failure(&policy, Kind::Unsent));
        assert!(after_failure(&policy, Kind::Refused));
        assert!(!after_failure(&policy, Kind::Reset));
        assert!(!policy.repeats(false), "so nothing has to be kept");
        for name in ["5xx", "reset", "gateway-error"] {
            let policy = on(name);
            assert!(after_failure(&policy, Kind::Reset), "{name}");
            assert!(!after_failure(&policy, Kind::BadRequest), "{name}");
            assert!(policy.repeats(false), "{name}");
        }
    }

    fn answer(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().expect("a status");
        for (name, value) in fields {
            response
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn each_condition_is_envoys() {
        let again = |names, status| after_response(&on(names), false, &answer(status, &[]));
        assert!(again("5xx", 500) && again("5xx", 599) && !again("5xx", 404));
        assert!(again("gateway-error", 503) && !again("gateway-error", 500));
        assert!(again("retriable-4xx", 409) && !again("retriable-4xx", 404));
        assert!(!again(DEFAULT, 503));
        let listed = Retry {
            statuses: vec![http::StatusCode::IM_A_TEAPOT],
            ..on("retriable-status-codes")
        };
        assert!(after_response(&listed, false, &answer(418, &[])));
        assert!(!after_response(&listed, false, &answer(503, &[])));
        let limited = answer(429, &[("x-envoy-ratelimited", "true")]);
        assert!(after_response(&on("envoy-ratelimited"), false, &limited));
        assert!(!after_response(&on("5xx,retriable-4xx"), false, &limited));
    }

    #[test]
    fn a_grpc_status_counts_for_grpc_only() {
        for (name, status) in [
            ("cancelled", "1"),
            ("deadline-exceeded", "4"),
            ("resource-exhausted", "8"),
            ("internal", "13"),
            ("unavailable", "14"),
        ] {
            let response = answer(200, &[("grpc-status", status)]);
            assert!(after_response(&on(name), true, &response), "{name}");
            assert!(!after_response(&on(name), false, &response), "{name}");
            assert!(!after_response(&on("5xx"), true, &response), "{name}");
        }
    }

    #[test]
    fn what_a_proxy_says_of_a_broken_service_is_not_sent_again_by_default() {
        let broken = answer(200, &[("grpc-status", "14"), ("x-mesh-error", "UC")]);
        assert!(!after_response(&on(DEFAULT), true, &broken));
        assert!(after_response(&on("unavailable,reset"), true, &broken));
        let nobody = answer(200, &[("grpc-status", "14"), ("x-mesh-error", "UF,URX")]);
        assert!(after_response(&on(DEFAULT), true, &nobody));
    }

    #[test]
    fn pauses_double_up_to_ten_times_the_base() {
        let backoff = Backoff::default();
        let bound = |retry| {
            let mut bound = 0;
            pause(&backoff, retry, |below| {
                bound = below;
                0
            });
            bound / 1000
        };
        let bounds: Vec<u64> = (1..7).map(bound).collect();
        assert_eq!(bounds, [25, 75, 175, 250, 250, 250]);
        assert_eq!(bound(200), 250);
        assert_eq!(pause(&backoff, 1, |below| below - 1).as_micros(), 24_999);
    }
}
