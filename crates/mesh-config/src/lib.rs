//! The user's model: YAML to types, with line numbers.

pub mod model;
