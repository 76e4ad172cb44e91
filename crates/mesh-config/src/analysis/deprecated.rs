//! Fields that have a successor, or no effect any more.

use serde_json::Value;

use super::DEPRECATED;
use super::view::{Found, at, is, spec, spec_each, text};
use crate::model::Kind;

pub(super) fn look(found: &mut Found<'_>) {
    let object = found.object;
    if object.kind == Kind::VirtualService {
        for (h, route) in spec_each(object, "http") {
            let percent = at(route, &["fault", "delay", "percent"]).and_then(Value::as_i64);
            if percent.is_some_and(|percent| percent > 0) {
                let field = format!("spec.http[{h}].fault.delay.percent");
                found.tell(
                    &DEPRECATED,
                    field,
                    "percent is deprecated; use percentage.value",
                );
            }
        }
    } else if is(object, "networking.istio.io", "Sidecar")
        && spec(object, &["outboundTrafficPolicy", "egressProxy"]).is_some()
    {
        let field = "spec.outboundTrafficPolicy.egressProxy";
        found.tell(
            &DEPRECATED,
            field,
            "egressProxy is deprecated and has no effect; remove it",
        );
    } else if is(object, "apiextensions.k8s.io", "CustomResourceDefinition") {
        let group = spec(object, &["group"]).and_then(Value::as_str);
        let kind = spec(object, &["names"]).map_or("", |names| text(names, "kind"));
        const REMOVED: [&str; 4] = [
            "ClusterRbacConfig",
            "RbacConfig",
            "ServiceRole",
            "ServiceRoleBinding",
        ];
        if group == Some("rbac.istio.io") && REMOVED.contains(&kind) {
            let message = format!("{kind} is no longer part of Istio; use AuthorizationPolicy");
            found.tell(&DEPRECATED, "spec.names.kind", message);
        }
    }
}
