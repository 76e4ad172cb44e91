//! What is wrong with a configuration, or worth knowing about it, and exactly where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::analysis::{self, Code};
use crate::model::{Object, ObjectKey};
use crate::yaml::{Cursor, Mark};

/// How much a [`Finding`] matters: the first the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// It cannot work as it is written. What is wrong with an object by itself refuses it.
    Error,
    /// It may not do what its author thinks.
    Warning,
    /// Worth knowing, and nothing need be wrong.
    Info,
}

impl Level {
    /// `Error`, as reports write it; [`fmt::Display`] gives it in lower case, as a sentence does.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Level::Error => "Error",
            Level::Warning => "Warning",
            Level::Info => "Info",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        })
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or a name such as `request body`.
    pub file: Arc<Path>,
    /// The document inside the file, counted from 1.
    pub document: usize,
    /// Line and column, counted from 1; 0 where they are not known.
    pub mark: Mark,
}

impl fmt::Display for Place {
    /// `file.yaml:12:9 (document 2)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.mark.line > 0 {
            write!(f, ":{}:{}", self.mark.line, self.mark.column)?;
        }
        write!(f, " (document {})", self.document)
    }
}

/// One thing that is wrong or worth knowing. Its `Display` is one sentence with the way out, and the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What kind of finding it is; absent where the text itself is faulty.
    pub code: Option<&'static Code>,
    /// Where it was written; absent for objects that did not come from a text.
    pub origin: Option<Place>,
    /// The object that it is about, as far as it could be told.
    pub object: Option<ObjectKey>,
    /// The field that it is about, `spec.http[0].route[1].weight`; empty for the whole object.
    pub field: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.origin {
            write!(f, "{place}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match self.code {
            Some(code) => write!(f, " [{}]", code.id),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Finding {}

impl Finding {
    /// As JSON, for programs: with the keys of `istioctl analyze -o json` (`code`, `level`, `message`, `origin`,
    /// `reference`) and each part by itself. What is not known is left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = json!({ "level": self.level.title(), "message": self.message });
        let mut set = |key: &str, value: Value| json[key] = value;
        if let Some(code) = self.code {
            set("code", json!(code.id));
            set("name", json!(code.name));
        }
        if let Some(object) = &self.object {
            set("origin", json!(object.to_string()));
            let kind = object.kind.kind();
            set(
                "object",
                json!({ "kind": kind, "namespace": object.namespace, "name": object.name }),
            );
        }
        if !self.field.is_empty() {
            set("field", json!(self.field));
        }
        if let Some(place) = &self.origin {
            let file = place.file.display().to_string();
            let (line, column) = (place.mark.line, place.mark.column);
            let reference = if line > 0 {
                format!("{file}:{line}:{column}")
            } else {
                file.clone()
            };
            set("reference", json!(reference));
            set("file", json!(file));
            set("line", json!(line));
            set("column", json!(column));
        }
        json
    }

    /// A finding about an object as a whole, wherever it was written.
    pub fn of(code: &'static Code, object: ObjectKey, message: impl Into<String>) -> Finding {
        Finding {
            level: code.level,
            code: Some(code),
            origin: None,
            object: Some(object),
            field: String::new(),
            message: message.into(),
        }
    }

    /// A finding about a field of an object that was read before.
    pub fn about(
        code: &'static Code,
        object: &Object,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Finding {
        let field = field.into();
        let origin = object.origin.as_ref();
        Finding {
            level: code.level,
            code: Some(code),
            origin: origin.map(|origin| origin.place_of(&object.raw, &field)),
            object: Some(object.key()),
            field,
            message: message.into(),
        }
    }
}

/// Collects the findings about one document while it is read.
#[derive(Debug)]
pub(crate) struct Report {
    /// The file, where there is one, and the document in it.
    source: Option<(Arc<Path>, usize)>,
    /// Set as soon as the object's identity is known.
    pub(crate) object: Option<ObjectKey>,
    findings: Vec<Finding>,
    errors: usize,
    left_out: usize,
}

impl Report {
    /// One object can have this many findings; a hostile text should not make millions.
    const ENOUGH: usize = 100;

    pub(crate) fn new(source: Option<(Arc<Path>, usize)>) -> Self {
        Report {
            source,
            object: None,
            findings: Vec::new(),
            errors: 0,
            left_out: 0,
        }
    }

    /// The object is refused: what `at` stands for is wrong.
    pub(crate) fn error(&mut self, at: &Cursor<'_>, message: impl Into<String>) {
        self.tell(&analysis::SCHEMA_ERROR, at, message);
    }

    /// The object is refused: the map `at` lacks the field `key`.
    pub(crate) fn missing(&mut self, at: &Cursor<'_>, key: &str, message: impl Into<String>) {
        let code = Some(&analysis::SCHEMA_ERROR);
        self.push(code, at.mark(), at.path_of(key), message.into());
    }

    /// The user should know this about what `at` stands for.
    pub(crate) fn warn(&mut self, at: &Cursor<'_>, message: impl Into<String>) {
        self.tell(&analysis::SCHEMA_WARNING, at, message);
    }

    /// A finding of this kind about what `at` stands for.
    pub(crate) fn tell(
        &mut self,
        code: &'static Code,
        at: &Cursor<'_>,
        message: impl Into<String>,
    ) {
        self.push(Some(code), at.mark(), at.path(), message.into());
    }

    /// A fault of the text itself.
    pub(crate) fn fault(&mut self, mark: Mark, message: impl Into<String>) {
        self.push(None, mark, String::new(), message.into());
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Everything that was found, in the order of the text.
    pub(crate) fn into_findings(mut self) -> Vec<Finding> {
        self.findings
            .sort_by_key(|finding| finding.origin.as_ref().map_or(0, |place| place.mark.line));
        if self.left_out > 0 {
            let message = format!(
                "{} more findings are left out; see to these first",
                self.left_out
            );
            let code = if self.errors > 0 {
                &analysis::SCHEMA_ERROR
            } else {
                &analysis::SCHEMA_WARNING
            };
            let last = self.finding(Some(code), Mark::default(), String::new(), message);
            self.findings.push(last);
        }
        self.findings
    }

    fn push(&mut self, code: Option<&'static Code>, mark: Mark, field: String, message: String) {
        let (field, message) = (bounded(field), bounded(message));
        self.errors += usize::from(level_of(code) == Level::Error);
        if self.findings.len() < Self::ENOUGH {
            self.findings.push(self.finding(code, mark, field, message));
        } else {
            self.left_out += 1;
        }
    }

    fn finding(
        &self,
        code: Option<&'static Code>,
        mark: Mark,
        field: String,
        message: String,
    ) -> Finding {
        Finding {
            level: level_of(code),
            code,
            origin: self.source.as_ref().map(|(file, document)| Place {
                file: Arc::clone(file),
                document: *document,
                mark,
            }),
            object: self.object.clone(),
            field,
            message,
        }
    }
}

/// A text that cannot be read is an error, too.
fn level_of(code: Option<&Code>) -> Level {
    code.map_or(Level::Error, |code| code.level)
}

/// A text cut where a hostile document has made it endless.
fn bounded(mut text: String) -> String {
    const LONGEST: usize = 2000;
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}
