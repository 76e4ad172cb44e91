//! From the parser's events to trees: documents, anchors and aliases, within limits.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, ScalarStyle, Span, Tag};

use super::limits::Weight;
use super::map::OpenMap;
use super::read::{Document, Fault, mark};
use super::{Limits, Mark, Node, Value, scalar};

/// Builds one document after the other.
pub(super) struct Composer {
    limits: Limits,
    number: usize,
    open: Vec<Open>,
    root: Option<Node>,
    faults: Vec<Fault>,
    /// Finished nodes that an alias may name. `None` while the node is still being built.
    anchors: HashMap<usize, Option<Node>>,
    nodes_left: usize,
    aliased_bytes_left: usize,
    /// A limit was hit: reading on would only cost.
    exhausted: bool,
}

/// A collection whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    /// It stands where a key belongs: a fault that was reported when it began.
    is_key: bool,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(OpenMap),
}

impl Composer {
    pub(super) fn new(limits: Limits) -> Self {
        Composer {
            limits,
            number: 0,
            open: Vec::new(),
            root: None,
            faults: Vec::new(),
            anchors: HashMap::new(),
            nodes_left: limits.nodes,
            aliased_bytes_left: limits.aliased_bytes,
            exhausted: false,
        }
    }

    /// Takes the next event, and gives the document that it ends.
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> Option<Document> {
        let at = mark(span.start);
        match event {
            Event::DocumentStart(..) => {
                self.number += 1;
                self.anchors.clear();
            }
            Event::DocumentEnd => return Some(self.finish(at)),
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(at, text, style, anchor, tag.as_deref());
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(at, tag.as_deref(), "seq");
                self.begin(at, anchor, Content::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(at, tag.as_deref(), "map");
                self.begin(at, anchor, Content::Map(OpenMap::default()));
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(at, anchor),
            // The rest is about the stream or about comments.
            _ => {}
        }
        None
    }

    /// Notes what is wrong with the document.
    pub(super) fn fault(&mut self, mark: Mark, message: String) {
        const ENOUGH: usize = 20;
        if self.faults.len() < ENOUGH {
            self.faults.push(Fault { mark, message });
        }
    }

    /// A limit was hit: reading on would only cost.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// The document as it stands, given up.
    pub(super) fn broken(&mut self) -> Document {
        self.open.clear();
        self.root = None;
        Document {
            // An error in front of the first document's start belongs to it.
            number: self.number.max(1),
            root: Err(std::mem::take(&mut self.faults)),
        }
    }

    fn finish(&mut self, at: Mark) -> Document {
        if !self.faults.is_empty() {
            return self.broken();
        }
        Document {
            number: self.number,
            root: Ok(self.root.take().unwrap_or(Node {
                mark: at,
                value: Value::Null,
            })),
        }
    }

    fn begin(&mut self, mark: Mark, anchor: usize, content: Content) {
        if self.open.len() >= self.limits.depth {
            let message = format!(
                "more than {} collections inside one another; flatten the document",
                self.limits.depth
            );
            self.exhaust(mark, message);
        }
        let is_key = self.expects_key();
        if is_key {
            self.fault(
                mark,
                "a key must be a text, not a list or a map; a {{ template }} must be rendered first"
                    .to_owned(),
            );
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open {
            mark,
            anchor,
            is_key,
            content,
        });
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map(map) => Value::Map(map.finish(&mut self.faults)),
        };
        let node = Node {
            mark: open.mark,
            value,
        };
        self.remember(open.anchor, &node);
        if open.is_key {
            self.on_map(OpenMap::faulty_key);
        } else {
            self.add(node);
        }
    }

    fn scalar(
        &mut self,
        at: Mark,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) {
        if text.len() > self.limits.scalar {
            let message = format!(
                "a text of {} bytes, at most {} are taken; shorten it",
                text.len(),
                self.limits.scalar
            );
            self.exhaust(at, message);
            return;
        }
        if tag.is_none() && self.expects_key() && style == ScalarStyle::Plain && text == "<<" {
            self.on_map(OpenMap::merge_key);
            return;
        }
        let value = match scalar::value(text, style, tag) {
            Ok(value) => value,
            Err(message) => {
                self.fault(at, message);
                Value::Null
            }
        };
        let node = Node { mark: at, value };
        self.remember(anchor, &node);
        self.add(node);
    }

    fn alias(&mut self, at: Mark, anchor: usize) {
        let Some(Some(node)) = self.anchors.get(&anchor) else {
            self.fault(
                at,
                "this alias stands inside the very thing that it names; write the value out"
                    .to_owned(),
            );
            self.add(Node {
                mark: at,
                value: Value::Null,
            });
            return;
        };
        let weight = Weight::of(node);
        let fits = weight.nodes <= self.nodes_left
            && weight.bytes <= self.aliased_bytes_left
            && self.open.len() + weight.depth <= self.limits.depth;
        if !fits {
            self.exhaust(
                at,
                "the aliases of this text stand for too much; write the values out".to_owned(),
            );
            return;
        }
        let node = node.clone();
        self.nodes_left -= weight.nodes;
        self.aliased_bytes_left -= weight.bytes;
        self.add(node);
    }

    /// Keeps a finished node for aliases; the copy is charged like an alias.
    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor == 0 {
            return;
        }
        let weight = Weight::of(node);
        if weight.nodes > self.nodes_left || weight.bytes > self.aliased_bytes_left {
            self.exhaust(
                node.mark,
                "the anchors of this text hold too much; write the values out".to_owned(),
            );
            return;
        }
        self.nodes_left -= weight.nodes;
        self.aliased_bytes_left -= weight.bytes;
        self.anchors.insert(anchor, Some(node.clone()));
    }

    /// Puts a finished node where it belongs: into the open collection, or at the root.
    fn add(&mut self, node: Node) {
        match self.nodes_left.checked_sub(1) {
            Some(left) => self.nodes_left = left,
            None => {
                let message = format!(
                    "the text has more than {} values; split it",
                    self.limits.nodes
                );
                self.exhaust(node.mark, message);
                return;
            }
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map)) if map.expects_key() => {
                if let Err(fault) = map.take_key(&node) {
                    self.fault(fault.mark, fault.message);
                }
            }
            Some(Content::Map(map)) => map.take_value(node),
        }
    }

    fn expects_key(&self) -> bool {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Map(map)) => map.expects_key(),
            _ => false,
        }
    }

    fn on_map(&mut self, act: impl FnOnce(&mut OpenMap)) {
        if let Some(Content::Map(map)) = self.open.last_mut().map(|open| &mut open.content) {
            act(map);
        }
    }

    fn collection_tag(&mut self, at: Mark, tag: Option<&Tag>, expected: &str) {
        if let Some(tag) = tag
            && tag.original() != "!"
            && !tag.is_yaml_core_schema_tag(expected)
        {
            self.fault(at, scalar::unsupported(tag));
        }
    }

    fn exhaust(&mut self, mark: Mark, message: String) {
        self.exhausted = true;
        // This one must be said, however many there are.
        self.faults.push(Fault { mark, message });
    }
}
