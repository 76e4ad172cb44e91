//! Rules of HTTPRoute and GRPCRoute as the routes of a VirtualService.

use std::time::Duration;

use mesh_config::model::gateway_api::{
    BackendRef, CorsFilter, Filter, GrpcMatch, GrpcRule, HeaderFilter, HttpMatch as ApiMatch,
    HttpRule, MatchType, MirrorFilter, PathModifier, PathType, RedirectFilter, RewriteFilter, Spec,
    ValueMatch,
};
use mesh_config::model::{
    CorsPolicy, DirectResponse, HeaderChanges, HeaderOperations, HttpDestination, HttpMatch,
    HttpRoute, Mirror, PathRewrite, Redirect, RedirectPath, RedirectPort, Retries, Rewrite, Share,
    StringMatch,
};

use super::attach::{Api, Route};

/// Where a rule's requests come in, as far as redirects must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The listener's port.
    pub(crate) port: u16,
    /// Whether it speaks TLS.
    pub(crate) is_tls: bool,
}

/// The routes of a route, one for each match, in the order of its rules.
pub(crate) fn routes(api: &Api<'_>, route: &Route<'_>, entry: Option<Entry>) -> Vec<HttpRoute> {
    let write = Write { api, route, entry };
    match route.spec {
        Spec::HttpRoute(spec) => {
            let rules = spec.rules.iter().enumerate();
            rules
                .flat_map(|(index, rule)| write.http(index, rule))
                .collect()
        }
        Spec::GrpcRoute(spec) => {
            let rules = spec.rules.iter().enumerate();
            rules
                .flat_map(|(index, rule)| write.grpc(index, rule))
                .collect()
        }
        _ => Vec::new(),
    }
}

struct Write<'a, 'b> {
    api: &'b Api<'a>,
    route: &'b Route<'a>,
    entry: Option<Entry>,
}

impl Write<'_, '_> {
    fn http(&self, index: usize, rule: &HttpRule) -> Vec<HttpRoute> {
        let matches = rule.matches.iter().map(http_match).collect();
        let mut route = self.route(index, &rule.name, &rule.filters, &rule.backend_refs);
        limits(rule, &mut route);
        one_each(route, matches)
    }

    fn grpc(&self, index: usize, rule: &GrpcRule) -> Vec<HttpRoute> {
        let matches = rule.matches.iter().map(grpc_match).collect();
        let route = self.route(index, &rule.name, &rule.filters, &rule.backend_refs);
        one_each(route, matches)
    }

    /// What a rule does, without its matches.
    fn route(
        &self,
        index: usize,
        name: &str,
        filters: &[Filter],
        backends: &[BackendRef],
    ) -> HttpRoute {
        let metadata = &self.route.object.metadata;
        let mut route = HttpRoute {
            name: if name.is_empty() {
                format!("{}.{}.{index}", metadata.namespace, metadata.name)
            } else {
                name.to_owned()
            },
            missing_is_500: true,
            ..HttpRoute::default()
        };
        let backends: Vec<&BackendRef> = backends.iter().filter(|one| one.weight > 0).collect();
        // A backend that takes everything can do what otherwise only rules can.
        let alone = match backends.as_slice() {
            [backend] => backend.filters.as_slice(),
            _ => &[],
        };
        let are_known = filters
            .iter()
            .chain(alone)
            .all(|filter| self.filter(filter, &mut route));
        let are_headers = backends.len() < 2
            || backends.iter().flat_map(|one| &one.filters).all(|filter| {
                matches!(
                    filter,
                    Filter::RequestHeaderModifier { .. } | Filter::ResponseHeaderModifier { .. }
                )
            });
        if !are_known || !are_headers {
            return HttpRoute {
                name: route.name,
                direct_response: Some(internal_error()),
                ..HttpRoute::default()
            };
        }
        if route.redirect.is_some() {
            return route;
        }
        if backends.is_empty() {
            route.direct_response = Some(internal_error());
            route.rewrite = None;
            return route;
        }
        route.route = backends
            .iter()
            .map(|backend| {
                let target = self.api.target(self.route, backend);
                let mut headers = HeaderOperations::default();
                if backends.len() > 1 {
                    for filter in &backend.filters {
                        change_headers(filter, &mut headers);
                    }
                }
                HttpDestination {
                    host: target.host,
                    subset: None,
                    port: target.port,
                    weight: backend.weight,
                    headers,
                }
            })
            .collect();
        route
    }

    /// Whether the filter can be acted on.
    fn filter(&self, filter: &Filter, route: &mut HttpRoute) -> bool {
        match filter {
            Filter::RequestHeaderModifier { .. } | Filter::ResponseHeaderModifier { .. } => {
                change_headers(filter, &mut route.headers);
            }
            Filter::RequestMirror { request_mirror } => {
                route.mirrors.push(self.mirror(request_mirror));
            }
            Filter::RequestRedirect { request_redirect } => {
                route.redirect = Some(self.redirect(request_redirect));
            }
            Filter::UrlRewrite { url_rewrite } => route.rewrite = Some(rewrite(url_rewrite)),
            Filter::Cors { cors } => route.cors = Some(cors_policy(cors)),
            Filter::ExternalAuth | Filter::ExtensionRef { .. } => return false,
        }
        true
    }

    fn mirror(&self, filter: &MirrorFilter) -> Mirror {
        let share = match (filter.percent, filter.fraction) {
            (Some(percent), _) => Share::of_percent(f64::from(percent)),
            (None, Some(part)) => {
                Share::of_percent(f64::from(part.numerator) * 100.0 / f64::from(part.denominator))
            }
            (None, None) => Share::ALL,
        };
        let target = self.api.target(self.route, &filter.backend_ref);
        Mirror {
            destination: HttpDestination {
                host: target.host,
                subset: None,
                port: target.port,
                weight: 0,
                headers: HeaderOperations::default(),
            },
            share,
        }
    }

    /// The port is the filter's, else that of the filter's scheme, else the listener's; the usual one of the
    /// scheme is not written.
    fn redirect(&self, filter: &RedirectFilter) -> Redirect {
        let own = self
            .entry
            .map(|entry| if entry.is_tls { "https" } else { "http" });
        let usual = match filter.scheme.as_deref().or(own) {
            Some("https") => Some(443),
            Some(_) => Some(80),
            None => None,
        };
        let listener = self.entry.map(|entry| entry.port);
        let port = filter.port.or(if filter.scheme.is_some() {
            usual
        } else {
            listener
        });
        Redirect {
            path: filter.path.as_ref().map(|path| match path {
                PathModifier::ReplaceFullPath { replace_full_path } => {
                    RedirectPath::Whole(absolute(replace_full_path))
                }
                PathModifier::ReplacePrefixMatch {
                    replace_prefix_match,
                } => RedirectPath::Prefix(absolute(replace_prefix_match)),
            }),
            authority: filter.hostname.clone(),
            port: port.map(|port| {
                if Some(port) == usual {
                    RedirectPort::OfScheme
                } else {
                    RedirectPort::Number(port)
                }
            }),
            scheme: filter.scheme.clone(),
            code: filter.status_code.unwrap_or(302),
        }
    }
}

/// The same route for each of its matches, since each has its own precedence; for every request if there are none.
fn one_each(route: HttpRoute, matches: Vec<HttpMatch>) -> Vec<HttpRoute> {
    if matches.is_empty() {
        return vec![HttpRoute {
            matches: vec![HttpMatch::default()],
            ..route
        }];
    }
    let one = |entry| HttpRoute {
        matches: vec![entry],
        ..route.clone()
    };
    matches.into_iter().map(one).collect()
}

/// How long a rule's requests may take, and when they are tried again. Without a word about retries the mesh's own
/// hold, and the shorter limit is that of the whole request, as in Istio.
fn limits(rule: &HttpRule, route: &mut HttpRoute) {
    const ATTEMPTS: u32 = 2;
    // The default conditions of Istio, and connections that break or take too long, which the API asks for.
    const ON: [&str; 5] = [
        "connect-failure",
        "refused-stream",
        "unavailable",
        "cancelled",
        "reset",
    ];
    let request = rule.timeouts.request.filter(|limit| !limit.is_zero());
    let one_try = rule
        .timeouts
        .backend_request
        .filter(|limit| !limit.is_zero());
    let Some(retry) = &rule.retry else {
        route.timeout = one_try.or(request);
        return;
    };
    route.timeout = request;
    route.retries = Some(Retries {
        attempts: retry.attempts.unwrap_or(ATTEMPTS),
        per_try_timeout: one_try,
        on: ON
            .into_iter()
            .map(str::to_owned)
            .chain(retry.codes.iter().map(u16::to_string))
            .collect(),
        backoff: retry.backoff,
        ..Retries::default()
    });
}

fn internal_error() -> DirectResponse {
    DirectResponse {
        status: 500,
        body: Vec::new(),
    }
}

fn http_match(entry: &ApiMatch) -> HttpMatch {
    let value = entry.path.value.as_str();
    let uri = match entry.path.kind {
        PathType::Exact => Some(StringMatch::Exact(value.to_owned())),
        PathType::RegularExpression => Some(StringMatch::Regex(value.to_owned())),
        PathType::PathPrefix => match value.trim_end_matches('/') {
            "" => None,
            prefix => Some(StringMatch::Prefix(prefix.to_owned())),
        },
    };
    HttpMatch {
        uri_by_segments: matches!(uri, Some(StringMatch::Prefix(_))),
        uri,
        method: entry.method.clone().map(StringMatch::Exact),
        headers: values(&entry.headers, str::to_ascii_lowercase).collect(),
        query_params: values(&entry.query_params, str::to_owned).collect(),
        ..HttpMatch::default()
    }
}

fn values(
    conditions: &[ValueMatch],
    name: fn(&str) -> String,
) -> impl Iterator<Item = (String, Option<StringMatch>)> {
    // Of several for one name the first counts.
    conditions.iter().rev().map(move |one| {
        let value = match one.kind {
            MatchType::Exact => StringMatch::Exact(one.value.clone()),
            MatchType::RegularExpression => StringMatch::Regex(one.value.clone()),
        };
        (name(&one.name), Some(value))
    })
}

/// The path of a gRPC call is `/package.Service/Method`.
fn grpc_match(entry: &GrpcMatch) -> HttpMatch {
    let uri = entry.method.as_ref().map(|called| {
        let (service, method) = (&called.service, &called.method);
        match called.kind {
            MatchType::Exact if method.is_empty() => StringMatch::Prefix(format!("/{service}/")),
            MatchType::Exact if service.is_empty() => {
                StringMatch::Regex(format!("/[^/]+/{method}"))
            }
            MatchType::Exact => StringMatch::Exact(format!("/{service}/{method}")),
            MatchType::RegularExpression => {
                let any = |text: &str| {
                    if text.is_empty() {
                        "[^/]+".to_owned()
                    } else {
                        text.to_owned()
                    }
                };
                StringMatch::Regex(format!("/{}/{}", any(service), any(method)))
            }
        }
    });
    HttpMatch {
        uri,
        headers: values(&entry.headers, str::to_ascii_lowercase).collect(),
        ..HttpMatch::default()
    }
}

fn change_headers(filter: &Filter, headers: &mut HeaderOperations) {
    match filter {
        Filter::RequestHeaderModifier {
            request_header_modifier,
        } => change(&mut headers.request, request_header_modifier),
        Filter::ResponseHeaderModifier {
            response_header_modifier,
        } => change(&mut headers.response, response_header_modifier),
        _ => {}
    }
}

fn change(changes: &mut HeaderChanges, filter: &HeaderFilter) {
    let literal = |value: &str| value.replace('%', "%%");
    for header in &filter.set {
        changes
            .set
            .insert(header.name.clone(), literal(&header.value));
    }
    for header in &filter.add {
        changes
            .add
            .insert(header.name.clone(), literal(&header.value));
    }
    changes.remove.extend(filter.remove.iter().cloned());
}

fn rewrite(filter: &RewriteFilter) -> Rewrite {
    Rewrite {
        path: filter.path.as_ref().map(|path| match path {
            PathModifier::ReplaceFullPath { replace_full_path } => PathRewrite::Regex {
                pattern: "/.*".to_owned(),
                // A backslash would name a group.
                substitution: absolute(replace_full_path).replace('\\', "\\\\"),
            },
            PathModifier::ReplacePrefixMatch {
                replace_prefix_match,
            } => PathRewrite::Matched(absolute(replace_prefix_match)),
        }),
        authority: filter.hostname.clone(),
    }
}

/// The path with a slash in front, if it has none.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// What the filter does not say is what browsers allow without asking.
fn cors_policy(filter: &CorsFilter) -> CorsPolicy {
    const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
    const HEADERS: [&str; 5] = [
        "Accept",
        "Accept-Language",
        "Content-Language",
        "Content-Type",
        "Range",
    ];
    const MAX_AGE: u32 = 5;
    let or = |written: &[String], usual: &[&str]| -> Vec<String> {
        if written.is_empty() {
            usual.iter().map(|&one| one.to_owned()).collect()
        } else {
            written.to_vec()
        }
    };
    CorsPolicy {
        allow_origins: filter.allow_origins.iter().map(|one| origin(one)).collect(),
        allow_methods: or(&filter.allow_methods, &METHODS),
        allow_headers: or(&filter.allow_headers, &HEADERS),
        expose_headers: filter.expose_headers.clone(),
        max_age: Some(Duration::from_secs(u64::from(
            filter.max_age.unwrap_or(MAX_AGE),
        ))),
        allow_credentials: filter.allow_credentials.then_some(true),
        ignore_unmatched_preflights: true,
    }
}

fn origin(written: &str) -> StringMatch {
    match written.split_once('*') {
        None => StringMatch::Exact(written.to_owned()),
        Some(("", "")) => StringMatch::Regex(r"[a-zA-Z][a-zA-Z0-9+.\-]*://[^/\s?#]+".to_owned()),
        Some((before, after)) => {
            StringMatch::Regex(format!("{}.*{}", escaped(before), escaped(after)))
        }
    }
}

/// Origins have no other characters that mean something in an expression.
fn escaped(text: &str) -> String {
    text.replace('.', r"\.").replace('+', r"\+")
}
