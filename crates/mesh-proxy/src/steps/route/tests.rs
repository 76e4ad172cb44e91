//! The router against a naive reading of the rules, and the cases that are easily wrong.

use proptest::prelude::*;

use super::*;
use crate::snapshot::Action;

fn host(name: &str, routes: Vec<RouteMatcher>) -> Arc<VirtualHost> {
    let routes = routes.into_iter().enumerate().map(|(i, matcher)| {
        let action = Action::Direct {
            status: http::StatusCode::OK,
            body: bytes::Bytes::new(),
        };
        Arc::new(Route::new(&format!("{name}#{i}"), matcher, action))
    });
    Arc::new(VirtualHost::new(name, routes.collect()))
}

fn any_path() -> RouteMatcher {
    RouteMatcher::path(PathMatcher::Prefix {
        value: "/".into(),
        ignore_case: false,
    })
}

/// A router for these domains, each with one route for everything.
fn router(domains: &[&str], ignore_port: bool) -> Router {
    let mut router = Router {
        ignore_port,
        ..Router::default()
    };
    let mut suffixes = Vec::new();
    for domain in domains {
        let host = host(domain, vec![any_path()]);
        match domain.strip_prefix('*') {
            Some("") => router.any = Some(host),
            Some(suffix) => suffixes.push((suffix.into(), host)),
            None => {
                router.exact.insert((*domain).into(), host);
            }
        }
    }
    router.suffix = suffixes.into_iter().collect();
    router
}

fn host_of<'r>(router: &'r Router, authority: &str) -> Option<&'r str> {
    virtual_host(router, authority).map(|host| host.name.as_ref())
}

#[test]
fn the_most_specific_host_wins() {
    let router = router(&["a.b.c", "*.b.c", "*.c", "*"], true);
    assert_eq!(host_of(&router, "a.b.c"), Some("a.b.c"));
    assert_eq!(host_of(&router, "x.b.c"), Some("*.b.c"));
    assert_eq!(host_of(&router, "x.y.b.c"), Some("*.b.c"));
    assert_eq!(host_of(&router, "b.c"), Some("*.c"));
    assert_eq!(host_of(&router, "c"), Some("*"));
}

#[test]
fn a_wildcard_needs_something_in_front_of_its_suffix() {
    assert_eq!(host_of(&router(&["*.c"], true), ".c"), None);
}

#[test]
fn case_dot_and_port_do_not_matter() {
    let router = router(&["web.example", "[::1]"], true);
    for authority in [
        "web.example",
        "WEB.Example",
        "web.example.",
        "Web.example.:8080",
        "web.example:80",
    ] {
        assert_eq!(
            host_of(&router, authority),
            Some("web.example"),
            "{authority}"
        );
    }
    assert_eq!(host_of(&router, "[::1]:80"), Some("[::1]"));
    assert_eq!(host_of(&router, "[::1]"), Some("[::1]"));
}

#[test]
fn the_port_matters_where_domains_name_it() {
    let router = router(&["web:8080", "web"], false);
    assert_eq!(host_of(&router, "web:8080"), Some("web:8080"));
    assert_eq!(host_of(&router, "WEB.:8080"), Some("web:8080"));
    assert_eq!(host_of(&router, "Web."), Some("web"));
    assert_eq!(host_of(&router, "web:81"), None);
}

fn question<'a>(uri: &'a Uri, method: &'a Method, headers: &'a HeaderMap) -> Question<'a> {
    Question {
        authority: "web:80",
        method,
        uri,
        scheme: "http",
        headers,
    }
}

fn field(name: &'static str, value: ValueMatcher, invert: bool) -> HeaderMatcher {
    HeaderMatcher {
        name: HeaderName::Field(http::HeaderName::from_static(name)),
        value,
        invert,
        missing_is_empty: invert,
    }
}

#[test]
fn several_lines_of_a_field_are_compared_as_one() {
    let mut headers = HeaderMap::new();
    headers.append("x-a", "1".parse().expect("a value"));
    headers.append("x-a", "2".parse().expect("a value"));
    let uri = Uri::from_static("/");
    let asked = question(&uri, &Method::GET, &headers);
    assert!(header_matches(
        &field("x-a", ValueMatcher::Exact("1,2".into()), false),
        &asked
    ));
    assert!(!header_matches(
        &field("x-a", ValueMatcher::Exact("1".into()), false),
        &asked
    ));
}

#[test]
fn a_missing_header_passes_only_what_excludes_a_value() {
    let headers = HeaderMap::new();
    let uri = Uri::from_static("/");
    let asked = question(&uri, &Method::GET, &headers);
    let exact = |value: &str| ValueMatcher::Exact(value.into());
    assert!(!header_matches(&field("x-a", exact("1"), false), &asked));
    assert!(!header_matches(&field("x-a", exact(""), false), &asked));
    assert!(header_matches(&field("x-a", exact("1"), true), &asked));
    assert!(!header_matches(&field("x-a", exact(""), true), &asked));
    assert!(!header_matches(
        &field("x-a", ValueMatcher::Present, false),
        &asked
    ));
    assert!(header_matches(
        &field("x-a", ValueMatcher::Present, true),
        &asked
    ));
}

#[test]
fn the_path_is_compared_without_its_query_and_the_pseudo_header_with_it() {
    let headers = HeaderMap::new();
    let uri = Uri::from_static("/a?b=c");
    let asked = question(&uri, &Method::GET, &headers);
    let exact = |value: &str| PathMatcher::Exact {
        value: value.into(),
        ignore_case: false,
    };
    assert!(path_matches(&exact("/a"), asked.uri.path()));
    let pseudo = HeaderMatcher {
        name: HeaderName::Path,
        value: ValueMatcher::Exact("/a?b=c".into()),
        invert: false,
        missing_is_empty: false,
    };
    assert!(header_matches(&pseudo, &asked));
}

#[test]
fn a_prefix_is_a_plain_string() {
    let prefix = |value: &str, ignore_case| PathMatcher::Prefix {
        value: value.into(),
        ignore_case,
    };
    assert!(path_matches(&prefix("/v1", false), "/v12"));
    assert!(!path_matches(&prefix("/v1", false), "/V1"));
    assert!(path_matches(&prefix("/v1", true), "/V1/x"));
    assert!(path_matches(&prefix("", false), "*"));
    assert!(!path_matches(&prefix("/é", false), "/"));
}

/// The rules again, as slowly and plainly as possible.
fn naive<'d>(domains: &[&'d str], authority: &str, ignore_port: bool) -> Option<&'d str> {
    let authority = authority.to_lowercase();
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, format!(":{port}")),
        None => (authority.as_str(), String::new()),
    };
    let host = host.trim_end_matches('.');
    let name = if ignore_port {
        host.into()
    } else {
        format!("{host}{port}")
    };
    let mut best: Option<(&str, usize)> = None;
    for domain in domains {
        let rank = match domain.strip_prefix('*') {
            Some(suffix) if name.ends_with(suffix) && (suffix.is_empty() || name != suffix) => {
                suffix.len() + 1
            }
            None if *domain == name => usize::MAX,
            _ => continue,
        };
        if best.is_none_or(|(_, best)| rank > best) {
            best = Some((domain, rank));
        }
    }
    best.map(|(domain, _)| domain)
}

proptest! {
    #[test]
    fn the_host_is_the_one_of_the_naive_reading(
        picked in prop::sample::subsequence(vec!["a", "b.a", "c.b.a", "b.a:80", "*.a", "*.b.a", "*a:80", "*"], 0..8),
        authority in "[abcABC]{1,2}(\\.[abAB]){0,3}\\.?(:80)?", ignore_port: bool,
    ) {
        let router = router(&picked, ignore_port);
        prop_assert_eq!(host_of(&router, &authority), naive(&picked, &authority, ignore_port));
    }

    #[test]
    fn the_first_route_whose_conditions_hold_wins(
        prefixes in prop::collection::vec("/[ab]{0,2}", 1..5),
        needs in prop::collection::vec(prop::option::of("[xy]"), 5),
        path in "/[ab]{0,3}", header in prop::option::of("[xy]"),
    ) {
        let matchers = prefixes.iter().zip(&needs).map(|(prefix, need)| RouteMatcher {
            path: PathMatcher::Prefix { value: prefix.clone(), ignore_case: false },
            headers: need.iter().map(|v| field("x-a", ValueMatcher::Exact(v.clone()), false)).collect(),
            query: Vec::new(),
        });
        let router = Router { any: Some(host("any", matchers.collect())), ..Router::default() };
        let mut headers = HeaderMap::new();
        if let Some(value) = &header {
            headers.insert("x-a", value.parse().expect("a value"));
        }
        let uri: Uri = path.parse().expect("a path");
        let expected = (0..prefixes.len()).find(|i| {
            path.starts_with(&prefixes[*i]) && (needs[*i].is_none() || needs[*i] == header)
        });
        let found = find(&router, &question(&uri, &Method::GET, &headers));
        let found = found.map(|(_, route)| route.name.to_string());
        prop_assert_eq!(found, expected.map(|i| format!("any#{i}")));
    }
}

/// A path's condition: its kind, whether case matters, and its text.
fn path_matcher() -> impl Strategy<Value = PathMatcher> {
    (0..4_usize, prop::bool::weighted(0.2), "(/[ab]{0,2}){0,3}").prop_map(
        |(kind, ignore_case, value)| match kind {
            0 => PathMatcher::Exact { value, ignore_case },
            1 if !value.is_empty() && !value.ends_with('/') => {
                PathMatcher::Segments { value, ignore_case }
            }
            2 => PathMatcher::Regex(
                regex::Regex::new(&format!(r"\A(?:{value}[ab/]?)\z")).expect("a regex"),
            ),
            _ => PathMatcher::Prefix { value, ignore_case },
        },
    )
}

proptest! {
    #[test]
    fn an_index_finds_what_asking_in_turn_finds(
        rules in prop::collection::vec((path_matcher(), prop::option::of("[xy]")), 16..60),
        path in "(/[abAB]{0,2}){1,4}", header in prop::option::of("[xy]"),
    ) {
        let matchers = rules.into_iter().map(|(path, need)| RouteMatcher {
            headers: need.iter().map(|v| field("x-a", ValueMatcher::Exact(v.clone()), false)).collect(),
            ..RouteMatcher::path(path)
        });
        let host = host("any", matchers.collect());
        prop_assert!(host.index.is_some());
        let mut headers = HeaderMap::new();
        if let Some(value) = &header {
            headers.insert("x-a", value.parse().expect("a value"));
        }
        let uri: Uri = path.parse().expect("a path");
        let question = Question {
            authority: "web", method: &Method::GET, uri: &uri, scheme: "http", headers: &headers,
        };
        let in_turn = host.routes.iter().find(|route| matches(&route.matcher, &question));
        let expected = in_turn.map(|route| route.name.clone());
        let router = Router { any: Some(host.clone()), ..Router::default() };
        let found = find(&router, &question).map(|(_, route)| route.name.clone());
        prop_assert_eq!(found, expected);
    }
}
