//! `gateway.networking.k8s.io`: the kinds of the Gateway API, and what several of them share.
//!
//! The types are those of the API after its defaults: what a user may leave out has the value here that the
//! API gives it. They are read from the object's JSON, after `schema` and `read` have held it against the
//! rules of the API's own definitions. `gateway` has what listens, `route` what is attached to it, `filter`
//! what a rule does to requests.

mod filter;
mod gateway;
mod route;

use serde::Deserialize;

pub use filter::{
    CorsFilter, Filter, Fraction, Header, HeaderFilter, MirrorFilter, PathModifier, RedirectFilter,
    RewriteFilter,
};
pub use gateway::{
    Address, AllowedListeners, AllowedRoutes, From, FrontendPort, FrontendTls, Gateway,
    GatewayClass, GatewayTls, Infrastructure, LabelSelector, Listener, ListenerSet, ListenerTls,
    Namespaces, PortTls, Requirement, RouteKind, Validation,
};
pub use route::{
    BackendRef, BytesRoute, BytesRule, GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, HttpMatch,
    HttpRoute, HttpRule, MatchType, ParentRef, PathMatch, PathType, Retry, Timeouts, ValueMatch,
};

/// The group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// A kind of the Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// BackendTLSPolicy.
    BackendTlsPolicy,
    /// Gateway.
    Gateway,
    /// GatewayClass, the only kind without a namespace.
    GatewayClass,
    /// GRPCRoute.
    GrpcRoute,
    /// HTTPRoute.
    HttpRoute,
    /// ListenerSet.
    ListenerSet,
    /// ReferenceGrant.
    ReferenceGrant,
    /// TCPRoute.
    TcpRoute,
    /// TLSRoute.
    TlsRoute,
    /// UDPRoute.
    UdpRoute,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::BackendTlsPolicy,
        Kind::Gateway,
        Kind::GatewayClass,
        Kind::GrpcRoute,
        Kind::HttpRoute,
        Kind::ListenerSet,
        Kind::ReferenceGrant,
        Kind::TcpRoute,
        Kind::TlsRoute,
        Kind::UdpRoute,
    ];

    /// The kinds of routes.
    pub const ROUTES: [Kind; 5] = [
        Kind::GrpcRoute,
        Kind::HttpRoute,
        Kind::TcpRoute,
        Kind::TlsRoute,
        Kind::UdpRoute,
    ];

    /// The kind's own name, `HTTPRoute`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::BackendTlsPolicy => "BackendTLSPolicy",
            Kind::Gateway => "Gateway",
            Kind::GatewayClass => "GatewayClass",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::HttpRoute => "HTTPRoute",
            Kind::ListenerSet => "ListenerSet",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::TcpRoute => "TCPRoute",
            Kind::TlsRoute => "TLSRoute",
            Kind::UdpRoute => "UDPRoute",
        }
    }

    /// Its name in URLs, `httproutes`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Kind::BackendTlsPolicy => "backendtlspolicies",
            Kind::Gateway => "gateways",
            Kind::GatewayClass => "gatewayclasses",
            Kind::GrpcRoute => "grpcroutes",
            Kind::HttpRoute => "httproutes",
            Kind::ListenerSet => "listenersets",
            Kind::ReferenceGrant => "referencegrants",
            Kind::TcpRoute => "tcproutes",
            Kind::TlsRoute => "tlsroutes",
            Kind::UdpRoute => "udproutes",
        }
    }

    /// Why the mesh does not act on it, if it does not.
    #[must_use]
    pub fn note(self) -> Option<&'static str> {
        match self {
            Kind::BackendTlsPolicy => Some(
                "the mesh's own mTLS is used between agents, and services without an agent are called in plain text",
            ),
            Kind::UdpRoute => Some("proxies carry TCP only, so its ports are not served"),
            _ => None,
        }
    }

    /// The versions in which upstream serves or has served it, the preferred one first.
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Kind::Gateway | Kind::GatewayClass | Kind::HttpRoute => &["v1", "v1beta1", "v1alpha2"],
            Kind::ReferenceGrant => &["v1", "v1beta1", "v1alpha2"],
            Kind::BackendTlsPolicy | Kind::TlsRoute => &["v1", "v1alpha3", "v1alpha2"],
            Kind::GrpcRoute | Kind::TcpRoute | Kind::UdpRoute => &["v1", "v1alpha2"],
            Kind::ListenerSet => &["v1"],
        }
    }
}

/// What an object of the Gateway API asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// BackendTLSPolicy; kept and not acted on.
    BackendTlsPolicy,
    /// Gateway.
    Gateway(Gateway),
    /// GatewayClass.
    GatewayClass(GatewayClass),
    /// GRPCRoute.
    GrpcRoute(GrpcRoute),
    /// HTTPRoute.
    HttpRoute(HttpRoute),
    /// ListenerSet.
    ListenerSet(ListenerSet),
    /// ReferenceGrant.
    ReferenceGrant(ReferenceGrant),
    /// TCPRoute.
    TcpRoute(BytesRoute),
    /// TLSRoute.
    TlsRoute(BytesRoute),
    /// UDPRoute; its references are judged, and no datagram is carried.
    UdpRoute(BytesRoute),
}

/// A reference to an object, in the same namespace unless one is named.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// API group, empty for core.
    #[serde(default)]
    pub group: String,
    /// Kind; where certificates are meant, a Secret.
    #[serde(default = "secret")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, if another one than the referrer's.
    pub namespace: Option<String>,
}

fn secret() -> String {
    "Secret".to_owned()
}

/// A ReferenceGrant: who may refer to what in its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReferenceGrant {
    /// Who may.
    pub from: Vec<GrantFrom>,
    /// What they may refer to.
    pub to: Vec<GrantTo>,
}

/// Objects of one kind in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GrantFrom {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects of one kind, or one of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GrantTo {
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// The only one, if named.
    pub name: Option<String>,
}
