//! The filters of HTTPRoute and GRPCRoute.

use super::LOCAL_REF;
use super::syntax::{
    FIXED_HOST, GROUP, HEADER_NAME, HEADER_VALUE, KIND, NAME, NAMESPACE, ORIGIN, PATH, TEXT_253,
    TEXT_1024,
};
use crate::schema::Type::{Bool, Integer, Object, OneOf, Sized, Word};
use crate::schema::{COUNT, PORT, Shape, acted, noted, shape};

const REFUSED: &str = "the rule answers with 500, so that no request goes on without it";

pub(super) static HTTP_FILTER: Shape = shape(&[
    acted(
        "type",
        OneOf(&[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "CORS",
            "ExternalAuth",
            "ExtensionRef",
        ]),
    )
    .required(),
    acted("requestHeaderModifier", Object(&HEADERS)),
    acted("responseHeaderModifier", Object(&HEADERS)),
    acted("requestMirror", Object(&MIRROR)),
    acted("requestRedirect", Object(&REDIRECT)),
    acted("urlRewrite", Object(&REWRITE)),
    acted("cors", Object(&CORS)),
    noted("externalAuth", Object(&EXTERNAL_AUTH), REFUSED),
    noted("extensionRef", Object(&LOCAL_REF), REFUSED),
]);

pub(super) static GRPC_FILTER: Shape = shape(&[
    acted(
        "type",
        OneOf(&[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "ExtensionRef",
        ]),
    )
    .required(),
    acted("requestHeaderModifier", Object(&HEADERS)),
    acted("responseHeaderModifier", Object(&HEADERS)),
    acted("requestMirror", Object(&MIRROR)),
    noted("extensionRef", Object(&LOCAL_REF), REFUSED),
]);

static HEADERS: Shape = shape(&[
    acted("set", Sized(0, 16, &Object(&HEADER))),
    acted("add", Sized(0, 16, &Object(&HEADER))),
    acted("remove", Sized(0, 16, &Word(TEXT_253))),
]);

static HEADER: Shape = shape(&[
    acted("name", Word(HEADER_NAME)).required(),
    acted("value", Word(HEADER_VALUE)).required(),
]);

static MIRROR: Shape = shape(&[
    acted("backendRef", Object(&BACKEND)).required(),
    acted("percent", Integer(0, 100)),
    acted("fraction", Object(&FRACTION)),
]);

static BACKEND: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)),
    acted("name", Word(NAME)).required(),
    acted("namespace", Word(NAMESPACE)),
    acted("port", PORT),
]);

static FRACTION: Shape = shape(&[
    acted("numerator", COUNT).required(),
    acted("denominator", Integer(1, i32::MAX as i64)),
]);

static PATH_MODIFIER: Shape = shape(&[
    acted("type", OneOf(&["ReplaceFullPath", "ReplacePrefixMatch"])).required(),
    acted("replaceFullPath", Word(TEXT_1024)),
    acted("replacePrefixMatch", Word(TEXT_1024)),
]);

static REDIRECT: Shape = shape(&[
    acted("scheme", OneOf(&["http", "https"])),
    acted("hostname", Word(FIXED_HOST)),
    acted("path", Object(&PATH_MODIFIER)),
    acted("port", PORT),
    acted("statusCode", Integer(301, 308)),
]);

static REWRITE: Shape = shape(&[
    acted("hostname", Word(FIXED_HOST)),
    acted("path", Object(&PATH_MODIFIER)),
]);

static CORS: Shape = shape(&[
    acted("allowOrigins", Sized(0, 64, &Word(ORIGIN))),
    acted("allowCredentials", Bool),
    acted(
        "allowMethods",
        Sized(
            0,
            9,
            &OneOf(&[
                "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*",
            ]),
        ),
    ),
    acted("allowHeaders", Sized(0, 64, &Word(HEADER_NAME))),
    acted("exposeHeaders", Sized(0, 64, &Word(HEADER_NAME))),
    acted("maxAge", Integer(1, i32::MAX as i64)),
]);

static EXTERNAL_AUTH: Shape = shape(&[
    acted("protocol", OneOf(&["HTTP", "GRPC"])).required(),
    acted("backendRef", Object(&BACKEND)).required(),
    acted("grpc", Object(&AUTH_GRPC)),
    acted("http", Object(&AUTH_HTTP)),
    acted("forwardBody", Object(&AUTH_BODY)),
]);

static AUTH_GRPC: Shape = shape(&[acted("allowedHeaders", Sized(0, 64, &Word(HEADER_NAME)))]);

static AUTH_HTTP: Shape = shape(&[
    acted("path", Word(PATH)),
    acted("allowedHeaders", Sized(0, 64, &Word(HEADER_NAME))),
    acted("allowedResponseHeaders", Sized(0, 64, &Word(HEADER_NAME))),
]);

static AUTH_BODY: Shape = shape(&[acted("maxSize", Integer(0, 65_535))]);
