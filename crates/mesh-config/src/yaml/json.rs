//! Between the located tree and JSON.

use serde_json::{Map, Value as Json};

use super::{Entry, Mark, Node, Value};

/// The tree as JSON, keys in the order in which they were written.
pub(crate) fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value, _) => Json::Bool(*value),
        Value::Number(number, _) => Json::Number(number.clone()),
        Value::String(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), to_json(&entry.value)))
                .collect::<Map<_, _>>(),
        ),
    }
}

/// A tree without places.
pub(crate) fn from_json(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value, value.to_string().into()),
        Json::Number(number) => Value::Number(number.clone(), number.to_string().into()),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    key_mark: Mark::default(),
                    value: from_json(value),
                })
                .collect(),
        ),
    };
    Node {
        mark: Mark::default(),
        value,
    }
}
