//! A picture of all objects at one moment.

use mesh_config::Config;
use mesh_config::model::{Kind, SharedObject};

/// All objects at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The highest `metadata.resourceVersion` that was handed out.
    pub(crate) revision: u64,
    /// The objects, wherever they came from.
    pub(crate) config: Config,
}

impl View {
    /// The objects of a kind, of one namespace or of all, by namespace and name.
    #[must_use]
    pub(crate) fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<SharedObject> {
        match namespace {
            Some(namespace) => self.config.in_namespace(kind, namespace).cloned().collect(),
            None => self.config.of_kind(kind).cloned().collect(),
        }
    }
}
