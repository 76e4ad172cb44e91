//! ReferenceGrant and BackendTLSPolicy.

use super::LOCAL_REF;
use super::syntax::{FIXED_HOST, GROUP, HOST, KIND, NAME, NAMESPACE, SECTION, TEXT_4096, URI};
use crate::schema::Type::{Keyed, Object, OneOf, Sized, Word};
use crate::schema::{LABEL_KEY, Shape, acted, object, shape};

pub(super) static GRANT: Shape = object!(acted("spec", Object(&GRANT_SPEC)).required());

static GRANT_SPEC: Shape = shape(&[
    acted("from", Sized(1, 16, &Object(&GRANT_FROM))).required(),
    acted("to", Sized(1, 16, &Object(&GRANT_TO))).required(),
]);

static GRANT_FROM: Shape = shape(&[
    acted("group", Word(GROUP)).required(),
    acted("kind", Word(KIND)).required(),
    acted("namespace", Word(NAMESPACE)).required(),
]);

static GRANT_TO: Shape = shape(&[
    acted("group", Word(GROUP)).required(),
    acted("kind", Word(KIND)).required(),
    acted("name", Word(NAME)),
]);

pub(super) static BACKEND_TLS: Shape = object!(acted("spec", Object(&BACKEND_TLS_SPEC)).required());

static BACKEND_TLS_SPEC: Shape = shape(&[
    acted("targetRefs", Sized(1, 16, &Object(&TARGET_REF))).required(),
    acted("validation", Object(&VALIDATION)).required(),
    acted("options", Keyed(LABEL_KEY, &Word(TEXT_4096))),
]);

static TARGET_REF: Shape = shape(&[
    acted("group", Word(GROUP)).required(),
    acted("kind", Word(KIND)).required(),
    acted("name", Word(NAME)).required(),
    acted("sectionName", Word(SECTION)),
]);

static VALIDATION: Shape = shape(&[
    acted("caCertificateRefs", Sized(0, 8, &Object(&LOCAL_REF))),
    acted("wellKnownCACertificates", OneOf(&["System"])),
    acted("hostname", Word(FIXED_HOST)).required(),
    acted("subjectAltNames", Sized(0, 5, &Object(&SUBJECT))),
]);

static SUBJECT: Shape = shape(&[
    acted("type", OneOf(&["Hostname", "URI"])).required(),
    acted("hostname", Word(HOST)),
    acted("uri", Word(URI)),
]);
