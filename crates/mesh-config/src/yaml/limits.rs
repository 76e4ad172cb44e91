//! How much a text may ask of us.

use super::{Node, Value};

/// Bounds that keep the cost of reading a text in proportion to what a mesh can need.
///
/// Aliases are what makes YAML dangerous: nine lines of them can stand for a billion nodes. They
/// are charged here before they are expanded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the whole text.
    pub(crate) text: usize,
    /// Bytes of one scalar. Kubernetes itself stops at 1.5 MiB for a whole object.
    pub(crate) scalar: usize,
    /// Nodes of all documents together, counting what aliases stand for.
    pub(crate) nodes: usize,
    /// Bytes of all scalars that aliases stand for.
    pub(crate) aliased_bytes: usize,
    /// Collections inside one another.
    pub(crate) depth: usize,
}

impl Limits {
    /// The limits of every text that a user hands in: two thousand objects fit with room to spare.
    pub(crate) const DEFAULT: Limits = Limits {
        text: 16 << 20,
        scalar: 2 << 20,
        nodes: 500_000,
        aliased_bytes: 4 << 20,
        depth: 100,
    };
}

/// What copying a node costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub(super) nodes: usize,
    /// Bytes of its scalars and keys.
    pub(super) bytes: usize,
    /// Collections inside one another.
    pub(super) depth: usize,
}

impl Weight {
    pub(super) fn of(node: &Node) -> Weight {
        let mut sum = Weight {
            nodes: 1,
            ..Weight::default()
        };
        match &node.value {
            Value::Null => {}
            Value::Bool(_, written) | Value::Number(_, written) => sum.bytes += written.len(),
            Value::String(text) => sum.bytes += text.len(),
            Value::List(items) => items.iter().for_each(|item| sum.add(item)),
            Value::Map(entries) => {
                for entry in entries {
                    sum.add(&entry.value);
                    sum.bytes += entry.key.len();
                }
            }
        }
        sum.depth += usize::from(matches!(node.value, Value::List(_) | Value::Map(_)));
        sum
    }

    fn add(&mut self, child: &Node) {
        let child = Weight::of(child);
        self.nodes += child.nodes;
        self.bytes += child.bytes;
        self.depth = self.depth.max(child.depth);
    }
}
