//! What a VirtualService's route does besides choosing a destination, as Envoy's messages: redirects, answers,
//! rewrites, changes of headers and CORS.

use std::collections::BTreeMap;

use mesh_config::model::{
    CorsPolicy, DirectResponse, HeaderChanges, HeaderOperations, HttpMatch, PathRewrite, Redirect,
    RedirectPath, RedirectPort, Rewrite, StringMatch,
};
use mesh_xds::envoy::core::header_value_option::HeaderAppendAction;
use mesh_xds::envoy::core::{
    DataSource, HeaderValue, HeaderValueOption, RuntimeFractionalPercent, data_source::Specifier,
};
use mesh_xds::envoy::cors;
use mesh_xds::envoy::matcher::{RegexMatchAndSubstitute, RegexMatcher};
use mesh_xds::envoy::protobuf::{Any, BoolValue};
use mesh_xds::envoy::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::HostRewriteSpecifier;
use mesh_xds::envoy::route::{DirectResponseAction, RedirectAction, Route, RouteAction};
use mesh_xds::envoy::types::FractionalPercent;
use mesh_xds::pack;

use crate::matcher;

/// The filter that reads [`cors`].
pub(crate) const CORS: &str = "envoy.filters.http.cors";

/// What HTTP speaks without being asked, and what TLS does.
const DEFAULT_PORTS: [(&str, u32); 2] = [("http", 80), ("https", 443)];

/// Sends clients elsewhere, from a listener's port.
pub(crate) fn redirect(
    redirect: &Redirect,
    entry: Option<&HttpMatch>,
    port: u16,
    tls: bool,
) -> Action {
    let path = match &redirect.path {
        None => None,
        Some(RedirectPath::Whole(path)) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
        Some(RedirectPath::Prefix(prefix)) => Some(match without_second_slash(entry, prefix) {
            Some(regex) => PathRewriteSpecifier::RegexRewrite(regex),
            None => PathRewriteSpecifier::PrefixRewrite(prefix.clone()),
        }),
    };
    let to = match redirect.port {
        None | Some(RedirectPort::OfScheme) => 0,
        Some(RedirectPort::Number(number)) => u32::from(number),
        Some(RedirectPort::OfRequest) => u32::from(port),
    };
    let own = if tls { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own);
    let is_default = DEFAULT_PORTS.contains(&(scheme, to));
    let code = match redirect.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    Action::Redirect(RedirectAction {
        host_redirect: redirect.authority.clone().unwrap_or_default(),
        port_redirect: if is_default { 0 } else { to },
        response_code: code as i32,
        scheme_rewrite_specifier: redirect
            .scheme
            .clone()
            .map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..RedirectAction::default()
    })
}

/// Answers by itself.
pub(crate) fn answer(answer: &DirectResponse) -> Action {
    let body = (!answer.body.is_empty()).then(|| DataSource {
        specifier: Some(match String::from_utf8(answer.body.clone()) {
            Ok(text) => Specifier::InlineString(text),
            Err(other) => Specifier::InlineBytes(other.into_bytes()),
        }),
        ..DataSource::default()
    });
    Action::DirectResponse(DirectResponseAction {
        status: u32::from(answer.status),
        body,
        ..DirectResponseAction::default()
    })
}

/// Answers that requests have come by a connection that was made for another host.
pub(crate) fn misdirected() -> Route {
    const MISDIRECTED_REQUEST: u16 = 421;
    Route {
        r#match: Some(matcher::always()),
        action: Some(answer(&DirectResponse {
            status: MISDIRECTED_REQUEST,
            body: Vec::new(),
        })),
        ..Route::default()
    }
}

/// Rewrites what requests ask for.
pub(crate) fn rewrite(action: &mut RouteAction, rewrite: &Rewrite, entry: Option<&HttpMatch>) {
    match &rewrite.path {
        None => {}
        Some(PathRewrite::Matched(with)) => match without_second_slash(entry, with) {
            Some(regex) => action.regex_rewrite = Some(regex),
            None => action.prefix_rewrite.clone_from(with),
        },
        Some(PathRewrite::Regex {
            pattern,
            substitution,
        }) => action.regex_rewrite = Some(substitute(pattern.clone(), substitution)),
    }
    if let Some(authority) = &rewrite.authority {
        for_host(action, authority);
    }
}

/// Says which host requests are for.
pub(crate) fn for_host(action: &mut RouteAction, host: &str) {
    action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(host.to_owned()));
}

/// A prefix of whole segments that is replaced by `/` takes the slash that follows it along.
fn without_second_slash(entry: Option<&HttpMatch>, with: &str) -> Option<RegexMatchAndSubstitute> {
    let entry = entry.filter(|entry| entry.uri_by_segments && with == "/")?;
    let Some(StringMatch::Prefix(prefix)) = &entry.uri else {
        return None;
    };
    let prefix = matcher::literal(prefix.trim_end_matches('/'));
    let case = if entry.ignore_uri_case { "(?i)" } else { "" };
    Some(substitute(format!("{case}^{prefix}(/?)(.*)"), r"/\2"))
}

fn substitute(regex: String, substitution: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex,
            ..RegexMatcher::default()
        }),
        substitution: substitution.to_owned(),
    }
}

/// Changes of headers as routes and destinations have them.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    pub(crate) request_add: Vec<HeaderValueOption>,
    pub(crate) request_remove: Vec<String>,
    pub(crate) response_add: Vec<HeaderValueOption>,
    pub(crate) response_remove: Vec<String>,
    /// The host that requests are said to be for.
    pub(crate) authority: Option<String>,
}

impl Headers {
    pub(crate) fn of(operations: &HeaderOperations) -> Self {
        let HeaderOperations { request, response } = operations;
        let authority = |values: &BTreeMap<String, String>| {
            let named = values.iter().filter(|(name, _)| is_authority(name));
            let mut hosts = named.map(|(_, value)| value.clone());
            hosts.find(|host| !host.is_empty())
        };
        Self {
            request_add: values(request),
            request_remove: removed(request),
            response_add: values(response),
            response_remove: removed(response),
            authority: authority(&request.set).or_else(|| authority(&request.add)),
        }
    }

    /// Adds them to those of a route.
    pub(crate) fn add_to(self, route: &mut Route) {
        route.request_headers_to_add.extend(self.request_add);
        route.request_headers_to_remove.extend(self.request_remove);
        route.response_headers_to_add.extend(self.response_add);
        route
            .response_headers_to_remove
            .extend(self.response_remove);
    }
}

fn is_authority(name: &str) -> bool {
    matches!(name, ":authority" | "host")
}

/// What no proxy may change as a header.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name == "host"
}

fn removed(changes: &HeaderChanges) -> Vec<String> {
    let names = changes.remove.iter().filter(|name| !is_internal(name));
    names.cloned().collect()
}

/// What is set comes before what is added, each by name.
fn values(changes: &HeaderChanges) -> Vec<HeaderValueOption> {
    let option = |(key, value): (&String, &String), append_action| HeaderValueOption {
        header: Some(HeaderValue {
            key: key.clone(),
            value: value.clone(),
            ..HeaderValue::default()
        }),
        append_action: append_action as i32,
        ..HeaderValueOption::default()
    };
    let set = changes
        .set
        .iter()
        .map(|pair| (pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = changes
        .add
        .iter()
        .map(|pair| (pair, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add)
        .filter(|((name, _), _)| !is_internal(name))
        .map(|(pair, append_action)| option(pair, append_action))
        .collect()
}

/// A policy as the filter [`CORS`] reads it.
pub(crate) fn cors(policy: &CorsPolicy) -> Any {
    let flag = |value| Some(BoolValue { value });
    let origins = policy.allow_origins.iter();
    pack(&cors::CorsPolicy {
        allow_origin_string_match: origins.map(matcher::string).collect(),
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: policy
            .max_age
            .map(|age| age.as_secs().to_string())
            .unwrap_or_default(),
        allow_credentials: policy.allow_credentials.and_then(flag),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: 100,
                ..FractionalPercent::default()
            }),
            ..RuntimeFractionalPercent::default()
        }),
        forward_not_matching_preflights: flag(!policy.ignore_unmatched_preflights),
        ..cors::CorsPolicy::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(redirect: &Redirect, entry: Option<&HttpMatch>, tls: bool) -> RedirectAction {
        match super::redirect(redirect, entry, 8080, tls) {
            Action::Redirect(action) => action,
            other => panic!("no redirect: {other:?}"),
        }
    }

    #[test]
    fn ports_that_the_scheme_has_anyway_are_not_written() {
        let to = |port, scheme: Option<&str>, tls| {
            let redirect = Redirect {
                port: Some(port),
                scheme: scheme.map(str::to_owned),
                ..Redirect::default()
            };
            redirected(&redirect, None, tls).port_redirect
        };
        assert_eq!(to(RedirectPort::Number(80), None, false), 0);
        assert_eq!(to(RedirectPort::Number(80), None, true), 80);
        assert_eq!(to(RedirectPort::Number(443), Some("https"), false), 0);
        assert_eq!(to(RedirectPort::Number(443), Some("http"), false), 443);
        assert_eq!(to(RedirectPort::OfRequest, None, false), 8080);
        assert_eq!(to(RedirectPort::OfScheme, None, false), 0);
    }

    #[test]
    fn whole_segments_leave_no_second_slash() {
        let entry = HttpMatch {
            uri: Some(StringMatch::Prefix("/a.b/".into())),
            uri_by_segments: true,
            ..HttpMatch::default()
        };
        let redirect = Redirect {
            path: Some(RedirectPath::Prefix("/".into())),
            ..Redirect::default()
        };
        let by_segments = redirected(&redirect, Some(&entry), false).path_rewrite_specifier;
        let Some(PathRewriteSpecifier::RegexRewrite(regex)) = by_segments else {
            panic!("no expression: {by_segments:?}")
        };
        assert_eq!(
            regex.pattern.map(|pattern| pattern.regex).as_deref(),
            Some(r"^/a\.b(/?)(.*)")
        );
        assert_eq!(
            redirected(&redirect, None, false).path_rewrite_specifier,
            Some(PathRewriteSpecifier::PrefixRewrite("/".into()))
        );
    }

    #[test]
    fn what_is_set_comes_first_and_the_host_is_no_header() {
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let headers = Headers::of(&HeaderOperations {
            request: HeaderChanges {
                set: text(&[("b", "1"), ("host", "set.example")]),
                add: text(&[(":authority", "add.example"), ("a", "2")]),
                remove: vec!["gone".into(), ":path".into()],
            },
            response: HeaderChanges::default(),
        });
        let keys: Vec<_> = headers
            .request_add
            .iter()
            .filter_map(|option| option.header.as_ref())
            .map(|header| header.key.as_str())
            .collect();
        assert_eq!(keys, ["b", "a"]);
        assert_eq!(headers.request_remove, ["gone"]);
        assert_eq!(headers.authority.as_deref(), Some("set.example"));
    }
}
