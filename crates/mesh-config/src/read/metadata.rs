//! `metadata`: name, namespace, labels, annotations.

use std::collections::BTreeMap;

use super::Reader;
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
                let text = name.node.as_str().unwrap_or_default();
                let verdict = match kind {
                    Kind::Service => rules::dns_label(text),
                    Kind::Inert(_) => rules::path_segment(text),
                    _ => rules::dns_subdomain(text),
                };
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
        let text = |key: &str| {
            let text = metadata.text(key);
            (!text.is_empty()).then(|| text.to_owned())
        };
        Metadata {
            name: metadata.text("name").to_owned(),
            namespace: namespace_of(&metadata, kind, namespace),
            labels: self.labels(metadata.get("labels").as_ref()),
            annotations: annotations(&metadata),
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

fn annotations(metadata: &Cursor<'_>) -> BTreeMap<String, String> {
    metadata
        .each_entry("annotations")
        .map(|(entry, value)| {
            let text = value.node.as_str().unwrap_or_default();
            (entry.key.clone(), text.to_owned())
        })
        .collect()
}
