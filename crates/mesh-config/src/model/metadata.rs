//! What every object carries: its name and its labels.

use std::collections::BTreeMap;

/// The parts of Kubernetes' `ObjectMeta` that the mesh reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The object's name.
    pub name: String,
    /// The object's namespace; `default` where a namespaced object names none, empty where the
    /// kind has no namespaces.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The version that a write was based on, if the writer gave one.
    pub resource_version: Option<String>,
    /// RFC 3339; set by the store. Older objects win where Istio says so.
    pub creation_timestamp: Option<String>,
}
