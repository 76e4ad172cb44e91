//! Status that is derived when it is asked for, and stored nowhere: the conditions of the Gateway API.

use mesh_config::model::{Kind, Object};
use serde_json::Value;

use crate::store::View;

/// Puts an object's status into what is shown of it, if it has one that follows from the configuration.
pub(super) fn put_status(view: &View, object: &Object, shown: &mut Value) {
    if !matches!(object.kind, Kind::GatewayApi(_)) {
        return;
    }
    if let Some(status) = view.statuses().get(&object.key()) {
        shown["status"] = status.clone();
    }
}
