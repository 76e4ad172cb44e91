//! `networking.istio.io` ServiceEntry: hosts that callers may know besides the Services.

use std::collections::BTreeMap;

use super::{Protocol, WorkloadEntry};

/// Hosts, and what stands behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Lower case; `*.` in front of some takes all hosts below.
    pub hosts: Vec<String>,
    /// Addresses and subnets under which the hosts are known, as written.
    pub addresses: Vec<String>,
    /// The ports that callers use.
    pub ports: Vec<EntryPort>,
    /// Whether what stands behind the hosts is a part of the mesh.
    pub location: Location,
    /// How the endpoints of a host are found.
    pub resolution: Resolution,
    /// Endpoints that are written down in it.
    pub endpoints: Vec<WorkloadEntry>,
    /// Labels of the instances and WorkloadEntries of its namespace that are its endpoints; empty selects
    /// nothing.
    pub selector: BTreeMap<String, String>,
    /// Namespaces that see it: names, `.` for its own, `*` for all, `~` for none. Empty is the mesh's default.
    pub export_to: Vec<String>,
    /// Identities that may answer besides those of its endpoints' service accounts.
    pub subject_alt_names: Vec<String>,
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPort {
    /// What callers use.
    pub number: u16,
    /// Unique in its ServiceEntry.
    pub name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The bytes are TLS that callers speak themselves: their server name can be read, nothing else.
    pub is_tls: bool,
    /// What endpoints listen on that say nothing of this port; the port's own number where none is given.
    pub target_port: Option<u16>,
}

/// Whether a ServiceEntry's endpoints are a part of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Location {
    /// They have no agents: nobody speaks the mesh's mTLS to them unasked.
    #[default]
    External,
    /// They are workloads of the mesh.
    Internal,
}

/// How a ServiceEntry's endpoints are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// Requests go to the very host or address that was asked for.
    #[default]
    None,
    /// The endpoints' IP addresses are written down, or come with what the selector selects.
    Static,
    /// Proxies resolve the endpoints' names, or the host's own, and use every address.
    Dns,
    /// The same, but with one address at a time.
    DnsRoundRobin,
    /// Proxies resolve the host of each request; for hosts with a wildcard.
    DynamicDns,
}
