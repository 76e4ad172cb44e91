//! Who gets copies of a route's requests.

use std::sync::Arc;

use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::route::route_action::RequestMirrorPolicy;

use super::fault::share;
use crate::snapshot::field::{At, Refusal, sort_fields};
use crate::snapshot::{Mirror, Share};

/// A mirror, if it gets anything.
pub(super) fn compile(
    at: &At<'_>,
    message: &RequestMirrorPolicy,
    intern: impl FnOnce(&str) -> Arc<str>,
) -> Result<Option<Mirror>, Refusal> {
    sort_fields!(at, message => RequestMirrorPolicy {
        takes { cluster, runtime_fraction, trace_sampled }
        ignores {}
        refuses {
            cluster_header, disable_shadow_host_suffix_append, request_headers_mutations, host_rewrite_literal,
        }
    });
    if cluster.is_empty() {
        return Err(at.field("cluster").refuse("is empty"));
    }
    // Copies have no spans.
    if *trace_sampled == Some(BoolValue { value: true }) {
        return Err(at.field("trace_sampled").unsupported());
    }
    let share = match runtime_fraction {
        None => Share::ALL,
        Some(fraction) => {
            let at = at.field("runtime_fraction");
            if !fraction.runtime_key.is_empty() {
                return Err(at.field("runtime_key").unsupported());
            }
            share(&at, fraction.default_value.as_ref())?
        }
    };
    Ok((share.0 > 0).then(|| Mirror {
        cluster: intern(cluster),
        share,
    }))
}
