//! Core v1 Service.

use std::collections::BTreeMap;

/// A name under which workloads are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Labels that a workload must all carry; empty selects nothing.
    pub selector: BTreeMap<String, String>,
    /// The ports that clients use.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// May be empty for the only port of a service.
    pub name: String,
    /// What clients use.
    pub port: u16,
    /// What the workload listens on.
    pub target_port: TargetPort,
    /// `appProtocol`, if given; else the prefix of the name tells the protocol.
    pub app_protocol: Option<String>,
}

/// The workload's side of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number; the service port's own number where none is given.
    Number(u16),
    /// A name that the workload's `ports` resolve.
    Name(String),
}
