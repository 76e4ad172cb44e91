//! `networking.istio.io` Gateway.

use super::Type::{Bool, Integer, List, Object, OneOf, Text};
use super::{LABELS, Shape, TEXTS, accepted, acted, object, quiet, shape};

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

static SPEC: Shape = shape(&[
    acted("selector", LABELS),
    acted("servers", List(&Object(&SERVER))),
]);

static SERVER: Shape = shape(&[
    acted("port", Object(&SERVER_PORT)).required(),
    acted("bind", Text),
    acted("hosts", TEXTS).required(),
    acted("tls", Object(&TLS)),
    accepted("defaultEndpoint", Text),
    // A name for people and logs.
    quiet("name", Text),
]);

static SERVER_PORT: Shape = shape(&[
    // 0 where `bind` is a Unix socket.
    acted("number", Integer(0, 65_535)).required(),
    // The rules take care of it: its spelling is free.
    acted("protocol", Text).required(),
    acted("name", Text).required(),
    accepted("targetPort", super::UINT32),
]);

const TLS_VERSION: super::Type = OneOf(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);

pub(super) static TLS: Shape = shape(&[
    acted("httpsRedirect", Bool),
    acted(
        "mode",
        OneOf(&[
            "PASSTHROUGH",
            "SIMPLE",
            "MUTUAL",
            "AUTO_PASSTHROUGH",
            "ISTIO_MUTUAL",
            "OPTIONAL_MUTUAL",
        ]),
    ),
    acted("serverCertificate", Text),
    acted("privateKey", Text),
    acted("caCertificates", Text),
    acted("caCrl", Text),
    acted("credentialName", Text),
    acted("credentialNames", TEXTS),
    acted("caCertCredentialName", Text),
    acted("tlsCertificates", List(&Object(&CERTIFICATE))),
    acted("subjectAltNames", TEXTS),
    acted("verifyCertificateSpki", TEXTS),
    acted("verifyCertificateHash", TEXTS),
    acted("minProtocolVersion", TLS_VERSION),
    acted("maxProtocolVersion", TLS_VERSION),
    acted("cipherSuites", TEXTS),
]);

static CERTIFICATE: Shape = shape(&[
    acted("serverCertificate", Text),
    acted("privateKey", Text),
    acted("caCertificates", Text),
]);
