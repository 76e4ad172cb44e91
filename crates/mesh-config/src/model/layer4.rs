//! The `tls` and `tcp` routes of a VirtualService: where connections go that nobody looks into.

use std::collections::BTreeMap;

/// A route by the server name in a client's first TLS message. Nothing is decrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRoute {
    /// Any of these; never empty in a valid object.
    pub matches: Vec<TlsMatch>,
    /// Where connections go, by weight.
    pub route: Vec<RouteDestination>,
}

/// All of these conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsMatch {
    /// Server names, lower case: exact, or `*.suffix`.
    pub sni_hosts: Vec<String>,
    /// The conditions that have nothing to do with TLS.
    pub layer4: Layer4Match,
}

/// A route for connections of which nothing is known but their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpRoute {
    /// Any of these; empty means always.
    pub matches: Vec<Layer4Match>,
    /// Where connections go, by weight.
    pub route: Vec<RouteDestination>,
}

/// Conditions on a connection; what is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer4Match {
    /// Addresses or subnets of which the destination must be one. Sidecars only.
    pub destination_subnets: Vec<String>,
    /// The port that the proxy listens at.
    pub port: Option<u16>,
    /// Labels of the client's workload. Sidecars only.
    pub source_labels: BTreeMap<String, String>,
    /// The namespace of the client's workload; like `source_labels`.
    pub source_namespace: Option<String>,
    /// Replaces the VirtualService's `gateways` for this match; empty means inherit.
    pub gateways: Vec<String>,
}

/// A weighted destination of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDestination {
    /// Host as written: short names belong to the VirtualService's namespace.
    pub host: String,
    /// A subset of a DestinationRule, if named.
    pub subset: Option<String>,
    /// The service's port, if given.
    pub port: Option<u16>,
    /// As written, absent is 0. Alone, a destination takes everything whatever its weight.
    pub weight: u32,
}
