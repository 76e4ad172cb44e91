//! Which workloads a policy is for: shared by all kinds that choose some.

use super::Type::{Keyed, List, Object, Text, Word};
use super::{Shape, Syntax, Type, acted, shape, syntax};
use crate::rules;

pub(super) const SELECTOR: Type = Object(&WORKLOAD_SELECTOR);
pub(super) const TARGET_REF: Type = Object(&REFERENCE);
pub(super) const TARGET_REFS: Type = List(&TARGET_REF);

static WORKLOAD_SELECTOR: Shape = shape(&[acted("matchLabels", SELECTED)]);

/// Labels to look for, freer in their syntax than labels themselves.
pub(super) const SELECTED: Type = Keyed(KEY, &Word(VALUE));

static REFERENCE: Shape = shape(&[
    acted("group", Text),
    acted("kind", Text).required(),
    acted("name", Text).required(),
    acted("namespace", Text),
]);

const KEY: Syntax = syntax("the key of a label", rules::selector_key);
const VALUE: Syntax = syntax("the value of a label", rules::selector_value);
