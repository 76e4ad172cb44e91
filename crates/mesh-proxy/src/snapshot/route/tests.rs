use mesh_xds::envoy::core::{DataSource, Metadata};
use mesh_xds::envoy::protobuf::{BoolValue, Duration, UInt32Value};
use mesh_xds::envoy::route::{
    DirectResponseAction, RetryPolicy, Route as RouteMessage, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost as HostMessage, WeightedCluster, route, route_match, weighted_cluster,
};

use super::*;

const WORKERS: usize = 2;

fn matching(prefix: &str) -> Option<RouteMatch> {
    let path_specifier = Some(route_match::PathSpecifier::Prefix(prefix.into()));
    Some(RouteMatch {
        path_specifier,
        ..Default::default()
    })
}

fn to(specifier: ClusterSpecifier) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(specifier),
        ..Default::default()
    }
}

fn to_cluster(name: &str) -> RouteAction {
    to(ClusterSpecifier::Cluster(name.into()))
}

fn weighted(targets: &[(&str, u32)]) -> RouteAction {
    let clusters = targets
        .iter()
        .map(|(name, weight)| weighted_cluster::ClusterWeight {
            name: (*name).into(),
            weight: Some(UInt32Value { value: *weight }),
            ..Default::default()
        });
    let clusters = clusters.collect();
    to(ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters,
        ..Default::default()
    }))
}

fn forwarding(action: RouteAction) -> RouteMessage {
    RouteMessage {
        r#match: matching("/"),
        action: Some(route::Action::Route(action)),
        ..Default::default()
    }
}

fn host(name: &str, domains: &[&str], routes: Vec<RouteMessage>) -> HostMessage {
    let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
    HostMessage {
        name: name.into(),
        domains,
        routes,
        ..Default::default()
    }
}

fn configuration(virtual_hosts: Vec<HostMessage>) -> RouteConfiguration {
    RouteConfiguration {
        name: "http.80".into(),
        virtual_hosts,
        ..Default::default()
    }
}

fn read(message: &RouteConfiguration) -> Result<RouteSpec, Refusal> {
    compile(&At::ROOT, message, None, WORKERS)
}

/// The configuration of one route for every host.
fn one(route: RouteMessage) -> RouteConfiguration {
    configuration(vec![host("all", &["*"], vec![route])])
}

fn refused(message: &RouteConfiguration) -> String {
    read(message).unwrap_err().field
}

fn refused_action(change: impl FnOnce(&mut RouteAction)) -> String {
    let mut action = to_cluster("a");
    change(&mut action);
    let field = refused(&one(forwarding(action)));
    field
        .strip_prefix("virtual_hosts[0].routes[0].route.")
        .unwrap_or(&field)
        .to_owned()
}

fn split(router: &Router, index: usize) -> &Split {
    match &router.any.as_ref().unwrap().routes[index].action {
        Action::Forward(forward) => &forward.split,
        Action::Direct { .. } | Action::Redirect(_) => panic!("a direct response"),
    }
}

#[test]
fn domains_are_exact_suffixes_or_all() {
    let mut message = configuration(vec![
        host("a", &["Shop.example", "shop.example:80"], vec![]),
        host("b", &["*.example", "*.deep.example"], vec![]),
        host("c", &["*"], vec![]),
    ]);
    message.ignore_port_in_host_matching = true;
    let router = read(&message).unwrap().router;
    assert!(router.ignore_port);
    assert_eq!(&*router.name, "http.80");
    assert_eq!(&*router.exact["shop.example"].name, "a");
    assert!(Arc::ptr_eq(
        &router.exact["shop.example"],
        &router.exact["shop.example:80"]
    ));
    let suffixes: Vec<&str> = router.suffix.iter().map(|(suffix, _)| suffix).collect();
    assert_eq!(suffixes, [".deep.example", ".example"], "longest first");
    assert_eq!(&*router.any.as_ref().unwrap().name, "c");
}

#[test]
fn domains_that_cannot_be_served_are_refused() {
    let of = |domains: &[&str]| refused(&configuration(vec![host("a", domains, vec![])]));
    assert_eq!(of(&["ok", "shop.*"]), "virtual_hosts[0].domains[1]");
    assert_eq!(of(&["*.a.*"]), "virtual_hosts[0].domains[0]");
    assert_eq!(of(&[""]), "virtual_hosts[0].domains[0]");
    assert_eq!(of(&["*.a", "*.A"]), "virtual_hosts[0].domains[1]");
    assert_eq!(of(&[]), "virtual_hosts[0].domains");
    let twice = configuration(vec![host("a", &["x"], vec![]), host("b", &["X"], vec![])]);
    assert_eq!(refused(&twice), "virtual_hosts[1].domains[0]");
}

#[test]
fn weights_become_a_split_and_its_clusters_are_noted() {
    let message = one(forwarding(weighted(&[("v1", 90), ("v2", 10), ("v3", 0)])));
    let spec = read(&message).unwrap();
    let split = split(&spec.router, 0);
    let targets: Vec<(&str, u32)> = split
        .targets
        .iter()
        .map(|(name, weight)| (&**name, *weight))
        .collect();
    assert_eq!(targets, [("v1", 90), ("v2", 10), ("v3", 0)]);
    assert_eq!(split.state.len(), WORKERS);
    assert_eq!(
        spec.clusters.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["v1", "v2", "v3"]
    );
}

#[test]
fn weights_that_say_nothing_are_refused() {
    let of = |targets: &[(&str, u32)]| refused(&one(forwarding(weighted(targets))));
    let field = "virtual_hosts[0].routes[0].route.weighted_clusters";
    assert_eq!(of(&[("a", 0), ("b", 0)]), field);
    assert_eq!(of(&[]), field);
    assert_eq!(of(&[("a", u32::MAX), ("b", 1)]), field);
    assert_eq!(
        of(&[("a", 1), ("", 1)]),
        format!("{field}.clusters[1].name")
    );
    let mut action = weighted(&[("a", 90), ("b", 9)]);
    if let Some(ClusterSpecifier::WeightedClusters(weighted)) = &mut action.cluster_specifier {
        #[allow(deprecated, reason = "older control planes still set it")]
        weighted.total_weight.replace(UInt32Value { value: 100 });
    }
    assert_eq!(
        refused(&one(forwarding(action))),
        format!("{field}.total_weight")
    );
}

#[test]
fn a_split_goes_on_while_its_targets_stay() {
    let with = |first: &[(&str, u32)], extra: bool| {
        let mut routes = vec![forwarding(weighted(first)), forwarding(weighted(first))];
        if extra {
            routes.insert(0, forwarding(to_cluster("new")));
        }
        configuration(vec![host("all", &["*"], routes)])
    };
    let before = read(&with(&[("a", 9), ("b", 1)], false)).unwrap().router;
    let again = |message| {
        compile(&At::ROOT, &message, Some(&before), WORKERS)
            .unwrap()
            .router
    };

    let same = again(with(&[("a", 9), ("b", 1)], true));
    assert!(Arc::ptr_eq(
        &split(&before, 0).state,
        &split(&same, 1).state
    ));
    assert!(Arc::ptr_eq(
        &split(&before, 1).state,
        &split(&same, 2).state
    ));

    let other = again(with(&[("a", 8), ("b", 2)], false));
    assert!(!Arc::ptr_eq(
        &split(&before, 0).state,
        &split(&other, 0).state
    ));
}

#[test]
fn a_direct_response_has_a_status_and_a_body() {
    let answer = |status, body: Option<Specifier>| {
        let body = body.map(|specifier| DataSource {
            specifier: Some(specifier),
            ..Default::default()
        });
        one(RouteMessage {
            r#match: matching("/"),
            action: Some(route::Action::DirectResponse(DirectResponseAction {
                status,
                body,
                ..Default::default()
            })),
            ..Default::default()
        })
    };
    let spec = read(&answer(502, Some(Specifier::InlineString("no".into())))).unwrap();
    match &spec.router.any.as_ref().unwrap().routes[0].action {
        Action::Direct { status, body } => {
            assert_eq!((status.as_u16(), body.as_ref()), (502, b"no".as_ref()));
        }
        _ => panic!("not a direct response"),
    }
    assert!(spec.clusters.is_empty());
    let field = "virtual_hosts[0].routes[0].direct_response";
    assert_eq!(refused(&answer(99, None)), format!("{field}.status"));
    assert_eq!(refused(&answer(101, None)), format!("{field}.status"));
    let file = Some(Specifier::Filename("/etc/passwd".into()));
    assert_eq!(
        refused(&answer(200, file)),
        format!("{field}.body.filename")
    );
    let long = || Some(Specifier::InlineBytes(vec![b'x'; 4097]));
    assert_eq!(refused(&answer(200, long())), format!("{field}.body"));
    let mut allowed = answer(200, long());
    allowed.max_direct_response_body_size_bytes = Some(UInt32Value { value: 4097 });
    assert!(read(&allowed).is_ok());
}

fn forward_of(action: RouteAction, of_host: Option<RetryPolicy>) -> Result<Retry, Refusal> {
    let mut host = host("all", &["*"], vec![forwarding(action)]);
    host.retry_policy = of_host;
    read(&configuration(vec![host])).map(|spec| {
        match &spec.router.any.as_ref().unwrap().routes[0].action {
            Action::Forward(forward) => forward.retry.clone(),
            _ => panic!("it sends requests on"),
        }
    })
}

#[test]
fn a_routes_retries_win_over_its_hosts() {
    let policy = |retry_on: &str, number: Option<u32>| RetryPolicy {
        retry_on: retry_on.into(),
        num_retries: number.map(|value| UInt32Value { value }),
        ..Default::default()
    };
    let attempts = |own: Option<RetryPolicy>, of_host: Option<RetryPolicy>| {
        let action = RouteAction {
            retry_policy: own,
            ..to_cluster("a")
        };
        forward_of(action, of_host).map(|retry| retry.attempts)
    };
    assert_eq!(attempts(None, None), Ok(0));
    assert_eq!(attempts(Some(policy("5xx,reset", Some(2))), None), Ok(2));
    assert_eq!(attempts(Some(policy("connect-failure", None)), None), Ok(1));
    assert_eq!(attempts(Some(policy("", Some(3))), None), Ok(0));
    let of_host = policy("refused-stream", Some(4));
    assert_eq!(attempts(None, Some(of_host.clone())), Ok(4));
    assert_eq!(
        attempts(Some(policy("connect-failure", Some(1))), Some(of_host)),
        Ok(1)
    );
    let error = attempts(Some(policy("connect-failure, 6xx", Some(2))), None).unwrap_err();
    assert_eq!(
        error.field,
        "virtual_hosts[0].routes[0].route.retry_policy.retry_on"
    );
    assert!(error.message.contains("\"6xx\""), "{error}");
}

#[test]
fn all_that_istio_says_of_retries_is_read() {
    use mesh_xds::envoy::route::retry_policy::RetryBackOff;
    let length = |millis: i32| Duration {
        seconds: 0,
        nanos: millis * 1_000_000,
    };
    let policy = RetryPolicy {
        retry_on: "connect-failure,retriable-status-codes".into(),
        retriable_status_codes: vec![503, 418],
        per_try_timeout: Some(length(250)),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(length(10)),
            max_interval: None,
        }),
        ..Default::default()
    };
    let read = |policy: RetryPolicy| {
        let action = RouteAction {
            retry_policy: Some(policy),
            ..to_cluster("a")
        };
        forward_of(action, None)
    };
    let retry = read(policy.clone()).unwrap();
    let statuses: Vec<u16> = retry.statuses.iter().map(StatusCode::as_u16).collect();
    assert_eq!(statuses, [503, 418]);
    let millis = |time: std::time::Duration| time.as_millis();
    assert_eq!(retry.per_try_timeout.map(millis), Some(250));
    assert_eq!(millis(retry.backoff.max), 100);
    assert!(!retry.avoid_tried, "no predicate asks for it");
    let odd = RetryPolicy {
        retriable_status_codes: vec![503, 9],
        ..policy.clone()
    };
    assert_eq!(
        read(odd).unwrap_err().field,
        "virtual_hosts[0].routes[0].route.retry_policy.retriable_status_codes[1]"
    );
    let hasty = RetryPolicy {
        retry_back_off: Some(RetryBackOff::default()),
        ..policy
    };
    assert_eq!(
        read(hasty).unwrap_err().field,
        "virtual_hosts[0].routes[0].route.retry_policy.retry_back_off.base_interval"
    );
}

#[test]
fn a_timeout_is_envoys() {
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    let of = |change: &dyn Fn(&mut RouteAction)| {
        let mut action = to_cluster("a");
        change(&mut action);
        let spec = read(&one(forwarding(action))).unwrap();
        match &spec.router.any.as_ref().unwrap().routes[0].action {
            Action::Forward(forward) => {
                let seconds = |time: std::time::Duration| time.as_secs();
                let Timeout { route, grpc_max } = forward.timeout;
                (route.map(seconds), grpc_max.map(seconds))
            }
            _ => panic!("it sends requests on"),
        }
    };
    assert_eq!(of(&|_| ()), (Some(15), None), "Envoy's default");
    assert_eq!(of(&|a| a.timeout = seconds(0)), (None, None));
    #[allow(deprecated, reason = "it is what Istio sends")]
    let both = of(&|a| (a.timeout, a.max_grpc_timeout) = (seconds(3), seconds(3)));
    assert_eq!(both, (Some(3), Some(3)));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    assert_eq!(
        refused_action(|a| {
            a.prefix_rewrite = "/".into();
            a.regex_rewrite = Some(Default::default());
        }),
        "regex_rewrite"
    );
    assert_eq!(
        refused_action(|a| a.hash_policy.push(Default::default())),
        "hash_policy[0]"
    );
    assert_eq!(refused_action(|a| a.priority = 1), "priority");
    assert_eq!(
        refused_action(|a| a.request_mirror_policies.push(Default::default())),
        "request_mirror_policies[0].cluster"
    );
    assert_eq!(
        refused_action(|a| a.timeout = Some(Duration {
            seconds: -1,
            nanos: 0
        })),
        "timeout"
    );
    assert_eq!(
        refused_action(|a| a.cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x".into()))),
        "cluster_header"
    );
    assert_eq!(
        refused_action(|a| a.cluster_specifier = None),
        "virtual_hosts[0].routes[0].route"
    );
    let mut message = one(forwarding(to_cluster("a")));
    message.request_headers_to_remove.push("x".into());
    assert_eq!(refused(&message), "request_headers_to_remove");
    let mut message = one(forwarding(to_cluster("a")));
    message.virtual_hosts[0].require_tls = 1;
    assert_eq!(refused(&message), "virtual_hosts[0].require_tls");
    let mut message = one(forwarding(to_cluster("a")));
    message.virtual_hosts[0].routes[0].r#match = None;
    assert_eq!(refused(&message), "virtual_hosts[0].routes[0].match");
    let filter = "envoy.filters.http.other".to_owned();
    let mut message = one(forwarding(to_cluster("a")));
    let configs = &mut message.virtual_hosts[0].routes[0].typed_per_filter_config;
    configs.insert(filter, Default::default());
    assert_eq!(
        refused(&message),
        "virtual_hosts[0].routes[0].typed_per_filter_config"
    );
}

#[test]
fn what_asks_for_nothing_is_accepted() {
    let zero = Some(Duration::default());
    let action = RouteAction {
        timeout: zero,
        max_stream_duration: Some(route_action_limits()),
        ..to_cluster("a")
    };
    let route = RouteMessage {
        name: "canary".into(),
        metadata: Some(Metadata::default()),
        decorator: Some(Default::default()),
        ..forwarding(action)
    };
    let mut message = one(route);
    message.validate_clusters = Some(BoolValue { value: false });
    let spec = read(&message).unwrap();
    assert_eq!(&*spec.router.any.as_ref().unwrap().routes[0].name, "canary");
    message.validate_clusters = Some(BoolValue { value: true });
    assert_eq!(refused(&message), "validate_clusters");
}

fn route_action_limits() -> mesh_xds::envoy::route::route_action::MaxStreamDuration {
    let zero = Some(Duration::default());
    mesh_xds::envoy::route::route_action::MaxStreamDuration {
        max_stream_duration: zero,
        grpc_timeout_header_max: zero,
        ..Default::default()
    }
}
