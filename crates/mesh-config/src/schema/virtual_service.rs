//! `networking.istio.io` VirtualService.

use super::Type::{Bool, Duration, Integer, List, Map, Number, Object, OneOf, Text};
use super::{INT32, LABELS, PORT, Shape, TEXTS, Type, UINT32, acted, choice, noted, object, shape};

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

static SPEC: Shape = shape(&[
    acted("hosts", TEXTS),
    acted("gateways", TEXTS),
    acted("http", List(&Object(&HTTP_ROUTE))),
    noted("tls", List(&Object(&TLS_ROUTE)), "TLS is not routed by SNI"),
    noted("tcp", List(&Object(&TCP_ROUTE)), "only HTTP is routed"),
    noted(
        "exportTo",
        TEXTS,
        "the rule holds for callers of every namespace",
    )
    .unless(&["*"]),
]);

const ANSWERED: &str = "requests that match this route are answered with an error";

static HTTP_ROUTE: Shape = shape(&[
    acted("name", Text),
    acted("match", List(&Object(&HTTP_MATCH))),
    acted("route", List(&Object(&HTTP_DESTINATION))),
    noted("redirect", Object(&REDIRECT), ANSWERED),
    noted("directResponse", Object(&DIRECT_RESPONSE), ANSWERED),
    noted("delegate", Object(&DELEGATE), ANSWERED),
    noted("rewrite", Object(&REWRITE), "requests go on as they are"),
    noted("timeout", Duration, "requests have no timeout"),
    noted(
        "retries",
        Object(&RETRIES),
        "a request is tried up to twice more where it surely did not arrive",
    ),
    noted("fault", Object(&FAULT), "no request is delayed or aborted"),
    noted("mirror", Object(&DESTINATION), "nothing is mirrored"),
    noted("mirrorPercent", UINT32, "nothing is mirrored"),
    noted("mirror_percent", UINT32, "nothing is mirrored"),
    noted("mirrorPercentage", Object(&PERCENT), "nothing is mirrored"),
    noted("mirrors", List(&Object(&MIRROR)), "nothing is mirrored"),
    noted(
        "corsPolicy",
        Object(&CORS),
        "no header is added and no preflight is answered",
    ),
    noted("headers", Object(&HEADERS), "headers stay as they are"),
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

/// Why a condition that is not acted on takes its whole match out of use.
const SKIPPED: &str = "this match entry never matches, so that it takes no request that it was not \
                       meant for";

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
    noted("port", UINT32, SKIPPED),
    noted("sourceLabels", LABELS, SKIPPED),
    noted("sourceNamespace", Text, SKIPPED),
    noted("queryParams", MATCH_BY_NAME, SKIPPED),
    noted(
        "statPrefix",
        Text,
        "metrics have Istio's standard names only",
    ),
]);

static HTTP_DESTINATION: Shape = shape(&[
    acted("destination", Object(&DESTINATION)).required(),
    acted("weight", INT32),
    noted("headers", Object(&HEADERS), "headers stay as they are"),
]);

static DESTINATION: Shape = shape(&[
    acted("host", Text).required(),
    acted("subset", Text),
    acted("port", Object(&PORT_SELECTOR)),
]);

static PORT_SELECTOR: Shape = shape(&[acted("number", PORT)]);

static REDIRECT: Shape = choice(
    &[&["port", "derivePort"], &["uri", "prefixRewrite"]],
    &[
        acted("uri", Text),
        acted("prefixRewrite", Text),
        acted("authority", Text),
        acted("port", UINT32),
        acted(
            "derivePort",
            OneOf(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
        ),
        acted("scheme", Text),
        acted("redirectCode", UINT32),
    ],
);

static DIRECT_RESPONSE: Shape = shape(&[
    acted("status", UINT32).required(),
    acted("body", Object(&BODY)),
]);

static BODY: Shape = choice(
    &[&["string", "bytes"]],
    &[acted("string", Text), acted("bytes", Text)],
);

static DELEGATE: Shape = shape(&[acted("name", Text), acted("namespace", Text)]);

static REWRITE: Shape = shape(&[
    acted("uri", Text),
    acted("authority", Text),
    acted("uriRegexRewrite", Object(&REGEX_REWRITE)),
]);

static REGEX_REWRITE: Shape = shape(&[acted("match", Text), acted("rewrite", Text)]);

static RETRIES: Shape = shape(&[
    acted("attempts", INT32),
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

static DELAY: Shape = choice(
    &[&["fixedDelay", "exponentialDelay"]],
    &[
        acted("fixedDelay", Duration),
        acted("exponentialDelay", Duration),
        acted("percent", INT32),
        acted("percentage", Object(&PERCENT)),
    ],
);

static ABORT: Shape = choice(
    &[&["httpStatus", "grpcStatus", "http2Error"]],
    &[
        acted("httpStatus", INT32),
        acted("grpcStatus", Text),
        acted("http2Error", Text),
        acted("percentage", Object(&PERCENT)),
    ],
);

static PERCENT: Shape = shape(&[acted("value", Number)]);

static MIRROR: Shape = shape(&[
    acted("destination", Object(&DESTINATION)).required(),
    acted("percentage", Object(&PERCENT)),
]);

static CORS: Shape = shape(&[
    acted("allowOrigins", List(&Object(&STRING_MATCH))),
    acted("allowOrigin", TEXTS),
    acted("allowMethods", TEXTS),
    acted("allowHeaders", TEXTS),
    acted("exposeHeaders", TEXTS),
    acted("maxAge", Duration),
    acted("allowCredentials", Bool),
    acted(
        "unmatchedPreflights",
        OneOf(&["UNSPECIFIED", "FORWARD", "IGNORE"]),
    ),
]);

static HEADERS: Shape = shape(&[
    acted("request", Object(&HEADER_CHANGES)),
    acted("response", Object(&HEADER_CHANGES)),
]);

static HEADER_CHANGES: Shape = shape(&[
    acted("set", LABELS),
    acted("add", LABELS),
    acted("remove", TEXTS),
]);

static TLS_ROUTE: Shape = shape(&[
    acted("match", List(&Object(&TLS_MATCH))).required(),
    acted("route", List(&Object(&L4_DESTINATION))),
]);

static TLS_MATCH: Shape = shape(&[
    acted("sniHosts", TEXTS).required(),
    acted("destinationSubnets", TEXTS),
    acted("port", UINT32),
    acted("sourceLabels", LABELS),
    acted("gateways", TEXTS),
    acted("sourceNamespace", Text),
]);

static TCP_ROUTE: Shape = shape(&[
    acted("match", List(&Object(&TCP_MATCH))),
    acted("route", List(&Object(&L4_DESTINATION))),
]);

static TCP_MATCH: Shape = shape(&[
    acted("destinationSubnets", TEXTS),
    acted("port", UINT32),
    acted("sourceSubnet", Text),
    acted("sourceLabels", LABELS),
    acted("gateways", TEXTS),
    acted("sourceNamespace", Text),
]);

static L4_DESTINATION: Shape = shape(&[
    acted("destination", Object(&DESTINATION)).required(),
    acted("weight", Integer(0, i32::MAX as i64)),
]);
