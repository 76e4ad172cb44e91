//! `networking.istio.io` ServiceEntry.

use super::Type::{Integer, List, Object, OneOf, Text, Word};
use super::{EXPORT_TO, LABELS, SUBNET, Shape, TEXTS, acted, object, shape, workload};

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

static SPEC: Shape = shape(&[
    acted("hosts", TEXTS).required(),
    acted("addresses", List(&Word(SUBNET))),
    acted("ports", List(&Object(&PORT))),
    acted("location", OneOf(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
    acted(
        "resolution",
        OneOf(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
    ),
    acted("endpoints", List(&Object(&workload::ENTRY_SPEC))),
    acted("workloadSelector", Object(&SELECTOR)),
    acted("exportTo", EXPORT_TO),
    acted("subjectAltNames", TEXTS),
]);

static PORT: Shape = shape(&[
    acted("number", super::PORT).required(),
    // The rules take care of it: its spelling is free.
    acted("protocol", Text),
    acted("name", Text).required(),
    acted("targetPort", Integer(0, 65_535)),
]);

pub(super) static SELECTOR: Shape = shape(&[acted("labels", LABELS)]);
