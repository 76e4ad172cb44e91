//! `networking.istio.io` WorkloadGroup and WorkloadEntry.

use super::Type::{Keyed, List, Map, Object, OneOf, Sized, Text, Word};
use super::{
    COUNT, LABELS, PORT, Shape, Syntax, UINT32, accepted, acted, noted, object, quiet, shape,
    syntax,
};
use crate::rules;

pub(super) static GROUP: Shape = object!(acted("spec", Object(&GROUP_SPEC)).required());

pub(super) static ENTRY: Shape = object!(acted("spec", Object(&ENTRY_SPEC)).required());

static GROUP_SPEC: Shape = shape(&[
    acted("metadata", Object(&GROUP_METADATA)),
    acted("template", Object(&TEMPLATE)).required(),
    noted(
        "probe",
        Object(&PROBE),
        "an endpoint is ready as long as its agent is",
    ),
]);

static GROUP_METADATA: Shape = shape(&[acted("labels", LABELS), quiet("annotations", Map(&Text))]);

static TEMPLATE: Shape = shape(&[
    noted("address", Text, "agents tell their own address"),
    acted("ports", Keyed(PORT_NAME, &PORT)),
    acted("labels", LABELS),
    acted("serviceAccount", Text),
    accepted("network", Text),
    acted("locality", Text),
    acted("weight", UINT32),
]);

pub(super) static ENTRY_SPEC: Shape = shape(&[
    acted("address", Text),
    acted("ports", Keyed(PORT_NAME, &PORT)),
    acted("labels", LABELS),
    acted("serviceAccount", Text),
    accepted("network", Text),
    acted("locality", Text),
    acted("weight", UINT32),
]);

static PROBE: Shape = super::choice(
    &[&["httpGet", "tcpSocket", "exec", "grpc"]],
    &[
        acted("initialDelaySeconds", COUNT),
        acted("timeoutSeconds", COUNT),
        acted("periodSeconds", COUNT),
        acted("successThreshold", COUNT),
        acted("failureThreshold", COUNT),
        acted("httpGet", Object(&HTTP_GET)),
        acted("tcpSocket", Object(&TCP_SOCKET)),
        acted("exec", Object(&EXEC)),
        acted("grpc", Object(&GRPC)),
    ],
);

static HTTP_GET: Shape = shape(&[
    acted("path", Text),
    acted("port", PORT).required(),
    acted("host", Text),
    acted("scheme", OneOf(&["", "HTTP", "HTTPS"])),
    acted("httpHeaders", List(&Object(&HEADER))),
]);

static HEADER: Shape = shape(&[acted("name", Word(PROBE_HEADER)), acted("value", Text)]);

static TCP_SOCKET: Shape = shape(&[acted("host", Text), acted("port", PORT).required()]);

static EXEC: Shape = shape(&[acted("command", Sized(1, usize::MAX, &Text)).required()]);

static GRPC: Shape = shape(&[acted("port", UINT32), acted("service", Text)]);

const PORT_NAME: Syntax = syntax("the name of a port", rules::workload_port_name);
const PROBE_HEADER: Syntax = syntax("the name of a header", rules::probe_header);
