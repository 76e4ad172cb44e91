//! A text to its documents.

use granit_parser::{ErrorKind, Event, Parser, ScanError};

use super::compose::Composer;
use super::{Limits, Mark, Node, Value};

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
                if composer.is_exhausted() {
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

/// A parser's marker as a place.
pub(super) fn mark(marker: granit_parser::Marker) -> Mark {
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
