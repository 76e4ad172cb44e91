//! The tables as a page for people: `docs/fields.md`.
//!
//! The page is made from nothing but the tables, so it cannot say what they do not. A test holds it
//! against the file.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Field, Role, Shape, Type, metadata, of};
use crate::model::{INERT, Kind};

const HEAD: &str = "\
# Every field of every kind

This page is made from the tables by which the mesh reads its configuration
(`UPDATE_DOCS=1 cargo test -p mesh-config --test fields`), so it is what this version does:

- **acted on**: the field means what it means in Istio or Kubernetes;
- **warned about**: it is valid and kept, it changes nothing, and whoever applies it is told so;
- **kept**: it belongs to a field or a kind that is warned about as a whole;
- **kept in silence**: it is a note of a server or of people, or says what holds anyway;
- every other field is **refused**: the object does not apply, and the message names the field.

`[]` stands for each item of a list, `{}` for each value of a map with keys of your choice.
";

/// The page: every kind that the mesh knows, and every field of those that have a table.
pub fn markdown() -> String {
    let mut page = Page {
        text: HEAD.to_owned(),
    };
    page.contents();
    page.say("\n## Every object\n");
    page.table();
    let mut rows = Rows {
        page: &mut page,
        seen: BTreeMap::new(),
    };
    rows.fields("metadata", &metadata::METADATA, Standing::Open);
    for kind in Kind::all() {
        if let Some(shape) = of(kind) {
            page.kind(kind, shape);
        }
    }
    page.inert();
    page.text
}

struct Page {
    text: String,
}

/// What is known about a field from what it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It speaks for itself.
    Open,
    /// It belongs to something that is warned about.
    Kept,
    /// It belongs to something that is kept in silence.
    Silent,
}

impl Page {
    fn say(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn table(&mut self) {
        self.say("\n| field | type | what the mesh makes of it |\n| --- | --- | --- |\n");
    }

    fn contents(&mut self) {
        let names = |acted: bool| {
            let chosen = Kind::all().filter(|kind| of(*kind).is_some() && kind.is_acted() == acted);
            let links: Vec<String> = chosen.map(link).collect();
            links.join(", ")
        };
        let (acted, kept) = (names(true), names(false));
        self.say(&format!(
            "\nActed on: {acted}.\n\nChecked and kept, but not acted on: {kept}.\n\n\
             [Other kinds](#other-kinds) are kept unread.\n"
        ));
    }

    fn kind(&mut self, kind: Kind, shape: &'static Shape) {
        let versions: Vec<String> = kind
            .versions()
            .iter()
            .map(|version| match kind.group() {
                "" => format!("`{version}`"),
                group => format!("`{group}/{version}`"),
            })
            .collect();
        self.say(&format!(
            "\n## {}\n\n{}.",
            heading(kind),
            versions.join(", ")
        ));
        if !kind.namespaced() {
            self.say(" It belongs to no namespace.");
        }
        if let Some(note) = kind.note() {
            self.say(&format!(" **Kept but not acted on**: {note}."));
        }
        self.say("\n");
        self.table();
        let standing = if kind.is_acted() {
            Standing::Open
        } else {
            Standing::Kept
        };
        let mut rows = Rows {
            page: self,
            seen: BTreeMap::new(),
        };
        let common = ["apiVersion", "kind", "metadata", "status"];
        for field in shape.fields {
            if !common.contains(&field.name) {
                rows.field("", field, standing);
            }
        }
    }

    fn inert(&mut self) {
        self.say(
            "\n## Other kinds\n\nTheir metadata is checked, and the object is kept as it is; whoever applies one is \
             told what it means that the mesh leaves it alone.\n\n| kind | what that means |\n| --- | --- |\n",
        );
        for inert in INERT {
            if of(Kind::Inert(inert)).is_none() {
                let group = if inert.group.is_empty() {
                    "core"
                } else {
                    inert.group
                };
                self.say(&format!(
                    "| {} (`{group}`) | {} |\n",
                    inert.kind, inert.note
                ));
            }
        }
    }
}

/// The rows of one table.
struct Rows<'a> {
    page: &'a mut Page,
    /// Where a shape's fields have been listed already, and with which standing.
    seen: BTreeMap<(*const Shape, Standing), String>,
}

impl Rows<'_> {
    fn fields(&mut self, path: &str, shape: &'static Shape, standing: Standing) {
        for field in shape.fields {
            self.field(path, field, standing);
        }
    }

    fn field(&mut self, parent: &str, field: &'static Field, standing: Standing) {
        let path = match parent {
            "" => field.name.to_owned(),
            parent => format!("{parent}.{}", field.name),
        };
        let (role, inside) = match (standing, field.role) {
            (Standing::Kept, Role::Acted | Role::Accepted { .. }) => {
                ("kept".to_owned(), Standing::Kept)
            }
            (Standing::Silent, _) | (_, Role::Quiet) => {
                ("kept in silence".to_owned(), Standing::Silent)
            }
            (Standing::Open, Role::Acted) => ("acted on".to_owned(), Standing::Open),
            (Standing::Open, Role::Accepted { note, harmless, .. }) => {
                (warned(note, harmless), Standing::Kept)
            }
        };
        let mut kind = words(field.kind);
        if field.required {
            kind.push_str(", required");
        }
        let (below, shape) = nested(&path, field.kind);
        let key = shape.map(|shape| (std::ptr::from_ref(shape), inside));
        let listed = key.and_then(|key| self.seen.get(&key).cloned());
        if let Some(shape) = shape {
            for group in shape.at_most_one {
                let _ = write!(kind, "; at most one of {}", group.join(", "));
            }
        }
        if let Some(place) = &listed {
            let _ = write!(kind, "; its fields as in `{place}`");
        }
        self.page.say(&format!("| `{path}` | {kind} | {role} |\n"));
        if let (Some(shape), Some(key), None) = (shape, key, listed) {
            self.seen.insert(key, below.clone());
            self.fields(&below, shape, inside);
        }
    }
}

fn warned(note: &str, harmless: &[&str]) -> String {
    let mut text = "**warned about**".to_owned();
    let unless: Vec<String> = harmless
        .iter()
        .map(|value| match *value {
            "" => "empty".to_owned(),
            value => format!("`{value}`"),
        })
        .collect();
    if !unless.is_empty() {
        let _ = write!(text, ", unless {}", unless.join(" or "));
    }
    if !note.is_empty() {
        let _ = write!(text, ": {note}");
    }
    text.replace('|', "\\|")
}

/// The path of the fields inside a type, and their shape.
fn nested(path: &str, kind: Type) -> (String, Option<&'static Shape>) {
    match kind {
        Type::Object(shape) => (path.to_owned(), Some(shape)),
        Type::List(item) | Type::Sized(_, _, item) => nested(&format!("{path}[]"), *item),
        Type::Map(item) | Type::Keyed(_, item) => nested(&format!("{path}.{{}}"), *item),
        _ => (path.to_owned(), None),
    }
}

/// A type in words.
fn words(kind: Type) -> String {
    match kind {
        Type::Text => "text".to_owned(),
        Type::Word(syntax) => syntax.name.to_owned(),
        Type::Bool => "true or false".to_owned(),
        Type::Integer(1, 65_535) => "port".to_owned(),
        Type::Integer(i64::MIN, _) => "whole number".to_owned(),
        Type::Integer(from, to) if to >= i64::from(i32::MAX) => {
            let from = if from < 0 {
                String::new()
            } else {
                format!(", from {from}")
            };
            format!("whole number{from}")
        }
        Type::Integer(from, to) => format!("{from} to {to}"),
        Type::Number(from, f64::MAX) => format!("number, from {from}"),
        Type::Number(from, to) => format!("number, {from} to {to}"),
        Type::IntegerOrText => "whole number or text".to_owned(),
        Type::Duration => "length of time".to_owned(),
        Type::DurationOrZero => "length of time, or 0".to_owned(),
        Type::OneOf(known) => {
            let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            known.join(", ")
        }
        Type::Base64 => "base64".to_owned(),
        Type::Data(Type::Base64) => "map of base64".to_owned(),
        Type::Data(_) => "map of texts".to_owned(),
        Type::List(Type::Object(_)) => "list of maps".to_owned(),
        Type::List(item) => format!("list: {}", words(*item)),
        Type::Sized(0, most, item) => format!("{}; at most {most}", words(Type::List(item))),
        Type::Sized(from, to, item) => format!("{}; {from} to {to}", words(Type::List(item))),
        Type::Map(Type::Object(_)) | Type::Keyed(_, Type::Object(_)) => "map of maps".to_owned(),
        Type::Map(item) => format!("map: {}", words(*item)),
        Type::Keyed(syntax, item) => format!("map from {} to {}", syntax.name, words(*item)),
        Type::Object(_) => "map".to_owned(),
        Type::Any => "anything".to_owned(),
    }
}

/// A kind's heading: its name, and its group where another kind has the same name.
fn heading(kind: Kind) -> String {
    let is_shared = Kind::all().any(|other| other != kind && other.kind() == kind.kind());
    if is_shared {
        format!("{} of {}", kind.kind(), kind.group())
    } else {
        kind.kind().to_owned()
    }
}

/// A link to a kind's section, whose anchor is made of its heading as code hosts do.
fn link(kind: Kind) -> String {
    let anchor: String = heading(kind)
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    format!("[{}](#{anchor})", heading(kind))
}
