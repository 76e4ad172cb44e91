//! `networking.istio.io` DestinationRule.

use super::Type::{
    Any, Bool, Duration, DurationOrZero, Integer, List, Map, Number, Object, OneOf, Text, Word,
};
use super::{
    COUNT, DNS_LABEL, EXPORT_TO, LABELS, PERCENT, PORT, Shape, TEXTS, UINT32, accepted, acted,
    choice, noted, object, shape,
};

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

static SPEC: Shape = shape(&[
    acted("host", Text).required(),
    acted("subsets", List(&Object(&SUBSET))),
    acted("trafficPolicy", Object(&POLICY)),
    acted("exportTo", EXPORT_TO),
    acted("workloadSelector", Object(&SELECTOR)),
]);

static SUBSET: Shape = shape(&[
    acted("name", Word(DNS_LABEL)).required(),
    acted("labels", LABELS),
    acted("trafficPolicy", Object(&POLICY)),
]);

static SELECTOR: Shape = shape(&[acted("matchLabels", LABELS)]);

const HTTP_ONLY: &str =
    "it holds for HTTP connections; a TCP session ends after an hour of silence";
const NO_SESSIONS: &str =
    "it holds for HTTP connections; a TCP session lasts until one of its ends ends it";
const EVERYWHERE: &str = "endpoints get the same share wherever they run";
const NOT_REVOKED: &str = "servers are verified without a list of revoked certificates";

static POLICY: Shape = shape(&[
    acted("loadBalancer", Object(&LOAD_BALANCER)),
    acted("connectionPool", Object(&CONNECTION_POOL)),
    acted("outlierDetection", Object(&OUTLIER)),
    acted("tls", Object(&CLIENT_TLS)),
    acted("portLevelSettings", List(&Object(&PORT_POLICY))),
    accepted("tunnel", Object(&TUNNEL)),
    accepted("proxyProtocol", Object(&PROXY_PROTOCOL)),
    accepted("retryBudget", Object(&RETRY_BUDGET)),
]);

static PORT_POLICY: Shape = shape(&[
    acted("port", Object(&PORT_SELECTOR)).required(),
    acted("loadBalancer", Object(&LOAD_BALANCER)),
    acted("connectionPool", Object(&CONNECTION_POOL)),
    acted("outlierDetection", Object(&OUTLIER)),
    acted("tls", Object(&CLIENT_TLS)),
]);

static PORT_SELECTOR: Shape = shape(&[acted("number", PORT).required()]);

static LOAD_BALANCER: Shape = choice(
    &[&["simple", "consistentHash"]],
    &[
        acted(
            "simple",
            OneOf(&[
                "UNSPECIFIED",
                "LEAST_CONN",
                "RANDOM",
                "PASSTHROUGH",
                "ROUND_ROBIN",
                "LEAST_REQUEST",
            ]),
        ),
        acted("consistentHash", Object(&CONSISTENT_HASH)),
        acted("localityLbSetting", Object(&LOCALITY)),
        noted("zoneAwareLbSetting", Object(&ZONE_AWARE), EVERYWHERE),
        acted("warmupDurationSecs", Duration),
        acted("warmup", Object(&WARMUP)),
    ],
);

static CONSISTENT_HASH: Shape = choice(
    &[
        &[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ],
        &["ringHash", "maglev"],
    ],
    &[
        acted("httpHeaderName", Text),
        acted("httpCookie", Object(&COOKIE)),
        acted("useSourceIp", Bool),
        acted("httpQueryParameterName", Text),
        acted("ringHash", Object(&RING_HASH)),
        acted("maglev", Object(&MAGLEV)),
        acted("minimumRingSize", Integer(0, i64::MAX)),
    ],
);

static COOKIE: Shape = shape(&[
    acted("name", Text).required(),
    acted("path", Text),
    acted("ttl", DurationOrZero),
    acted("attributes", List(&Object(&COOKIE_ATTRIBUTE))),
]);

static COOKIE_ATTRIBUTE: Shape = shape(&[acted("name", Text), acted("value", Text)]);

static RING_HASH: Shape = shape(&[acted("minimumRingSize", Integer(0, i64::MAX))]);

static MAGLEV: Shape = shape(&[acted("tableSize", Integer(0, i64::MAX))]);

static LOCALITY: Shape = shape(&[
    acted("distribute", List(&Object(&DISTRIBUTE))),
    acted("failover", List(&Object(&FAILOVER))),
    acted("failoverPriority", TEXTS),
    acted("enabled", Bool),
]);

static ZONE_AWARE: Shape = shape(&[
    acted("enabled", Bool),
    acted("failover", List(&Object(&FAILOVER))),
    acted("failoverPriority", TEXTS),
    acted("minClusterSize", UINT32),
]);

static DISTRIBUTE: Shape = shape(&[acted("from", Text), acted("to", Map(&UINT32))]);

static FAILOVER: Shape = shape(&[acted("from", Text), acted("to", Text)]);

static WARMUP: Shape = shape(&[
    acted("duration", Duration).required(),
    acted("minimumPercent", Number(0.0, 100.0)),
    acted("aggression", Number(1.0, f64::MAX)),
]);

pub(super) static CONNECTION_POOL: Shape =
    shape(&[acted("tcp", Object(&TCP)), acted("http", Object(&HTTP))]);

static TCP: Shape = shape(&[
    acted("maxConnections", COUNT),
    acted("connectTimeout", Duration),
    acted("tcpKeepalive", Object(&KEEPALIVE)),
    noted("maxConnectionDuration", Duration, NO_SESSIONS),
    noted("idleTimeout", DurationOrZero, HTTP_ONLY),
]);

static KEEPALIVE: Shape = shape(&[
    acted("probes", UINT32),
    acted("time", Duration),
    acted("interval", Duration),
]);

static HTTP: Shape = shape(&[
    acted("http1MaxPendingRequests", COUNT),
    acted("http2MaxRequests", COUNT),
    acted("maxRequestsPerConnection", COUNT),
    acted("maxRetries", COUNT),
    acted("idleTimeout", DurationOrZero),
    acted(
        "h2UpgradePolicy",
        OneOf(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]),
    ),
    accepted("useClientProtocol", Bool),
    acted("maxConcurrentStreams", COUNT),
    accepted("http2KeepAlive", Object(&HTTP2_KEEPALIVE)),
]);

static HTTP2_KEEPALIVE: Shape = shape(&[
    acted("interval", Duration).required(),
    acted("timeout", Duration).required(),
]);

static OUTLIER: Shape = shape(&[
    acted("consecutiveErrors", COUNT),
    acted("splitExternalLocalOriginErrors", Bool),
    acted("consecutiveLocalOriginFailures", UINT32),
    acted("consecutiveGatewayErrors", UINT32),
    acted("consecutive5xxErrors", UINT32),
    accepted("outlierDetectionHttpErrorCodes", Any),
    acted("interval", Duration),
    acted("baseEjectionTime", Duration),
    acted("maxEjectionPercent", PERCENT),
    acted("minHealthPercent", PERCENT),
]);

static CLIENT_TLS: Shape = shape(&[
    acted(
        "mode",
        OneOf(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]),
    ),
    acted("clientCertificate", Text),
    acted("privateKey", Text),
    acted("caCertificates", Text),
    acted("credentialName", Text),
    acted("subjectAltNames", TEXTS),
    acted("sni", Text),
    acted("insecureSkipVerify", Bool),
    noted("caCrl", Text, NOT_REVOKED),
]);

static TUNNEL: Shape = shape(&[
    acted("protocol", OneOf(&["CONNECT", "POST"])),
    acted("targetHost", Text).required(),
    acted("targetPort", PORT).required(),
]);

static PROXY_PROTOCOL: Shape = shape(&[acted("version", OneOf(&["V1", "V2"]))]);

static RETRY_BUDGET: Shape = shape(&[
    acted("percent", Number(0.0, 100.0)),
    acted("minRetryConcurrency", UINT32),
]);
