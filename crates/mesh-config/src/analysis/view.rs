//! Objects as they were written: what analyzers read, and where they put what they find.
//!
//! Analyzers read an object's JSON and not its typed spec: they look at kinds that the mesh does not act on, too,
//! and at objects that were refused and so have no spec.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Code;
use crate::finding::Finding;
use crate::model::{Kind, Object};

/// Labels, or a selector that demands them.
pub(super) type Labels<'a> = BTreeMap<&'a str, &'a str>;

/// `value.a.b`; a null counts as absent, as it does for Kubernetes.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter()
        .try_fold(value, |value, key| value.get(key))
        .filter(|value| !value.is_null())
}

/// A field of the object's `spec`.
pub(super) fn spec<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    at(at(&object.raw, &["spec"])?, path)
}

/// The text under `key`, empty where there is none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list; nothing where it is none.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items of the list under `key` with their indexes.
pub(super) fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    items(value.get(key)).iter().enumerate()
}

/// The items of a list of the object's `spec` with their indexes.
pub(super) fn spec_each<'a>(
    object: &'a Object,
    key: &str,
) -> impl Iterator<Item = (usize, &'a Value)> {
    items(spec(object, &[key])).iter().enumerate()
}

/// The texts of a list of the object's `spec`.
pub(super) fn spec_texts<'a>(object: &'a Object, key: &str) -> impl Iterator<Item = &'a str> {
    spec_each(object, key).filter_map(|(_, item)| item.as_str())
}

/// The texts of a map.
pub(super) fn labels(value: Option<&Value>) -> Labels<'_> {
    let map = value.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// The object's own labels.
pub(super) fn own_labels(object: &Object) -> Labels<'_> {
    let labels = object.metadata.labels.iter();
    labels
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// Whether `labels` has all that `selector` demands; an empty selector demands nothing.
pub(super) fn selects(selector: &Labels<'_>, labels: &Labels<'_>) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// A selector in words: `app=a,version=v1`.
pub(super) fn in_words(selector: &Labels<'_>) -> String {
    let pairs: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Whether the object is of this kind, acted on or not.
pub(super) fn is(object: &Object, group: &str, kind: &str) -> bool {
    object.kind.kind() == kind && object.kind.group() == group
}

/// The kind of this name, acted on or not.
pub(super) fn kind(group: &str, name: &str) -> Option<Kind> {
    Kind::all().find(|kind| kind.group() == group && kind.kind() == name)
}

/// Some names in words: the first of them, and how many more there are. A thousand objects with one mistake in common
/// must not name one another a million times.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `namespace/name` of an object.
pub(super) fn full_name(object: &Object) -> String {
    format!("{}/{}", object.metadata.namespace, object.metadata.name)
}

/// What was found about one object.
pub(super) struct Found<'a> {
    pub(super) object: &'a Object,
    /// What refuses a write.
    refusals: Findings,
    others: Findings,
}

/// Some findings; an endless object should not make endless ones.
#[derive(Default)]
struct Findings {
    kept: Vec<Finding>,
    left_out: usize,
}

impl Findings {
    const ENOUGH: usize = 100;

    fn push(&mut self, finding: Finding) {
        if self.kept.len() < Self::ENOUGH {
            self.kept.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    fn all(mut self) -> Vec<Finding> {
        if self.left_out > 0
            && let Some(last) = self.kept.last()
        {
            let message = format!(
                "{} more findings are left out; see to these first",
                self.left_out
            );
            let left_out = Finding {
                message,
                ..last.clone()
            };
            self.kept.push(left_out);
        }
        self.kept
    }
}

impl<'a> Found<'a> {
    pub(super) fn new(object: &'a Object) -> Self {
        Found {
            object,
            refusals: Findings::default(),
            others: Findings::default(),
        }
    }

    /// The object's namespace.
    pub(super) fn namespace(&self) -> &'a str {
        &self.object.metadata.namespace
    }

    /// Something to know about a field.
    pub(super) fn tell(
        &mut self,
        code: &'static Code,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        let finding = Finding::about(code, self.object, field, message);
        if !self.others.kept.contains(&finding) {
            self.others.push(finding);
        }
    }

    /// The same, and the object must not be written so.
    pub(super) fn refuse(
        &mut self,
        code: &'static Code,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        let finding = Finding::about(code, self.object, field, message);
        self.refusals.push(finding);
    }

    /// What refuses a write, and all else.
    pub(super) fn split(self) -> (Vec<Finding>, Vec<Finding>) {
        (self.refusals.all(), self.others.all())
    }
}
