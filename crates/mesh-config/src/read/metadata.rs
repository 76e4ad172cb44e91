//! `metadata`: name, namespace, labels, annotations.

use super::authorization::DRY_RUN;
use super::{Reader, text_map};
use crate::model::{Kind, Metadata};
use crate::rules;
use crate::yaml::Cursor;

impl Reader {
    pub(super) fn metadata(&mut self, root: &Cursor<'_>, kind: Kind, namespace: &str) -> Metadata {
        let Some(metadata) = root.get("metadata") else {
            self.report.missing(
                root,
                "metadata",
                "metadata is missing; an object needs at least metadata.name",
            );
            return Metadata::default();
        };
        match metadata.get("name") {
            Some(name) => {
                // What is no text was refused by the table.
                let verdict = name.node.as_str().map_or(Ok(()), |text| match kind {
                    Kind::Service | Kind::Namespace | Kind::Gateway => rules::dns_label(text),
                    Kind::Inert(_) => rules::path_segment(text),
                    _ => rules::dns_subdomain(text),
                });
                self.check(&name, verdict);
            }
            None => {
                self.report
                    .missing(&metadata, "name", "name is missing; every object needs one");
            }
        }
        if let Some(written) = metadata.get("namespace")
            && kind.namespaced()
        {
            let text = written.node.as_str().unwrap_or_default();
            if !text.is_empty() {
                self.check(&written, rules::dns_label(text));
            }
        }
        let dry_run = metadata
            .get("annotations")
            .and_then(|annotations| annotations.get(DRY_RUN));
        if let Some(at) = dry_run
            && kind != Kind::AuthorizationPolicy
            && kind.group().ends_with(".istio.io")
        {
            let message = "only an AuthorizationPolicy can be tried out; remove the annotation";
            self.report.error(&at, message);
        }
        let text = |key: &str| {
            let text = metadata.text(key);
            (!text.is_empty()).then(|| text.to_owned())
        };
        Metadata {
            name: metadata.text("name").to_owned(),
            namespace: namespace_of(&metadata, kind, namespace),
            labels: text_map(&metadata, "labels"),
            annotations: text_map(&metadata, "annotations"),
            resource_version: text("resourceVersion"),
            creation_timestamp: text("creationTimestamp"),
        }
    }
}

/// The namespace as written, else the given one; empty for kinds without namespaces.
pub(super) fn namespace_of(metadata: &Cursor<'_>, kind: Kind, otherwise: &str) -> String {
    if !kind.namespaced() {
        return String::new();
    }
    match metadata.text("namespace") {
        "" => otherwise.to_owned(),
        written => written.to_owned(),
    }
}
