//! A node together with the way to it, so that a finding can name both its place and its path.

use std::fmt::{self, Write};
use std::rc::Rc;

use super::{Entry, Mark, Node, Value};

/// A node of a tree and its path from the root, `spec.http[0].route[1].weight`.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) node: &'a Node,
    /// Where to point a finding: the key of a map's entry, else the node.
    mark: Mark,
    path: Option<Rc<Step<'a>>>,
}

struct Step<'a> {
    parent: Option<Rc<Step<'a>>>,
    name: Name<'a>,
}

enum Name<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Cursor<'a> {
    /// The root of a tree.
    pub(crate) fn root(node: &'a Node) -> Self {
        Cursor {
            node,
            mark: node.mark,
            path: None,
        }
    }

    /// Where the node's value begins.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The value under `key`; a null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.entries()
            .find(|(entry, _)| entry.key == key)
            .map(|(_, cursor)| cursor)
            .filter(|cursor| cursor.node.value != Value::Null)
    }

    /// The items of a list; nothing where this is no list.
    pub(crate) fn items(&self) -> impl Iterator<Item = Cursor<'a>> + use<'a> {
        let path = self.path.clone();
        let items: &'a [Node] = match &self.node.value {
            Value::List(items) => items,
            _ => &[],
        };
        items.iter().enumerate().map(move |(index, node)| Cursor {
            node,
            mark: node.mark,
            path: Some(Rc::new(Step {
                parent: path.clone(),
                name: Name::Index(index),
            })),
        })
    }

    /// The items of the list under `key`.
    pub(crate) fn each(&self, key: &str) -> impl Iterator<Item = Cursor<'a>> + use<'a> {
        self.get(key).into_iter().flat_map(|list| list.items())
    }

    /// The entries of a map with the cursors of their values; nothing where this is no map.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a Entry, Cursor<'a>)> + use<'a> {
        let path = self.path.clone();
        let entries: &'a [Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(move |entry| {
            let cursor = Cursor {
                node: &entry.value,
                mark: entry.value.mark,
                path: Some(Rc::new(Step {
                    parent: path.clone(),
                    name: Name::Key(&entry.key),
                })),
            };
            (entry, cursor)
        })
    }

    /// The entries of the map under `key`.
    pub(crate) fn each_entry(
        &self,
        key: &str,
    ) -> impl Iterator<Item = (&'a Entry, Cursor<'a>)> + use<'a> {
        self.get(key).into_iter().flat_map(|map| map.entries())
    }

    /// The same node, but findings about it point at the key in front of it.
    pub(crate) fn at_key(mut self, entry: &Entry) -> Self {
        self.mark = entry.key_mark;
        self
    }

    /// The text under `key`, empty where there is none.
    pub(crate) fn text(&self, key: &str) -> &'a str {
        self.get(key)
            .and_then(|cursor| cursor.node.as_str())
            .unwrap_or_default()
    }

    /// The path from the root; empty for the root itself.
    pub(crate) fn path(&self) -> String {
        fn write(step: Option<&Rc<Step<'_>>>, out: &mut String) -> fmt::Result {
            let Some(step) = step else { return Ok(()) };
            write(step.parent.as_ref(), out)?;
            match step.name {
                Name::Index(index) => write!(out, "[{index}]"),
                Name::Key(key) if !is_plain(key) => write!(out, "[{}]", super::quoted(key)),
                Name::Key(key) if out.is_empty() => out.write_str(key),
                Name::Key(key) => write!(out, ".{key}"),
            }
        }
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write(self.path.as_ref(), &mut out);
        out
    }

    /// The path of a field of this map, whether or not it is there.
    pub(crate) fn path_of(&self, key: &str) -> String {
        let path = self.path();
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    }
}

/// Whether a key can stand in a path without quotes.
fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
