//! A map while it is being read: its keys are texts, each stands there once, and `<<` adds others.

use std::collections::HashMap;

use super::read::Fault;
use super::{Entry, Mark, Node, Value, quoted, scalar};

/// A map whose end has not come yet.
#[derive(Default)]
pub(super) struct OpenMap {
    entries: Vec<Entry>,
    /// Where each key was first written.
    seen: HashMap<String, Mark>,
    /// The key whose value comes next.
    key: Option<Key>,
    /// The values of `<<`.
    merged: Vec<Node>,
}

enum Key {
    Name(String, Mark),
    Merge,
    /// The key was faulty: its value is read and thrown away.
    Faulty,
}

impl OpenMap {
    pub(super) fn expects_key(&self) -> bool {
        self.key.is_none()
    }

    /// `<<` stands where a key belongs.
    pub(super) fn merge_key(&mut self) {
        self.key = Some(Key::Merge);
    }

    /// Something that is no key stands where one belongs; it was reported.
    pub(super) fn faulty_key(&mut self) {
        self.key = Some(Key::Faulty);
    }

    /// Takes a key.
    pub(super) fn take_key(&mut self, node: &Node) -> Result<(), Fault> {
        self.key = Some(Key::Faulty);
        let fault = |message: String| Fault {
            mark: node.mark,
            message,
        };
        let name = name(node).map_err(fault)?;
        if let Some(first) = self.seen.get(&name) {
            return Err(fault(format!(
                "the key {} stands here a second time, first in line {}; remove one of them",
                quoted(&name),
                first.line
            )));
        }
        self.seen.insert(name.clone(), node.mark);
        self.key = Some(Key::Name(name, node.mark));
        Ok(())
    }

    /// Takes the value of the last key.
    pub(super) fn take_value(&mut self, value: Node) {
        match self.key.take() {
            Some(Key::Name(key, key_mark)) => self.entries.push(Entry {
                key,
                key_mark,
                value,
            }),
            Some(Key::Merge) => self.merged.push(value),
            Some(Key::Faulty) | None => {}
        }
    }

    /// The map's own entries, then what `<<` adds: the earlier source wins.
    pub(super) fn finish(self, faults: &mut Vec<Fault>) -> Vec<Entry> {
        let OpenMap {
            mut entries,
            mut seen,
            merged,
            ..
        } = self;
        for entry in sources(merged, faults).into_iter().flatten() {
            if !seen.contains_key(&entry.key) {
                seen.insert(entry.key.clone(), entry.key_mark);
                entries.push(entry);
            }
        }
        entries
    }
}

/// What a scalar means as a key.
fn name(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::String(text) => Ok(text.clone()),
        // As kubectl: an integer in decimal.
        Value::Number(number, _) => scalar::integer(number)
            .map(|integer| integer.to_string())
            .ok_or_else(|| format!("this key is {}; quote it", node.describe())),
        Value::Bool(..) => Err(format!("this key is {}; quote it", node.describe())),
        Value::Null => Err("this key is empty; name it".to_owned()),
        // By an alias.
        Value::List(_) | Value::Map(_) => {
            Err("a key must be a text, not a list or a map".to_owned())
        }
    }
}

/// The maps that `<<` names, in order.
fn sources(merged: Vec<Node>, faults: &mut Vec<Fault>) -> Vec<Vec<Entry>> {
    let mut sources = Vec::new();
    let mut refuse = |mark: Mark, message: &str| {
        faults.push(Fault {
            mark,
            message: message.to_owned(),
        });
    };
    for node in merged {
        match node.value {
            Value::Map(source) => sources.push(source),
            Value::List(items) => {
                for item in items {
                    match item.value {
                        Value::Map(source) => sources.push(source),
                        _ => refuse(item.mark, "<< takes maps only"),
                    }
                }
            }
            _ => refuse(node.mark, "<< takes a map or a list of maps"),
        }
    }
    sources
}
