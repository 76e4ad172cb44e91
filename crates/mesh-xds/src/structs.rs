//! Short forms for `google.protobuf.Struct`, in which all free-form parts of xDS are written.

use crate::envoy::protobuf::{ListValue, Struct, Value, value::Kind};

/// A struct of the fields that have a value.
pub(crate) fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// A struct of strings, without the empty ones.
pub(crate) fn strings<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Struct {
    object(
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key, string(value))),
    )
}

/// A string value.
pub(crate) fn string(value: &str) -> Value {
    kind(Kind::StringValue(value.to_owned()))
}

/// A nested struct.
pub(crate) fn nested(value: Struct) -> Value {
    kind(Kind::StructValue(value))
}

/// A list.
pub(crate) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    kind(Kind::ListValue(ListValue {
        values: values.into_iter().collect(),
    }))
}

/// Any kind of value.
pub(crate) fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

/// The string at `key`; empty if there is none.
pub(crate) fn get_string(object: &Struct, key: &str) -> String {
    match get(object, key) {
        Some(Kind::StringValue(value)) => value.clone(),
        _ => String::new(),
    }
}

/// The value at `key`.
pub(crate) fn get<'a>(object: &'a Struct, key: &str) -> Option<&'a Kind> {
    object.fields.get(key)?.kind.as_ref()
}

/// The structs in the list at `key`; what is not a struct is passed over.
pub(crate) fn get_objects<'a>(object: &'a Struct, key: &str) -> Vec<&'a Struct> {
    let Some(Kind::ListValue(list)) = get(object, key) else {
        return Vec::new();
    };
    list.values
        .iter()
        .filter_map(|value| match &value.kind {
            Some(Kind::StructValue(object)) => Some(object),
            _ => None,
        })
        .collect()
}
