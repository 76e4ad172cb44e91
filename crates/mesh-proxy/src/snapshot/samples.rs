//! Envoy messages as a control plane of the mesh sends them, for tests to start from.

use std::sync::{Arc, LazyLock};

use mesh_identity::testing::Authority;
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy, TransportSocketMatch,
};
use mesh_xds::envoy::core::address::Address as AddressForm;
use mesh_xds::envoy::core::config_source::ConfigSourceSpecifier;
use mesh_xds::envoy::core::socket_address::PortSpecifier;
use mesh_xds::envoy::core::{
    Address, ConfigSource, Metadata, SocketAddress, TrafficDirection, TransportSocket,
    transport_socket,
};
use mesh_xds::envoy::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use mesh_xds::envoy::http_connection_manager::http_connection_manager::RouteSpecifier;
use mesh_xds::envoy::http_connection_manager::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use mesh_xds::envoy::listener::{Filter, FilterChain, FilterChainMatch, Listener, filter};
use mesh_xds::envoy::matcher::StringMatcher;
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::protobuf::{Any, BoolValue, Duration, Struct, UInt32Value};
use mesh_xds::envoy::raw_buffer::RawBuffer;
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::ClusterSpecifier;
use mesh_xds::envoy::route::route_match::PathSpecifier;
use mesh_xds::envoy::route::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::route::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};
use mesh_xds::envoy::router::Router;
use mesh_xds::envoy::tcp_proxy::TcpProxy;
use mesh_xds::envoy::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_xds::envoy::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, UpstreamTlsContext, subject_alt_name_matcher::SanType,
};
use mesh_xds::{Workload, metadata};
use prost::{Message, Name};

use super::compile::Context;

/// The mesh's authority in tests.
pub(crate) static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new("cluster.local"));

/// A sidecar's context with two workers.
pub(crate) fn context() -> Context {
    Context {
        secrets: Arc::default(),
        identity: AUTHORITY.identity("default", "webapp"),
        workers: 2,
        workload: Arc::new(workload("webapp-original")),
        gateway: false,
    }
}

pub(crate) fn workload(name: &str) -> Workload {
    Workload {
        name: name.into(),
        namespace: "default".into(),
        principal: format!("spiffe://cluster.local/ns/default/sa/{name}"),
        ..Workload::default()
    }
}

pub(crate) fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

pub(crate) fn address(host: &str, port: u16) -> Option<Address> {
    let socket = SocketAddress {
        address: host.into(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    Some(Address {
        address: Some(AddressForm::SocketAddress(socket)),
    })
}

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    })
}

fn secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.into(),
        sds_config: ads(),
    }
}

fn socket<M: Message + Name>(name: &str, context: &M) -> TransportSocket {
    let config_type = Some(transport_socket::ConfigType::TypedConfig(pack(context)));
    TransportSocket {
        name: name.into(),
        config_type,
    }
}

pub(crate) fn plain_text() -> TransportSocket {
    socket("envoy.transport_sockets.raw_buffer", &RawBuffer::default())
}

fn common_tls(names: Vec<MatchPattern>, alpn: &[&str]) -> CommonTlsContext {
    let names = names.into_iter().map(|pattern| SubjectAltNameMatcher {
        san_type: SanType::Uri as i32,
        matcher: Some(StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        }),
        ..Default::default()
    });
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: names.collect(),
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..Default::default()
    };
    CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret("default")],
        alpn_protocols: alpn.iter().map(|protocol| (*protocol).to_owned()).collect(),
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

/// TLS towards a service whose workloads run as these service accounts of `default`.
pub(crate) fn upstream_tls(sni: &str, accounts: &[&str]) -> UpstreamTlsContext {
    let id = |account: &&str| MatchPattern::Exact(AUTHORITY.id("default", account).to_string());
    UpstreamTlsContext {
        sni: sni.into(),
        common_tls_context: Some(common_tls(accounts.iter().map(id).collect(), &["h2"])),
        ..Default::default()
    }
}

/// TLS of the mesh, for the whole trust domain.
pub(crate) fn downstream_tls() -> DownstreamTlsContext {
    let everybody = MatchPattern::Prefix("spiffe://cluster.local/".into());
    DownstreamTlsContext {
        common_tls_context: Some(common_tls(vec![everybody], &["h2", "http/1.1"])),
        require_client_certificate: Some(BoolValue { value: true }),
        ..Default::default()
    }
}

pub(crate) fn tls_socket<M: Message + Name>(context: &M) -> TransportSocket {
    socket("envoy.transport_sockets.tls", context)
}

/// An EDS cluster with mutual TLS towards agents.
pub(crate) fn eds_cluster(name: &str) -> Cluster {
    let tls = TransportSocketMatch {
        name: "tlsMode-istio".into(),
        r#match: Some(metadata::tls_mode_match()),
        transport_socket: Some(tls_socket(&upstream_tls("outbound_.80_._.shop", &["shop"]))),
    };
    let plain = TransportSocketMatch {
        name: "tlsMode-disabled".into(),
        r#match: Some(Struct::default()),
        transport_socket: Some(plain_text()),
    };
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            ..Default::default()
        }),
        connect_timeout: Some(Duration {
            seconds: 10,
            nanos: 0,
        }),
        lb_policy: LbPolicy::LeastRequest as i32,
        transport_socket_matches: vec![tls, plain],
        ..Default::default()
    }
}

/// A cluster for the application beside the proxy.
pub(crate) fn static_cluster(name: &str, port: u16) -> Cluster {
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        load_assignment: Some(assignment(name, vec![endpoint("127.0.0.1", port)])),
        ..Default::default()
    }
}

pub(crate) fn assignment(name: &str, endpoints: Vec<LbEndpoint>) -> ClusterLoadAssignment {
    let locality = LocalityLbEndpoints {
        locality: Some(Default::default()),
        lb_endpoints: endpoints,
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![locality],
        ..Default::default()
    }
}

/// An endpoint without an agent.
pub(crate) fn endpoint(host: &str, port: u16) -> LbEndpoint {
    let endpoint = Endpoint {
        address: address(host, port),
        ..Default::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}

/// An endpoint with an agent before the workload of this name.
pub(crate) fn agent(host: &str, port: u16, name: &str) -> LbEndpoint {
    let mut metadata = Metadata::default();
    metadata::set_tls_mode(&mut metadata);
    metadata::set_workload(&mut metadata, &workload(name));
    LbEndpoint {
        metadata: Some(metadata),
        ..endpoint(host, port)
    }
}

/// A route configuration that sends everything to weighted clusters.
pub(crate) fn routes(name: &str, targets: &[(&str, u32)]) -> RouteConfiguration {
    let clusters = targets.iter().map(|(name, weight)| ClusterWeight {
        name: (*name).into(),
        weight: Some(UInt32Value { value: *weight }),
        ..Default::default()
    });
    let weighted = WeightedCluster {
        clusters: clusters.collect(),
        ..Default::default()
    };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
        ..Default::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..Default::default()
    };
    RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![host],
        ..Default::default()
    }
}

pub(crate) fn manager(routes: RouteSpecifier) -> HttpConnectionManager {
    let router = HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(
            &Router::default(),
        ))),
        ..Default::default()
    };
    HttpConnectionManager {
        stat_prefix: "test".into(),
        http_filters: vec![router],
        route_specifier: Some(routes),
        ..Default::default()
    }
}

/// Routes from RDS.
pub(crate) fn rds(name: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds {
        config_source: ads(),
        route_config_name: name.into(),
    })
}

pub(crate) fn chain(manager: &HttpConnectionManager) -> FilterChain {
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(manager))),
    };
    FilterChain {
        filters: vec![filter],
        ..Default::default()
    }
}

/// A chain of sessions in plain text.
pub(crate) fn tcp_chain(proxy: &TcpProxy) -> FilterChain {
    let filter = Filter {
        name: "envoy.filters.network.tcp_proxy".into(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(proxy))),
    };
    FilterChain {
        filters: vec![filter],
        ..Default::default()
    }
}

/// A chain with mutual TLS for these server names.
pub(crate) fn tls_chain(server_names: &[&str], manager: &HttpConnectionManager) -> FilterChain {
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            server_names: server_names.iter().map(|name| (*name).to_owned()).collect(),
            transport_protocol: "tls".into(),
            ..Default::default()
        }),
        transport_socket: Some(tls_socket(&downstream_tls())),
        ..chain(manager)
    }
}

pub(crate) fn listener(name: &str, port: u16, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.into(),
        address: address("127.0.0.1", port),
        filter_chains: chains,
        traffic_direction: TrafficDirection::Outbound as i32,
        ..Default::default()
    }
}
