//! The server's own part of an object: uid, resource version, generation and creation time.
//!
//! Everything here is pure, so that what a write does to an object can be read and tested in one place.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use mesh_config::model::{Object, ObjectKey, SharedObject};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The fields of `metadata` that belong to the server; what a writer says about them is not kept.
const SERVER_OWNED: [&str; 7] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// What a write did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It was not there before.
    Created,
    /// It was there and differed.
    Configured,
    /// It was there just like this; nothing was written.
    Unchanged,
}

impl Action {
    /// As answers and logs have it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Who an object's bookkeeping starts from.
#[derive(Debug)]
pub(super) struct Stamp {
    /// For an object that is new.
    pub(super) uid: String,
    /// Of this write.
    pub(super) revision: u64,
    /// RFC 3339, for an object that is new; none for one that has no known age.
    pub(super) created: Option<String>,
}

/// Turns what a writer sent into what is kept, given what is kept now.
pub(super) fn stamp(
    mut new: Object,
    current: Option<&SharedObject>,
    stamp: &Stamp,
) -> (SharedObject, Action) {
    let Some(current) = current else {
        seal(
            &mut new,
            &stamp.uid,
            stamp.revision,
            1,
            stamp.created.clone(),
        );
        return (Arc::new(new), Action::Created);
    };
    if says_the_same(&new, current) {
        return (Arc::clone(current), Action::Unchanged);
    }
    let changed = without_metadata(current) != without_metadata(&new);
    let generation = generation(current) + u64::from(changed);
    let uid = text(current, "uid").unwrap_or(&stamp.uid).to_owned();
    let created = current.metadata.creation_timestamp.clone();
    seal(&mut new, &uid, stamp.revision, generation, created);
    (Arc::new(new), Action::Configured)
}

/// The object as it is shown under one of its kind's API versions.
pub(crate) fn shown_as(object: &Object, api_version: &str) -> Value {
    let mut shown = Map::new();
    shown.insert("apiVersion".to_owned(), api_version.into());
    shown.insert("kind".to_owned(), object.kind.kind().into());
    if let Value::Object(fields) = &object.raw {
        for (name, value) in fields {
            if name != "apiVersion" && name != "kind" {
                shown.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(shown)
}

/// A text field of the object's metadata.
pub(crate) fn text<'a>(object: &'a Object, field: &str) -> Option<&'a str> {
    object.raw.get("metadata")?.get(field)?.as_str()
}

/// The present moment as `metadata.creationTimestamp` has it.
pub(super) fn now() -> String {
    let now = OffsetDateTime::from(SystemTime::now())
        .replace_nanosecond(0)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).unwrap_or_default()
}

/// Writes name, namespace and bookkeeping into the object, first what people look for.
fn seal(object: &mut Object, uid: &str, revision: u64, generation: u64, created: Option<String>) {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), object.metadata.name.clone().into());
    if !object.metadata.namespace.is_empty() {
        metadata.insert(
            "namespace".to_owned(),
            object.metadata.namespace.clone().into(),
        );
    }
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    metadata.insert("generation".to_owned(), generation.into());
    if let Some(created) = &created {
        metadata.insert("creationTimestamp".to_owned(), created.clone().into());
    }
    if let Some(written) = object.raw.get("metadata").and_then(Value::as_object) {
        for (name, value) in written {
            if !metadata.contains_key(name) && !SERVER_OWNED.contains(&name.as_str()) {
                metadata.insert(name.clone(), value.clone());
            }
        }
    }
    object.raw = shown_as(object, &object.api_version);
    if let Value::Object(fields) = &mut object.raw {
        fields.insert("metadata".to_owned(), Value::Object(metadata));
    }
    object.metadata.resource_version = Some(revision.to_string());
    object.metadata.creation_timestamp = created;
}

/// A version 4 UUID.
pub(super) fn random_uid() -> String {
    let mut bytes = [0; 16];
    // Without randomness uids would not be unique: TLS has failed long before that.
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random numbers work");
    uuid(bytes, 4)
}

/// A UUID that an object of the configuration directory keeps across restarts.
pub(super) fn uid_of(key: &ObjectKey) -> String {
    let digest = digest::digest(&digest::SHA256, key.to_string().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid(bytes, 8)
}

fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Whether two objects differ only in the server's part and in the API version, under every one of which
/// they can be read.
fn says_the_same(new: &Object, current: &Object) -> bool {
    if new.api_version == current.api_version {
        return new.same_content(current);
    }
    let translated = Object {
        api_version: current.api_version.clone(),
        ..new.clone()
    };
    translated.same_content(current)
}

fn without_metadata(object: &Object) -> Value {
    without(&object.raw, &["apiVersion", "metadata", "status"])
}

fn without(value: &Value, fields: &[&str]) -> Value {
    let mut value = value.clone();
    if let Value::Object(map) = &mut value {
        for field in fields {
            map.remove(*field);
        }
    }
    value
}

fn generation(object: &Object) -> u64 {
    object
        .raw
        .get("metadata")
        .and_then(|metadata| metadata.get("generation"))
        .and_then(Value::as_u64)
        .unwrap_or(1)
}
