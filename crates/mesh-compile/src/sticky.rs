//! Clients that stay where their first request went, while weights change.
//!
//! A cookie names the destination. Before the route that splits by weight stand routes that match the cookie, one
//! for each destination with a weight; what the split chooses sets it. Nothing in this is ours alone: any Envoy
//! does it. A destination without a weight has no such route, so its clients are split anew.

use mesh_config::model::Sticky;
use mesh_xds::envoy::core::{HeaderValue, HeaderValueOption, Metadata};
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::matcher::{RegexMatcher, StringMatcher};
use mesh_xds::envoy::protobuf::{Struct, UInt32Value};
use mesh_xds::envoy::route::header_matcher::HeaderMatchSpecifier;
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::ClusterSpecifier;
use mesh_xds::envoy::route::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::route::{HeaderMatcher, Route, WeightedCluster};

use crate::matcher;

/// Marks the routes of those who have the cookie, for whoever orders routes or reads them.
const PINNED: &str = "mesh.io/sticky";

/// The routes that stand in for this one: those of who has the cookie, then itself, which sets it. `secure` says
/// that browsers ask over TLS.
pub(crate) fn routes(mut route: Route, sticky: &Sticky, secure: bool) -> Vec<Route> {
    let Some(Action::Route(action)) = &mut route.action else {
        return vec![route];
    };
    let targets = match action.cluster_specifier.take() {
        Some(ClusterSpecifier::Cluster(name)) => vec![ClusterWeight {
            name,
            weight: Some(UInt32Value { value: 1 }),
            ..ClusterWeight::default()
        }],
        Some(ClusterSpecifier::WeightedClusters(split)) => split.clusters,
        other => {
            action.cluster_specifier = other;
            return vec![route];
        }
    };
    let to = |clusters: Vec<ClusterWeight>| {
        ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters,
            ..WeightedCluster::default()
        })
    };
    let pinned = |target: &ClusterWeight| {
        let mut pinned = route.clone();
        if let Some(matcher) = &mut pinned.r#match {
            matcher.headers.push(has(&sticky.cookie, &target.name));
        }
        if let Some(Action::Route(action)) = &mut pinned.action {
            action.cluster_specifier = Some(to(vec![target.clone()]));
        }
        let metadata = pinned.metadata.get_or_insert_with(Metadata::default);
        let nothing = Struct::default();
        metadata.filter_metadata.insert(PINNED.to_owned(), nothing);
        pinned
    };
    let mut routes: Vec<Route> = targets.iter().map(pinned).collect();
    let setting = targets.into_iter().map(|mut target| {
        let cookie = set_cookie(sticky, &target.name, secure);
        target.response_headers_to_add.push(cookie);
        target
    });
    if let Some(Action::Route(action)) = &mut route.action {
        action.cluster_specifier = Some(to(setting.collect()));
    }
    routes.push(route);
    routes
}

/// Whether a route is that of who has the cookie, and takes every request of theirs.
pub(crate) fn is_pinned_catch_all(route: &Route) -> bool {
    let is_pinned = route
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.filter_metadata.contains_key(PINNED));
    let is_catch_all = || {
        let mut rest = route.r#match.clone().unwrap_or_default();
        rest.headers.pop();
        matcher::is_catch_all(&rest)
    };
    is_pinned && is_catch_all()
}

/// The cookie with this destination's value, among any others.
fn has(cookie: &str, cluster: &str) -> HeaderMatcher {
    let regex = format!("(.*; ?)?{cookie}={}(;.*)?", value(cluster));
    HeaderMatcher {
        name: "cookie".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
                regex,
                ..RegexMatcher::default()
            })),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    }
}

fn set_cookie(sticky: &Sticky, cluster: &str, secure: bool) -> HeaderValueOption {
    let mut cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Lax",
        sticky.cookie,
        value(cluster)
    );
    if let Some(ttl) = sticky.ttl {
        cookie.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
    }
    if secure {
        cookie.push_str("; Secure");
    }
    HeaderValueOption {
        header: Some(HeaderValue {
            key: "set-cookie".to_owned(),
            value: cookie,
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

/// A short hash (FNV-1a) of host, subset and port: the same whatever the weights are, and no name of the inside.
fn value(cluster: &str) -> String {
    let hash = cluster
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_xds::envoy::route::RouteAction;

    use super::*;

    fn split(weights: &[(&str, u32)]) -> Route {
        let clusters = weights.iter().map(|(name, weight)| ClusterWeight {
            name: (*name).to_owned(),
            weight: Some(UInt32Value { value: *weight }),
            ..ClusterWeight::default()
        });
        let specifier = ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters.collect(),
            ..WeightedCluster::default()
        });
        Route {
            r#match: Some(matcher::always()),
            action: Some(Action::Route(RouteAction {
                cluster_specifier: Some(specifier),
                ..RouteAction::default()
            })),
            ..Route::default()
        }
    }

    fn sticky() -> Sticky {
        Sticky {
            cookie: "canary".to_owned(),
            ttl: Some(Duration::from_secs(3600)),
        }
    }

    #[test]
    fn each_destination_has_a_route_before_the_split() {
        let routes = routes(split(&[("a", 90), ("b", 10)]), &sticky(), true);
        let pinned: Vec<bool> = routes.iter().map(is_pinned_catch_all).collect();
        assert_eq!(pinned, [true, true, false]);
        let last = routes[2].r#match.as_ref().expect("a match");
        assert!(matcher::is_catch_all(last));
        let Some(Action::Route(action)) = &routes[2].action else {
            panic!("it sends requests on");
        };
        let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
            panic!("it splits");
        };
        let cookies = weighted.clusters.iter().map(|target| {
            let header = target.response_headers_to_add[0].header.as_ref();
            header.expect("a header").value.clone()
        });
        let expected = ["a", "b"].map(|name| {
            let value = value(name);
            format!("canary={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure")
        });
        assert_eq!(cookies.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_value_depends_on_the_destination_alone() {
        let one = routes(split(&[("a", 90), ("b", 10)]), &sticky(), false);
        let other = routes(split(&[("a", 1), ("b", 99)]), &sticky(), false);
        assert_eq!(one[0].r#match, other[0].r#match);
        assert_ne!(one[0].r#match, one[1].r#match);
    }
}
