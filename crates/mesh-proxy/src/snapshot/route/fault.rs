//! What a route says to the fault filter.

use http::StatusCode;
use mesh_xds::envoy::fault::fault_abort::ErrorType;
use mesh_xds::envoy::fault::{FaultAbort, HttpFault};
use mesh_xds::envoy::fault_delay::FaultDelay;
use mesh_xds::envoy::fault_delay::fault_delay::FaultDelaySecifier;
use mesh_xds::envoy::types::FractionalPercent;
use mesh_xds::envoy::types::fractional_percent::DenominatorType;

use crate::snapshot::field::{At, Refusal, length, sort_fields};
use crate::snapshot::{Abort, Fault, Share};

/// The failures that a route makes on purpose, if it makes any.
pub(super) fn compile(at: &At<'_>, message: &HttpFault) -> Result<Option<Fault>, Refusal> {
    sort_fields!(at, message => HttpFault {
        takes { delay, abort }
        ignores { disable_downstream_cluster_stats, filter_metadata }
        refuses {
            upstream_cluster, headers, downstream_nodes, max_active_faults, response_rate_limit,
            delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime,
            max_active_faults_runtime, response_rate_limit_percent_runtime, abort_grpc_status_runtime,
        }
    });
    let fault = Fault {
        delay: match delay {
            Some(message) => {
                let at = at.field("delay");
                let FaultDelay {
                    percentage,
                    fault_delay_secifier,
                } = message;
                let Some(FaultDelaySecifier::FixedDelay(time)) = fault_delay_secifier else {
                    return Err(at.field("fixed_delay").refuse("is missing"));
                };
                let time = length(&at.field("fixed_delay"), time)?;
                Some((share(&at, percentage.as_ref())?, time))
            }
            None => None,
        },
        abort: match abort {
            Some(message) => Some(abort_of(&at.field("abort"), message)?),
            None => None,
        },
    };
    let is_some = fault.delay.is_some() || fault.abort.is_some();
    Ok(is_some.then_some(fault))
}

fn abort_of(at: &At<'_>, message: &FaultAbort) -> Result<(Share, Abort), Refusal> {
    sort_fields!(at, message => FaultAbort {
        takes { percentage, error_type }
        ignores {}
        refuses { response_body }
    });
    let abort = match error_type {
        Some(ErrorType::HttpStatus(code)) => {
            let status = u16::try_from(*code).ok().filter(|code| *code >= 200);
            let status = status.and_then(|code| StatusCode::from_u16(code).ok());
            Abort::Http(status.ok_or_else(|| {
                at.field("http_status")
                    .refuse(format!("{code} is no final HTTP status"))
            })?)
        }
        Some(ErrorType::GrpcStatus(code)) => {
            let status = u8::try_from(*code).ok().filter(|code| *code <= 16);
            Abort::Grpc(status.ok_or_else(|| {
                at.field("grpc_status")
                    .refuse(format!("{code} is no gRPC status"))
            })?)
        }
        Some(ErrorType::HeaderAbort(_)) => return Err(at.field("header_abort").unsupported()),
        None => return Err(at.refuse("has no status; set http_status or grpc_status")),
    };
    Ok((share(at, percentage.as_ref())?, abort))
}

/// A share; none at all without a word.
pub(super) fn share(at: &At<'_>, message: Option<&FractionalPercent>) -> Result<Share, Refusal> {
    let Some(message) = message else {
        return Ok(Share(0));
    };
    let at = at.field("percentage");
    let unit = match DenominatorType::try_from(message.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return Err(at.field("denominator").refuse("is unknown")),
    };
    let millionths = message.numerator.saturating_mul(unit);
    Ok(Share(millionths.min(Share::ALL.0)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_xds::envoy::fault::fault_abort::HeaderAbort;
    use mesh_xds::envoy::protobuf;

    use super::*;

    fn of(numerator: u32, denominator: i32) -> Option<FractionalPercent> {
        Some(FractionalPercent {
            numerator,
            denominator,
        })
    }

    fn delayed(
        delay: Option<FaultDelaySecifier>,
        percentage: Option<FractionalPercent>,
    ) -> HttpFault {
        HttpFault {
            delay: Some(FaultDelay {
                percentage,
                fault_delay_secifier: delay,
            }),
            ..HttpFault::default()
        }
    }

    fn aborted(error: Option<ErrorType>, percentage: Option<FractionalPercent>) -> HttpFault {
        HttpFault {
            abort: Some(FaultAbort {
                percentage,
                error_type: error,
                ..FaultAbort::default()
            }),
            ..HttpFault::default()
        }
    }

    fn seconds(seconds: i64) -> Option<FaultDelaySecifier> {
        Some(FaultDelaySecifier::FixedDelay(protobuf::Duration {
            seconds,
            nanos: 0,
        }))
    }

    #[test]
    fn shares_are_counted_in_millionths() {
        for (percentage, millionths) in [
            (None, 0),
            (of(50, DenominatorType::Hundred as i32), 500_000),
            (of(1, DenominatorType::TenThousand as i32), 100),
            (of(1, DenominatorType::Million as i32), 1),
            (of(u32::MAX, DenominatorType::Hundred as i32), 1_000_000),
        ] {
            let fault = compile(&At::ROOT, &delayed(seconds(2), percentage));
            let (share, time) = fault.unwrap().unwrap().delay.unwrap();
            assert_eq!((share.0, time), (millionths, Duration::from_secs(2)));
        }
    }

    #[test]
    fn without_a_failure_there_is_none() {
        assert!(compile(&At::ROOT, &HttpFault::default()).unwrap().is_none());
        let last = aborted(Some(ErrorType::GrpcStatus(16)), None);
        let abort = compile(&At::ROOT, &last).unwrap().unwrap().abort.unwrap();
        assert!(matches!(abort, (Share(0), Abort::Grpc(16))));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let http = |code| aborted(Some(ErrorType::HttpStatus(code)), None);
        let mut with_body = http(503);
        with_body.abort.as_mut().unwrap().response_body = "sorry".into();
        let mut limited = http(503);
        limited.max_active_faults = Some(protobuf::UInt32Value { value: 1 });
        let per_header = ErrorType::HeaderAbort(HeaderAbort::default());
        for (message, field) in [
            (delayed(None, None), "delay.fixed_delay"),
            (delayed(seconds(-1), None), "delay.fixed_delay"),
            (
                delayed(seconds(1), of(1, 9)),
                "delay.percentage.denominator",
            ),
            (aborted(None, None), "abort"),
            (http(199), "abort.http_status"),
            (http(1000), "abort.http_status"),
            (http(65_536 + 503), "abort.http_status"),
            (
                aborted(Some(ErrorType::GrpcStatus(17)), None),
                "abort.grpc_status",
            ),
            (aborted(Some(per_header), None), "abort.header_abort"),
            (
                aborted(Some(ErrorType::HttpStatus(503)), of(1, -1)),
                "abort.percentage.denominator",
            ),
            (with_body, "abort.response_body"),
            (limited, "max_active_faults"),
        ] {
            let refusal = compile(&At::ROOT, &message).unwrap_err();
            assert_eq!(refusal.field, field, "{refusal}");
        }
    }
}
