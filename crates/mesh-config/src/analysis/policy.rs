//! Policies: whom they select, and whether the namespaces that they name exist.

use serde_json::Value;

use super::index::Index;
use super::view::{Found, Labels, each, in_words, items, labels, selects, spec, spec_each};
use super::workloads::Workload;
use super::{NO_WORKLOADS, NOT_FOUND, SELECTOR_AT_GATEWAY};

pub(super) fn authorization(index: &Index<'_>, found: &mut Found<'_>) {
    selector(index, found);
    workloads(index, found);
    namespaces(index, found);
}

/// The label of a Kubernetes Gateway's own pods.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// A policy that selects the pods of a Kubernetes Gateway by labels.
pub(super) fn selector(index: &Index<'_>, found: &mut Found<'_>) {
    if has_target(found) {
        return;
    }
    let Some(selector) = spec(found.object, &["selector"]) else {
        return;
    };
    let selector = labels(selector.get("matchLabels"));
    for workload in index.workloads().in_namespace(found.namespace()) {
        let Some(gateway) = workload.labels.get(GATEWAY_NAME) else {
            continue;
        };
        if selects(&selector, &workload.labels) {
            let message = format!(
                "a selector has no effect on the workload of the Kubernetes Gateway {gateway}; name the Gateway in \
                 targetRefs"
            );
            found.tell(&SELECTOR_AT_GATEWAY, "spec.selector", message);
        }
    }
}

fn has_target(found: &Found<'_>) -> bool {
    spec(found.object, &["targetRef"]).is_some()
        || !items(spec(found.object, &["targetRefs"])).is_empty()
}

/// A policy that is for nobody.
fn workloads(index: &Index<'_>, found: &mut Found<'_>) {
    let workloads = index.workloads();
    if !workloads.are_known || has_target(found) {
        return;
    }
    let selector = spec(found.object, &["selector"]).map(|all| labels(all.get("matchLabels")));
    let is_for_all = found.namespace() == index.options.root_namespace;
    let fits = |workload: &Workload<'_>| {
        workload.in_mesh
            && selector
                .as_ref()
                .is_none_or(|wanted| selects(wanted, &workload.labels))
    };
    let is_met = if is_for_all {
        selector.is_none() || workloads.written().chain(&workloads.gateways).any(fits)
    } else {
        let here = workloads.in_namespace(found.namespace());
        let of_gateways = workloads.gateways.iter();
        let gateways = of_gateways.filter(|gateway| gateway.namespace == found.namespace());
        here.iter().chain(gateways).any(fits)
    };
    if is_met {
        return;
    }
    let empty = Labels::new();
    let wanted = selector.as_ref().unwrap_or(&empty);
    let (field, which) = if wanted.is_empty() {
        ("metadata.namespace", String::new())
    } else {
        (
            "spec.selector",
            format!(" with the labels {}", in_words(wanted)),
        )
    };
    let place = if is_for_all {
        "in the mesh".to_owned()
    } else {
        format!("in the namespace {}", found.namespace())
    };
    let message = format!(
        "it is for nobody: no workload of the mesh{which} is {place}; correct its selector or its namespace"
    );
    found.tell(&NO_WORKLOADS, field, message);
}

/// Namespaces that nobody can be from.
fn namespaces(index: &Index<'_>, found: &mut Found<'_>) {
    for (r, rule) in spec_each(found.object, "rules") {
        for (f, from) in each(rule, "from") {
            let source = from.get("source").unwrap_or(&Value::Null);
            for key in ["namespaces", "notNamespaces"] {
                for (n, pattern) in each(source, key) {
                    let pattern = pattern.as_str().unwrap_or_default();
                    if index.namespaces().iter().any(|known| fits(known, pattern)) {
                        continue;
                    }
                    let message = format!(
                        "there is no namespace {pattern}; correct the name, or declare it with a Namespace"
                    );
                    let field = format!("spec.rules[{r}].from[{f}].source.{key}[{n}]");
                    found.tell(&NOT_FOUND, field, message);
                }
            }
        }
    }
}

/// Whether a name fits `exact`, `prefix*`, `*suffix` or `*`.
fn fits(name: &str, pattern: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix('*') {
        name.ends_with(suffix)
    } else if let Some(prefix) = pattern.strip_suffix('*') {
        name.starts_with(prefix)
    } else {
        name.eq_ignore_ascii_case(pattern)
    }
}
