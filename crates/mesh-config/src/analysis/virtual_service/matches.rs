//! Rules and matches that are never reached, since earlier ones take all that they match.
//!
//! As Istio judges it: a match is dead if an earlier one says the same, or is a shorter prefix with the same other
//! conditions. What it cannot tell by that, it takes as alive.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::analysis::view::{Found, at, items, spec_each, text};
use crate::analysis::{INEFFECTIVE_MATCH, UNREACHABLE_RULE};

pub(super) fn look(found: &mut Found<'_>) {
    for section in ["http", "tcp", "tls"] {
        rules(section, found);
    }
}

fn rules(section: &str, found: &mut Found<'_>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut catch_all = None;
    let mut prefixes = Prefixes::default();
    for (r, route) in spec_each(found.object, section) {
        let rule = format!("spec.{section}[{r}]");
        let matches = items(route.get("match"));
        if let Some(earlier) = catch_all {
            let message = format!(
                "it is never reached: spec.{section}[{earlier}] has no match and takes everything; move it up, or \
                 remove it"
            );
            found.tell(&UNREACHABLE_RULE, rule, message);
            continue;
        }
        if matches.is_empty() {
            catch_all = Some(r);
            continue;
        }
        let mut duplicates = 0;
        for (m, entry) in matches.iter().enumerate() {
            let place = format!("{rule}.match[{m}]");
            if let Some(earlier) = seen.get(&canonical(entry)) {
                duplicates += 1;
                let message = format!(
                    "it is never reached: spec.{section}[{earlier}] has the same match; remove one of them"
                );
                found.tell(&INEFFECTIVE_MATCH, place, message);
                continue;
            }
            seen.insert(canonical(entry), r);
            if section == "http" {
                prefixes.add(entry, place, found);
            }
        }
        if duplicates == matches.len() {
            let message = "it is never reached: the rules before it have all of its matches; remove it, or move it up";
            found.tell(&UNREACHABLE_RULE, rule, message);
        }
    }
}

/// A match as text, without its name, in which the order of its fields does not matter.
fn canonical(entry: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let ordered: BTreeMap<&String, Value> = map
                    .iter()
                    .map(|(key, value)| (key, sorted(value)))
                    .collect();
                let ordered = ordered.into_iter().map(|(key, value)| (key.clone(), value));
                Value::Object(ordered.collect::<Map<_, _>>())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    let mut entry = sorted(entry);
    if let Some(map) = entry.as_object_mut() {
        map.shift_remove("name");
    }
    entry.to_string()
}

/// The longest prefix that is compared with others; longer ones count as reached.
const LONGEST_PREFIX: usize = 256;

/// The matches by prefix so far: by the prefix, where each was written and what else it asks.
#[derive(Default)]
struct Prefixes<'a>(HashMap<&'a str, Vec<(String, Conditions<'a>)>>);

impl<'a> Prefixes<'a> {
    fn add(&mut self, entry: &'a Value, place: String, found: &mut Found<'_>) {
        let prefix = entry.get("uri").map_or("", |uri| text(uri, "prefix"));
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX {
            return;
        }
        let conditions = Conditions::of(entry);
        // Every shorter prefix that there may be is one of its own beginnings.
        for (end, _) in prefix.char_indices().skip(1) {
            for (earlier, wider) in self.0.get(&prefix[..end]).into_iter().flatten() {
                if wider.cover(&conditions) {
                    let message = format!(
                        "it is never reached: {earlier} takes every path that begins with {}; move it in front of \
                         that one",
                        &prefix[..end]
                    );
                    found.tell(&INEFFECTIVE_MATCH, place.clone(), message);
                }
            }
        }
        self.0.entry(prefix).or_default().push((place, conditions));
    }
}

/// What a match asks beside the path. Regular expressions count as nothing asked.
struct Conditions<'a> {
    port: Option<i64>,
    method: String,
    authority: String,
    named: [BTreeMap<&'a str, String>; 3],
}

impl<'a> Conditions<'a> {
    fn of(entry: &'a Value) -> Self {
        let named = ["headers", "queryParams", "withoutHeaders"].map(|key| {
            let map = entry.get(key).and_then(Value::as_object);
            let pairs = map.into_iter().flatten();
            pairs
                .map(|(name, value)| (name.as_str(), asked(Some(value))))
                .collect()
        });
        let method = asked(entry.get("method"));
        Conditions {
            port: at(entry, &["port"]).and_then(Value::as_i64),
            method: if method.is_empty() {
                "exact GET".to_owned()
            } else {
                method
            },
            authority: asked(entry.get("authority")),
            named,
        }
    }

    /// Whether all that these conditions ask is asked by the narrower ones, too.
    fn cover(&self, narrower: &Conditions<'_>) -> bool {
        let covers = |own: &str, other: &str| own.starts_with(other);
        let all = self.named.iter().zip(&narrower.named);
        self.port == narrower.port
            && covers(&self.method, &narrower.method)
            && covers(&self.authority, &narrower.authority)
            && all.into_iter().all(|(own, other)| {
                own.len() == other.len()
                    && own.iter().all(|(name, value)| {
                        other.get(name).is_some_and(|other| covers(value, other))
                    })
            })
    }
}

/// `exact x`, `prefix x`, or nothing.
fn asked(matcher: Option<&Value>) -> String {
    let matcher = matcher.unwrap_or(&Value::Null);
    ["exact", "prefix"]
        .iter()
        .map(|kind| (kind, text(matcher, kind)))
        .find(|(_, value)| !value.is_empty())
        .map(|(kind, value)| format!("{kind} {value}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_the_same_whatever_its_name_and_order() {
        let json = |text: &str| serde_json::from_str::<Value>(text).expect(text);
        let one = json(r#"{"name": "a", "uri": {"exact": "/"}, "method": {"exact": "GET"}}"#);
        let other = json(r#"{"method": {"exact": "GET"}, "uri": {"exact": "/"}}"#);
        assert_eq!(canonical(&one), canonical(&other));
        assert_ne!(
            canonical(&one),
            canonical(&json(r#"{"uri": {"exact": "/"}}"#))
        );
    }
}
