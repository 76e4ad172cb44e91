//! `networking.istio.io` Sidecar: what the agents of some workloads need to know.

use std::collections::BTreeMap;

use super::Protocol;

/// Which services some workloads may call, and on which ports they take requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// Labels of the workloads in its namespace that it is for; empty is for all of them.
    pub selector: BTreeMap<String, String>,
    /// Which services are known, from the first to the last; empty is for "as if there was none".
    pub egress: Vec<EgressListener>,
    /// The workload's ports in place of those that Services name; empty leaves them.
    pub ingress: Vec<IngressListener>,
    /// What becomes of hosts that are not known; `None` is the mesh's default.
    pub outbound: Option<OutboundPolicy>,
}

/// What becomes of requests to hosts that a proxy does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// They go to the host that was asked for.
    #[default]
    AllowAny,
    /// They are refused.
    RegistryOnly,
}

/// Services that are known, on one port or on all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressListener {
    /// Only services' ports of this number; `None` for all that no other listener names.
    pub port: Option<u16>,
    /// Namespaces and hosts.
    pub hosts: Vec<EgressHost>,
}

/// `namespace/host` of an egress listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// Whose services are meant.
    pub namespace: EgressNamespace,
    /// Lower case: a host, `*.suffix`, or `*`.
    pub host: String,
}

/// The namespace of an egress host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressNamespace {
    /// `*`: any.
    Any,
    /// `.`: that of the Sidecar.
    Own,
    /// `~`: none at all.
    None,
    /// One of this name.
    Named(String),
    /// `~name`: every one but this, whatever the other hosts say.
    Not(String),
}

/// A port on which a workload takes traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressListener {
    /// The port that callers mean: a service's target port.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where the application listens; `None` is the port itself.
    pub app_port: Option<u16>,
}
