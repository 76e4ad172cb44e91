use mesh_xds::envoy::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbPolicy,
};
use mesh_xds::envoy::core::Http2ProtocolOptions;
use mesh_xds::envoy::http_protocol_options::HttpProtocolOptions;
use mesh_xds::envoy::http_protocol_options::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_xds::envoy::protobuf::{Duration as Span, UInt32Value};
use mesh_xds::envoy::types::Percent;

use super::*;

use crate::snapshot::samples::{
    agent, assignment, context, eds_cluster, endpoint as bare, pack, static_cluster, tls_socket,
    upstream_tls, workload,
};

const NAME: &str = "outbound|80|v1|shop.default.svc.cluster.local";

fn read(message: &pb::Cluster) -> Result<ClusterSpec, Refusal> {
    let context = context();
    compile(
        &At::ROOT,
        message,
        None,
        (&context.identity, &context.secrets),
    )
}

fn refused(change: impl FnOnce(&mut pb::Cluster)) -> String {
    let mut message = eds_cluster(NAME);
    change(&mut message);
    read(&message).unwrap_err().field
}

fn endpoints(list: Vec<mesh_xds::envoy::endpoint::LbEndpoint>) -> Assignment {
    endpoint::compile(&At::ROOT, &assignment(NAME, list)).unwrap()
}

fn with_options(options: UpstreamProtocolOptions) -> pb::Cluster {
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(options),
        ..Default::default()
    };
    let mut message = eds_cluster(NAME);
    message
        .typed_extension_protocol_options
        .insert(HTTP_OPTIONS.into(), pack(&options));
    message
}

fn explicit(protocol: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(protocol),
    })
}

#[test]
fn a_cluster_as_the_control_plane_sends_it() {
    let spec = read(&eds_cluster(NAME)).unwrap();
    assert!(matches!(&spec.source, Source::Eds(name) if name == NAME));
    let list = vec![agent("10.0.0.1", 15006, "shop-v1"), bare("10.0.0.2", 8080)];
    let cluster = build(&spec, &endpoints(list), None, 2);
    assert_eq!(cluster.balance, Balance::LeastRequest);
    assert_eq!(cluster.connect_timeout, Duration::from_secs(10));
    assert!(!cluster.http2);
    let [agent, bare] = cluster.endpoints.as_slice() else {
        panic!("{cluster:?}")
    };
    assert_eq!(
        agent.tls.as_ref().unwrap().sni.to_str(),
        "outbound_.80_._.shop"
    );
    assert_eq!(*agent.workload, workload("shop-v1"));
    assert!(bare.tls.is_none());
}

#[test]
fn endpoints_come_from_the_named_assignment_or_the_cluster_itself() {
    let mut message = eds_cluster(NAME);
    message.eds_cluster_config.as_mut().unwrap().service_name = "shop".into();
    assert!(matches!(read(&message).unwrap().source, Source::Eds(name) if name == "shop"));
    match read(&static_cluster("inbound|8080||", 8080))
        .unwrap()
        .source
    {
        Source::Static(assignment) => {
            assert_eq!(&*assignment.endpoints[0].address, "127.0.0.1:8080");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_are_resolved_as_the_type_says() {
    let mut message = static_cluster("outbound|80||api.example.com", 80);
    let kind = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind as i32));
    message.cluster_discovery_type = kind(DiscoveryType::LogicalDns);
    assert!(matches!(read(&message).unwrap().source, Source::Static(_)));
    message.cluster_discovery_type = kind(DiscoveryType::StrictDns);
    message.dns_lookup_family = DnsLookupFamily::V4Preferred as i32;
    let Source::Dns(names) = read(&message).unwrap().source else {
        panic!("it is resolved")
    };
    assert_eq!(names.family, Family::V4Preferred);
    assert_eq!(names.refresh, Duration::from_secs(5));
    let found = [(
        names.assignment.endpoints[0].address.clone(),
        vec![
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
        ],
    )];
    let resolved = names.assignment.resolved(&found.into());
    let addresses: Vec<_> = resolved.endpoints.iter().map(|e| &*e.address).collect();
    assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.2:80"]);
}

#[test]
fn one_transport_socket_serves_all_endpoints() {
    let mut message = eds_cluster(NAME);
    message.transport_socket_matches.clear();
    message.transport_socket = Some(tls_socket(&upstream_tls("shop", &["shop"])));
    let cluster = build(
        &read(&message).unwrap(),
        &endpoints(vec![bare("a", 1)]),
        None,
        1,
    );
    assert!(cluster.endpoints[0].tls.is_some());
}

#[test]
fn protocols_are_told_by_the_options() {
    let http2 = |message: &pb::Cluster| read(message).map(|spec| spec.http2);
    assert_eq!(
        http2(&with_options(UpstreamProtocolOptions::AutoConfig(
            Default::default()
        ))),
        Ok(false)
    );
    assert_eq!(
        http2(&with_options(explicit(
            ProtocolConfig::HttpProtocolOptions(Default::default())
        ))),
        Ok(false)
    );
    assert_eq!(
        http2(&with_options(explicit(
            ProtocolConfig::Http2ProtocolOptions(Default::default())
        ))),
        Ok(true)
    );
    let mut old = eds_cluster(NAME);
    #[allow(deprecated, reason = "older control planes still send it")]
    old.http2_protocol_options.replace(Default::default());
    assert_eq!(http2(&old), Ok(true));

    let tuned = Http2ProtocolOptions {
        hpack_table_size: Some(UInt32Value { value: 1 }),
        ..Default::default()
    };
    let field = "typed_extension_protocol_options.explicit_http_config.http2_protocol_options";
    let error = http2(&with_options(explicit(
        ProtocolConfig::Http2ProtocolOptions(tuned),
    )));
    assert_eq!(error.unwrap_err().field, field);
    let error = http2(&with_options(
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(Default::default()),
    ));
    assert!(
        error
            .unwrap_err()
            .field
            .ends_with("use_downstream_protocol_config")
    );
}

#[test]
fn the_service_is_named_by_metadata_or_by_the_cluster() {
    let service = |message: &pb::Cluster| (*read(message).unwrap().service).clone();
    let of = |host: &str, name: &str, namespace: &str| ServiceName {
        host: host.into(),
        name: name.into(),
        namespace: namespace.into(),
    };
    assert_eq!(
        service(&eds_cluster(NAME)),
        of("shop.default.svc.cluster.local", "shop", "default")
    );
    assert_eq!(
        service(&eds_cluster("outbound|443||api.example.com")),
        of("api.example.com", "api", "")
    );
    assert_eq!(service(&eds_cluster("anything")), ServiceName::default());
    let mut message = static_cluster("inbound|8080||", 8080);
    let reference = metadata::ServiceRef {
        host: "shop.test".into(),
        name: "shop".into(),
        namespace: "test".into(),
    };
    metadata::set_service(message.metadata.insert(Metadata::default()), &reference);
    assert_eq!(service(&message), of("shop.test", "shop", "test"));
}

#[test]
fn limits_are_read_and_the_largest_is_none() {
    use pb::circuit_breakers::Thresholds;
    let max = |value| Some(UInt32Value { value });
    let breakers = |thresholds| {
        let mut message = eds_cluster(NAME);
        message.circuit_breakers = Some(pb::CircuitBreakers {
            thresholds: vec![thresholds],
            ..Default::default()
        });
        message.common_lb_config = Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        });
        read(&message).map(|spec| spec.limits)
    };
    assert_eq!(
        breakers(Thresholds {
            max_connections: max(u32::MAX),
            max_retries: max(u32::MAX),
            track_remaining: true,
            ..Default::default()
        }),
        Ok(None)
    );
    let hundred = breakers(Thresholds {
        max_requests: max(100),
        ..Default::default()
    });
    let expected = Limits {
        requests: 100,
        ..Limits::NONE
    };
    assert_eq!(hundred, Ok(Some(expected)));
    let pools = breakers(Thresholds {
        max_connection_pools: max(1),
        ..Default::default()
    });
    assert_eq!(
        pools.unwrap_err().field,
        "circuit_breakers.thresholds[0].max_connection_pools"
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let kind = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind as i32));
    assert_eq!(
        refused(|m| m.cluster_discovery_type = kind(DiscoveryType::OriginalDst)),
        "type"
    );
    assert_eq!(
        refused(|m| m.cluster_discovery_type = kind(DiscoveryType::Static)),
        "load_assignment"
    );
    assert_eq!(
        refused(|m| m.load_assignment = Some(Default::default())),
        "load_assignment"
    );
    assert_eq!(
        refused(|m| m.eds_cluster_config = None),
        "eds_cluster_config"
    );
    assert_eq!(
        refused(|m| m.eds_cluster_config = Some(Default::default())),
        "eds_cluster_config.eds_config"
    );
    assert_eq!(
        refused(|m| m.lb_policy = LbPolicy::LoadBalancingPolicyConfig as i32),
        "lb_policy"
    );
    assert_eq!(
        refused(|m| m.outlier_detection = Some(Default::default())),
        "outlier_detection.enforcing_success_rate"
    );
    assert_eq!(
        refused(|m| m.health_checks.push(Default::default())),
        "health_checks"
    );
    assert_eq!(
        refused(|m| m.connect_timeout = Some(Span {
            seconds: 0,
            nanos: 0
        })),
        "connect_timeout"
    );
    assert_eq!(
        refused(|m| {
            let too_much = Percent { value: 150.0 };
            m.common_lb_config = Some(CommonLbConfig {
                healthy_panic_threshold: Some(too_much),
                ..Default::default()
            });
        }),
        "common_lb_config.healthy_panic_threshold"
    );
    assert_eq!(
        refused(|m| {
            m.typed_extension_protocol_options
                .insert("other".into(), Default::default());
        }),
        "typed_extension_protocol_options"
    );
    assert_eq!(
        refused(|m| {
            let socket = tls_socket(&upstream_tls("", &["shop"]));
            m.transport_socket_matches[0].transport_socket = Some(socket);
        }),
        "transport_socket_matches[0].transport_socket.typed_config.sni"
    );
}

#[test]
fn state_survives_while_connections_would_be_made_alike() {
    let identity = context().identity;
    let list = |name: &str| vec![agent("10.0.0.1", 15006, name), bare("10.0.0.2", 80)];
    let spec = read(&eds_cluster(NAME)).unwrap();
    let before = build(&spec, &endpoints(list("shop-v1")), None, 2);

    // Another endpoint: the others are the same.
    let mut more = list("shop-v1");
    more.push(bare("10.0.0.3", 80));
    let after = build(&spec, &endpoints(more), Some(&before), 2);
    assert!(Arc::ptr_eq(&before.state, &after.state));
    assert!(Arc::ptr_eq(&before.endpoints[0], &after.endpoints[0]));
    assert!(Arc::ptr_eq(&before.endpoints[1], &after.endpoints[1]));

    // Another workload behind an address: its connections go on.
    let after = build(&spec, &endpoints(list("shop-v2")), Some(&before), 2);
    assert!(!Arc::ptr_eq(&before.endpoints[0], &after.endpoints[0]));
    assert!(Arc::ptr_eq(
        &before.endpoints[0].state,
        &after.endpoints[0].state
    ));

    // A setting that has nothing to do with connections.
    let mut message = eds_cluster(NAME);
    message.lb_policy = LbPolicy::Random as i32;
    let spec2 = compile(
        &At::ROOT,
        &message,
        Some(&spec),
        (&identity, &Secrets::default()),
    )
    .unwrap();
    let after = build(&spec2, &endpoints(list("shop-v1")), Some(&before), 2);
    assert!(Arc::ptr_eq(&before.endpoints[0], &after.endpoints[0]));

    // Other peers: connections to the old ones must not be used.
    let socket = tls_socket(&upstream_tls("outbound_.80_._.shop", &["shop", "thief"]));
    message.transport_socket_matches[0].transport_socket = Some(socket);
    let spec3 = compile(
        &At::ROOT,
        &message,
        Some(&spec2),
        (&identity, &Secrets::default()),
    )
    .unwrap();
    let after = build(&spec3, &endpoints(list("shop-v1")), Some(&before), 2);
    assert!(!Arc::ptr_eq(
        &before.endpoints[0].state,
        &after.endpoints[0].state
    ));
    assert!(Arc::ptr_eq(
        &before.endpoints[1].state,
        &after.endpoints[1].state
    ));

    // Another protocol in plain text.
    let options = explicit(ProtocolConfig::Http2ProtocolOptions(Default::default()));
    let spec4 = compile(
        &At::ROOT,
        &with_options(options),
        Some(&spec),
        (&identity, &Secrets::default()),
    )
    .unwrap();
    let after = build(&spec4, &endpoints(list("shop-v1")), Some(&before), 2);
    assert!(Arc::ptr_eq(
        &before.endpoints[0].state,
        &after.endpoints[0].state
    ));
    assert!(!Arc::ptr_eq(
        &before.endpoints[1].state,
        &after.endpoints[1].state
    ));
}
