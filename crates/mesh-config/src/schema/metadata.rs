//! `metadata`: the same for every kind.

use super::Type::{Any, Integer, Map, Text};
use super::{LABELS, Shape, TEXTS, acted, noted, quiet, shape};

pub(super) static METADATA: Shape = shape(&[
    acted("name", Text),
    noted(
        "generateName",
        Text,
        "names are not made up; give the object a name",
    ),
    acted("namespace", Text),
    acted("labels", LABELS),
    quiet("annotations", Map(&Text)),
    noted(
        "finalizers",
        TEXTS,
        "a deleted object is gone at once, whoever waits for it",
    ),
    noted(
        "ownerReferences",
        Any,
        "the object stays when its owner is deleted",
    ),
    // The server's own notes, which come back with every object that was read from one.
    quiet("creationTimestamp", Text),
    quiet("deletionGracePeriodSeconds", Integer(0, i64::MAX)),
    quiet("deletionTimestamp", Text),
    quiet("generation", Integer(0, i64::MAX)),
    quiet("managedFields", Any),
    quiet("resourceVersion", Text),
    quiet("selfLink", Text),
    quiet("uid", Text),
]);
