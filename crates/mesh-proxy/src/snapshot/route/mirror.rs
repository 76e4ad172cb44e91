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

#[cfg(test)]
mod tests {
    use mesh_xds::envoy::core::RuntimeFractionalPercent;
    use mesh_xds::envoy::types::FractionalPercent;

    use super::*;

    fn to(cluster: &str, percent: Option<(u32, i32)>) -> RequestMirrorPolicy {
        RequestMirrorPolicy {
            cluster: cluster.into(),
            runtime_fraction: percent.map(|(numerator, denominator)| RuntimeFractionalPercent {
                default_value: Some(FractionalPercent {
                    numerator,
                    denominator,
                }),
                runtime_key: String::new(),
            }),
            ..RequestMirrorPolicy::default()
        }
    }

    fn read(message: &RequestMirrorPolicy) -> Result<Option<Mirror>, Refusal> {
        compile(&At::ROOT, message, |name| name.into())
    }

    #[test]
    fn who_gets_nothing_is_no_mirror() {
        let share = |percent| {
            let mirror = read(&to("copy", percent)).unwrap();
            mirror.map(|mirror| mirror.share.0)
        };
        assert_eq!(share(None), Some(Share::ALL.0));
        assert_eq!(share(Some((25, 0))), Some(250_000));
        assert_eq!(share(Some((0, 0))), None);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let mut keyed = to("copy", Some((1, 0)));
        keyed.runtime_fraction.as_mut().unwrap().runtime_key = "key".into();
        let mut traced = to("copy", None);
        traced.trace_sampled = Some(BoolValue { value: true });
        let mut chosen = to("copy", None);
        chosen.cluster_header = "x-mirror".into();
        let mut unnamed = to("copy", None);
        unnamed.disable_shadow_host_suffix_append = true;
        for (message, field) in [
            (to("", None), "cluster"),
            (
                to("copy", Some((1, 7))),
                "runtime_fraction.percentage.denominator",
            ),
            (keyed, "runtime_fraction.runtime_key"),
            (traced, "trace_sampled"),
            (chosen, "cluster_header"),
            (unnamed, "disable_shadow_host_suffix_append"),
        ] {
            let refusal = read(&message).unwrap_err();
            assert_eq!(refusal.field, field, "{refusal}");
        }
    }
}
