use mesh_xds::envoy::core::Metadata;
use mesh_xds::envoy::http_connection_manager as http;
use mesh_xds::envoy::http_connection_manager::http_connection_manager::{
    CodecType, RouteSpecifier,
};
use mesh_xds::envoy::http_connection_manager::http_filter::ConfigType as FilterConfig;
use mesh_xds::envoy::protobuf::Duration;
use mesh_xds::envoy::router::Router as RouterFilter;

use super::*;
use crate::snapshot::samples::{
    address, chain, context, listener, manager, pack, rds, routes, tls_chain, workload,
};

fn read(message: &pb::Listener) -> Result<ListenerSpec, Refusal> {
    compile(&At::ROOT, message, None, &context())
}

fn linked(spec: &ListenerSpec) -> Listener {
    build(spec, spec.address, &Arc::default(), |_| None)
}

fn inline(cluster: &str) -> RouteSpecifier {
    RouteSpecifier::RouteConfig(routes(cluster, &[(cluster, 1)]))
}

fn router_name(listener: &Listener, server_name: Option<&str>) -> Option<String> {
    listener
        .chain_for(server_name)
        .map(|chain| chain.router().unwrap().name.to_string())
}

fn refused(change: impl FnOnce(&mut pb::Listener)) -> String {
    let mut message = listener("l", 80, vec![chain(&manager(rds("http.80")))]);
    change(&mut message);
    read(&message).unwrap_err().field
}

fn refused_manager(change: impl FnOnce(&mut http::HttpConnectionManager)) -> String {
    let mut manager = manager(rds("http.80"));
    change(&mut manager);
    let field = refused(|message| message.filter_chains = vec![chain(&manager)]);
    let inside = "filter_chains[0].filters[0].typed_config";
    field
        .trim_start_matches(inside)
        .trim_start_matches('.')
        .to_owned()
}

#[test]
fn an_outbound_listener_takes_its_routes_from_rds() {
    let spec = read(&listener(
        "virtualOutbound",
        15001,
        vec![chain(&manager(rds("http_proxy")))],
    ))
    .unwrap();
    assert_eq!(spec.address.to_string(), "127.0.0.1:15001");
    assert_eq!(spec.route_names(), BTreeSet::from(["http_proxy"]));
    assert_eq!(spec.inline_clusters().count(), 0);
    let listener = linked(&spec);
    assert_eq!(listener.direction, Direction::Outbound);
    assert!(!listener.edge);
    assert_eq!(listener.workload.name, "webapp-original", "the proxy's own");
    assert_eq!(router_name(&listener, None).as_deref(), Some("http_proxy"));
    let from_rds = Arc::new(Router {
        name: "from RDS".into(),
        ..Router::default()
    });
    let listener = build(&spec, spec.address, &Arc::default(), |_| {
        Some(Arc::clone(&from_rds))
    });
    assert!(Arc::ptr_eq(
        listener.chain_for(None).unwrap().router().unwrap(),
        &from_rds
    ));
}

#[test]
fn an_inbound_listener_has_a_chain_for_each_server_name() {
    let exact = ["outbound_.80_._.shop", "outbound_.80_.v1_.Shop"];
    let mut message = listener(
        "virtualInbound",
        15006,
        vec![
            tls_chain(&exact, &manager(inline("inbound|8080||"))),
            tls_chain(&["*.shop"], &manager(inline("inbound|9090||"))),
        ],
    );
    message.traffic_direction = TrafficDirection::Inbound as i32;
    let own = metadata_of(&mut message);
    metadata::set_workload(own, &workload("shop-v1"));
    metadata::set_peers(own, &[workload("a"), workload("b"), workload("a")]);
    let spec = read(&message).unwrap();
    assert_eq!(
        spec.inline_clusters()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["inbound|8080||", "inbound|9090||"]
    );
    let listener = linked(&spec);
    assert_eq!(
        (listener.direction, listener.edge),
        (Direction::Inbound, false)
    );
    assert_eq!(listener.workload.name, "shop-v1");
    let peers = |account: &str| {
        let principal = format!("spiffe://cluster.local/ns/default/sa/{account}");
        listener
            .peers
            .namesakes(&principal)
            .unwrap()
            .workloads
            .len()
    };
    assert_eq!((peers("a"), peers("b")), (2, 1));

    let chosen = |name| router_name(&listener, Some(name));
    assert_eq!(
        chosen("outbound_.80_._.shop").as_deref(),
        Some("inbound|8080||")
    );
    assert_eq!(
        chosen("OUTBOUND_.80_.v1_.shop").as_deref(),
        Some("inbound|8080||")
    );
    assert_eq!(chosen("other.shop").as_deref(), Some("inbound|9090||"));
    assert_eq!(chosen("shop"), None);
    assert_eq!(router_name(&listener, None), None);
    let chain = listener.chain_for(Some("other.shop")).unwrap();
    let other = listener.chain_for(Some("outbound_.80_._.shop")).unwrap();
    let (tls, other) = (chain.tls.as_ref().unwrap(), other.tls.as_ref().unwrap());
    assert!(Arc::ptr_eq(tls, other), "one configuration for equal terms");
}

fn metadata_of(message: &mut pb::Listener) -> &mut Metadata {
    message.metadata.insert(Metadata::default())
}

#[test]
fn strangers_stand_at_gateways_and_published_ports() {
    let mut message = listener("l", 80, vec![chain(&manager(rds("r")))]);
    let gateway = Context {
        gateway: true,
        ..context()
    };
    assert!(compile(&At::ROOT, &message, None, &gateway).unwrap().edge);
    message.traffic_direction = TrafficDirection::Inbound as i32;
    assert!(read(&message).unwrap().edge);
}

#[test]
fn a_listener_without_chains_takes_no_connection() {
    let listener = linked(&read(&listener("virtualInbound", 15006, vec![])).unwrap());
    assert!(listener.chain_for(Some("any")).is_none());
}

#[test]
fn tls_and_splits_survive_an_unrelated_change() {
    let message = |names: &[&str]| {
        listener(
            "l",
            80,
            vec![tls_chain(names, &manager(inline("inbound|80||")))],
        )
    };
    let before = read(&message(&["a"])).unwrap();
    let after = compile(&At::ROOT, &message(&["a", "b"]), Some(&before), &context()).unwrap();
    let (before, after) = (linked(&before), linked(&after));
    let (before, after) = (
        before.chain_for(Some("a")).unwrap(),
        after.chain_for(Some("b")).unwrap(),
    );
    assert!(Arc::ptr_eq(
        before.tls.as_ref().unwrap(),
        after.tls.as_ref().unwrap()
    ));
    let state = |router: &Router| match &router.any.as_ref().unwrap().routes[0].action {
        super::super::Action::Forward(forward) => Arc::clone(&forward.split.state),
        _ => panic!("a direct response"),
    };
    assert!(Arc::ptr_eq(
        &state(before.router().unwrap()),
        &state(after.router().unwrap())
    ));
}

#[test]
fn filters_that_may_be_passed_over_are() {
    let mut manager = manager(rds("r"));
    let other = |is_optional, disabled| http::HttpFilter {
        name: "other".into(),
        is_optional,
        disabled,
        ..Default::default()
    };
    manager
        .http_filters
        .splice(0..0, [other(true, false), other(false, true)]);
    assert!(read(&listener("l", 80, vec![chain(&manager)])).is_ok());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let off = Some(BoolValue { value: false });
    let on = Some(BoolValue { value: true });
    assert_eq!(refused(|m| m.use_original_dst = on), "use_original_dst");
    assert_eq!(refused(|m| m.bind_to_port = off), "bind_to_port");
    assert_eq!(
        refused(|m| m.access_log.push(Default::default())),
        "access_log"
    );
    assert_eq!(refused(|m| m.address = None), "address");
    assert_eq!(refused(|m| m.address = address("localhost", 80)), "address");
    assert_eq!(
        refused(|m| m.listener_filters_timeout = Some(Duration {
            seconds: 1,
            nanos: 0
        })),
        "listener_filters_timeout"
    );
    let filter = |name: &str| pb::ListenerFilter {
        name: name.into(),
        ..Default::default()
    };
    assert_eq!(
        refused(|m| {
            m.listener_filters = vec![
                filter("envoy.filters.listener.tls_inspector"),
                filter("envoy.filters.listener.original_dst"),
            ];
        }),
        "listener_filters[1]"
    );
    assert_eq!(
        refused(|m| m.filter_chains[0].filters.push(Default::default())),
        "filter_chains[0].filters"
    );
    assert_eq!(
        refused(|m| m.filter_chains[0].filters.clear()),
        "filter_chains[0].filters"
    );
    assert_eq!(
        refused(|m| {
            let any = pack(&TlsInspector::default());
            m.filter_chains[0].filters[0].config_type = Some(ConfigType::TypedConfig(any));
        }),
        "filter_chains[0].filters[0].typed_config"
    );
}

#[test]
fn chains_that_could_not_be_told_apart_are_refused_by_name() {
    let manager = manager(rds("r"));
    let two = |a: pb::FilterChain, b: pb::FilterChain| refused(|m| m.filter_chains = vec![a, b]);
    assert_eq!(
        two(
            tls_chain(&["a", "b"], &manager),
            tls_chain(&["c", "B"], &manager)
        ),
        "filter_chains[1]"
    );
    assert_eq!(
        two(chain(&manager), tls_chain(&[], &manager)),
        "filter_chains[1]"
    );
    let refused_match = |change: fn(&mut pb::FilterChainMatch)| {
        let mut chain = tls_chain(&["a"], &manager);
        change(chain.filter_chain_match.as_mut().unwrap());
        let field = refused(|m| m.filter_chains = vec![chain]);
        field
            .trim_start_matches("filter_chains[0].filter_chain_match.")
            .to_owned()
    };
    assert_eq!(refused_match(|m| m.source_ports.push(1)), "source_ports");
    assert_eq!(
        refused_match(|m| m.transport_protocol = "raw_buffer".into()),
        "transport_protocol"
    );
    assert_eq!(
        refused_match(|m| m.server_names.push("a.*".into())),
        "server_names[1]"
    );
    assert_eq!(
        refused_match(|m| m.server_names.push("*".into())),
        "server_names[1]"
    );
    let mut plain = tls_chain(&["a"], &manager);
    plain.transport_socket = None;
    plain
        .filter_chain_match
        .as_mut()
        .unwrap()
        .transport_protocol
        .clear();
    assert_eq!(
        refused(|m| m.filter_chains = vec![plain]),
        "filter_chains[0].filters[0].typed_config",
        "nobody looks into TLS that somebody else terminates"
    );
    assert_eq!(
        refused(|m| m.default_filter_chain = Some(tls_chain(&["a"], &manager))),
        "default_filter_chain.filter_chain_match"
    );
    let both = |m: &mut pb::Listener| m.default_filter_chain = Some(chain(&manager));
    assert_eq!(refused(both), "filter_chains[1]");
}

#[test]
fn connection_managers_are_refused_by_name_too() {
    assert_eq!(
        refused_manager(|m| m.codec_type = CodecType::Http1 as i32),
        "codec_type"
    );
    assert_eq!(
        refused_manager(|m| m.access_log.push(Default::default())),
        "access_log"
    );
    assert_eq!(
        refused_manager(|m| m.proxy_100_continue = true),
        "proxy_100_continue"
    );
    assert_eq!(
        refused_manager(|m| m.upgrade_configs.push(Default::default())),
        "upgrade_configs"
    );
    assert_eq!(
        refused_manager(|m| m.xff_num_trusted_hops = 1),
        "xff_num_trusted_hops"
    );
    assert_eq!(
        refused_manager(|m| m.generate_request_id = Some(BoolValue { value: false })),
        "generate_request_id"
    );
    assert_eq!(
        refused_manager(|m| m.stream_idle_timeout = Some(Duration {
            seconds: 1,
            nanos: 0
        })),
        "stream_idle_timeout"
    );
    assert_eq!(refused_manager(|m| m.http_filters.clear()), "http_filters");
    assert_eq!(
        refused_manager(|m| m.http_filters.insert(0, Default::default())),
        "http_filters[0]"
    );
    assert_eq!(
        refused_manager(|m| m.http_filters.push(m.http_filters[0].clone())),
        "http_filters[0]"
    );
    assert_eq!(
        refused_manager(|m| {
            let strict = RouterFilter {
                strict_check_headers: vec!["x".into()],
                ..Default::default()
            };
            m.http_filters[0].config_type = Some(FilterConfig::TypedConfig(pack(&strict)));
        }),
        "http_filters[0].typed_config.strict_check_headers"
    );
    assert_eq!(refused_manager(|m| m.route_specifier = None), "");
    assert_eq!(
        refused_manager(|m| m.route_specifier = Some(rds(""))),
        "rds.route_config_name"
    );
    assert_eq!(
        refused_manager(|m| {
            let mut config = routes("r", &[("a", 1)]);
            config.virtual_hosts[0].domains.clear();
            m.route_specifier = Some(RouteSpecifier::RouteConfig(config));
        }),
        "route_config.virtual_hosts[0].domains"
    );
}
