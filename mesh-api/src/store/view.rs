//! A picture of all objects at one moment.

use std::sync::OnceLock;

use mesh_compile::GatewayApiStatuses;
use mesh_config::Config;
use mesh_config::model::{Kind, SharedObject};

/// All objects at one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The highest `metadata.resourceVersion` that was handed out.
    pub(crate) revision: u64,
    /// The objects, wherever they came from.
    pub(crate) config: Config,
    /// Made when it is first asked for, then the same for as long as the objects are.
    statuses: OnceLock<GatewayApiStatuses>,
}

impl View {
    pub(super) fn new(revision: u64, config: Config) -> Self {
        Self {
            revision,
            config,
            statuses: OnceLock::new(),
        }
    }

    /// The status of the Gateway API's objects, judged once for everybody who asks.
    pub(crate) fn statuses(&self) -> &GatewayApiStatuses {
        self.statuses
            .get_or_init(|| GatewayApiStatuses::of(&self.config))
    }

    /// The objects of a kind, of one namespace or of all, by namespace and name.
    #[must_use]
    pub(crate) fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<SharedObject> {
        match namespace {
            Some(namespace) => self.config.in_namespace(kind, namespace).cloned().collect(),
            None => self.config.of_kind(kind).cloned().collect(),
        }
    }
}
