//! From the parser's events to the tree of a Compose file.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, Span, StructureStyle};

use super::{Entry, Node, Tree, Value};
use crate::compose::Refusal;

/// The largest file, in bytes: a hundred times the largest that people write.
const LARGEST: usize = 4 << 20;
/// Collections inside one another.
const DEEPEST: usize = 100;

/// Reads the one document of a Compose file.
///
/// # Errors
/// The text is no YAML, or not one document.
pub(in crate::compose) fn read(text: &str) -> Result<Tree, Refusal> {
    if text.len() > LARGEST {
        return Err(Refusal::new(
            (1, 1),
            format!(
                "the file has {} bytes, at most {LARGEST} are read; split it",
                text.len()
            ),
        ));
    }
    let mut options = granit_parser::options! {
        block_nesting_limit: DEEPEST + 1,
        flow_nesting_limit: DEEPEST + 1,
    };
    options.set_emit_comments(false);
    let mut reader = Reader::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let at = (error.marker().line(), error.marker().col() + 1);
            Refusal::new(
                at,
                format!("this is not YAML: {}; correct it", error.info()),
            )
        })?;
        reader.take(text, event, span)?;
    }
    let nothing = || Refusal::new((1, 1), "there is nothing in the file; name a Compose file");
    Ok(Tree {
        root: reader.root.ok_or_else(nothing)?,
        end: reader.end.unwrap_or(text.len()),
    })
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    end: Option<usize>,
}

/// A collection whose end has not come yet: its node so far, and a key that waits for its value.
struct Open {
    node: Node,
    key: Option<Rc<Node>>,
}

impl Reader {
    fn take(&mut self, text: &str, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        let at = (span.start.line(), span.start.col() + 1);
        let range = span.byte_range().unwrap_or(0..0);
        let node = |anchor, value| Node {
            line: at.0,
            column: at.1,
            range: range.clone(),
            anchor,
            value,
        };
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(Refusal::new(
                at,
                "the file has a second YAML document; a Compose file is one, so split it",
            )),
            Event::DocumentEnd => {
                if text[range.start..].starts_with("...") {
                    self.end = Some(range.start);
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let text = text.into_owned();
                self.add(node(anchor, Value::Scalar { text, style }))
            }
            Event::SequenceStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                let items = Vec::new();
                self.begin(node(anchor, Value::List { items, flow }))
            }
            Event::MappingStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                let entries = Vec::new();
                self.begin(node(anchor, Value::Map { entries, flow }))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { mut node, .. }) => {
                    node.range.end = range.end;
                    self.add(node)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(target) => {
                    let target = Rc::clone(target);
                    self.add(node(0, Value::Alias(anchor, target)))
                }
                None => Err(Refusal::new(
                    at,
                    "this alias stands inside the very thing that it names; write the value out",
                )),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, node: Node) -> Result<(), Refusal> {
        if self.open.len() >= DEEPEST {
            return Err(Refusal::new(
                (node.line, node.column),
                format!("more than {DEEPEST} collections inside one another; flatten the file"),
            ));
        }
        self.open.push(Open { node, key: None });
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Refusal> {
        let node = Rc::new(node);
        if node.anchor != 0 {
            self.anchors.insert(node.anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List { items, .. } => items.push(node),
            Value::Map { entries, .. } => match open.key.take() {
                Some(key) => entries.push(Entry { key, value: node }),
                None => {
                    let Some(text) = node.text() else {
                        return Err(node.refuse("a key must be a text, not a list or a map"));
                    };
                    let is_twice = |entry: &Entry| entry.key.text() == Some(text);
                    if text != "<<" && entries.iter().any(is_twice) {
                        return Err(
                            node.refuse(format!("the key {text} is there twice; remove one"))
                        );
                    }
                    open.key = Some(node);
                }
            },
            Value::Scalar { .. } | Value::Alias(..) => {}
        }
        Ok(())
    }
}
