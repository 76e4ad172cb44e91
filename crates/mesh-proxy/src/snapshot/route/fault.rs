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
