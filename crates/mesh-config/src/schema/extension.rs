//! Kinds that extend Envoy or configure Istio's own proxies: `extensions.istio.io` WasmPlugin and
//! TrafficExtension, `networking.istio.io` EnvoyFilter and ProxyConfig.
//!
//! The mesh runs no extensions, so nothing of them has a type; their tables are here for the
//! verdicts, so that a mistake shows before the object is taken to a mesh that acts on it.

use super::Type::{Any, Integer, List, Map, Object, OneOf, Text, Word};
use super::selector::{SELECTED, SELECTOR, TARGET_REF, TARGET_REFS};
use super::{
    COUNT, INT32, PORT, Shape, Syntax, Type, UINT32, acted, choice, object, shape, syntax,
};
use crate::rules;

pub(super) static WASM_PLUGIN: Shape = object!(acted("spec", Object(&PLUGIN)).required());

const FREE_MAP: Type = Map(&Any);
const PHASE: Type = OneOf(&["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"]);
const FAIL_STRATEGY: Type = OneOf(&["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]);
const PULL_POLICY: Type = OneOf(&["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]);
const PLUGIN_TYPE: Type = OneOf(&["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]);
const TRAFFIC: Type = List(&Object(&TRAFFIC_SELECTOR));
const MODULE: Type = Word(syntax("the URL of a module", rules::module_url));
const SHA256: Type = Word(syntax("a checksum", rules::sha256));
const PULL_SECRET: Type = Word(syntax("the name of a Secret", rules::up_to_253));
const PLUGIN_NAME: Type = Word(syntax("a name", rules::up_to_256));

static PLUGIN: Shape = shape(&[
    acted("selector", SELECTOR),
    acted("targetRef", TARGET_REF),
    acted("targetRefs", TARGET_REFS),
    acted("url", MODULE).required(),
    acted("sha256", SHA256),
    acted("imagePullPolicy", PULL_POLICY),
    acted("imagePullSecret", PULL_SECRET),
    acted("verificationKey", Text),
    acted("pluginConfig", FREE_MAP),
    acted("pluginName", PLUGIN_NAME),
    acted("phase", PHASE),
    acted("priority", INT32),
    acted("failStrategy", FAIL_STRATEGY),
    acted("vmConfig", Object(&VM)),
    acted("match", TRAFFIC),
    acted("type", PLUGIN_TYPE),
]);

static VM: Shape = shape(&[acted("env", List(&Object(&VARIABLE)))]);

const VARIABLE_VALUE: Syntax = syntax("the value of a variable", rules::up_to_2048);

static VARIABLE: Shape = shape(&[
    acted("name", PLUGIN_NAME).required(),
    acted("valueFrom", OneOf(&["INLINE", "HOST"])),
    acted("value", Word(VARIABLE_VALUE)),
]);

static TRAFFIC_SELECTOR: Shape = shape(&[
    acted(
        "mode",
        OneOf(&["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"]),
    ),
    acted("ports", List(&Object(&TRAFFIC_PORT))),
]);

static TRAFFIC_PORT: Shape = shape(&[acted("number", PORT).required()]);

pub(super) static TRAFFIC_EXTENSION: Shape = object!(acted("spec", Object(&EXTENSION)).required());

static EXTENSION: Shape = choice(
    &[&["wasm", "lua"]],
    &[
        acted("selector", SELECTOR),
        acted("targetRefs", TARGET_REFS),
        acted("phase", PHASE),
        acted("priority", INT32),
        acted("match", TRAFFIC),
        acted("wasm", Object(&WASM)),
        acted("lua", Object(&LUA)),
    ],
);

static WASM: Shape = shape(&[
    acted("url", MODULE).required(),
    acted("sha256", SHA256),
    acted("imagePullPolicy", PULL_POLICY),
    acted("imagePullSecret", PULL_SECRET),
    acted("verificationKey", Text),
    acted("pluginConfig", FREE_MAP),
    acted("pluginName", PLUGIN_NAME),
    acted("failStrategy", FAIL_STRATEGY),
    acted("vmConfig", Object(&VM)),
    acted("type", PLUGIN_TYPE),
]);

const CODE: Syntax = syntax("Lua code", rules::lua);

static LUA: Shape = shape(&[acted("inlineCode", Word(CODE)).required()]);

pub(super) static ENVOY_FILTER: Shape = object!(acted("spec", Object(&ENVOY)));

static ENVOY: Shape = shape(&[
    acted("workloadSelector", Object(&LABEL_SELECTOR)),
    acted("targetRefs", TARGET_REFS),
    acted("configPatches", List(&Object(&CONFIG_PATCH))),
    acted("priority", INT32),
]);

static LABEL_SELECTOR: Shape = shape(&[acted("labels", SELECTED)]);

static CONFIG_PATCH: Shape = shape(&[
    acted(
        "applyTo",
        OneOf(&[
            "INVALID",
            "LISTENER",
            "FILTER_CHAIN",
            "NETWORK_FILTER",
            "HTTP_FILTER",
            "ROUTE_CONFIGURATION",
            "VIRTUAL_HOST",
            "HTTP_ROUTE",
            "CLUSTER",
            "EXTENSION_CONFIG",
            "BOOTSTRAP",
            "LISTENER_FILTER",
        ]),
    ),
    acted("match", Object(&PATCH_MATCH)),
    acted("patch", Object(&PATCH)),
]);

static PATCH_MATCH: Shape = choice(
    &[&["listener", "routeConfiguration", "cluster", "waypoint"]],
    &[
        acted(
            "context",
            OneOf(&[
                "ANY",
                "SIDECAR_INBOUND",
                "SIDECAR_OUTBOUND",
                "GATEWAY",
                "WAYPOINT",
            ]),
        ),
        acted("proxy", Object(&PROXY_MATCH)),
        acted("listener", Object(&LISTENER)),
        acted("routeConfiguration", Object(&ROUTES)),
        acted("cluster", Object(&CLUSTER)),
        acted("waypoint", Object(&WAYPOINT)),
    ],
);

const VERSIONS: Syntax = syntax("a regular expression", rules::regular_expression);

static PROXY_MATCH: Shape = shape(&[
    acted("proxyVersion", Word(VERSIONS)),
    acted("metadata", Map(&Text)),
]);

static LISTENER: Shape = shape(&[
    acted("portNumber", UINT32),
    acted("portName", Text),
    acted("filterChain", Object(&FILTER_CHAIN)),
    acted("listenerFilter", Text),
    acted("name", Text),
]);

static FILTER_CHAIN: Shape = shape(&[
    acted("name", Text),
    acted("sni", Text),
    acted("transportProtocol", Text),
    acted("applicationProtocols", Text),
    acted("filter", Object(&FILTER)),
    acted("destinationPort", UINT32),
]);

static FILTER: Shape = shape(&[acted("name", Text), acted("subFilter", Object(&SUB_FILTER))]);

static SUB_FILTER: Shape = shape(&[acted("name", Text)]);

static ROUTES: Shape = shape(&[
    acted("portNumber", UINT32),
    acted("portName", Text),
    acted("gateway", Text),
    acted("vhost", Object(&VHOST)),
    acted("name", Text),
]);

static VHOST: Shape = shape(&[
    acted("name", Text),
    acted("domainName", Text),
    acted("route", Object(&ROUTE)),
]);

static ROUTE: Shape = shape(&[
    acted("name", Text),
    acted(
        "action",
        OneOf(&["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"]),
    ),
]);

static CLUSTER: Shape = shape(&[
    acted("portNumber", UINT32),
    acted("service", Text),
    acted("subset", Text),
    acted("name", Text),
]);

static WAYPOINT: Shape = shape(&[
    acted("portNumber", Integer(0, 65_535)),
    acted("filter", Object(&FILTER)),
    acted("route", Object(&WAYPOINT_ROUTE)),
]);

static WAYPOINT_ROUTE: Shape = shape(&[acted("name", Text)]);

static PATCH: Shape = shape(&[
    acted(
        "operation",
        OneOf(&[
            "INVALID",
            "MERGE",
            "ADD",
            "REMOVE",
            "INSERT_BEFORE",
            "INSERT_AFTER",
            "INSERT_FIRST",
            "REPLACE",
        ]),
    ),
    acted("value", FREE_MAP),
    acted(
        "filterClass",
        OneOf(&["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"]),
    ),
]);

pub(super) static PROXY_CONFIG: Shape = object!(acted("spec", Object(&PROXY)));

static PROXY: Shape = shape(&[
    acted("selector", SELECTOR),
    acted("concurrency", COUNT),
    acted("environmentVariables", Map(&Text)),
    acted("image", Object(&IMAGE)),
]);

static IMAGE: Shape = shape(&[acted("imageType", Text)]);
