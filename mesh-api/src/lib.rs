//! The control plane.

pub mod graph;
