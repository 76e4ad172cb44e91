//! A text to objects: documents, lists of objects, JSON.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::finding::{Finding, Report};
use crate::model::{Kind, Object};
use crate::read::{self, Parsed};
use crate::yaml::{Cursor, Entry, Limits, Mark, Node, Value, from_json, read as read_yaml};

/// The namespace of objects that name none, as for `kubectl`.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Reads all objects of a text: multi-document YAML, or JSON.
///
/// # Errors
/// Everything that is wrong in any of the documents; then none of them should be used.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Parsed>, Vec<Finding>> {
    parse_in(file, text, DEFAULT_NAMESPACE)
}

/// As [`parse`], with the namespace of objects that name none.
///
/// # Errors
/// As [`parse`].
pub fn parse_in(file: &Path, text: &str, namespace: &str) -> Result<Vec<Parsed>, Vec<Finding>> {
    let mut parsed = Vec::new();
    let mut errors = Vec::new();
    for object in parse_each(file, text, namespace) {
        match object {
            Ok(object) => parsed.push(object),
            Err(findings) => errors.extend(findings),
        }
    }
    if errors.is_empty() {
        Ok(parsed)
    } else {
        Err(errors)
    }
}

/// As [`parse_in`], but each object stands for itself: those that are right may be used although
/// others are wrong.
pub fn parse_each(file: &Path, text: &str, namespace: &str) -> Vec<Result<Parsed, Vec<Finding>>> {
    let file: Arc<Path> = file.into();
    let mut objects = Vec::new();
    for document in read_yaml(text, Limits::DEFAULT) {
        let source = Some((Arc::clone(&file), document.number));
        match document.root {
            Err(faults) => {
                let mut report = Report::new(source);
                for fault in faults {
                    report.fault(fault.mark, fault.message);
                }
                objects.push(Err(report.into_findings()));
            }
            Ok(root) => expand(root, &mut |node| {
                objects.push(read::object(node, source.clone(), namespace));
            }),
        }
    }
    objects
}

/// As [`parse_each`], with the objects that are refused among the others, and everything that is wrong.
pub(crate) fn parse_loosely(
    file: &Path,
    text: &str,
    namespace: &str,
) -> (Vec<Object>, Vec<Finding>) {
    let file: Arc<Path> = file.into();
    let (mut objects, mut findings) = (Vec::new(), Vec::new());
    for document in read_yaml(text, Limits::DEFAULT) {
        let source = Some((Arc::clone(&file), document.number));
        match document.root {
            Err(faults) => {
                let mut report = Report::new(source);
                for fault in faults {
                    report.fault(fault.mark, fault.message);
                }
                findings.extend(report.into_findings());
            }
            Ok(root) => expand(root, &mut |node| {
                let (object, found) = read::loosely(node, source.clone(), namespace);
                objects.extend(object);
                findings.extend(found);
            }),
        }
    }
    (objects, findings)
}

/// As [`parse_in`], for bytes of unknown origin.
///
/// # Errors
/// As [`parse`], also where the bytes are not UTF-8.
pub fn parse_bytes(
    file: &Path,
    bytes: &[u8],
    namespace: &str,
) -> Result<Vec<Parsed>, Vec<Finding>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse_in(file, text, namespace),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line_start = before
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            let mark = Mark {
                line: before.iter().filter(|b| **b == b'\n').count() + 1,
                column: String::from_utf8_lossy(&before[line_start..])
                    .chars()
                    .count()
                    + 1,
            };
            let mut report = Report::new(Some((file.into(), 1)));
            report.fault(mark, "this is not UTF-8 text; save the file as UTF-8");
            Err(report.into_findings())
        }
    }
}

/// Reads one object from JSON, for example from a store.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_value(json: &Json, namespace: &str) -> Result<Parsed, Vec<Finding>> {
    read::object(&from_json(json), None, namespace)
}

/// Calls `each` with every object of a document: the document itself, or the items of a `List`.
fn expand(mut root: Node, each: &mut impl FnMut(&Node)) {
    let Some(item_kind) = list_of(&root) else {
        each(&root);
        return;
    };
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let items = entries
        .iter_mut()
        .find(|entry| entry.key == "items")
        .map(|entry| std::mem::replace(&mut entry.value.value, Value::Null));
    if let Some(Value::List(items)) = items {
        for mut item in items {
            if let Some(kind) = item_kind {
                complete(&mut item, kind, &root);
            }
            expand(item, each);
        }
    }
}

/// Whether the node is a list of objects: `Some(None)` for `List` itself, `Some(kind)` for a list
/// of one kind as the API gives it, such as a `ServiceList`.
fn list_of(node: &Node) -> Option<Option<Kind>> {
    let root = Cursor::root(node);
    let items = root.get("items")?;
    let kind = root.text("kind").strip_suffix("List")?;
    if !matches!(items.node.value, Value::List(_)) {
        return None;
    }
    if kind.is_empty() {
        return Some(None);
    }
    Kind::of_object(root.text("apiVersion"), kind)
        .ok()
        .map(Some)
}

/// Gives an item of a typed list the `apiVersion` and `kind` that only the list has.
fn complete(item: &mut Node, kind: Kind, list: &Node) {
    let api_version = Cursor::root(list).text("apiVersion").to_owned();
    let mark = item.mark;
    let Value::Map(entries) = &mut item.value else {
        return;
    };
    for (key, text) in [
        ("kind", kind.kind().to_owned()),
        ("apiVersion", api_version),
    ] {
        if !entries.iter().any(|entry| entry.key == key) {
            entries.insert(
                0,
                Entry {
                    key: key.to_owned(),
                    key_mark: mark,
                    value: Node {
                        mark,
                        value: Value::String(text),
                    },
                },
            );
        }
    }
}

#[cfg(test)]
mod tests;
