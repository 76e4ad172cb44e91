//! `networking.istio.io` Sidecar.

use super::Type::{Integer, List, Object, OneOf, Text};
use super::{
    PORT, Shape, TEXTS, UINT32, acted, destination_rule, gateway, noted, object, quiet,
    service_entry, shape,
};

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

const UNLIMITED: &str = "what an agent takes for its workload has no limits";
const CAPTURE: &str = "agents capture nothing: apps speak to them";

static SPEC: Shape = shape(&[
    acted("workloadSelector", Object(&service_entry::SELECTOR)),
    acted("ingress", List(&Object(&INGRESS))),
    acted("egress", List(&Object(&EGRESS))),
    noted(
        "inboundConnectionPool",
        Object(&destination_rule::CONNECTION_POOL),
        UNLIMITED,
    ),
    acted("outboundTrafficPolicy", Object(&OUTBOUND)),
]);

static INGRESS: Shape = shape(&[
    acted("port", Object(&SIDECAR_PORT)).required(),
    noted(
        "bind",
        Text,
        "agents take the mesh's traffic at their one inbound port",
    ),
    noted("captureMode", CAPTURE_MODE, CAPTURE).unless(&["DEFAULT", "NONE"]),
    acted("defaultEndpoint", Text),
    noted(
        "tls",
        Object(&gateway::TLS),
        "agents demand the mesh's mTLS at their inbound port",
    ),
    noted(
        "connectionPool",
        Object(&destination_rule::CONNECTION_POOL),
        UNLIMITED,
    ),
]);

static EGRESS: Shape = shape(&[
    acted("port", Object(&SIDECAR_PORT)),
    noted(
        "bind",
        Text,
        "agents listen where their flags say; the hosts and the port are acted on",
    ),
    noted("captureMode", CAPTURE_MODE, CAPTURE).unless(&["DEFAULT", "NONE"]),
    acted("hosts", TEXTS).required(),
]);

const CAPTURE_MODE: super::Type = OneOf(&["DEFAULT", "IPTABLES", "NONE"]);

static SIDECAR_PORT: Shape = shape(&[
    // 0 where `bind` is a Unix socket.
    acted("number", Integer(0, 65_535)),
    acted("protocol", Text),
    // A name for people.
    quiet("name", Text),
    acted("targetPort", UINT32),
]);

pub(super) static OUTBOUND: Shape = shape(&[
    acted("mode", OneOf(&["ALLOW_ANY", "REGISTRY_ONLY"])),
    noted(
        "egressProxy",
        Object(&EGRESS_PROXY),
        "what is not known goes to the host that was asked for",
    ),
]);

static EGRESS_PROXY: Shape = shape(&[
    acted("host", Text).required(),
    acted("subset", super::Type::Word(super::DNS_LABEL)),
    acted("port", Object(&PORT_SELECTOR)),
]);

static PORT_SELECTOR: Shape = shape(&[acted("number", PORT)]);
