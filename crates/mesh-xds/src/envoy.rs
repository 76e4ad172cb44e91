//! Envoy's v3 API under short names: `envoy::cluster::Cluster`, `envoy::route::RouteConfiguration`, …
//!
//! A facade and nothing else. Each module is one protobuf package of Envoy; its documentation is Envoy's own.
//! `google.protobuf`'s `Any`, `Duration` and `Struct` come from here as well: the Envoy types have their own
//! copies, which are not those of `prost-types`.

pub use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
pub use envoy_types::pb::envoy::config::cluster::v3 as cluster;
pub use envoy_types::pb::envoy::config::core::v3 as core;
pub use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
pub use envoy_types::pb::envoy::config::listener::v3 as listener;
pub use envoy_types::pb::envoy::config::route::v3 as route;
pub use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as fault_delay;
pub use envoy_types::pb::envoy::extensions::filters::http::cors::v3 as cors;
pub use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as fault;
pub use envoy_types::pb::envoy::extensions::filters::http::router::v3 as router;
pub use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
pub use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http_connection_manager;
pub use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3 as previous_hosts;
pub use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3 as previous_priorities;
pub use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3 as raw_buffer;
pub use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http_protocol_options;
pub use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
pub use envoy_types::pb::envoy::r#type::v3 as types;
/// The dynamic forward proxy: hosts that are resolved as requests ask for them.
pub mod dynamic_forward_proxy {
    pub use envoy_types::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3 as cluster;
    pub use envoy_types::pb::envoy::extensions::common::dynamic_forward_proxy::v3 as common;
    pub use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as filter;
}

pub use envoy_types::pb::google::protobuf;
pub use envoy_types::pb::google::rpc;

/// The discovery service: its messages, and the client and server stubs of ADS.
pub mod discovery {
    pub use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
    pub use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    };
    pub use envoy_types::pb::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        Resource,
    };
}
