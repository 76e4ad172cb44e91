//! VirtualServices that leave their routes to others: the routes of both, joined as Istio joins them.
//!
//! What the root asks for holds for all of the delegate's routes. A route of the delegate that asks for something
//! that the root's match does not let through is left out, whole. What the delegate's route does not say comes from
//! the root.

use std::collections::BTreeMap;

use crate::config::resolve_host;
use crate::model::{HttpMatch, HttpRoute, StringMatch};

/// The routes that stand in for a root's route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// In the order of the delegate.
    pub routes: Vec<HttpRoute>,
    /// Places of the delegate's routes that can never be reached by way of this root.
    pub left_out: Vec<usize>,
}

/// Joins a root's route with the routes of its delegate, whose destinations belong to `namespace`.
#[must_use]
pub fn join(root: &HttpRoute, delegate: &[HttpRoute], namespace: &str) -> Joined {
    let mut joined = Joined::default();
    for (place, route) in delegate.iter().enumerate() {
        match matches(&root.matches, &route.matches) {
            Some(matches) => joined
                .routes
                .push(with_root(root, route, matches, namespace)),
            None => joined.left_out.push(place),
        }
    }
    joined
}

fn with_root(
    root: &HttpRoute,
    route: &HttpRoute,
    matches: Vec<HttpMatch>,
    namespace: &str,
) -> HttpRoute {
    let mut route = HttpRoute {
        name: named(&root.name, &route.name),
        matches,
        delegate: None,
        ..route.clone()
    };
    for destination in &mut route.route {
        destination.host = resolve_host(&destination.host, namespace);
    }
    route.direct_response = route
        .direct_response
        .or_else(|| root.direct_response.clone());
    route.rewrite = route.rewrite.or_else(|| root.rewrite.clone());
    route.timeout = route.timeout.or(root.timeout);
    route.retries = route.retries.or_else(|| root.retries.clone());
    route.fault = route.fault.or_else(|| root.fault.clone());
    for mirror in &mut route.mirrors {
        mirror.destination.host = resolve_host(&mirror.destination.host, namespace);
    }
    if route.mirrors.is_empty() {
        route.mirrors.clone_from(&root.mirrors);
    }
    route.cors = route.cors.or_else(|| root.cors.clone());
    if route.headers.is_empty() {
        route.headers.clone_from(&root.headers);
    }
    route
}

fn named(root: &str, own: &str) -> String {
    match (root, own) {
        (root, "") => root.to_owned(),
        ("", own) => own.to_owned(),
        (root, own) => format!("{root}-{own}"),
    }
}

/// Each of the delegate's matches with each of the root's that lets it through; `None` if one of them finds none.
fn matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(own.to_vec());
    }
    if own.is_empty() {
        return Some(root.to_vec());
    }
    let mut joined = Vec::new();
    for own in own {
        let before = joined.len();
        joined.extend(
            root.iter()
                .filter(|root| lets_through(root, own))
                .map(|root| both(root, own)),
        );
        if joined.len() == before {
            return None;
        }
    }
    Some(joined)
}

fn both(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    let all = |root: &Conditions, own: &Conditions| {
        let mut all = root.clone();
        all.extend(own.clone());
        all
    };
    let first = |own: &Option<StringMatch>, root: &Option<StringMatch>| {
        own.clone().or_else(|| root.clone())
    };
    let mut source_labels = root.source_labels.clone();
    source_labels.extend(own.source_labels.clone());
    HttpMatch {
        name: named(&root.name, &own.name),
        uri: first(&own.uri, &root.uri),
        ignore_uri_case: own.ignore_uri_case,
        uri_by_segments: own.uri_by_segments || root.uri_by_segments,
        method: first(&own.method, &root.method),
        scheme: first(&own.scheme, &root.scheme),
        authority: first(&own.authority, &root.authority),
        headers: all(&root.headers, &own.headers),
        without_headers: all(&root.without_headers, &own.without_headers),
        query_params: all(&root.query_params, &own.query_params),
        port: own.port.or(root.port),
        source_labels,
        source_namespace: own
            .source_namespace
            .clone()
            .or_else(|| root.source_namespace.clone()),
        gateways: if own.gateways.is_empty() {
            root.gateways.clone()
        } else {
            own.gateways.clone()
        },
        unsupported: root
            .unsupported
            .iter()
            .chain(&own.unsupported)
            .cloned()
            .collect(),
    }
}

type Conditions = BTreeMap<String, Option<StringMatch>>;

/// Whether what the delegate's match asks for is part of what the root's takes.
fn lets_through(root: &HttpMatch, own: &HttpMatch) -> bool {
    let single = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let fits = |root: &Conditions, own: &Conditions| {
        own.iter().all(|(name, own)| {
            root.get(name)
                .is_none_or(|root| is_part(root.as_ref(), own.as_ref()))
        })
    };
    single
        .into_iter()
        .all(|(root, own)| root.is_none() || own.is_none() || is_part(root.as_ref(), own.as_ref()))
        && fits(&root.headers, &own.headers)
        // What the root wants there cannot be what the delegate wants away.
        && fits(&root.headers, &own.without_headers)
        && fits(&root.query_params, &own.query_params)
        && root.ignore_uri_case == own.ignore_uri_case
        && (root.port.is_none() || own.port.is_none() || root.port == own.port)
}

/// Whether one condition's values are among the other's, as far as Istio looks: expressions are never compared.
/// Where nothing is asked but presence, Istio finds a conflict too.
fn is_part(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    match (root, own) {
        (Some(StringMatch::Exact(root)), Some(StringMatch::Exact(own))) => root == own,
        (
            Some(StringMatch::Prefix(root)),
            Some(StringMatch::Exact(own) | StringMatch::Prefix(own)),
        ) => own.starts_with(root.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HttpDestination, Rewrite};

    fn prefix(text: &str) -> HttpMatch {
        HttpMatch {
            uri: Some(StringMatch::Prefix(text.into())),
            ..HttpMatch::default()
        }
    }

    fn route(name: &str, matches: Vec<HttpMatch>) -> HttpRoute {
        HttpRoute {
            name: name.into(),
            matches,
            route: vec![HttpDestination {
                host: "web".into(),
                subset: None,
                port: None,
                weight: 0,
                headers: Default::default(),
            }],
            ..HttpRoute::default()
        }
    }

    #[test]
    fn the_delegate_narrows_the_root_and_takes_what_it_does_not_say() {
        let root = HttpRoute {
            rewrite: Some(Rewrite::default()),
            route: Vec::new(),
            ..route("root", vec![prefix("/a")])
        };
        let with_header = HttpMatch {
            headers: [("x".to_owned(), None)].into(),
            ..HttpMatch::default()
        };
        let own = [
            route("narrow", vec![prefix("/a/b"), with_header]),
            route("outside", vec![prefix("/b")]),
            route("", vec![]),
        ];
        let joined = join(&root, &own, "other");
        assert_eq!(joined.left_out, [1]);
        let [narrow, rest] = joined.routes.as_slice() else {
            panic!("two routes are left")
        };
        assert_eq!(
            (narrow.name.as_str(), rest.name.as_str()),
            ("root-narrow", "root")
        );
        assert_eq!(narrow.matches[0].uri, prefix("/a/b").uri);
        assert_eq!(narrow.matches[1].uri, prefix("/a").uri);
        assert!(narrow.matches[1].headers.contains_key("x"));
        assert_eq!(rest.matches, root.matches);
        assert_eq!(narrow.rewrite, root.rewrite);
        assert_eq!(narrow.route[0].host, "web.other.svc.cluster.local");
    }

    #[test]
    fn one_match_that_does_not_fit_takes_the_whole_route_out() {
        let root = route("", vec![prefix("/a")]);
        let joined = join(
            &root,
            &[route("", vec![prefix("/a"), prefix("/b")])],
            "default",
        );
        assert_eq!((joined.routes.len(), joined.left_out), (0, vec![0]));
    }

    #[test]
    fn conditions_are_compared_as_istio_does() {
        let exact = |text: &str| Some(StringMatch::Exact(text.into()));
        let begin = |text: &str| Some(StringMatch::Prefix(text.into()));
        let regex = |text: &str| Some(StringMatch::Regex(text.into()));
        for (root, own, fits) in [
            (exact("/a"), exact("/a"), true),
            (exact("/a"), exact("/b"), false),
            (exact("/a"), begin("/a"), false),
            (begin("/a"), begin("/a/b"), true),
            (begin("/a/b"), begin("/a"), false),
            (begin("/a"), exact("/a/b"), true),
            (regex("/a.*"), exact("/a"), false),
            (begin("/"), regex("/.*"), false),
            (None, exact("/a"), false),
        ] {
            assert_eq!(
                is_part(root.as_ref(), own.as_ref()),
                fits,
                "{root:?} {own:?}"
            );
        }
    }
}
