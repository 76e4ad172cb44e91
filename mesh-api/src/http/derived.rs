//! Status that is derived when it is asked for, and stored nowhere: the conditions of the Gateway API.

use mesh_compile::GatewayApiStatuses;
use mesh_config::Config;
use mesh_config::model::{Kind, Object};
use serde_json::Value;

/// The status of the objects of one kind.
#[derive(Debug, Default)]
pub(crate) struct Derived(Option<GatewayApiStatuses>);

impl Derived {
    /// Judges the configuration, if objects of this kind have a status that follows from it.
    pub(crate) fn of(kind: Kind, config: &Config) -> Self {
        let has_status = matches!(kind, Kind::GatewayApi(_));
        Self(has_status.then(|| GatewayApiStatuses::of(config)))
    }

    /// Puts an object's status into what is shown of it.
    pub(crate) fn put(&self, object: &Object, shown: &mut Value) {
        let status = self.0.as_ref().and_then(|all| all.get(&object.key()));
        if let Some(status) = status {
            shown["status"] = status.clone();
        }
    }
}
