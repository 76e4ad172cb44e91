//! The one home of the Envoy types.

/// A workload as the metric labels name it; an unknown one has empty fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// For example `webapp-original`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its `app` label.
    pub app: String,
    /// Its `version` label.
    pub version: String,
    /// See Istio's canonical service.
    pub canonical_service: String,
    /// See Istio's canonical revision.
    pub canonical_revision: String,
    /// The cluster's id.
    pub cluster: String,
    /// SPIFFE id with `spiffe://`; empty without one.
    pub principal: String,
}
