//! `networking.istio.io` WorkloadGroup and WorkloadEntry: what runs, without Kubernetes' pods.

use std::collections::BTreeMap;

/// What the members of a group have in common. Agents name their group when they register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadGroup {
    /// `spec.metadata.labels`, joined with `spec.template.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.template.serviceAccount`; `default` where none is given.
    pub service_account: String,
    /// `spec.template.ports`: port name to the number on which the app listens.
    pub ports: BTreeMap<String, u16>,
    /// `spec.template.locality`: `region/zone/subzone`, may be empty.
    pub locality: String,
    /// `spec.template.weight`: a member's share among the endpoints of a service; `None` is the same as 1.
    pub weight: Option<u32>,
}

/// One workload that was written down by hand: it has no agent, so it is reached in plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// IP address, DNS name, or `unix://PATH`; may be empty.
    pub address: String,
    /// `spec.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.serviceAccount`, may be empty.
    pub service_account: String,
    /// Port name to the number on which the app listens.
    pub ports: BTreeMap<String, u16>,
    /// `region/zone/subzone`, may be empty.
    pub locality: String,
    /// Its share among the endpoints of a service; `None` is the same as 1.
    pub weight: Option<u32>,
}
