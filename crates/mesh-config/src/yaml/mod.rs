//! Text to a tree in which every node knows its line and column.
//!
//! A tree of our own, because errors must name the place of any node, and because scalars mean
//! what they mean to `kubectl`: YAML 1.1, where `no` is a boolean and `1.10` a number. The grammar
//! itself is the parser crate's; `read` drives it, `compose` turns its events into nodes within
//! [`Limits`], `scalar` decides what a scalar means, and [`Cursor`] walks the tree and knows its path.

mod compose;
mod cursor;
mod json;
mod limits;
mod map;
mod marks;
mod read;
mod scalar;

pub(crate) use cursor::Cursor;
pub(crate) use json::{from_json, to_json};
pub(crate) use limits::Limits;
pub(crate) use marks::Marks;
pub(crate) use read::read;

/// A place in a text, counted from 1; the default, 0:0, is "not from a text".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

/// What YAML can say, as far as JSON can say it too.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    /// The value, and the text that stood for it: `no`.
    Bool(bool, Box<str>),
    /// The value, and the text that stood for it: `1.10`.
    Number(serde_json::Number, Box<str>),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a map. Keys are unique within their map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_mark: Mark,
    pub(crate) value: Node,
}

impl Node {
    /// The value under `key`, where this is a map that has it. A null counts as absent, as it does
    /// for Kubernetes.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value)
                .filter(|node| node.value != Value::Null),
            _ => None,
        }
    }

    /// The text, where this is a string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, where this is a number without a fraction.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        match &self.value {
            Value::Number(number, _) => scalar::integer(number),
            _ => None,
        }
    }

    /// What this is, in words for an error message: `the number 1.10`, `a list`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value, written) => {
                if written.eq_ignore_ascii_case("true") || written.eq_ignore_ascii_case("false") {
                    format!("the boolean {value}")
                } else {
                    format!("the boolean {value} (YAML reads {written} so)")
                }
            }
            Value::Number(_, written) => format!("the number {written}"),
            Value::String(text) => format!("the text {}", quoted(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// The text in double quotes, cut where it is long, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
