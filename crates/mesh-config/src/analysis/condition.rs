//! What an object's status says about it, as it is written.

use serde_json::Value;

use super::NEGATIVE_CONDITION;
use super::view::{Found, at, each, items, text};

/// The kinds whose conditions are told, and which conditions.
const TOLD: [(&str, &str, &[&str]); 6] = [
    ("", "Service", &["istio.io/WaypointBound"]),
    (
        "networking.istio.io",
        "ServiceEntry",
        &["istio.io/WaypointBound"],
    ),
    (
        "security.istio.io",
        "AuthorizationPolicy",
        &["ZtunnelAccepted", "WaypointAccepted"],
    ),
    ("gateway.networking.k8s.io", "Gateway", ROUTED),
    ("gateway.networking.k8s.io", "HTTPRoute", ROUTED),
    ("gateway.networking.k8s.io", "GRPCRoute", ROUTED),
];
const ROUTED: &[&str] = &["Accepted", "Programmed", "ResolvedRefs"];

pub(super) fn look(found: &mut Found<'_>) {
    let object = found.object;
    let (group, kind) = (object.kind.group(), object.kind.kind());
    let Some((.., types)) = TOLD.iter().find(|(g, k, _)| *g == group && *k == kind) else {
        return;
    };
    let Some(status) = at(&object.raw, &["status"]) else {
        return;
    };
    conditions(status, "status", types, found);
    for (p, parent) in each(status, "parents") {
        conditions(parent, &format!("status.parents[{p}]"), types, found);
    }
}

fn conditions(of: &Value, path: &str, types: &[&str], found: &mut Found<'_>) {
    for (c, condition) in items(of.get("conditions")).iter().enumerate() {
        let (kind, reason) = (text(condition, "type"), text(condition, "reason"));
        let is_false = types.contains(&kind) && text(condition, "status") == "False";
        // Accepted in part only.
        let is_partial = kind == "WaypointAccepted"
            && reason == "PartiallyInvalid"
            && found.object.kind.kind() == "AuthorizationPolicy";
        if is_false || is_partial {
            let message = format!(
                "its status says that it is not {kind}, because of {reason}: {}",
                text(condition, "message")
            );
            found.tell(
                &NEGATIVE_CONDITION,
                format!("{path}.conditions[{c}]"),
                message,
            );
        }
    }
}
