//! Which route a request takes: the virtual host by name, then its routes in order.
//!
//! Pure, so that `meshctl explain` can ask the same question without traffic. The tests compare it
//! with a naive reading of the rules.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri, header};

use crate::snapshot::{
    HeaderMatcher, HeaderName, PathMatcher, QueryMatcher, Route, RouteMatcher, Router,
    ValueMatcher, VirtualHost,
};

/// What a router looks at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The host that is asked for, with its port if it has one.
    pub authority: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The target: its path and query are read.
    pub uri: &'a Uri,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// All fields.
    pub headers: &'a HeaderMap,
}

/// The route that answers this question, with its virtual host; `None` is a 404.
#[must_use]
pub fn find<'r>(
    router: &'r Router,
    question: &Question<'_>,
) -> Option<(&'r Arc<VirtualHost>, &'r Arc<Route>)> {
    let host = virtual_host(router, question.authority)?;
    let route = match &host.index {
        None => host.routes.iter().find(|r| matches(&r.matcher, question))?,
        Some(index) => index
            .candidates(question.uri.path())
            .filter_map(|place| host.routes.get(place as usize))
            .find(|r| matches(&r.matcher, question))?,
    };
    Some((host, route))
}

/// The virtual host by exact name, else by the longest suffix, else `*`.
#[must_use]
pub fn virtual_host<'r>(router: &'r Router, authority: &str) -> Option<&'r Arc<VirtualHost>> {
    let name = host_name(authority, router.ignore_port);
    let name = name.as_ref();
    router
        .exact
        .get(name)
        .or_else(|| router.suffix.find(name))
        .or(router.any.as_ref())
}

/// Does a request meet all of a route's conditions?
#[must_use]
pub fn matches(matcher: &RouteMatcher, question: &Question<'_>) -> bool {
    path_matches(&matcher.path, question.uri.path()) && conditions_hold(matcher, question)
}

/// Does a request meet all of a route's conditions but the one on its path?
fn conditions_hold(matcher: &RouteMatcher, question: &Question<'_>) -> bool {
    let query = || question.uri.query().unwrap_or_default();
    matcher.headers.iter().all(|h| header_matches(h, question))
        && matcher.query.iter().all(|q| query_matches(q, query()))
}

/// The name as virtual hosts are listed: lower case, without the root's dot, with or without port.
fn host_name(authority: &str, ignore_port: bool) -> Cow<'_, str> {
    let (host, port) = split_port(authority);
    let bare = host.strip_suffix('.').unwrap_or(host);
    let folded = bare.bytes().any(|b| b.is_ascii_uppercase());
    match (ignore_port || port.is_empty(), folded) {
        (true, false) => Cow::Borrowed(bare),
        (true, true) => Cow::Owned(bare.to_ascii_lowercase()),
        (false, false) if bare.len() == host.len() => Cow::Borrowed(authority),
        (false, _) => Cow::Owned(format!("{}{port}", bare.to_ascii_lowercase())),
    }
}

/// Host, and port with its colon. A colon inside an IPv6 address's brackets is none.
fn split_port(authority: &str) -> (&str, &str) {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => authority.split_at(colon),
        _ => (authority, ""),
    }
}

fn path_matches(matcher: &PathMatcher, path: &str) -> bool {
    match matcher {
        // Also `*`, the target of a server-wide OPTIONS.
        PathMatcher::Prefix { value, .. } if value.is_empty() || value == "/" => true,
        PathMatcher::Prefix { value, ignore_case } => {
            let start = path.as_bytes().get(..value.len());
            start.is_some_and(|start| same(start, value, *ignore_case))
        }
        PathMatcher::Segments { value, ignore_case } => {
            let Some((start, rest)) = path.as_bytes().split_at_checked(value.len()) else {
                return false;
            };
            matches!(rest, [] | [b'/', ..]) && same(start, value, *ignore_case)
        }
        PathMatcher::Exact { value, ignore_case } => same(path.as_bytes(), value, *ignore_case),
        PathMatcher::Regex(regex) => regex.is_match(path),
    }
}

fn same(bytes: &[u8], value: &str, ignore_case: bool) -> bool {
    if ignore_case {
        bytes.eq_ignore_ascii_case(value.as_bytes())
    } else {
        bytes == value.as_bytes()
    }
}

/// Envoy's rule for a header that is missing: presence is a question of its own, and a value can only be
/// compared if a missing one counts as empty.
fn header_matches(matcher: &HeaderMatcher, question: &Question<'_>) -> bool {
    match header_value(&matcher.name, question) {
        Some(value) => value_matches(&matcher.value, &value) != matcher.invert,
        None if matches!(matcher.value, ValueMatcher::Present) => matcher.invert,
        None if matcher.missing_is_empty => value_matches(&matcher.value, b"") != matcher.invert,
        None => false,
    }
}

/// The first value of a parameter counts, as it is written; one without `=` is empty.
fn query_matches(matcher: &QueryMatcher, query: &str) -> bool {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.find(|(name, _)| *name == matcher.name);
    match value {
        Some((_, value)) => !matcher.absent && value_matches(&matcher.value, value.as_bytes()),
        None => matcher.absent,
    }
}

/// Several lines of one field count as one, joined by commas.
pub(super) fn header_value<'q>(
    name: &HeaderName,
    question: &Question<'q>,
) -> Option<Cow<'q, [u8]>> {
    match name {
        HeaderName::Method => Some(question.method.as_str().as_bytes().into()),
        HeaderName::Authority => Some(question.authority.as_bytes().into()),
        HeaderName::Scheme => Some(question.scheme.as_bytes().into()),
        HeaderName::Path => {
            let path = question.uri.path_and_query();
            Some(path.map_or("/", |path| path.as_str()).as_bytes().into())
        }
        HeaderName::Field(name) => {
            let mut lines = question.headers.get_all(name).iter();
            let first = lines.next()?.as_bytes();
            let separator: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
            Some(lines.fold(first.into(), |joined: Cow<'q, [u8]>, line| {
                [joined.as_ref(), separator, line.as_bytes()]
                    .concat()
                    .into()
            }))
        }
    }
}

pub(super) fn value_matches(matcher: &ValueMatcher, value: &[u8]) -> bool {
    match matcher {
        ValueMatcher::Present => true,
        ValueMatcher::Exact(expected) => value == expected.as_bytes(),
        ValueMatcher::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
        ValueMatcher::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
        ValueMatcher::Contains(part) if part.is_empty() => true,
        ValueMatcher::Contains(part) => {
            let mut windows = value.windows(part.len());
            windows.any(|window| window == part.as_bytes())
        }
        ValueMatcher::Regex(regex) => {
            std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
        }
    }
}

#[cfg(test)]
mod tests;
