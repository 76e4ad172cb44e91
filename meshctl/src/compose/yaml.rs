//! A Compose file as a tree in which every node knows its bytes, and what merges and aliases make of it.
//!
//! The tree keeps what an edit must know (style, anchors, aliases) and does not expand it: reading goes
//! through [`Node::get`], which follows `<<` and `*`. [`read()`] makes it; the grammar is the parser crate's.

mod read;

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use granit_parser::ScalarStyle;

pub(super) use read::read;

use super::Refusal;

/// One Compose file.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Rc<Node>,
    /// The byte before which the document has ended: the text's end, or where `...` stands.
    pub(super) end: usize,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// Line, counted from 1.
    pub(super) line: usize,
    /// Column in characters, counted from 1.
    pub(super) column: usize,
    /// Its bytes, without anchor and tag. A block collection's begin at its first entry's content.
    pub(super) range: Range<usize>,
    /// The number of its anchor, 0 if it has none.
    pub(super) anchor: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar {
        /// What it says; `~` where nothing stands.
        text: String,
        style: ScalarStyle,
    },
    List {
        items: Vec<Rc<Node>>,
        flow: bool,
    },
    Map {
        entries: Vec<Entry>,
        flow: bool,
    },
    /// `*name`: the anchor's number and what it stands for.
    Alias(usize, Rc<Node>),
}

/// One `key: value`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Rc<Node>,
    pub(super) value: Rc<Node>,
}

impl Node {
    /// A refusal at this node's place.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Refusal {
        Refusal::new((self.line, self.column), message)
    }

    /// What it is, or what the alias stands for.
    pub(super) fn resolved(&self) -> &Node {
        match &self.value {
            Value::Alias(_, target) => target.resolved(),
            _ => self,
        }
    }

    pub(super) fn is_alias(&self) -> bool {
        matches!(self.value, Value::Alias(..))
    }

    /// The text of a scalar, also behind an alias.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.resolved().value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Nothing is written, or `~` or `null` is.
    pub(super) fn is_null(&self) -> bool {
        match &self.resolved().value {
            Value::Scalar {
                text,
                style: ScalarStyle::Plain,
            } => matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }

    /// The items of a list, also behind an alias.
    pub(super) fn items(&self) -> &[Rc<Node>] {
        match &self.resolved().value {
            Value::List { items, .. } => items,
            _ => &[],
        }
    }

    /// The entries of a map as written, also behind an alias; `<<` is one of them.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.resolved().value {
            Value::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.resolved().value, Value::Map { .. })
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(
            self.value,
            Value::Map { flow: true, .. } | Value::List { flow: true, .. }
        )
    }

    /// The entry with this key that is written in the map itself.
    pub(super) fn own(&self, key: &str) -> Option<&Entry> {
        self.entries()
            .iter()
            .find(|entry| entry.key.text() == Some(key))
    }

    /// The value of this key, also where `<<` brings it; null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let found = self.merged().into_iter().find(|(name, ..)| *name == key);
        found
            .map(|(_, _, value)| value)
            .filter(|value| !value.is_null())
    }

    /// All keys with their nodes and values: the map's own, then what `<<` adds.
    pub(super) fn merged(&self) -> Vec<(&str, &Node, &Node)> {
        let mut all = Vec::new();
        self.merge_into(&mut all, &mut HashSet::new(), &mut HashSet::new());
        all
    }

    fn merge_into<'a>(
        &'a self,
        all: &mut Vec<(&'a str, &'a Node, &'a Node)>,
        keys: &mut HashSet<&'a str>,
        // What was merged once brings nothing new: so aliases cannot multiply the work.
        seen: &mut HashSet<*const Node>,
    ) {
        let map = self.resolved();
        if !seen.insert(std::ptr::from_ref(map)) {
            return;
        }
        for entry in map.entries() {
            if let Some(key) = entry.key.text()
                && key != "<<"
                && keys.insert(key)
            {
                all.push((key, &entry.key, &entry.value));
            }
        }
        for entry in map.entries().iter().filter(|entry| entry.is_merge()) {
            for source in entry.merge_sources() {
                source.merge_into(all, keys, seen);
            }
        }
    }

    /// Where its last byte is, and whether it ends with a block scalar, whose end is a matter of
    /// indentation.
    pub(super) fn end(&self) -> (usize, bool) {
        let own = self.range.end;
        match &self.value {
            Value::Scalar { style, .. } => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                (own, is_block)
            }
            Value::List { items, flow: false } => items
                .last()
                .map_or((self.range.start, false), |item| item.end()),
            Value::Map {
                entries,
                flow: false,
            } => entries.last().map_or((self.range.start, false), Entry::end),
            _ => (own, false),
        }
    }

    /// Whether both say the same in the same style, wherever they stand.
    pub(super) fn is_like(&self, other: &Node) -> bool {
        if self.anchor != other.anchor {
            return false;
        }
        match (&self.value, &other.value) {
            (
                Value::Scalar { text, style },
                Value::Scalar {
                    text: other_text,
                    style: other_style,
                },
            ) => text == other_text && style == other_style,
            (Value::List { items, .. }, Value::List { items: others, .. }) => {
                items.len() == others.len()
                    && items
                        .iter()
                        .zip(others)
                        .all(|(one, other)| one.is_like(other))
            }
            (
                Value::Map { entries, .. },
                Value::Map {
                    entries: others, ..
                },
            ) => {
                entries.len() == others.len()
                    && entries.iter().zip(others).all(|(one, other)| {
                        one.key.is_like(&other.key) && one.value.is_like(&other.value)
                    })
            }
            // No anchor is ever added, so their numbers stay.
            (Value::Alias(one, _), Value::Alias(other, _)) => one == other,
            _ => false,
        }
    }
}

impl Entry {
    /// `<<: …`
    pub(super) fn is_merge(&self) -> bool {
        matches!(
            &self.key.value,
            Value::Scalar { text, style: ScalarStyle::Plain } if text == "<<"
        )
    }

    /// The maps that a `<<` names.
    pub(super) fn merge_sources(&self) -> Vec<&Node> {
        match &self.value.resolved().value {
            Value::List { items, .. } => items.iter().map(AsRef::as_ref).collect(),
            _ => vec![&self.value],
        }
    }

    /// As [`Node::end`].
    pub(super) fn end(&self) -> (usize, bool) {
        let (end, is_block) = self.value.end();
        if self.value.range.is_empty() && matches!(self.value.value, Value::Scalar { .. }) {
            return (self.key.range.end, false);
        }
        (end.max(self.key.range.end), is_block)
    }
}
