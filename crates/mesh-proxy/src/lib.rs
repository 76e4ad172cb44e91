//! The data plane: xDS resources become an immutable [`snapshot::Snapshot`], and one straight
//! function carries each request, or each session of opaque bytes, through it.
//!
//! Two halves meet at the snapshot. The control half follows the control plane and publishes snapshots:
//! `start.rs` for a proxy's life, `control.rs` for its loop, [`snapshot`] for what comes out. The serving
//! half takes connections: [`runtime`] for the workers, `pipeline.rs` for a request's way, `tcp.rs` for a session's.

mod accept;
mod admin;
mod alpn;
mod answer;
mod certificate;
mod control;
mod exchange;
pub mod fail;
mod grpc;
mod http;
mod metrics;
mod own_address;
mod peer;
mod pipeline;
mod registration;
mod report;
pub mod runtime;
mod serve;
mod session;
pub mod settings;
pub mod snapshot;
mod start;
pub mod steps;
mod tcp;
pub mod telemetry;
mod tls;
pub mod upstream;
mod wire;
mod worker;

pub use serve::{CERTIFICATE, begin, serve};
pub use settings::Settings;
pub use start::{Running, StartError, start};
