//! Core v1 Namespace, Secret and ConfigMap.

use super::Type::{Base64, Bool, Data, Object, Text};
use super::{Field, Shape, TEXTS, Type, acted, noted, quiet, shape};

pub(super) static NAMESPACE: Shape = shape(&[
    API_VERSION,
    KIND,
    METADATA,
    quiet("spec", Object(&NAMESPACE_SPEC)),
    quiet("status", Type::Any),
]);

static NAMESPACE_SPEC: Shape = shape(&[quiet("finalizers", TEXTS)]);

pub(super) static SECRET: Shape = shape(&[
    API_VERSION,
    KIND,
    METADATA,
    acted("type", Text),
    acted("data", Data(&Base64)),
    acted("stringData", Data(&Text)),
    IMMUTABLE,
]);

pub(super) static CONFIG_MAP: Shape = shape(&[
    API_VERSION,
    KIND,
    METADATA,
    acted("data", Data(&Text)),
    acted("binaryData", Data(&Base64)),
    IMMUTABLE,
]);

const API_VERSION: Field = quiet("apiVersion", Text);
const KIND: Field = quiet("kind", Text);
const METADATA: Field = acted("metadata", Object(&super::metadata::METADATA));
const IMMUTABLE: Field =
    noted("immutable", Bool, "the object can still be changed").unless(&["false"]);
