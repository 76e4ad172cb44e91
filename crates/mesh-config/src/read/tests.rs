//! What each kind's rules refuse and warn about, and what they let through.

mod core;
mod destination_rule;
mod extension;
mod gateway;
mod gateway_api;
mod security;
mod service;
mod service_entry;
mod sidecar;
mod virtual_service;
mod workload;

use std::path::Path;

use crate::finding::{Finding, Level};
use crate::model::{Kind, Spec};
use crate::parse::parse;

/// A whole object of a kind with this spec, in flow style.
fn object(kind: &str, spec: &str) -> String {
    let known = Kind::all().filter(|known| known.kind() == kind);
    let of_istio = known.min_by_key(|known| !known.group().ends_with("istio.io"));
    let api = of_istio.expect(kind).api_version();
    format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")
}

fn outcome(kind: &str, spec: &str) -> Result<(Spec, Vec<Finding>), Vec<Finding>> {
    let mut parsed = parse(Path::new("x.yaml"), &object(kind, spec))?;
    let parsed = parsed.remove(0);
    Ok((parsed.object.spec, parsed.warnings))
}

/// The meaning of an object without warnings.
fn spec(kind: &str, spec: &str) -> Spec {
    let (meaning, warnings) = outcome(kind, spec).expect(spec);
    assert_eq!(warnings, [], "{spec}");
    meaning
}

/// Holds each spec against a table of `(spec, field, beginning of the message)`: there is just this
/// one finding.
fn finds(level: Level, kind: &str, table: &[(&str, &str, &str)]) {
    for (spec, field, message) in table {
        let findings = match (level, outcome(kind, spec)) {
            (Level::Error, Err(findings)) => findings,
            (Level::Warning, Ok((_, warnings))) => warnings,
            (_, other) => panic!("{spec}: {other:?}"),
        };
        assert_eq!(findings.len(), 1, "{spec}: {findings:?}");
        assert_eq!(findings[0].field, *field, "{spec}: {findings:?}");
        assert!(
            findings[0].message.starts_with(message),
            "{spec}: {findings:?}"
        );
        assert_eq!(findings[0].level, level);
    }
}
