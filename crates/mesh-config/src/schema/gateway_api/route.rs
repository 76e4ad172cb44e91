//! HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute.

use super::PARENT_REF;
use super::filter::{GRPC_FILTER, HTTP_FILTER};
use super::syntax::{
    GROUP, HEADER_NAME, HOST, KIND, LENGTH_OF_TIME, NAME, NAMESPACE, SECTION, TEXT_128, TEXT_1024,
    TEXT_4096,
};
use crate::schema::Type::{Integer, Object, OneOf, Sized, Word};
use crate::schema::{COUNT, PORT, Shape, Type, acted, noted, object, shape};

const PARENTS: Type = Sized(0, 32, &Object(&PARENT_REF));
const HOSTS: Type = Sized(0, 16, &Word(HOST));
const SCOPE: &str = "routes attach to what they name";
const WEIGHT: Type = Integer(0, 1_000_000);
const STICKY: &str = "requests of one session go to any endpoint";

pub(super) static HTTP: Shape = object!(acted("spec", Object(&HTTP_SPEC)).required());

static HTTP_SPEC: Shape = shape(&[
    acted("parentRefs", PARENTS),
    noted("useDefaultGateways", OneOf(&["All", "None"]), SCOPE).unless(&["None"]),
    acted("hostnames", HOSTS),
    acted("rules", Sized(1, 16, &Object(&HTTP_RULE))),
]);

static HTTP_RULE: Shape = shape(&[
    acted("name", Word(SECTION)),
    acted("matches", Sized(0, 64, &Object(&HTTP_MATCH))),
    acted("filters", Sized(0, 16, &Object(&HTTP_FILTER))),
    acted("backendRefs", Sized(0, 16, &Object(&HTTP_BACKEND))),
    acted("timeouts", Object(&TIMEOUTS)),
    acted("retry", Object(&RETRY)),
    noted("sessionPersistence", Object(&PERSISTENCE), STICKY),
]);

static HTTP_MATCH: Shape = shape(&[
    acted("path", Object(&PATH_MATCH)),
    acted("headers", Sized(0, 16, &Object(&HEADER_MATCH))),
    acted("queryParams", Sized(0, 16, &Object(&QUERY_MATCH))),
    acted(
        "method",
        OneOf(&[
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
        ]),
    ),
]);

static PATH_MATCH: Shape = shape(&[
    acted("type", OneOf(&["Exact", "PathPrefix", "RegularExpression"])),
    acted("value", Word(TEXT_1024)),
]);

static HEADER_MATCH: Shape = shape(&[
    acted("type", OneOf(&["Exact", "RegularExpression"])),
    acted("name", Word(HEADER_NAME)).required(),
    acted("value", Word(TEXT_4096)).required(),
]);

static QUERY_MATCH: Shape = shape(&[
    acted("type", OneOf(&["Exact", "RegularExpression"])),
    acted("name", Word(HEADER_NAME)).required(),
    acted("value", Word(TEXT_1024)).required(),
]);

static TIMEOUTS: Shape = shape(&[
    acted("request", Word(LENGTH_OF_TIME)),
    acted("backendRequest", Word(LENGTH_OF_TIME)),
]);

static RETRY: Shape = shape(&[
    acted("codes", Sized(0, 64, &Integer(400, 599))),
    acted("attempts", COUNT),
    acted("backoff", Word(LENGTH_OF_TIME)),
]);

static PERSISTENCE: Shape = shape(&[
    acted("sessionName", Word(TEXT_128)),
    acted("absoluteTimeout", Word(LENGTH_OF_TIME)),
    acted("idleTimeout", Word(LENGTH_OF_TIME)),
    acted("type", OneOf(&["Cookie", "Header"])),
    acted("cookieConfig", Object(&COOKIE)),
]);

static COOKIE: Shape = shape(&[acted("lifetimeType", OneOf(&["Permanent", "Session"]))]);

static HTTP_BACKEND: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)),
    acted("name", Word(NAME)).required(),
    acted("namespace", Word(NAMESPACE)),
    acted("port", PORT),
    acted("weight", WEIGHT),
    acted("filters", Sized(0, 16, &Object(&HTTP_FILTER))),
]);

pub(super) static GRPC: Shape = object!(acted("spec", Object(&GRPC_SPEC)).required());

static GRPC_SPEC: Shape = shape(&[
    acted("parentRefs", PARENTS),
    noted("useDefaultGateways", OneOf(&["All", "None"]), SCOPE).unless(&["None"]),
    acted("hostnames", HOSTS),
    acted("rules", Sized(0, 16, &Object(&GRPC_RULE))),
]);

static GRPC_RULE: Shape = shape(&[
    acted("name", Word(SECTION)),
    acted("matches", Sized(0, 64, &Object(&GRPC_MATCH))),
    acted("filters", Sized(0, 16, &Object(&GRPC_FILTER))),
    acted("backendRefs", Sized(0, 16, &Object(&GRPC_BACKEND))),
    noted("sessionPersistence", Object(&PERSISTENCE), STICKY),
]);

static GRPC_MATCH: Shape = shape(&[
    acted("method", Object(&GRPC_METHOD)),
    acted("headers", Sized(0, 16, &Object(&HEADER_MATCH))),
]);

static GRPC_METHOD: Shape = shape(&[
    acted("type", OneOf(&["Exact", "RegularExpression"])),
    acted("service", Word(TEXT_1024)),
    acted("method", Word(TEXT_1024)),
]);

static GRPC_BACKEND: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)),
    acted("name", Word(NAME)).required(),
    acted("namespace", Word(NAMESPACE)),
    acted("port", PORT),
    acted("weight", WEIGHT),
    acted("filters", Sized(0, 16, &Object(&GRPC_FILTER))),
]);

pub(super) static TLS: Shape = object!(acted("spec", Object(&TLS_SPEC)).required());

static TLS_SPEC: Shape = shape(&[
    acted("parentRefs", PARENTS),
    noted("useDefaultGateways", OneOf(&["All", "None"]), SCOPE).unless(&["None"]),
    acted("hostnames", Sized(0, 1024, &Word(HOST))),
    acted("rules", Sized(1, 16, &Object(&BYTES_RULE))).required(),
]);

pub(super) static BYTES: Shape = object!(acted("spec", Object(&BYTES_SPEC)).required());

static BYTES_SPEC: Shape = shape(&[
    acted("parentRefs", PARENTS),
    noted("useDefaultGateways", OneOf(&["All", "None"]), SCOPE).unless(&["None"]),
    acted("rules", Sized(1, 16, &Object(&BYTES_RULE))).required(),
]);

static BYTES_RULE: Shape = shape(&[
    acted("name", Word(SECTION)),
    acted("backendRefs", Sized(1, 16, &Object(&BYTES_BACKEND))).required(),
]);

static BYTES_BACKEND: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)),
    acted("name", Word(NAME)).required(),
    acted("namespace", Word(NAMESPACE)),
    acted("port", PORT),
    acted("weight", WEIGHT),
]);
