//! What every daemon of the mesh needs around its own work: flags, logs, OpenTelemetry, metrics,
//! readiness and an orderly stop.
//!
//! A daemon's `main` is one call of [`run()`]. Read [`args`] for how flags, environment and file are
//! merged, [`process`] for what a running daemon carries, [`admin`] for what it serves about itself,
//! [`healthcheck`] for how it is asked for it, and [`guard`] for what keeps web pages away from that.

pub mod admin;
pub mod args;
pub mod exit;
pub mod guard;
pub mod healthcheck;
pub mod listen;
pub mod logs;
pub mod process;
pub mod readiness;
pub mod run;
pub mod serve;
pub mod shutdown;

pub use args::{CommonArgs, parse_duration};
pub use listen::{BindError, bind, write_addresses};
pub use process::Process;
pub use readiness::Readiness;
pub use run::{Failure, run, run_parsed};
pub use serve::serve;
pub use shutdown::Shutdown;
