//! GatewayClass, Gateway, ListenerSet.

use super::syntax::{
    ADDRESS_TYPE, CONTROLLER, GROUP, HOST, KIND, NAME, PROTOCOL, SECTION, TEXT_64, TEXT_253,
    TEXT_4096,
};
use super::{FULL_REF, LABEL_SELECTOR, LOCAL_REF, OBJECT_REF, PARENT_REF};
use crate::schema::Type::{Keyed, Object, OneOf, Sized, Word};
use crate::schema::{LABEL_KEY, LABEL_VALUE, PORT, Shape, acted, noted, object, quiet, shape};

pub(super) static CLASS: Shape = object!(acted("spec", Object(&CLASS_SPEC)).required());

static CLASS_SPEC: Shape = shape(&[
    acted("controllerName", Word(CONTROLLER)).required(),
    noted(
        "parametersRef",
        Object(&FULL_REF),
        "gateways are configured by their flags",
    ),
    quiet("description", Word(TEXT_64)),
]);

pub(super) static GATEWAY: Shape = object!(acted("spec", Object(&GATEWAY_SPEC)).required());

static GATEWAY_SPEC: Shape = shape(&[
    acted("gatewayClassName", Word(NAME)).required(),
    acted("listeners", Sized(1, 64, &Object(&LISTENER))).required(),
    acted("addresses", Sized(0, 16, &Object(&ADDRESS))),
    acted("infrastructure", Object(&INFRASTRUCTURE)),
    acted("allowedListeners", Object(&ALLOWED_LISTENERS)),
    acted("tls", Object(&GATEWAY_TLS)),
    noted(
        "defaultScope",
        OneOf(&["All", "None"]),
        "routes attach to what they name",
    )
    .unless(&["None"]),
]);

static ADDRESS: Shape = shape(&[
    acted("type", Word(ADDRESS_TYPE)),
    acted("value", Word(TEXT_253)),
]);

static INFRASTRUCTURE: Shape = shape(&[
    acted("labels", Keyed(LABEL_KEY, &Word(LABEL_VALUE))),
    noted(
        "annotations",
        Keyed(LABEL_KEY, &Word(TEXT_4096)),
        "gateways are started by their owner, not by the mesh",
    ),
    noted(
        "parametersRef",
        Object(&LOCAL_REF),
        "gateways are configured by their flags",
    ),
]);

static ALLOWED_LISTENERS: Shape = shape(&[acted("namespaces", Object(&LISTENER_NAMESPACES))]);

static LISTENER_NAMESPACES: Shape = shape(&[
    acted("from", OneOf(&["All", "Selector", "Same", "None"])),
    acted("selector", Object(&LABEL_SELECTOR)),
]);

static GATEWAY_TLS: Shape = shape(&[
    noted(
        "backend",
        Object(&GATEWAY_TLS_BACKEND),
        "gateways show services the mesh's own certificates",
    ),
    acted("frontend", Object(&GATEWAY_TLS_FRONTEND)),
]);

static GATEWAY_TLS_BACKEND: Shape = shape(&[acted("clientCertificateRef", Object(&OBJECT_REF))]);

static GATEWAY_TLS_FRONTEND: Shape = shape(&[
    acted("default", Object(&FRONTEND_TLS)).required(),
    acted("perPort", Sized(0, 64, &Object(&FRONTEND_PORT))),
]);

static FRONTEND_TLS: Shape = shape(&[acted("validation", Object(&VALIDATION))]);

static FRONTEND_PORT: Shape = shape(&[
    acted("port", PORT).required(),
    acted("tls", Object(&FRONTEND_TLS)).required(),
]);

static VALIDATION: Shape = shape(&[
    acted("caCertificateRefs", Sized(1, 8, &Object(&FULL_REF))).required(),
    acted("mode", OneOf(&["AllowValidOnly", "AllowInsecureFallback"])),
]);

static LISTENER: Shape = shape(&[
    acted("name", Word(SECTION)).required(),
    acted("hostname", Word(HOST)),
    acted("port", PORT).required(),
    acted("protocol", Word(PROTOCOL)).required(),
    acted("tls", Object(&LISTENER_TLS)),
    acted("allowedRoutes", Object(&ALLOWED_ROUTES)),
]);

static LISTENER_TLS: Shape = shape(&[
    acted("mode", OneOf(&["Terminate", "Passthrough"])),
    acted("certificateRefs", Sized(0, 64, &Object(&OBJECT_REF))),
    noted(
        "options",
        Keyed(LABEL_KEY, &Word(TEXT_4096)),
        "TLS is spoken with the mesh's defaults",
    ),
    noted(
        "frontendValidation",
        Object(&VALIDATION),
        "clients are NOT asked for a certificate because of it",
    ),
]);

static ALLOWED_ROUTES: Shape = shape(&[
    acted("namespaces", Object(&ROUTE_NAMESPACES)),
    acted("kinds", Sized(0, 8, &Object(&ROUTE_KIND))),
]);

static ROUTE_NAMESPACES: Shape = shape(&[
    acted("from", OneOf(&["All", "Selector", "Same"])),
    acted("selector", Object(&LABEL_SELECTOR)),
]);

static ROUTE_KIND: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)).required(),
]);

pub(super) static LISTENER_SET: Shape = object!(acted("spec", Object(&SET_SPEC)).required());

static SET_SPEC: Shape = shape(&[
    acted("parentRef", Object(&PARENT_REF)).required(),
    acted("listeners", Sized(1, 64, &Object(&LISTENER))).required(),
]);
