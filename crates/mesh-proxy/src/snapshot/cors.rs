//! Which pages of other origins may use a route: Envoy's CORS policy.

use http::header::HeaderValue;
use mesh_xds::envoy::cors as pb;

use super::field::{At, Refusal, must_be_off, sort_fields};
use super::{ValueMatcher, matcher};

/// A policy.
#[derive(Debug)]
pub struct Cors {
    /// Origins that may, any of these.
    pub origins: Vec<ValueMatcher>,
    /// `access-control-allow-methods`.
    pub methods: Option<Allowed>,
    /// `access-control-allow-headers`.
    pub headers: Option<Allowed>,
    /// `access-control-expose-headers`.
    pub expose: Option<HeaderValue>,
    /// `access-control-max-age`.
    pub max_age: Option<HeaderValue>,
    /// `access-control-allow-credentials`.
    pub credentials: bool,
    /// Preflights of other origins are sent on.
    pub forward_unmatched: bool,
}

/// What a page may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// What it asks for.
    Any,
    /// These.
    Listed(HeaderValue),
}

/// Reads a policy; `None` if it is off.
pub(super) fn compile(at: &At<'_>, message: &pb::CorsPolicy) -> Result<Option<Cors>, Refusal> {
    use pb::CorsPolicy;
    sort_fields!(at, message => CorsPolicy {
        takes {
            allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age, allow_credentials,
            filter_enabled, allow_private_network_access, forward_not_matching_preflights,
        }
        ignores {}
        refuses { shadow_enabled }
    });
    must_be_off(
        &at.field("allow_private_network_access"),
        allow_private_network_access.as_ref(),
    )?;
    let share = filter_enabled
        .as_ref()
        .and_then(|enabled| enabled.default_value.as_ref());
    match share.map(|share| (share.numerator, share.denominator)) {
        Some((0, _)) => return Ok(None),
        // Or more than all of a hundred: `HUNDRED` is the first of the denominators.
        None | Some((100.., 0)) => {}
        Some(_) => {
            return Err(at
                .field("filter_enabled")
                .refuse("must be all or nothing: 100 or 0 of HUNDRED"));
        }
    }
    let origins = allow_origin_string_match.iter().enumerate();
    let origins = origins
        .map(|(i, message)| matcher::string(&at.item("allow_origin_string_match", i), message));
    let value = |field: &'static str, text: &str| -> Result<Option<HeaderValue>, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        HeaderValue::from_str(text).map(Some).map_err(|_| {
            at.field(field)
                .refuse(format!("{text:?} is no header's value"))
        })
    };
    let allowed = |value: HeaderValue| match value.as_bytes() {
        b"*" => Allowed::Any,
        _ => Allowed::Listed(value),
    };
    Ok(Some(Cors {
        origins: origins.collect::<Result<_, _>>()?,
        methods: value("allow_methods", allow_methods)?.map(allowed),
        headers: value("allow_headers", allow_headers)?.map(allowed),
        expose: value("expose_headers", expose_headers)?,
        max_age: value("max_age", max_age)?,
        credentials: allow_credentials.as_ref().is_some_and(|flag| flag.value),
        forward_unmatched: forward_not_matching_preflights
            .as_ref()
            .is_none_or(|flag| flag.value),
    }))
}
