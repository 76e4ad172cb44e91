//! `networking.istio.io` VirtualService.

use super::Type::{
    Bool, Duration, DurationOrZero, Integer, Keyed, List, Map, Number, Object, OneOf, Text, Word,
};
use super::{
    COUNT, DESTINATION_HOST, DNS_LABEL, EXPORT_TO, HEADER, INT32, LABELS, PERCENT, PORT, REGEX,
    SUBNET, Shape, Syntax, TEXTS, Type, acted, choice, noted, object, shape, syntax,
};
use crate::rules;

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

static SPEC: Shape = shape(&[
    acted("hosts", TEXTS),
    acted("gateways", TEXTS),
    acted("http", List(&Object(&HTTP_ROUTE))),
    acted("tls", List(&Object(&TLS_ROUTE))),
    acted("tcp", List(&Object(&TCP_ROUTE))),
    acted("exportTo", EXPORT_TO),
]);

static HTTP_ROUTE: Shape = shape(&[
    acted("name", Text),
    acted("match", List(&Object(&HTTP_MATCH))),
    acted("route", List(&Object(&HTTP_DESTINATION))),
    acted("redirect", Object(&REDIRECT)),
    acted("directResponse", Object(&DIRECT_RESPONSE)),
    acted("delegate", Object(&DELEGATE)),
    acted("rewrite", Object(&REWRITE)),
    acted("timeout", DurationOrZero),
    acted("retries", Object(&RETRIES)),
    acted("fault", Object(&FAULT)),
    acted("mirror", Object(&DESTINATION)),
    acted("mirrorPercent", PERCENT),
    acted("mirror_percent", PERCENT),
    acted("mirrorPercentage", Object(&FRACTION)),
    acted("mirrors", List(&Object(&MIRROR))),
    acted("corsPolicy", Object(&CORS)),
    acted("headers", Object(&HEADERS)),
]);

static STRING_MATCH: Shape = choice(
    &[&["exact", "prefix", "regex"]],
    &[
        acted("exact", Text),
        acted("prefix", Text),
        acted("regex", Text),
    ],
);

const MATCH_BY_NAME: Type = Map(&Object(&STRING_MATCH));

static HTTP_MATCH: Shape = shape(&[
    acted("name", Text),
    acted("uri", Object(&STRING_MATCH)),
    acted("ignoreUriCase", Bool),
    acted("scheme", Object(&STRING_MATCH)),
    acted("method", Object(&STRING_MATCH)),
    acted("authority", Object(&STRING_MATCH)),
    acted("headers", MATCH_BY_NAME),
    acted("withoutHeaders", MATCH_BY_NAME),
    acted("gateways", TEXTS),
    acted("port", PORT),
    acted("sourceLabels", LABELS),
    acted("sourceNamespace", Word(DNS_LABEL)),
    acted("queryParams", MATCH_BY_NAME),
    noted(
        "statPrefix",
        Text,
        "metrics have Istio's standard names only",
    ),
]);

static HTTP_DESTINATION: Shape = shape(&[
    acted("destination", Object(&DESTINATION)).required(),
    acted("weight", INT32),
    acted("headers", Object(&HEADERS)),
]);

static DESTINATION: Shape = shape(&[
    acted("host", Word(DESTINATION_HOST)).required(),
    acted("subset", Word(DNS_LABEL)),
    acted("port", Object(&PORT_SELECTOR)),
]);

static PORT_SELECTOR: Shape = shape(&[acted("number", PORT).required()]);

static REDIRECT: Shape = choice(
    &[&["port", "derivePort"], &["uri", "prefixRewrite"]],
    &[
        acted("uri", Text),
        acted("prefixRewrite", Text),
        acted("authority", Text),
        acted("port", PORT),
        acted(
            "derivePort",
            OneOf(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
        ),
        acted("scheme", Text),
        acted("redirectCode", Integer(300, 399)),
    ],
);

static DIRECT_RESPONSE: Shape = shape(&[
    acted("status", Integer(200, 599)).required(),
    acted("body", Object(&BODY)),
]);

static BODY: Shape = choice(
    &[&["string", "bytes"]],
    &[acted("string", Text), acted("bytes", Text)],
);

static DELEGATE: Shape = shape(&[acted("name", Text), acted("namespace", Text)]);

static REWRITE: Shape = choice(
    &[&["uri", "uriRegexRewrite"]],
    &[
        acted("uri", Text),
        acted("authority", Text),
        acted("uriRegexRewrite", Object(&REGEX_REWRITE)),
    ],
);

static REGEX_REWRITE: Shape = shape(&[
    acted("match", Word(REGEX)).required(),
    acted("rewrite", Text).required(),
]);

pub(super) static RETRIES: Shape = shape(&[
    acted("attempts", COUNT),
    acted("perTryTimeout", Duration),
    acted("retryOn", Text),
    acted("retryRemoteLocalities", Bool),
    acted("retryIgnorePreviousHosts", Bool),
    acted("backoff", Duration),
]);

static FAULT: Shape = shape(&[
    acted("delay", Object(&DELAY)),
    acted("abort", Object(&ABORT)),
]);

static DELAY: Shape = shape(&[
    acted("fixedDelay", Duration),
    acted("percent", PERCENT),
    acted("percentage", Object(&FRACTION)),
]);

static ABORT: Shape = choice(
    &[&["httpStatus", "grpcStatus"]],
    &[
        acted("httpStatus", Integer(200, 600)),
        acted("grpcStatus", OneOf(&GRPC_STATUS)),
        acted("percentage", Object(&FRACTION)),
    ],
);

static FRACTION: Shape = shape(&[acted("value", Number(0.0, 100.0))]);

static MIRROR: Shape = shape(&[
    acted("destination", Object(&DESTINATION)).required(),
    acted("percentage", Object(&FRACTION)),
]);

static CORS: Shape = shape(&[
    acted("allowOrigins", List(&Object(&STRING_MATCH))),
    acted("allowOrigin", TEXTS),
    acted("allowMethods", List(&OneOf(&METHODS))),
    acted("allowHeaders", List(&Word(HEADER))),
    acted("exposeHeaders", List(&Word(HEADER))),
    acted("maxAge", Duration),
    acted("allowCredentials", Bool),
    acted(
        "unmatchedPreflights",
        OneOf(&["UNSPECIFIED", "FORWARD", "IGNORE"]),
    ),
]);

static HEADERS: Shape = shape(&[
    acted("request", Object(&REQUEST_HEADERS)),
    acted("response", Object(&RESPONSE_HEADERS)),
]);

static REQUEST_HEADERS: Shape = shape(&[
    acted("set", Keyed(REQUEST_HEADER, &Text)),
    acted("add", Keyed(REQUEST_HEADER, &Text)),
    acted("remove", List(&Word(RESPONSE_HEADER))),
]);

static RESPONSE_HEADERS: Shape = shape(&[
    acted("set", Keyed(RESPONSE_HEADER, &Text)),
    acted("add", Keyed(RESPONSE_HEADER, &Text)),
    acted("remove", List(&Word(RESPONSE_HEADER))),
]);

const REQUEST_HEADER: Syntax = syntax("the name of a header", rules::changeable_request_header);
const RESPONSE_HEADER: Syntax = syntax("the name of a header", rules::changeable_header);

static TLS_ROUTE: Shape = shape(&[
    acted("match", List(&Object(&TLS_MATCH))).required(),
    acted("route", List(&Object(&L4_DESTINATION))).required(),
]);

static TLS_MATCH: Shape = shape(&[
    acted("sniHosts", TEXTS).required(),
    acted("destinationSubnets", List(&Word(SUBNET))),
    acted("port", PORT),
    acted("sourceLabels", LABELS),
    acted("gateways", TEXTS),
    acted("sourceNamespace", Word(DNS_LABEL)),
]);

static TCP_ROUTE: Shape = shape(&[
    acted("match", List(&Object(&TCP_MATCH))),
    acted("route", List(&Object(&L4_DESTINATION))).required(),
]);

static TCP_MATCH: Shape = shape(&[
    acted("destinationSubnets", List(&Word(SUBNET))),
    acted("port", PORT),
    noted(
        "sourceSubnet",
        Word(SUBNET),
        "connections of every client match",
    ),
    acted("sourceLabels", LABELS),
    acted("gateways", TEXTS),
    acted("sourceNamespace", Word(DNS_LABEL)),
]);

static L4_DESTINATION: Shape = shape(&[
    acted("destination", Object(&DESTINATION)).required(),
    acted("weight", Integer(0, i32::MAX as i64)),
]);

/// The methods that CORS can be asked about.
const METHODS: [&str; 10] = [
    "*", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
