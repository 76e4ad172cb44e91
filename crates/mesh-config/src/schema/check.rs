//! An object held against its table.

use super::{Field, Role, Shape, Type};
use crate::finding::Report;
use crate::rules;
use crate::suggest::suggest;
use crate::yaml::{Cursor, Entry, Value, quoted};

/// Reports every unknown field, wrong type, missing field, and field that is not acted on.
pub(crate) fn check(object: &Cursor<'_>, shape: &Shape, report: &mut Report) {
    Check { report }.fields(object, shape, Speech::Loud);
}

/// The same for the metadata alone, of objects that have no table.
pub(crate) fn check_metadata(object: &Cursor<'_>, report: &mut Report) {
    if let Some(metadata) = object.get("metadata") {
        let kind = Type::Object(&super::metadata::METADATA);
        Check { report }.value(&metadata, kind, Speech::Loud);
    }
}

/// Whether fields that are not acted on are still to be named.
#[derive(Clone, Copy, PartialEq)]
enum Speech {
    Loud,
    /// A warning has named what these fields belong to.
    Silent,
}

struct Check<'r> {
    report: &'r mut Report,
}

impl Check<'_> {
    fn fields(&mut self, map: &Cursor<'_>, shape: &Shape, speech: Speech) {
        for (entry, value) in map.entries() {
            match shape.fields.iter().find(|field| field.name == entry.key) {
                None => {
                    let message = unknown(&entry.key, shape);
                    self.report.error(&value.at_key(entry), message);
                }
                // A null is as good as no field.
                Some(_) if value.node.value == Value::Null => {}
                Some(field) => self.field(entry, &value, field, speech),
            }
        }
        for field in shape.fields.iter().filter(|field| field.required) {
            if map.node.get(field.name).is_none() {
                self.report
                    .missing(map, field.name, "required, but missing; add it");
            }
        }
        for group in shape.at_most_one {
            let set: Vec<&str> = group
                .iter()
                .copied()
                .filter(|name| map.node.get(name).is_some())
                .collect();
            if set.len() > 1 {
                let message = format!("{} exclude one another; keep one", set.join(" and "));
                self.report.error(map, message);
            }
        }
    }

    /// Checks a field's value, and says that the field is not acted on where that matters.
    fn field(&mut self, entry: &Entry, value: &Cursor<'_>, field: &Field, speech: Speech) {
        let warning = match field.role {
            Role::Accepted {
                note,
                harmless,
                code,
            } if speech == Speech::Loud => {
                (!asks_for_nothing(value, harmless)).then(|| (code, not_acted_on(field.name, note)))
            }
            _ => None,
        };
        let inner = match field.role {
            Role::Acted => speech,
            _ => Speech::Silent,
        };
        let errors = self.report.errors();
        self.value(value, field.kind, inner);
        if let Some((code, warning)) = warning
            && errors == self.report.errors()
        {
            let at = value.clone().at_key(entry);
            self.report.tell(code, &at, warning);
        }
    }

    fn value(&mut self, at: &Cursor<'_>, kind: Type, speech: Speech) {
        match (kind, &at.node.value) {
            (Type::Any, _)
            | (Type::Text | Type::IntegerOrText, Value::String(_))
            | (Type::Bool, Value::Bool(..)) => {}
            (Type::Data(item), _) => self.data(at, *item),
            (Type::Word(syntax), Value::String(text)) => {
                if let Err(message) = (syntax.check)(text) {
                    self.report.error(at, message);
                }
            }
            (Type::Number(from, to), Value::Number(number, written)) => {
                let fits = number
                    .as_f64()
                    .is_some_and(|number| (from..=to).contains(&number));
                if !fits {
                    self.report
                        .error(at, number_out_of_range(written, from, to));
                }
            }
            (Type::IntegerOrText, Value::Number(..)) if at.node.as_integer().is_some() => {}
            (Type::Integer(from, to), Value::Number(_, written)) => match at.node.as_integer() {
                Some(number) if (from..=to).contains(&number) => {}
                Some(_) => self.report.error(at, out_of_range(written, from, to)),
                None => {
                    let message = format!("{written} is not a whole number");
                    self.report.error(at, message);
                }
            },
            (Type::Duration | Type::DurationOrZero, Value::String(text)) => {
                let zero_is_fine = matches!(kind, Type::DurationOrZero);
                if let Err(message) = rules::duration(text, zero_is_fine) {
                    self.report.error(at, message);
                }
            }
            (Type::OneOf(known), Value::String(text)) => {
                if !known.contains(&text.as_str()) {
                    let message = match suggest(text, known.iter().copied()) {
                        Some(near) => {
                            format!("{} is not known here; did you mean {near}?", quoted(text))
                        }
                        None => {
                            format!(
                                "{} is not known here; use {}",
                                quoted(text),
                                known.join(", ")
                            )
                        }
                    };
                    self.report.error(at, message);
                }
            }
            (Type::List(item), Value::List(_)) => {
                for value in at.items() {
                    self.value(&value, *item, speech);
                }
            }
            (Type::Sized(least, most, item), Value::List(items)) => {
                if let Err(message) = number_of_items(items.len(), least, most) {
                    self.report.error(at, message);
                }
                self.value(at, Type::List(item), speech);
            }
            (Type::Map(item), Value::Map(_)) => {
                for (_, value) in at.entries() {
                    self.value(&value, *item, speech);
                }
            }
            (Type::Keyed(syntax, item), Value::Map(_)) => {
                for (entry, value) in at.entries() {
                    if let Err(message) = (syntax.check)(&entry.key) {
                        self.report.error(&value.clone().at_key(entry), message);
                    }
                    self.value(&value, *item, speech);
                }
            }
            (Type::Object(shape), Value::Map(_)) => self.fields(at, shape, speech),
            (expected, _) => self.report.error(at, wrong_type(at, expected)),
        }
    }

    /// A map of texts. Whatever is wrong with a value, nothing shows it.
    fn data(&mut self, at: &Cursor<'_>, item: Type) {
        if !matches!(at.node.value, Value::Map(_)) {
            self.report.error(at, "a map of texts belongs here");
        }
        for (entry, value) in at.entries() {
            if let Err(message) = rules::data_key(&entry.key) {
                self.report.error(&value.clone().at_key(entry), message);
            }
            match (item, &value.node.value) {
                (Type::Base64, Value::String(text)) if rules::base64(text).is_none() => {
                    let message = "this is not base64; encode the value, or write it as it is where texts belong";
                    self.report.error(&value, message);
                }
                // Kubernetes takes an empty value for a null.
                (_, Value::String(_) | Value::Null) => {}
                _ => self.report.error(&value, "a text belongs here; quote it"),
            }
        }
    }
}

fn not_acted_on(field: &str, note: &str) -> String {
    let colon = if note.is_empty() { "" } else { ": " };
    format!("{field} is accepted but not acted on by this version{colon}{note}")
}

fn asks_for_nothing(value: &Cursor<'_>, harmless: &[&str]) -> bool {
    match &value.node.value {
        Value::String(text) => harmless.contains(&text.as_str()),
        Value::Bool(value, _) => harmless.contains(&if *value { "true" } else { "false" }),
        Value::List(items) => {
            items.is_empty()
                || !harmless.is_empty()
                    && items
                        .iter()
                        .all(|item| item.as_str().is_some_and(|text| harmless.contains(&text)))
        }
        _ => false,
    }
}

fn unknown(key: &str, shape: &Shape) -> String {
    let names = || shape.fields.iter().map(|field| field.name);
    match suggest(key, names()) {
        Some(near) => format!("{} is not a field here; did you mean {near}?", quoted(key)),
        None => {
            let known: Vec<&str> = names().collect();
            format!(
                "{} is not a field here; remove it, or use one of {}",
                quoted(key),
                known.join(", ")
            )
        }
    }
}

fn out_of_range(written: &str, from: i64, to: i64) -> String {
    match (from, to) {
        (1, 65_535) => format!("{written} is no port; ports are 1 to 65535"),
        (0, _) if written.starts_with('-') => format!("{written} is below 0; use 0 or more"),
        _ => format!("{written} is out of range; use {from} to {to}"),
    }
}

fn number_of_items(count: usize, least: usize, most: usize) -> rules::Verdict {
    if count < least {
        return Err(format!(
            "it has {count} entries, at least {least} must be there; add one"
        ));
    }
    if count > most {
        return Err(format!(
            "it has {count} entries, at most {most} are taken; remove some"
        ));
    }
    Ok(())
}

fn number_out_of_range(written: &str, from: f64, to: f64) -> String {
    if to == f64::MAX {
        format!("{written} is below {from}; use {from} or more")
    } else {
        format!("{written} is out of range; use {from} to {to}")
    }
}

fn wrong_type(at: &Cursor<'_>, expected: Type) -> String {
    let found = at.node.describe();
    let expects_text = matches!(
        expected,
        Type::Text | Type::Word(_) | Type::Duration | Type::DurationOrZero | Type::OneOf(_)
    );
    match &at.node.value {
        Value::Bool(_, written) | Value::Number(_, written) if expects_text => {
            format!("{found} stands where a text belongs; quote it: \"{written}\"")
        }
        Value::String(text)
            if matches!(expected, Type::Integer(..) | Type::Number(..) | Type::Bool) =>
        {
            format!(
                "{found} stands where {} belongs; {}",
                expected.name(),
                unquote(text, expected)
            )
        }
        _ => format!("{found} stands where {} belongs", expected.name()),
    }
}

/// What to do about a text that should have been a number or a boolean.
fn unquote(text: &str, expected: Type) -> String {
    let fits = match expected {
        Type::Bool => text == "true" || text == "false",
        _ => text.parse::<f64>().is_ok(),
    };
    if fits {
        format!("write {text} without quotes")
    } else {
        "correct it".to_owned()
    }
}

impl Type {
    /// The type in words, as the end of "stands where … belongs".
    fn name(self) -> &'static str {
        match self {
            Type::Text => "a text",
            Type::Word(syntax) => syntax.name,
            Type::Bool => "true or false",
            Type::Integer(1, 65_535) => "a port number",
            Type::Integer(..) => "a whole number",
            Type::Number(..) => "a number",
            Type::IntegerOrText => "a port number or a port name",
            Type::Duration | Type::DurationOrZero => "a length of time like 1.5s",
            Type::OneOf(_) => "a word",
            Type::Base64 => "a text in base64",
            Type::List(_) | Type::Sized(..) => "a list",
            Type::Map(_) | Type::Keyed(..) | Type::Object(_) | Type::Data(_) => "a map",
            Type::Any => "anything",
        }
    }
}
