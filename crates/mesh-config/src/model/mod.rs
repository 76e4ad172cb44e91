//! The user's model: Istio's and Kubernetes' own objects as typed Rust.
//!
//! Only what the mesh acts on has a typed field. Everything else that is valid is kept in
//! [`Object::raw`] and named in a warning (see [`crate::parse`]), so nothing is lost.

mod core;
mod destination_rule;
mod gateway;
pub mod gateway_api;
mod http;
mod inert;
mod kind;
mod layer4;
mod mesh_config;
mod metadata;
mod networking;
mod object;
mod policy;
mod resilience;
mod security;
mod service;
mod service_entry;
mod sidecar;
mod telemetry;
mod workload;

pub use core::{ConfigMap, Secret, Sensitive};
pub use destination_rule::{
    Algorithm, ClientTls, ConnectionPool, ConsistentHash, DestinationRule, Distribute, HashCookie,
    HashKey, HashTable, Keepalive, LoadBalancer, LocalitySetting, OutlierDetection, PolicyParts,
    Subset, TlsMode, TrafficPolicy, Warmup,
};
pub use gateway::{
    CertificateFiles, Gateway, GatewayServer, ServerPort, ServerProtocol, ServerTls, ServerTlsMode,
    TlsVersion,
};
pub use http::{
    CorsPolicy, Delegate, DirectResponse, HeaderChanges, HeaderOperations, PathRewrite, Redirect,
    RedirectPath, RedirectPort, Rewrite,
};
pub use inert::INERT;
pub use kind::{InertKind, Kind, KindError};
pub use layer4::{Layer4Match, RouteDestination, TcpRoute, TlsMatch, TlsRoute};
pub use mesh_config::{MeshConfig, PathNormalization};
pub use metadata::Metadata;
pub use networking::{HttpDestination, HttpMatch, HttpRoute, StringMatch, VirtualService};
pub use object::{Object, ObjectKey, Origin, SharedObject, Spec};
pub use policy::{Among, IpBlock, PolicyTarget, TargetReference, ValueMatch};
pub use resilience::{Abort, AbortStatus, Delay, Fault, Mirror, Retries, Share, Sticky};
pub use security::{
    AddressAttribute, AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition,
    JwtKeys, JwtRule, MutualTls, Operation, PathMatch, PeerAuthentication, RequestAuthentication,
    ServiceAccountMatch, Source, TextAttribute,
};
pub use service::{Protocol, Service, ServicePort, TargetPort};
pub use service_entry::{EntryPort, Location, Resolution, ServiceEntry};
pub use sidecar::{
    EgressHost, EgressListener, EgressNamespace, IngressListener, OutboundPolicy, Sidecar,
};
pub use telemetry::{AccessLogging, CustomTag, Metrics, MetricsOverride, Side, Telemetry, Tracing};
pub use workload::{WorkloadEntry, WorkloadGroup};
