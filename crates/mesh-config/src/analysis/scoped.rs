//! Sidecars and Telemetries: one for each workload, or one for a namespace.

use serde_json::Value;

use super::index::Index;
use super::policy;
use super::view::{
    Found, Labels, full_name, in_words, items, labels, listed, selects, spec, spec_each,
};
use super::workloads::is_ambient;
use super::{
    Code, NO_EFFECT, NO_PROVIDER, NOT_FOUND, SIDECAR_CONFLICT, SIDECAR_DEFAULTS,
    TELEMETRY_CONFLICT, TELEMETRY_DEFAULTS,
};
use crate::model::Object;

/// What the two kinds call the same things.
struct Kind {
    /// The field of the selector, and of the labels in it.
    selector: [&'static str; 2],
    /// Several for one workload.
    conflict: &'static Code,
    /// Several for one namespace.
    defaults: &'static Code,
}

const SIDECAR: Kind = Kind {
    selector: ["workloadSelector", "labels"],
    conflict: &SIDECAR_CONFLICT,
    defaults: &SIDECAR_DEFAULTS,
};
const TELEMETRY: Kind = Kind {
    selector: ["selector", "matchLabels"],
    conflict: &TELEMETRY_CONFLICT,
    defaults: &TELEMETRY_DEFAULTS,
};

pub(super) fn sidecar(index: &Index<'_>, found: &mut Found<'_>) {
    if !without_sidecars(index, found) {
        one_each(index, &SIDECAR, found);
    }
}

pub(super) fn telemetry(index: &Index<'_>, found: &mut Found<'_>) {
    one_each(index, &TELEMETRY, found);
    policy::selector(index, found);
    for (l, logging) in spec_each(found.object, "accessLogging") {
        let is_off = logging.get("disabled").and_then(Value::as_bool) == Some(true);
        if !is_off && items(logging.get("providers")).is_empty() {
            let message = "no provider is named, and the mesh has no default one, so Istio would ignore it; name one in \
                           providers";
            found.tell(&NO_PROVIDER, format!("spec.accessLogging[{l}]"), message);
        }
    }
}

fn selector_of<'a>(object: &'a Object, kind: &Kind) -> Labels<'a> {
    labels(spec(object, &kind.selector))
}

/// Whether the Sidecar is for workloads that have none, which is then told.
fn without_sidecars(index: &Index<'_>, found: &mut Found<'_>) -> bool {
    let selector = selector_of(found.object, &SIDECAR);
    let all = if selector.is_empty() {
        let namespace = index.find("", "Namespace", "", found.namespace());
        namespace.is_some_and(|namespace| is_ambient(namespace))
    } else {
        let here = index.workloads().in_namespace(found.namespace());
        let mut selected = here
            .iter()
            .filter(|workload| selects(&selector, &workload.labels));
        selected.any(|workload| workload.is_ambient)
    };
    if all {
        let message =
            "what it is for runs in ambient mode, without sidecars, so it has no effect; remove it";
        found.tell(&NO_EFFECT, "metadata.name", message);
    }
    all
}

/// Nobody, or somebody else's, too.
fn one_each(index: &Index<'_>, kind: &Kind, found: &mut Found<'_>) {
    let own = found.object;
    let selector = selector_of(own, kind);
    let others = index
        .config
        .in_namespace(own.kind, found.namespace())
        .filter(|other| other.key() != own.key());
    let field = format!("spec.{}", kind.selector[0]);
    if selector.is_empty() {
        // A Telemetry for a Gateway is not for the namespace.
        let is_default = |object: &Object| {
            selector_of(object, kind).is_empty()
                && spec(object, &["targetRef"]).is_none()
                && items(spec(object, &["targetRefs"])).is_empty()
        };
        let others: Vec<String> = others
            .filter(|other| is_default(other))
            .map(|other| full_name(other))
            .collect();
        if is_default(own) && !others.is_empty() {
            let message = format!(
                "{} has no selector either, and only one can be the namespace's; keep one of them",
                listed(&others)
            );
            found.tell(kind.defaults, "metadata.name", message);
        }
        return;
    }
    let workloads = index.workloads();
    let here = workloads.in_namespace(found.namespace()).iter();
    let gateways = workloads
        .gateways
        .iter()
        .filter(|one| one.namespace == found.namespace());
    let selected: Vec<_> = here
        .chain(gateways)
        .filter(|workload| selects(&selector, &workload.labels))
        .collect();
    if selected.is_empty() {
        if workloads.are_known {
            let message = format!(
                "it is for nobody: no workload of the namespace {} has the labels {}; correct its selector or its \
                 namespace",
                found.namespace(),
                in_words(&selector)
            );
            found.tell(&NOT_FOUND, field, message);
        }
        return;
    }
    let others: Vec<_> = others
        .map(|other| (full_name(other), selector_of(other, kind)))
        .filter(|(_, other)| !other.is_empty())
        .collect();
    for workload in selected {
        let same: Vec<&str> = others
            .iter()
            .filter(|(_, other)| selects(other, &workload.labels))
            .map(|(name, _)| name.as_str())
            .collect();
        if !same.is_empty() {
            let message = format!(
                "{} selects the workload {}, too, and only one counts; let their selectors exclude one another",
                listed(&same),
                workload.name
            );
            found.tell(kind.conflict, field.clone(), message);
        }
    }
}
