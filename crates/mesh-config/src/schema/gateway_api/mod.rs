//! `gateway.networking.k8s.io`: the tables of the Gateway API's kinds.
//!
//! What a table cannot say, how fields go together, is in `read::gateway_api`.

mod filter;
mod gateway;
mod policy;
mod route;
pub(crate) mod syntax;

use super::Type::{List, Object, OneOf, Word};
use super::{LABELS, PORT, Shape, TEXTS, acted, shape};
use crate::model::gateway_api::Kind;
use syntax::{GROUP, KIND, NAME, NAMESPACE, SECTION};

/// The table of a kind's whole object.
pub(super) fn of(kind: Kind) -> &'static Shape {
    match kind {
        Kind::BackendTlsPolicy => &policy::BACKEND_TLS,
        Kind::Gateway => &gateway::GATEWAY,
        Kind::GatewayClass => &gateway::CLASS,
        Kind::GrpcRoute => &route::GRPC,
        Kind::HttpRoute => &route::HTTP,
        Kind::ListenerSet => &gateway::LISTENER_SET,
        Kind::ReferenceGrant => &policy::GRANT,
        Kind::TcpRoute | Kind::UdpRoute => &route::BYTES,
        Kind::TlsRoute => &route::TLS,
    }
}

/// A reference whose group and kind may be left out.
static OBJECT_REF: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)),
    acted("name", Word(NAME)).required(),
    acted("namespace", Word(NAMESPACE)),
]);

/// A reference to an object of the same namespace.
static LOCAL_REF: Shape = shape(&[
    acted("group", Word(GROUP)).required(),
    acted("kind", Word(KIND)).required(),
    acted("name", Word(NAME)).required(),
]);

/// The same, where the namespace may be another one.
static FULL_REF: Shape = shape(&[
    acted("group", Word(GROUP)).required(),
    acted("kind", Word(KIND)).required(),
    acted("name", Word(NAME)).required(),
    acted("namespace", Word(NAMESPACE)),
]);

static PARENT_REF: Shape = shape(&[
    acted("group", Word(GROUP)),
    acted("kind", Word(KIND)),
    acted("namespace", Word(NAMESPACE)),
    acted("name", Word(NAME)).required(),
    acted("sectionName", Word(SECTION)),
    acted("port", PORT),
]);

static LABEL_SELECTOR: Shape = shape(&[
    acted("matchLabels", LABELS),
    acted("matchExpressions", List(&Object(&REQUIREMENT))),
]);

static REQUIREMENT: Shape = shape(&[
    acted("key", super::Type::Text).required(),
    acted(
        "operator",
        OneOf(&["In", "NotIn", "Exists", "DoesNotExist"]),
    )
    .required(),
    acted("values", TEXTS),
]);
