//! What users are told about their objects: the conditions of the Gateway API, derived when they are asked for.
//!
//! Nothing is stored, so a condition's time is that of its object: it is as old as what it is about.

use std::collections::BTreeMap;

use mesh_config::model::gateway_api::{GROUP, Kind, Spec};
use mesh_config::{Config, Object, ObjectKey};
use serde_json::{Value, json};

use super::attach::{Api, Parent, Route};
use super::scope::{self, Gateway, Listener, Set, Speaks};
use super::{Reason, objects};

/// The status of every object of the Gateway API that is ours to judge.
#[derive(Debug, Default)]
pub struct Statuses {
    by_key: BTreeMap<ObjectKey, Value>,
}

impl Statuses {
    /// Judges all objects of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let api = Api::build(config);
        let mut by_key = BTreeMap::new();
        for (object, spec) in objects(config, Kind::GatewayClass) {
            if let Spec::GatewayClass(spec) = spec
                && scope::is_our_controller(spec)
            {
                let conditions = [yes(
                    object,
                    "Accepted",
                    "Accepted",
                    "the mesh serves Gateways of this class",
                )];
                by_key.insert(object.key(), json!({ "conditions": conditions }));
            }
        }
        for (place, gateway) in api.gateways.iter().enumerate() {
            by_key.insert(gateway.object.key(), gateway_status(&api, place, gateway));
        }
        for set in &api.sets {
            by_key.insert(set.object.key(), set_status(&api, set));
        }
        for route in api.routes.iter().filter(|route| !route.parents.is_empty()) {
            by_key.insert(route.object.key(), route_status(&api, route));
        }
        Self { by_key }
    }

    /// The status of an object, if it is ours to judge.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.by_key.get(key)
    }
}

fn gateway_status(api: &Api<'_>, place: usize, gateway: &Gateway<'_>) -> Value {
    let object = gateway.object;
    let sets: Vec<&Set<'_>> = api
        .sets
        .iter()
        .filter(|set| set.gateway == place && set.is_allowed)
        .collect();
    let listeners = listeners_of(api, place, object);
    let (accepted, programmed) = match &gateway.address {
        Some(reason) => (
            no(object, "Accepted", reason),
            no(object, "Programmed", reason),
        ),
        None => summary(object, &gateway.listeners, |_| true),
    };
    let resolved = yes(
        object,
        "ResolvedRefs",
        "ResolvedRefs",
        "all references are resolved",
    );
    let mut conditions = vec![accepted, programmed, resolved];
    let is_insecure = |listener: &Listener<'_>| {
        listener
            .clients
            .as_ref()
            .is_some_and(|clients| clients.is_insecure)
    };
    if gateway.listeners.iter().any(is_insecure) {
        let text = "mode AllowInsecureFallback: clients are let in whatever they show";
        conditions.push(yes(
            object,
            "InsecureFrontendValidationMode",
            "ConfigurationChanged",
            text,
        ));
    }
    json!({
        "addresses": gateway.spec.addresses.iter().map(|address| json!({
            "type": address.kind.as_deref().unwrap_or("IPAddress"),
            "value": address.value,
        })).collect::<Vec<_>>(),
        "attachedListenerSets": sets.len(),
        "conditions": conditions,
        "listeners": listeners,
    })
}

fn set_status(api: &Api<'_>, set: &Set<'_>) -> Value {
    let object = set.object;
    if !set.is_allowed {
        let text = "allowedListeners of the Gateway does not admit ListenerSets of this namespace";
        let reason = Reason::new("NotAllowed", text);
        return json!({ "conditions": [no(object, "Accepted", &reason), no(object, "Programmed", &reason)] });
    }
    let all = &api.gateways[set.gateway].listeners;
    let (accepted, programmed) =
        summary(object, all, |listener| listener.owner.key() == object.key());
    json!({
        "conditions": [accepted, programmed],
        "listeners": listeners_of(api, set.gateway, object),
    })
}

/// What the listeners of an object mean for the whole of it: it is accepted as long as one of them is right.
fn summary(
    object: &Object,
    listeners: &[Listener<'_>],
    is_own: impl Fn(&Listener<'_>) -> bool,
) -> (Value, Value) {
    let own: Vec<_> = listeners
        .iter()
        .filter(|listener| is_own(listener))
        .collect();
    let right = own
        .iter()
        .filter(|listener| listener.is_accepted() && listener.unresolved().is_none());
    let right = right.count();
    if right == 0 && !own.is_empty() {
        let reason = Reason::new(
            "ListenersNotValid",
            "none of the listeners is right; see each of them",
        );
        return (
            no(object, "Accepted", &reason),
            no(object, "Programmed", &reason),
        );
    }
    let accepted = if right < own.len() {
        yes(
            object,
            "Accepted",
            "ListenersNotValid",
            "some listeners are not right; see each of them",
        )
    } else {
        yes(object, "Accepted", "Accepted", "the mesh serves it")
    };
    (
        accepted,
        yes(
            object,
            "Programmed",
            "Programmed",
            "gateways have been told",
        ),
    )
}

fn listeners_of(api: &Api<'_>, place: usize, owner: &Object) -> Vec<Value> {
    let listeners = api.gateways[place].listeners.iter().enumerate();
    listeners
        .filter(|(_, listener)| listener.owner.key() == owner.key())
        .map(|(index, listener)| listener_status(api, place, index, listener))
        .collect()
}

fn listener_status(api: &Api<'_>, place: usize, index: usize, listener: &Listener<'_>) -> Value {
    let owner = listener.owner;
    let refused = listener.conflict.clone().or_else(|| {
        let text = format!(
            "the protocol {} is not served; use HTTP, HTTPS, TLS or TCP",
            listener.spec.protocol
        );
        listener
            .speaks
            .is_none()
            .then(|| Reason::new("UnsupportedProtocol", text))
    });
    let accepted = match refused.or_else(|| listener.unverifiable()) {
        Some(reason) => no(owner, "Accepted", &reason),
        None => yes(owner, "Accepted", "Accepted", "it has its place"),
    };
    let conflicted = match &listener.conflict {
        Some(reason) => yes(owner, "Conflicted", reason.word, &reason.text),
        None => no(
            owner,
            "Conflicted",
            &Reason::new("NoConflicts", "no other listener is in its way"),
        ),
    };
    let resolved = match listener.unresolved() {
        Some(reason) => no(owner, "ResolvedRefs", reason),
        None => yes(
            owner,
            "ResolvedRefs",
            "ResolvedRefs",
            "all references are resolved",
        ),
    };
    let programmed = if listener.is_accepted() && listener.unresolved().is_none() {
        yes(owner, "Programmed", "Programmed", "gateways have been told")
    } else {
        no(
            owner,
            "Programmed",
            &Reason::new("Invalid", "it is not right; see the other conditions"),
        )
    };
    let attached = api.attached(place, index).count();
    // A connection can be told by nothing, so the oldest route has them all.
    let attached = if matches!(listener.speaks, Some(Speaks::Tcp)) {
        attached.min(1)
    } else {
        attached
    };
    json!({
        "name": listener.spec.name,
        "supportedKinds": listener.kinds.iter().map(|kind| json!({ "group": GROUP, "kind": kind.name() })).collect::<Vec<_>>(),
        "attachedRoutes": attached,
        "conditions": [accepted, conflicted, programmed, resolved],
    })
}

fn route_status(api: &Api<'_>, route: &Route<'_>) -> Value {
    let parents: Vec<Value> = route
        .parents
        .iter()
        .map(|parent| parent_status(api, route, parent))
        .collect();
    json!({ "parents": parents })
}

fn parent_status(api: &Api<'_>, route: &Route<'_>, parent: &Parent<'_>) -> Value {
    let object = route.object;
    let accepted = match &parent.outcome {
        Ok(_) => yes(object, "Accepted", "Accepted", "the route is attached"),
        Err(reason) => no(object, "Accepted", reason),
    };
    let resolved = match &route.unresolved {
        Some(reason) => no(object, "ResolvedRefs", reason),
        None => yes(
            object,
            "ResolvedRefs",
            "ResolvedRefs",
            "all references are resolved",
        ),
    };
    let written = &object.raw["spec"]["parentRefs"][parent.index];
    json!({
        "parentRef": written,
        "controllerName": parent.gateway.map_or(scope::CONTROLLER, |place| api.gateways[place].controller),
        "conditions": [accepted, resolved],
    })
}

fn yes(object: &Object, kind: &str, reason: &str, text: &str) -> Value {
    condition(object, kind, "True", reason, text)
}

fn no(object: &Object, kind: &str, reason: &Reason) -> Value {
    condition(object, kind, "False", reason.word, &reason.text)
}

fn condition(object: &Object, kind: &str, status: &str, reason: &str, text: &str) -> Value {
    let generation = object.raw["metadata"]["generation"].as_u64().unwrap_or(1);
    let since = object.metadata.creation_timestamp.as_deref();
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": text,
        "observedGeneration": generation,
        "lastTransitionTime": since.unwrap_or("1970-01-01T00:00:00Z"),
    })
}
