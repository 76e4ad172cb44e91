//! Where each value of a document was written, without the values.

use serde_json::Value as Json;

use super::{Mark, Node, Value};

/// The places of a tree's nodes, in the shape of the tree. Together with the document's JSON, which has the same
/// shape and order, it finds the place of any field by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    mark: Mark,
    /// The items of a list, or the values of a map in the order of its keys.
    children: Box<[Marks]>,
}

impl Marks {
    /// The places of a tree.
    pub(crate) fn of(node: &Node) -> Self {
        let children = match &node.value {
            Value::List(items) => items.iter().map(Marks::of).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| Marks::of(&entry.value))
                .collect(),
            _ => Box::default(),
        };
        Marks {
            mark: node.mark,
            children,
        }
    }

    /// Where `path`, `spec.http[0].match[1]`, was written; for what is not there, the place of what it would be in.
    /// `None` for the whole document.
    pub(crate) fn find(&self, document: &Json, path: &str) -> Option<Mark> {
        let (mut marks, mut value) = (self, document);
        let mut found = None;
        let mut rest = path;
        while let Some((step, after)) = next(rest) {
            let at = match (&step, value) {
                (Step::Index(index), Json::Array(items)) if *index < items.len() => {
                    value = &items[*index];
                    *index
                }
                (Step::Key(key), Json::Object(map)) => {
                    let Some(at) = map.keys().position(|known| known == key) else {
                        break;
                    };
                    value = &map[key];
                    at
                }
                _ => break,
            };
            let Some(child) = marks.children.get(at) else {
                break;
            };
            marks = child;
            found = Some(marks.mark);
            rest = after;
        }
        found
    }
}

enum Step {
    Key(String),
    Index(usize),
}

/// The first step of a path as [`super::Cursor::path`] writes it, and what follows.
fn next(path: &str) -> Option<(Step, &str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(quoted) = path.strip_prefix('[') {
        let mut values = serde_json::Deserializer::from_str(quoted).into_iter::<Json>();
        let first = values.next()?.ok()?;
        let after = quoted.get(values.byte_offset()..)?.strip_prefix(']')?;
        return match first {
            Json::String(key) => Some((Step::Key(key), after)),
            number => Some((Step::Index(number.as_u64()?.try_into().ok()?), after)),
        };
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (end > 0).then(|| (Step::Key(path[..end].to_owned()), &path[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, read, to_json};

    #[test]
    fn a_path_leads_to_its_place() {
        let text = "a:\n  b.c:\n  - 1\n  - d: x\n    e: {f: g}\nh: 1\n";
        let root = read(text, Limits::DEFAULT)
            .remove(0)
            .root
            .expect("valid YAML");
        let (marks, json) = (Marks::of(&root), to_json(&root));
        for (path, expected) in [
            ("a", Some((2, 3))),
            ("h", Some((6, 4))),
            ("a[\"b.c\"]", Some((3, 5))),
            ("a[\"b.c\"][0]", Some((3, 5))),
            ("a[\"b.c\"][1].d", Some((4, 8))),
            ("a[\"b.c\"][1].e.f", Some((5, 12))),
            // What is missing is placed where it would be.
            ("a[\"b.c\"][1].gone", Some((4, 5))),
            ("a[\"b.c\"][7]", Some((3, 5))),
            ("gone", None),
            ("", None),
        ] {
            let found = marks.find(&json, path).map(|mark| (mark.line, mark.column));
            assert_eq!(found, expected, "{path}");
        }
    }
}
