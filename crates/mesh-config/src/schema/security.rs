//! `security.istio.io` PeerAuthentication, AuthorizationPolicy and RequestAuthentication.

use super::Type::{Bool, Duration, Keyed, List, Object, OneOf, Text, Word};
use super::selector::{SELECTOR, TARGET_REF, TARGET_REFS};
use super::{FILLED, Shape, Syntax, Type, acted, choice, object, shape, syntax};
use crate::rules;

pub(super) static PEER_AUTHENTICATION: Shape = object!(acted("spec", Object(&PEER)));

static PEER: Shape = shape(&[
    acted("selector", SELECTOR),
    acted("mtls", Object(&MTLS)),
    acted("portLevelMtls", Keyed(PORT_KEY, &Object(&MTLS))),
]);

static MTLS: Shape = shape(&[acted(
    "mode",
    OneOf(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]),
)]);

const PORT_KEY: Syntax = syntax("a port", rules::port_key);

pub(super) static AUTHORIZATION_POLICY: Shape = object!(acted("spec", Object(&AUTHORIZATION)));

static AUTHORIZATION: Shape = shape(&[
    acted("selector", SELECTOR),
    acted("targetRef", TARGET_REF),
    acted("targetRefs", TARGET_REFS),
    acted("rules", List(&Object(&RULE))),
    acted("action", OneOf(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
    acted("provider", Object(&PROVIDER)),
]);

static PROVIDER: Shape = shape(&[acted("name", Text)]);

static RULE: Shape = shape(&[
    acted("from", List(&Object(&FROM))),
    acted("to", List(&Object(&TO))),
    acted("when", List(&Object(&CONDITION))),
]);

static FROM: Shape = shape(&[acted("source", Object(&SOURCE)).required()]);

const FILLED_LIST: Type = List(&FILLED);
const BLOCKS: Type = List(&Word(super::SUBNET));
const ACCOUNTS: Type = List(&Word(ACCOUNT));
const ACCOUNT: Syntax = syntax("a service account", rules::service_account);

static SOURCE: Shape = shape(&[
    acted("principals", FILLED_LIST),
    acted("notPrincipals", FILLED_LIST),
    acted("requestPrincipals", FILLED_LIST),
    acted("notRequestPrincipals", FILLED_LIST),
    acted("namespaces", FILLED_LIST),
    acted("notNamespaces", FILLED_LIST),
    acted("serviceAccounts", ACCOUNTS),
    acted("notServiceAccounts", ACCOUNTS),
    acted("trustDomains", FILLED_LIST),
    acted("notTrustDomains", FILLED_LIST),
    acted("ipBlocks", BLOCKS),
    acted("notIpBlocks", BLOCKS),
    acted("remoteIpBlocks", BLOCKS),
    acted("notRemoteIpBlocks", BLOCKS),
]);

static TO: Shape = shape(&[acted("operation", Object(&OPERATION)).required()]);

const PORTS: Type = List(&Word(PORT_TEXT));
const PORT_TEXT: Syntax = syntax("a port as a text", rules::port_text);
const PATHS: Type = List(&Word(PATH));
const PATH: Syntax = syntax("a path", rules::policy_path);

static OPERATION: Shape = shape(&[
    acted("hosts", FILLED_LIST),
    acted("notHosts", FILLED_LIST),
    acted("ports", PORTS),
    acted("notPorts", PORTS),
    acted("methods", FILLED_LIST),
    acted("notMethods", FILLED_LIST),
    acted("paths", PATHS),
    acted("notPaths", PATHS),
]);

static CONDITION: Shape = shape(&[
    acted("key", Word(ATTRIBUTE)).required(),
    acted("values", FILLED_LIST),
    acted("notValues", FILLED_LIST),
]);

const ATTRIBUTE: Syntax = syntax("an attribute", rules::attribute);

pub(super) static REQUEST_AUTHENTICATION: Shape = object!(acted("spec", Object(&REQUEST)));

static REQUEST: Shape = shape(&[
    acted("selector", SELECTOR),
    acted("targetRef", TARGET_REF),
    acted("targetRefs", TARGET_REFS),
    acted("jwtRules", List(&Object(&JWT_RULE))),
]);

const KEYS_URL: Type = Word(JWKS_URL);
const JWKS_URL: Syntax = syntax("a URL", rules::http_url);
const JWKS: Syntax = syntax("a JSON Web Key Set", rules::jwks);

static JWT_RULE: Shape = choice(
    &[&["jwksUri", "jwks_uri", "jwks"]],
    &[
        acted("issuer", FILLED),
        acted("audiences", FILLED_LIST),
        acted("jwksUri", KEYS_URL),
        acted("jwks_uri", KEYS_URL),
        acted("jwks", Word(JWKS)),
        acted("fromHeaders", List(&Object(&FROM_HEADER))),
        acted("fromParams", FILLED_LIST),
        acted("fromCookies", FILLED_LIST),
        acted("outputPayloadToHeader", Text),
        acted("outputClaimToHeaders", List(&Object(&CLAIM_TO_HEADER))),
        acted("forwardOriginalToken", Bool),
        acted("timeout", Duration),
        acted("spaceDelimitedClaims", FILLED_LIST),
    ],
);

static FROM_HEADER: Shape = shape(&[acted("name", FILLED).required(), acted("prefix", Text)]);

static CLAIM_TO_HEADER: Shape = shape(&[
    acted("header", Word(OUTPUT_HEADER)).required(),
    acted("claim", FILLED).required(),
]);

const OUTPUT_HEADER: Syntax = syntax("the name of a header", rules::output_header);
