//! The data plane: xDS resources become an immutable [`snapshot::Snapshot`], and one straight
//! function carries each request through it.

pub mod snapshot;
pub mod upstream;
