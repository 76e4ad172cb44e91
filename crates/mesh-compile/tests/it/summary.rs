//! Resources in a form that a person can read and a snapshot can keep.

mod routes;

use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use mesh_xds::envoy::core::address::Address as AddressForm;
use mesh_xds::envoy::core::socket_address::PortSpecifier;
use mesh_xds::envoy::core::{Address, TrafficDirection, TransportSocket, transport_socket};
use mesh_xds::envoy::endpoint::lb_endpoint::HostIdentifier;
use mesh_xds::envoy::endpoint::{ClusterLoadAssignment, LbEndpoint};
use mesh_xds::envoy::http_connection_manager::HttpConnectionManager;
use mesh_xds::envoy::http_connection_manager::http_connection_manager::RouteSpecifier;
use mesh_xds::envoy::http_protocol_options::HttpProtocolOptions;
use mesh_xds::envoy::http_protocol_options::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_xds::envoy::listener::{FilterChain, Listener, filter};
use mesh_xds::envoy::protobuf::Any;
use mesh_xds::envoy::route::RouteConfiguration;
use mesh_xds::envoy::tcp_proxy::TcpProxy;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::ClusterSpecifier;
use mesh_xds::envoy::tls::common_tls_context::ValidationContextType;
use mesh_xds::envoy::tls::{CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext};
use mesh_xds::{Discoverable, ResourceSet, Workload, metadata, unpack};
use serde_json::{Map, Value, json};

use self::routes::{pattern_text, route, route_configuration};

/// All resources.
pub(crate) fn summary(set: &ResourceSet) -> Value {
    json!({
        "clusters": each(set, cluster),
        "endpoints": each(set, assignment),
        "listeners": each(set, listener),
        "routes": each(set, route_configuration),
    })
}

/// The messages of one type.
pub(crate) fn messages<M: Discoverable>(set: &ResourceSet) -> Vec<M> {
    set.iter(M::TYPE)
        .map(|resource| resource.decode().expect("the compiler encodes well"))
        .collect()
}

/// Names of the resources of one type.
pub(crate) fn names<M: Discoverable>(set: &ResourceSet) -> Vec<String> {
    set.iter(M::TYPE)
        .map(|resource| resource.name.clone())
        .collect()
}

/// `domain: route; route` of each virtual host of a route configuration.
pub(crate) fn routes(set: &ResourceSet, name: &str) -> Vec<String> {
    let configurations = messages::<RouteConfiguration>(set);
    let configuration = configurations.iter().find(|c| c.name == name);
    let hosts = &configuration
        .expect("a route configuration of this name")
        .virtual_hosts;
    hosts
        .iter()
        .map(|host| {
            let routes: Vec<_> = host.routes.iter().map(route).collect();
            format!("{}: {}", host.domains.join(" "), routes.join("; "))
        })
        .collect()
}

/// The routes of the virtual host that has this domain.
pub(crate) fn routes_at(set: &ResourceSet, name: &str, domain: &str) -> Vec<String> {
    let configurations = messages::<RouteConfiguration>(set);
    let hosts = configurations
        .into_iter()
        .filter(|c| c.name == name)
        .flat_map(|c| c.virtual_hosts);
    let mut hosts = hosts.filter(|host| host.domains.iter().any(|known| known == domain));
    let host = hosts.next().expect("a virtual host with this domain");
    host.routes.iter().map(route).collect()
}

/// `address:port workload` of each endpoint of a cluster.
pub(crate) fn endpoints(set: &ResourceSet, cluster: &str) -> Vec<String> {
    let all = messages::<ClusterLoadAssignment>(set);
    let found = all
        .iter()
        .find(|assignment| assignment.cluster_name == cluster);
    let found = found.expect("endpoints of this cluster");
    found
        .endpoints
        .iter()
        .flat_map(|locality| &locality.lb_endpoints)
        .map(endpoint)
        .collect()
}

fn each<M: Discoverable>(set: &ResourceSet, summary: impl Fn(&M) -> Value) -> Value {
    let named = messages::<M>(set)
        .into_iter()
        .map(|message| (message.resource_name().to_owned(), summary(&message)));
    Value::Object(named.collect::<Map<_, _>>())
}

fn cluster(message: &Cluster) -> Value {
    let kind = match message.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).ok(),
        _ => None,
    };
    let service = message.metadata.as_ref().and_then(metadata::service);
    let matches: Vec<_> = message
        .transport_socket_matches
        .iter()
        .map(|m| format!("{}: {}", m.name, transport(m.transport_socket.as_ref())))
        .collect();
    let mut value = json!({
        "type": kind.map(|kind| kind.as_str_name()),
        "balance": LbPolicy::try_from(message.lb_policy).ok().map(|policy| policy.as_str_name()),
        "protocol": protocol(message),
        "service": service.map(|s| format!("{} {}/{}", s.host, s.namespace, s.name)),
    });
    if !matches.is_empty() {
        value["transports"] = json!(matches);
    }
    if message.transport_socket.is_some() {
        value["otherwise"] = json!(transport(message.transport_socket.as_ref()));
    }
    if let Some(own) = &message.load_assignment {
        value["endpoints"] = assignment(own);
    }
    value
}

fn protocol(message: &Cluster) -> &'static str {
    let Some(any) = message.typed_extension_protocol_options.values().next() else {
        return "bytes";
    };
    let options: HttpProtocolOptions = unpack(any).expect("HTTP options");
    match options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::AutoConfig(_)) => "negotiated",
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(_)) => "HTTP/1.1",
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => "HTTP/2",
                _ => "unexpected",
            }
        }
        _ => "unexpected",
    }
}

fn transport(socket: Option<&TransportSocket>) -> String {
    let Some(TransportSocket { name, config_type }) = socket else {
        return "none".to_owned();
    };
    let Some(transport_socket::ConfigType::TypedConfig(any)) = config_type else {
        return format!("{name} without config");
    };
    if let Ok(context) = unpack::<UpstreamTlsContext>(any) {
        return format!(
            "TLS to {}, {}",
            context.sni,
            tls(context.common_tls_context)
        );
    }
    if let Ok(context) = unpack::<DownstreamTlsContext>(any) {
        let required = context
            .require_client_certificate
            .is_some_and(|flag| flag.value);
        let wanted = if required {
            "client certificate required"
        } else {
            "no client certificate"
        };
        return format!("TLS, {wanted}, {}", tls(context.common_tls_context));
    }
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

fn tls(context: Option<CommonTlsContext>) -> String {
    let context = context.expect("a common TLS context");
    let Some(ValidationContextType::CombinedValidationContext(combined)) =
        context.validation_context_type
    else {
        return "no validation".to_owned();
    };
    let peers: Vec<_> = combined
        .default_validation_context
        .unwrap_or_default()
        .match_typed_subject_alt_names
        .into_iter()
        .filter_map(|matcher| matcher.matcher?.match_pattern)
        .map(|pattern| pattern_text(&pattern))
        .collect();
    let versions = context.tls_params.unwrap_or_default();
    format!(
        "versions {}..{}, alpn {}, peers {}",
        versions.tls_minimum_protocol_version,
        versions.tls_maximum_protocol_version,
        context.alpn_protocols.join("+"),
        peers.join(" ")
    )
}

fn assignment(message: &ClusterLoadAssignment) -> Value {
    let localities = message.endpoints.iter();
    json!(
        localities
            .flat_map(|l| &l.lb_endpoints)
            .map(endpoint)
            .collect::<Vec<_>>()
    )
}

fn endpoint(message: &LbEndpoint) -> String {
    let Some(HostIdentifier::Endpoint(endpoint)) = &message.host_identifier else {
        return "no address".to_owned();
    };
    let mut text = address(endpoint.address.as_ref());
    if let Some(data) = &message.metadata {
        let tls = if metadata::has_tls_mode(data) {
            "tls"
        } else {
            "plain"
        };
        let workload = metadata::workload(data).unwrap_or_default();
        text = format!("{text} {tls} {}", person(&workload));
    }
    text
}

fn person(workload: &Workload) -> String {
    format!(
        "{}/{} {}",
        workload.namespace, workload.name, workload.version
    )
    .trim_end()
    .to_owned()
}

fn address(address: Option<&Address>) -> String {
    match address.and_then(|address| address.address.as_ref()) {
        Some(AddressForm::SocketAddress(socket)) => match &socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address.clone(),
        },
        _ => "no address".to_owned(),
    }
}

fn listener(message: &Listener) -> Value {
    let data = message.metadata.clone().unwrap_or_default();
    let peers: Vec<_> = metadata::peers(&data)
        .iter()
        .map(|peer| format!("{} {}", person(peer), peer.principal))
        .collect();
    let direction = TrafficDirection::try_from(message.traffic_direction).ok();
    let mut value = json!({
        "address": address(message.address.as_ref()),
        "direction": direction.map(|direction| direction.as_str_name()),
        "workload": metadata::workload(&data).map(|workload| person(&workload)),
        "chains": message.filter_chains.iter().map(chain).collect::<Vec<_>>(),
    });
    if !peers.is_empty() {
        value["peers"] = json!(peers);
    }
    value
}

fn chain(message: &FilterChain) -> Value {
    let mut value = json!({ "name": message.name });
    if let Some(condition) = &message.filter_chain_match {
        value["server_names"] = json!(condition.server_names);
    }
    value["transport"] = json!(transport(message.transport_socket.as_ref()));
    for filter in &message.filters {
        let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            continue;
        };
        match unpack::<TcpProxy>(any) {
            Ok(proxy) => value["tcp"] = json!(tcp(&proxy)),
            Err(_) => value["http"] = manager(any),
        }
    }
    value
}

/// The cluster, provided that nothing else is said.
fn tcp(proxy: &TcpProxy) -> String {
    let Some(ClusterSpecifier::Cluster(cluster)) = &proxy.cluster_specifier else {
        panic!("a TCP proxy has a cluster: {proxy:?}");
    };
    let nothing_else = TcpProxy {
        stat_prefix: cluster.clone(),
        cluster_specifier: proxy.cluster_specifier.clone(),
        ..TcpProxy::default()
    };
    assert_eq!(*proxy, nothing_else);
    cluster.clone()
}

fn manager(any: &Any) -> Value {
    let message: HttpConnectionManager = unpack(any).expect("an HTTP connection manager");
    let last = message
        .http_filters
        .last()
        .map(|filter| filter.name.as_str());
    assert_eq!(last, Some("envoy.filters.http.router"));
    assert!(!message.stat_prefix.is_empty());
    let routes = match &message.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => json!(format!("RDS {}", rds.route_config_name)),
        Some(RouteSpecifier::RouteConfig(inline)) => route_configuration(inline),
        _ => json!("none"),
    };
    json!({
        "strangers": message.use_remote_address.is_some_and(|flag| flag.value),
        "routes": routes,
    })
}
