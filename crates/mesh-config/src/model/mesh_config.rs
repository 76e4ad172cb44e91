//! Istio's MeshConfig: what holds for the whole mesh.

use std::time::Duration;

use super::{OutboundPolicy, Retries};

/// What the mesh reads of a MeshConfig. `Default` is what Istio does without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// What becomes of hosts that sidecars do not know.
    pub outbound: OutboundPolicy,
    /// Which spellings of a path are made one.
    pub path_normalization: PathNormalization,
    /// Who sees Services and ServiceEntries that do not say; empty is everybody.
    pub default_service_export_to: Vec<String>,
    /// Who sees VirtualServices that do not say; empty is everybody.
    pub default_virtual_service_export_to: Vec<String>,
    /// Who follows DestinationRules that do not say; empty is everybody.
    pub default_destination_rule_export_to: Vec<String>,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// What is tried again where a route does not say; `None` is Istio's default.
    pub default_retries: Option<Retries>,
    /// The domain of SPIFFE ids, if it is said.
    pub trust_domain: Option<String>,
    /// The namespace of what holds for the whole mesh, if it is said.
    pub root_namespace: Option<String>,
}

/// Which spellings of a path are made one before routes and policies see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// Paths stay as they came.
    None,
    /// RFC 3986's normal form: dots, and letters that are encoded without need.
    #[default]
    Base,
    /// The same, and several slashes in a row are one.
    MergeSlashes,
    /// The same, after `%2F` and `%5C` were taken for the slashes that they encode.
    DecodeAndMergeSlashes,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            outbound: OutboundPolicy::AllowAny,
            path_normalization: PathNormalization::Base,
            default_service_export_to: Vec::new(),
            default_virtual_service_export_to: Vec::new(),
            default_destination_rule_export_to: Vec::new(),
            default_retries: None,
            connect_timeout: Duration::from_secs(10),
            trust_domain: None,
            root_namespace: None,
        }
    }
}
