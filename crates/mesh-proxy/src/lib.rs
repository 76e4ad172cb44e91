//! The data plane: xDS resources become an immutable [`snapshot::Snapshot`], and one straight
//! function carries each request through it.

mod accept;
mod answer;
mod exchange;
pub mod fail;
mod grpc;
mod http;
mod peer;
mod pipeline;
pub mod runtime;
pub mod snapshot;
pub mod steps;
pub mod telemetry;
mod tls;
pub mod upstream;
mod wire;
mod worker;
