//! DestinationRules: for whom they are, whom their subsets select, and whether TLS proves who answers.

use serde_json::Value;

use super::hosts::{exported_to, workload_selector};
use super::index::Index;
use super::view::{Found, at, in_words, labels, spec, spec_each, text};
use super::{EMPTY_SUBSET, NO_CA_PORT, NO_CA_RULE, RULE_FOR_NOBODY};
use crate::config::resolve_host;
use crate::model::Object;

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    let rule = found.object;
    let written = spec(rule, &["host"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    let host = resolve_host(written, found.namespace());
    match index
        .hosts()
        .visible(&host, found.namespace(), &exported_to(rule))
    {
        Some(known) => subsets(index, known, found),
        None if host.contains('*') => {}
        None => {
            let message = format!(
                "no Service has the host {host} yet; until one does, the rule has no effect"
            );
            found.tell(&RULE_FOR_NOBODY, "spec.host", message);
        }
    }
    certificates(written, found);
}

fn subsets(index: &Index<'_>, known: &Object, found: &mut Found<'_>) {
    let workloads = index.workloads();
    if !workloads.are_known {
        return;
    }
    let of_service = workload_selector(known);
    for (s, subset) in spec_each(found.object, "subsets") {
        let mut selector = of_service.clone();
        selector.extend(labels(subset.get("labels")));
        if !workloads.any_in_subset(&selector) {
            let name = text(subset, "name");
            let message = format!(
                "the subset {name} selects nothing: no workload has the labels {}; requests for it are answered with \
                 503 until one does",
                in_words(&selector)
            );
            found.tell(&EMPTY_SUBSET, format!("spec.subsets[{s}]"), message);
        }
    }
}

fn certificates(host: &str, found: &mut Found<'_>) {
    let Some(policy) = spec(found.object, &["trafficPolicy"]) else {
        return;
    };
    if let Some(mode) = unverified(policy) {
        let message = format!(
            "TLS to {host} is begun with mode {mode} and without caCertificates, so nobody verifies who answers; set \
             tls.caCertificates"
        );
        found.tell(&NO_CA_RULE, "spec.trafficPolicy.tls", message);
    }
    for (p, settings) in super::view::each(policy, "portLevelSettings") {
        if let Some(mode) = unverified(settings) {
            let port = at(settings, &["port", "number"]).map_or_else(String::new, Value::to_string);
            let message = format!(
                "TLS to port {port} of {host} is begun with mode {mode} and without caCertificates, so nobody \
                 verifies who answers; set tls.caCertificates"
            );
            let field = format!("spec.trafficPolicy.portLevelSettings[{p}].tls");
            found.tell(&NO_CA_PORT, field, message);
        }
    }
}

/// The TLS mode of a policy that verifies no server.
fn unverified(policy: &Value) -> Option<&str> {
    let tls = policy.get("tls")?;
    let mode = text(tls, "mode");
    (matches!(mode, "SIMPLE" | "MUTUAL") && text(tls, "caCertificates").is_empty()).then_some(mode)
}
