//! From the parser's events to trees: documents, anchors, merge keys, duplicate keys, limits.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Entry, Limits, Mark, Node, Value, quoted, scalar};

/// One document of a text.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its number in the text, counted from 1; empty documents count.
    pub(crate) number: usize,
    /// Its tree, or everything that is wrong with it, in the order of the text.
    pub(crate) root: Result<Node, Vec<Fault>>,
}

/// Something that makes a document unreadable.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) mark: Mark,
    pub(crate) message: String,
}

/// Reads all documents. Empty ones are left out, and a broken one does not hide those after it.
pub(crate) fn read(text: &str, limits: Limits) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > limits.text {
        let message = format!(
            "the text is {} bytes long, at most {} are read; split it",
            text.len(),
            limits.text
        );
        return vec![Document {
            number: 1,
            root: Err(vec![Fault {
                mark: Mark::default(),
                message,
            }]),
        }];
    }
    let mut options = granit_parser::options! {
        // Longer keys are legal in JSON, which is read as YAML here.
        simple_key_max_lookahead: limits.scalar,
        block_nesting_limit: limits.depth + 1,
        flow_nesting_limit: limits.depth + 1,
    };
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    let mut composer = Composer::new(limits);
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, span))) => {
                if let Some(document) = composer.take(event, span) {
                    documents.push(document);
                }
                if composer.exhausted {
                    documents.push(composer.broken());
                    break;
                }
            }
            Some(Err(error)) => {
                composer.fault(mark(*error.marker()), explain(&error));
                documents.push(composer.broken());
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    documents.retain(|document| {
        !matches!(
            document.root,
            Ok(Node {
                value: Value::Null,
                ..
            })
        )
    });
    documents
}

/// Builds one document after the other.
struct Composer {
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

#[derive(Default)]
struct OpenMap {
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

/// What copying a node costs.
#[derive(Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Composer {
    fn new(limits: Limits) -> Self {
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
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<Document> {
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

    fn fault(&mut self, mark: Mark, message: String) {
        const ENOUGH: usize = 20;
        if self.faults.len() < ENOUGH {
            self.faults.push(Fault { mark, message });
        }
    }

    /// The document as it stands, given up.
    fn broken(&mut self) -> Document {
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
            Content::Map(map) => Value::Map(self.merge(map)),
        };
        let node = Node {
            mark: open.mark,
            value,
        };
        self.remember(open.anchor, &node);
        if open.is_key {
            self.set_key(Key::Faulty);
        } else {
            self.add(node);
        }
    }

    /// The map's own entries, then what `<<` adds: the earlier source wins.
    fn merge(&mut self, map: OpenMap) -> Vec<Entry> {
        let OpenMap {
            mut entries,
            mut seen,
            merged,
            ..
        } = map;
        let mut sources = Vec::new();
        for node in merged {
            match node.value {
                Value::Map(source) => sources.push(source),
                Value::List(items) => {
                    for item in items {
                        match item.value {
                            Value::Map(source) => sources.push(source),
                            _ => self.fault(item.mark, "<< takes maps only".to_owned()),
                        }
                    }
                }
                _ => self.fault(node.mark, "<< takes a map or a list of maps".to_owned()),
            }
        }
        for entry in sources.into_iter().flatten() {
            if !seen.contains_key(&entry.key) {
                seen.insert(entry.key.clone(), entry.key_mark);
                entries.push(entry);
            }
        }
        entries
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
            self.set_key(Key::Merge);
            return;
        }
        let value = match value_of(text, style, tag) {
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
        let weight = weight(node);
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
        let weight = weight(node);
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
        if self.expects_key() {
            let key = self.key(&node);
            self.set_key(key);
            return;
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map)) => match map.key.take() {
                Some(Key::Name(key, key_mark)) => map.entries.push(Entry {
                    key,
                    key_mark,
                    value: node,
                }),
                Some(Key::Merge) => map.merged.push(node),
                Some(Key::Faulty) | None => {}
            },
        }
    }

    fn expects_key(&self) -> bool {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Map(map)) => map.key.is_none(),
            _ => false,
        }
    }

    fn set_key(&mut self, key: Key) {
        if let Some(Content::Map(map)) = self.open.last_mut().map(|open| &mut open.content) {
            map.key = Some(key);
        }
    }

    /// What a scalar means as a key, and whether the map has it already.
    fn key(&mut self, node: &Node) -> Key {
        let name = match &node.value {
            Value::String(text) => text.clone(),
            Value::Number(number, written) if scalar::integer(number).is_some() => {
                // As kubectl: the integer in decimal.
                scalar::integer(number).map_or_else(|| written.to_string(), |n| n.to_string())
            }
            Value::Number(..) | Value::Bool(..) => {
                let message = format!("this key is {}; quote it", node.describe());
                self.fault(node.mark, message);
                return Key::Faulty;
            }
            Value::Null => {
                self.fault(node.mark, "this key is empty; name it".to_owned());
                return Key::Faulty;
            }
            // By an alias.
            Value::List(_) | Value::Map(_) => {
                self.fault(
                    node.mark,
                    "a key must be a text, not a list or a map".to_owned(),
                );
                return Key::Faulty;
            }
        };
        let Some(Content::Map(map)) = self.open.last_mut().map(|open| &mut open.content) else {
            return Key::Faulty;
        };
        if let Some(first) = map.seen.get(&name).copied() {
            let message = format!(
                "the key {} stands here a second time, first in line {}; remove one of them",
                quoted(&name),
                first.line
            );
            self.fault(node.mark, message);
            return Key::Faulty;
        }
        map.seen.insert(name.clone(), node.mark);
        Key::Name(name, node.mark)
    }

    fn collection_tag(&mut self, at: Mark, tag: Option<&Tag>, expected: &str) {
        if let Some(tag) = tag
            && tag.original() != "!"
            && !tag.is_yaml_core_schema_tag(expected)
        {
            self.fault(at, unsupported(tag));
        }
    }

    fn exhaust(&mut self, mark: Mark, message: String) {
        self.exhausted = true;
        // This one must be said, however many there are.
        self.faults.push(Fault { mark, message });
    }
}

/// What a scalar means, by its style and its tag.
fn value_of(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => scalar::resolve(&text),
            _ => Ok(Value::String(text.into_owned())),
        };
    };
    if tag.original() == "!" {
        return Ok(Value::String(text.into_owned()));
    }
    let wrong = |what: &str| format!("{} is no {what}, as its tag says", quoted(&text));
    match tag.core_suffix() {
        Some("str") => Ok(Value::String(text.into_owned())),
        Some("null") => Ok(Value::Null),
        Some("bool") => scalar::boolean(&text)
            .map(|value| Value::Bool(value, text.as_ref().into()))
            .ok_or_else(|| wrong("boolean")),
        Some("int" | "float") => match scalar::number(&text) {
            Some(number) => number.map(|number| Value::Number(number, text.as_ref().into())),
            None => Err(wrong("number")),
        },
        _ => Err(unsupported(tag)),
    }
}

fn unsupported(tag: &Tag) -> String {
    format!("the tag {} has no meaning here; remove it", tag.original())
}

fn weight(node: &Node) -> Weight {
    let mut sum = Weight {
        nodes: 1,
        ..Weight::default()
    };
    let mut add = |child: &Node| {
        let child = weight(child);
        sum.nodes += child.nodes;
        sum.bytes += child.bytes;
        sum.depth = sum.depth.max(child.depth);
    };
    match &node.value {
        Value::Null => {}
        Value::Bool(_, written) | Value::Number(_, written) => sum.bytes += written.len(),
        Value::String(text) => sum.bytes += text.len(),
        Value::List(items) => {
            items.iter().for_each(&mut add);
            sum.depth += 1;
        }
        Value::Map(entries) => {
            entries.iter().for_each(|entry| add(&entry.value));
            sum.depth += 1;
            sum.bytes += entries.iter().map(|entry| entry.key.len()).sum::<usize>();
        }
    }
    sum
}

fn mark(marker: granit_parser::Marker) -> Mark {
    Mark {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// The parser's words for what is wrong, with the way out where the usual cause is known.
fn explain(error: &ScanError) -> String {
    let hint = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => "; indent with spaces",
        ErrorKind::UnknownAnchor => "; define it with & before it is used, or quote the *",
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::ExpectedBlockSequenceEntry => {
            "; check the indentation of this line and the ones above it"
        }
        ErrorKind::InvalidColonPlacement | ErrorKind::MappingValueNotAllowed => {
            "; quote a value that contains a colon and a space"
        }
        ErrorKind::UnclosedQuotedScalar => "; close it",
        ErrorKind::UnexpectedCharacter { character } if character.is_ascii_punctuation() => {
            "; quote the value"
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            "; remove it, or write it in double quotes as \\u and its four digits"
        }
        ErrorKind::RecursionLimitExceeded => "; flatten the document",
        _ => "",
    };
    format!("this is not YAML: {}{hint}", error.info())
}

#[cfg(test)]
mod tests;
