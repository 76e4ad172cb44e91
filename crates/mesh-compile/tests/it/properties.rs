//! Routing order and weights against what VirtualServices mean, read naively.

use mesh_compile::{Model, Settings};
use mesh_config::Config;
use mesh_config::model::{
    HeaderOperations, HttpDestination, HttpMatch, HttpRoute, Kind, Metadata, Object, Service,
    ServicePort, Spec, StringMatch, TargetPort, VirtualService,
};
use mesh_xds::envoy::route::header_matcher::HeaderMatchSpecifier;
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::ClusterSpecifier;
use mesh_xds::envoy::route::route_match::PathSpecifier;
use mesh_xds::envoy::route::{Route, RouteConfiguration, RouteMatch};
use proptest::prelude::*;

use super::summary::messages;
use super::support::sidecar;

const PATHS: [&str; 5] = ["/", "/a", "/ab", "/b", "/a/b"];
const METHODS: [&str; 2] = ["GET", "POST"];

fn matches() -> impl Strategy<Value = HttpMatch> {
    let path = prop::sample::select(PATHS.to_vec()).prop_map(str::to_owned);
    let uri = prop_oneof![
        path.clone().prop_map(StringMatch::Exact),
        path.prop_map(StringMatch::Prefix),
    ];
    let method = prop::sample::select(METHODS.to_vec()).prop_map(|m| StringMatch::Exact(m.into()));
    let unsupported = prop::bool::weighted(0.2).prop_map(|no| {
        if no {
            vec!["spec.http[0].match[0].port".to_owned()]
        } else {
            Vec::new()
        }
    });
    (
        prop::option::of(uri),
        prop::option::weighted(0.3, method),
        unsupported,
    )
        .prop_map(|(uri, method, unsupported)| HttpMatch {
            uri,
            method,
            unsupported,
            ..HttpMatch::default()
        })
}

fn destinations() -> impl Strategy<Value = Vec<HttpDestination>> {
    let weight = prop_oneof![Just(0), 1..5_u32, Just(i32::MAX as u32)];
    let destination = (0..4_usize, weight).prop_map(|(host, weight)| HttpDestination {
        host: format!("s{host}"),
        subset: None,
        port: None,
        weight,
        headers: HeaderOperations::default(),
    });
    let some_weight =
        |all: &Vec<HttpDestination>| all.len() == 1 || all.iter().any(|d| d.weight > 0);
    prop::collection::vec(destination, 1..4).prop_filter("all weights 0 is invalid", some_weight)
}

fn http_routes() -> impl Strategy<Value = Vec<HttpRoute>> {
    let route =
        (prop::collection::vec(matches(), 0..3), destinations()).prop_map(|(matches, route)| {
            HttpRoute {
                matches,
                route,
                ..HttpRoute::default()
            }
        });
    prop::collection::vec(route, 1..6)
}

fn object(kind: Kind, name: &str, spec: Spec) -> Object {
    Object {
        api_version: "v1".into(),
        kind,
        metadata: Metadata {
            name: name.into(),
            namespace: "default".into(),
            ..Metadata::default()
        },
        spec,
        raw: serde_json::Value::Null,
        origin: None,
    }
}

fn compiled(http: Vec<HttpRoute>) -> Vec<Route> {
    let mut config = Config::new();
    for index in 0..4 {
        let service = Service {
            selector: [].into(),
            ports: vec![ServicePort {
                name: "http".into(),
                port: 80,
                target_port: TargetPort::Number(80),
                app_protocol: None,
            }],
            ..Service::default()
        };
        let name = format!("s{index}");
        config.insert(object(Kind::Service, &name, Spec::Service(service)));
    }
    let rule = VirtualService {
        hosts: vec!["s0".into()],
        gateways: vec!["mesh".into()],
        http,
        ..VirtualService::default()
    };
    config.insert(object(
        Kind::VirtualService,
        "r",
        Spec::VirtualService(rule),
    ));
    let model = Model::build(&config, &[], &Settings::default());
    let set = model.resources_for(&sidecar("default", "w"));
    let hosts = messages::<RouteConfiguration>(&set).remove(0).virtual_hosts;
    let host = hosts.into_iter().find(|host| host.name.starts_with("s0."));
    host.expect("the service's virtual host").routes
}

/// What a VirtualService means: the first route of which an entry holds.
fn meant<'a>(http: &'a [HttpRoute], path: &str, method: &str) -> Option<&'a HttpRoute> {
    let fits = |condition: &Option<StringMatch>, value: &str| match condition {
        None => true,
        Some(StringMatch::Exact(text)) => value == text,
        Some(StringMatch::Prefix(text)) => value.starts_with(text.as_str()),
        Some(StringMatch::Regex(_)) => false,
    };
    http.iter().find(|route| {
        route.matches.is_empty()
            || route.matches.iter().any(|entry| {
                entry.unsupported.is_empty()
                    && fits(&entry.uri, path)
                    && fits(&entry.method, method)
            })
    })
}

/// What Envoy makes of a match, as far as these tests use it.
fn holds(matcher: &RouteMatch, path: &str, method: &str) -> bool {
    let path = match &matcher.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => path.starts_with(prefix.as_str()),
        Some(PathSpecifier::Path(exact)) => path == exact,
        other => panic!("unexpected {other:?}"),
    };
    path && matcher.headers.iter().all(|header| {
        assert_eq!(header.name, ":method");
        let Some(HeaderMatchSpecifier::StringMatch(value)) = &header.header_match_specifier else {
            panic!("unexpected {header:?}");
        };
        let exact = mesh_xds::envoy::matcher::string_matcher::MatchPattern::Exact(method.into());
        value.match_pattern == Some(exact)
    })
}

/// Clusters and their shares of a route, in order.
fn shares(route: &Route) -> Vec<(String, f64)> {
    let Some(Action::Route(action)) = &route.action else {
        panic!("unexpected {route:?}");
    };
    let targets: Vec<(String, u32)> = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name.clone(), 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
            .clusters
            .iter()
            .map(|target| {
                (
                    target.name.clone(),
                    target.weight.map_or(0, |weight| weight.value),
                )
            })
            .collect(),
        other => panic!("unexpected {other:?}"),
    };
    let sum: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
    assert!(
        sum > 0 && sum <= u64::from(u32::MAX),
        "Envoy refuses a sum of {sum}"
    );
    let share = |weight: u32| f64::from(weight) / sum as f64;
    targets
        .into_iter()
        .map(|(name, weight)| (name, share(weight)))
        .collect()
}

fn meant_shares(route: &HttpRoute) -> Vec<(String, f64)> {
    let name = |host: &str| format!("outbound|80||{host}.default.svc.cluster.local");
    if let [only] = route.route.as_slice() {
        return vec![(name(&only.host), 1.0)];
    }
    let sum: u64 = route
        .route
        .iter()
        .map(|target| u64::from(target.weight))
        .sum();
    let share = |target: &HttpDestination| f64::from(target.weight) / sum as f64;
    let targets = route.route.iter().filter(|target| target.weight > 0);
    targets
        .map(|target| (name(&target.host), share(target)))
        .collect()
}

proptest! {
    #[test]
    fn requests_go_where_the_rule_says(http in http_routes()) {
        let routes = compiled(http.clone());
        for path in PATHS.iter().chain(&["/abc", "/c", "/a/b/c"]) {
            for method in METHODS {
                let expected = meant(&http, path, method);
                let found = routes
                    .iter()
                    .find(|route| route.r#match.as_ref().is_some_and(|m| holds(m, path, method)));
                prop_assert_eq!(found.is_some(), expected.is_some(), "{} {}", method, path);
                let (Some(found), Some(expected)) = (found, expected) else { continue };
                let (found, expected) = (shares(found), meant_shares(expected));
                prop_assert_eq!(found.len(), expected.len());
                for ((cluster, share), (wanted, wanted_share)) in found.iter().zip(&expected) {
                    prop_assert_eq!(cluster, wanted);
                    prop_assert!((share - wanted_share).abs() < 1e-6, "{} {}", share, wanted_share);
                }
            }
        }
    }

    #[test]
    fn nothing_follows_a_route_that_always_matches(http in http_routes()) {
        let routes = compiled(http);
        let always = |route: &Route| {
            let matcher = route.r#match.clone().unwrap_or_default();
            matcher.headers.is_empty()
                && matcher.path_specifier == Some(PathSpecifier::Prefix("/".into()))
        };
        let first = routes.iter().position(always);
        prop_assert!(first.is_none_or(|first| first + 1 == routes.len()));
    }
}
