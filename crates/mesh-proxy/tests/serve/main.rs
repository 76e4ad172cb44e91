//! The request path over real sockets, from hand-built snapshots: no control plane is needed.
//!
//! `mesh.rs` builds snapshots and runs workers, `app.rs` plays the applications, `client.rs` the
//! clients; the others are the promises. Metrics are read after a drain, when every request has been
//! counted.

mod app;
mod client;
mod mesh;

mod callers;
mod drain;
mod failures;
mod floods;
mod framing;
mod mtls;
mod passing;
mod resilience;
mod retries;
mod sessions;
mod splitting;
