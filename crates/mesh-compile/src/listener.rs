//! The envelopes around routes: listeners, filter chains, HTTP connection managers and TCP proxies.

use mesh_config::model::{MeshConfig, PathNormalization};
use mesh_xds::envoy::cluster::cluster::DnsLookupFamily;
use mesh_xds::envoy::core::address::Address as AddressForm;
use mesh_xds::envoy::core::config_source::ConfigSourceSpecifier;
use mesh_xds::envoy::core::socket_address::PortSpecifier;
use mesh_xds::envoy::core::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, SocketAddress,
    TrafficDirection,
};
use mesh_xds::envoy::cors::Cors;
use mesh_xds::envoy::dynamic_forward_proxy::common::DnsCacheConfig;
use mesh_xds::envoy::dynamic_forward_proxy::filter::FilterConfig;
use mesh_xds::envoy::dynamic_forward_proxy::filter::filter_config::ImplementationSpecifier;
use mesh_xds::envoy::fault::HttpFault;
use mesh_xds::envoy::http_connection_manager::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails,
};
use mesh_xds::envoy::http_connection_manager::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use mesh_xds::envoy::listener::{
    Filter, FilterChain, Listener, ListenerFilter, filter, listener_filter,
};
use mesh_xds::envoy::protobuf::{Any, BoolValue, UInt32Value};
use mesh_xds::envoy::route::{RouteConfiguration, VirtualHost};
use mesh_xds::envoy::router::Router;
use mesh_xds::envoy::tcp_proxy::TcpProxy;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::ClusterSpecifier;
use mesh_xds::envoy::tls_inspector::TlsInspector;
use mesh_xds::{Workload, metadata, pack};

use crate::{action, hash, resilience};

/// Where the callers of a listener stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callers {
    /// In the mesh.
    Ours,
    /// The workload beside the sidecar.
    App,
    /// Outside: what they say about where a request came from is not believed.
    Strangers,
    /// Strangers at a gateway: the certificates that they prove to have are told to the services behind.
    Clients,
}

/// A listener of a workload, without filter chains.
pub(crate) fn listener(
    name: String,
    (ip, port): (&str, u16),
    direction: TrafficDirection,
    workload: &Workload,
) -> Listener {
    let mut data = Metadata::default();
    metadata::set_workload(&mut data, workload);
    Listener {
        name,
        address: Some(socket_address(ip, port)),
        traffic_direction: direction as i32,
        metadata: Some(data),
        ..Listener::default()
    }
}

/// A chain that takes HTTP on every connection.
pub(crate) fn http_chain(
    name: &str,
    stat_prefix: &str,
    routes: RouteSpecifier,
    callers: Callers,
    mesh: &MeshConfig,
) -> FilterChain {
    // What it does is said by each route.
    let fault = HttpFilter {
        name: resilience::FAULT.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(
            &HttpFault::default(),
        ))),
        ..HttpFilter::default()
    };
    let router = HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(
            &Router::default(),
        ))),
        ..HttpFilter::default()
    };
    let cors = HttpFilter {
        name: action::CORS.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&Cors::default()))),
        ..HttpFilter::default()
    };
    let spelling = mesh.path_normalization;
    let mut filters = Vec::new();
    if callers == Callers::App {
        filters.push(dynamic_forward_proxy());
    }
    filters.extend([fault, cors, router]);
    let mut manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(routes),
        http_filters: filters,
        normalize_path: Some(BoolValue {
            value: spelling != PathNormalization::None,
        }),
        merge_slashes: matches!(
            spelling,
            PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
        ),
        path_with_escaped_slashes_action: match spelling {
            PathNormalization::DecodeAndMergeSlashes => {
                PathWithEscapedSlashesAction::UnescapeAndForward as i32
            }
            _ => 0,
        },
        use_remote_address: matches!(callers, Callers::Strangers | Callers::Clients)
            .then_some(BoolValue { value: true }),
        ..HttpConnectionManager::default()
    };
    if callers == Callers::Ours {
        // What a gateway has told of its client's certificate reaches the app.
        manager.forward_client_cert_details = ForwardClientCertDetails::ForwardOnly as i32;
    }
    if callers == Callers::Clients {
        // As Istio's gateways do.
        manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet as i32;
        manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
            subject: Some(BoolValue { value: true }),
            cert: true,
            dns: true,
            uri: true,
            ..SetCurrentClientCertDetails::default()
        });
    }
    chain(
        name,
        "envoy.filters.network.http_connection_manager",
        pack(&manager),
    )
}

/// What clusters need in Envoy whose endpoint is the host that a request asks for.
fn dynamic_forward_proxy() -> HttpFilter {
    let config = FilterConfig {
        implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(dns_cache())),
        ..FilterConfig::default()
    };
    HttpFilter {
        name: "envoy.filters.http.dynamic_forward_proxy".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&config))),
        ..HttpFilter::default()
    }
}

/// Where such clusters keep what they have resolved; the filter and they must name the same.
pub(crate) fn dns_cache() -> DnsCacheConfig {
    DnsCacheConfig {
        name: "hosts".to_owned(),
        dns_lookup_family: DnsLookupFamily::V4Preferred as i32,
        ..DnsCacheConfig::default()
    }
}

/// A chain that passes the bytes of every connection on to a cluster.
pub(crate) fn tcp_chain(name: &str, cluster: &str) -> FilterChain {
    tcp_chain_to(name, ClusterSpecifier::Cluster(cluster.to_owned()), false)
}

/// A chain that passes the bytes of every connection on to one of several clusters. `by_source` says that the
/// client's address decides on the endpoint.
pub(crate) fn tcp_chain_to(name: &str, to: ClusterSpecifier, by_source: bool) -> FilterChain {
    let stat_prefix = match &to {
        ClusterSpecifier::Cluster(cluster) => cluster.clone(),
        ClusterSpecifier::WeightedClusters(_) => name.to_owned(),
    };
    let proxy = TcpProxy {
        stat_prefix,
        cluster_specifier: Some(to),
        hash_policy: by_source.then(hash::of_sessions).into_iter().collect(),
        ..TcpProxy::default()
    };
    chain(name, "envoy.filters.network.tcp_proxy", pack(&proxy))
}

fn chain(name: &str, filter: &str, config: Any) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filters: vec![Filter {
            name: filter.to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(config)),
        }],
        ..FilterChain::default()
    }
}

/// Routes that come as a resource of their own.
pub(crate) fn rds(name: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds {
        config_source: Some(ads()),
        route_config_name: name.to_owned(),
    })
}

/// Routes within the listener.
pub(crate) fn inline(name: &str, virtual_hosts: Vec<VirtualHost>) -> RouteSpecifier {
    RouteSpecifier::RouteConfig(route_configuration(name, virtual_hosts))
}

/// A route configuration whose routes may lead to clusters that are not there.
pub(crate) fn route_configuration(
    name: &str,
    virtual_hosts: Vec<VirtualHost>,
) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: Some(BoolValue { value: false }),
        // What Istio allows; Envoy's own limit is 4 KiB.
        max_direct_response_body_size_bytes: Some(UInt32Value { value: 1 << 20 }),
        ..RouteConfiguration::default()
    }
}

/// Reads the server name that a client asks for.
pub(crate) fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack(
            &TlsInspector::default(),
        ))),
        ..ListenerFilter::default()
    }
}

/// The stream on which everything else comes.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(
            ConfigSourceSpecifier::Ads(AggregatedConfigSource::default()),
        ),
        ..ConfigSource::default()
    }
}

pub(crate) fn socket_address(address: &str, port: u16) -> Address {
    Address {
        address: Some(AddressForm::SocketAddress(SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
            ..SocketAddress::default()
        })),
    }
}
