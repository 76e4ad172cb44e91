//! A cluster's outlier detection.

use std::time::Duration;

use mesh_xds::envoy::cluster::OutlierDetection;
use mesh_xds::envoy::protobuf::{self, UInt32Value};

use crate::snapshot::field::{At, Refusal, length, sort_fields};
use crate::upstream::outlier::Terms;

/// Reads it, with Envoy's defaults.
pub(super) fn compile(at: &At<'_>, message: &OutlierDetection) -> Result<Terms, Refusal> {
    sort_fields!(at, message => OutlierDetection {
        takes {
            consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx,
            consecutive_gateway_failure, enforcing_consecutive_gateway_failure,
            split_external_local_origin_errors, consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure, enforcing_success_rate,
            enforcing_local_origin_success_rate, enforcing_failure_percentage,
            enforcing_failure_percentage_local_origin, max_ejection_time, always_eject_one_host,
        }
        // They shape what is not enforced.
        ignores {
            success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
            failure_percentage_threshold, failure_percentage_minimum_hosts,
            failure_percentage_request_volume, successful_active_health_check_uneject_host,
        }
        refuses { max_ejection_time_jitter, monitors, detect_degraded_hosts }
    });
    let never = |field, share: &Option<UInt32Value>, default| match share_of(share, default) {
        0 => Ok(()),
        _ => Err(at
            .field(field)
            .refuse("must be 0: only errors in a row are counted")),
    };
    never("enforcing_success_rate", enforcing_success_rate, 100)?;
    // It means something only if local errors are counted apart.
    let local_default = if *split_external_local_origin_errors {
        100
    } else {
        0
    };
    never(
        "enforcing_local_origin_success_rate",
        enforcing_local_origin_success_rate,
        local_default,
    )?;
    never(
        "enforcing_failure_percentage",
        enforcing_failure_percentage,
        0,
    )?;
    never(
        "enforcing_failure_percentage_local_origin",
        enforcing_failure_percentage_local_origin,
        0,
    )?;
    let limit = |field, limit: &Option<UInt32Value>, enforcing: &Option<UInt32Value>, default| {
        match share_of(enforcing, default) {
            0 => Ok(0),
            100 => Ok(limit.as_ref().map_or(5, |limit| limit.value)),
            _ => Err(at.field(field).refuse("must be 0 or 100")),
        }
    };
    let time = |field, value: &Option<protobuf::Duration>, default| match value {
        None => Ok(Duration::from_secs(default)),
        Some(value) => length(&at.field(field), value),
    };
    Ok(Terms {
        consecutive_5xx: limit(
            "enforcing_consecutive_5xx",
            consecutive_5xx,
            enforcing_consecutive_5xx,
            100,
        )?,
        consecutive_gateway: limit(
            "enforcing_consecutive_gateway_failure",
            consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure,
            0,
        )?,
        consecutive_local: limit(
            "enforcing_consecutive_local_origin_failure",
            consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure,
            100,
        )?,
        split_local: *split_external_local_origin_errors,
        interval: time("interval", interval, 10)?,
        base: time("base_ejection_time", base_ejection_time, 30)?,
        longest: time("max_ejection_time", max_ejection_time, 300)?,
        most_percent: share_of(max_ejection_percent, 10).min(100),
        always_one: always_eject_one_host
            .as_ref()
            .is_some_and(|flag| flag.value),
    })
}

fn share_of(share: &Option<UInt32Value>, default: u32) -> u32 {
    share.as_ref().map_or(default, |share| share.value)
}
