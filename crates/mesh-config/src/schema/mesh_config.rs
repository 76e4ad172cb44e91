//! Istio's MeshConfig: one map, without the envelope of an object.

use super::Type::{Any, Bool, Duration, DurationOrZero, Integer, List, Object, OneOf, Text};
use super::{
    EXPORT_TO, PORT, Shape, TEXTS, accepted, acted, noted, quiet, shape, sidecar, virtual_service,
};

const FLAGS: &str = "proxies are configured by their flags";
const STANDARD_LOG: &str = "proxies write their access log as their flags say";
const REPORTED: &str = "every proxy reports the standard metrics";
const NO_INGRESS: &str = "use a Gateway and a VirtualService to let traffic in";

pub(crate) static MESH_CONFIG: Shape = shape(&[
    noted("proxyListenPort", PORT, FLAGS).unless(&["15001"]),
    noted("proxyInboundListenPort", PORT, FLAGS).unless(&["15006"]),
    noted("proxyHttpPort", Integer(0, 65_535), FLAGS),
    acted("connectTimeout", Duration),
    accepted("tcpKeepalive", Any),
    noted("ingressClass", Text, NO_INGRESS),
    noted("ingressService", Text, NO_INGRESS),
    noted(
        "ingressControllerMode",
        OneOf(&["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"]),
        NO_INGRESS,
    )
    .unless(&["OFF", "UNSPECIFIED"]),
    noted("ingressSelector", Text, NO_INGRESS),
    noted("enableTracing", Bool, FLAGS).unless(&["false"]),
    noted("accessLogFile", Text, STANDARD_LOG).unless(&["", "/dev/stdout"]),
    noted("accessLogFormat", Text, STANDARD_LOG).unless(&[""]),
    noted("accessLogEncoding", OneOf(&["TEXT", "JSON"]), STANDARD_LOG),
    noted("enableEnvoyAccessLogService", Bool, STANDARD_LOG).unless(&["false"]),
    noted("disableEnvoyListenerLog", Bool, STANDARD_LOG),
    noted("defaultConfig", Any, FLAGS),
    acted("outboundTrafficPolicy", Object(&sidecar::OUTBOUND)),
    noted(
        "inboundTrafficPolicy",
        Any,
        "agents take only what a service leads to",
    ),
    accepted("configSources", Any),
    noted(
        "enableAutoMtls",
        Bool,
        "agents always speak the mesh's mTLS to one another",
    )
    .unless(&["true"]),
    acted("trustDomain", Text),
    noted(
        "trustDomainAliases",
        TEXTS,
        "only identities of the mesh's own trust domain are taken",
    ),
    accepted("caCertificates", Any),
    acted("defaultServiceExportTo", EXPORT_TO),
    acted("defaultVirtualServiceExportTo", EXPORT_TO),
    acted("defaultDestinationRuleExportTo", EXPORT_TO),
    acted("rootNamespace", Text),
    accepted("localityLbSetting", Any),
    noted(
        "dnsRefreshRate",
        DurationOrZero,
        "names are resolved again every 5 s",
    )
    .unless(&["5s"]),
    accepted("h2UpgradePolicy", OneOf(&["DO_NOT_UPGRADE", "UPGRADE"])).unless(&["DO_NOT_UPGRADE"]),
    noted("inboundClusterStatName", Text, REPORTED),
    noted("outboundClusterStatName", Text, REPORTED),
    accepted("certificates", Any),
    accepted("thriftConfig", Any),
    accepted("serviceSettings", List(&Any)),
    quiet("enablePrometheusMerge", Bool),
    accepted("verifyCertificateAtClient", Bool),
    accepted("extensionProviders", List(&Any)),
    accepted("defaultProviders", Any),
    accepted("discoverySelectors", List(&Any)),
    acted("pathNormalization", Object(&PATH)),
    acted("defaultHttpRetryPolicy", Object(&virtual_service::RETRIES)),
    accepted("meshMTLS", Any),
    accepted("tlsDefaults", Any),
    accepted("hboneIdleTimeout", DurationOrZero),
]);

static PATH: Shape = shape(&[acted(
    "normalization",
    OneOf(&[
        "DEFAULT",
        "NONE",
        "BASE",
        "MERGE_SLASHES",
        "DECODE_AND_MERGE_SLASHES",
    ]),
)]);
