//! The one home of the Envoy types and of the xDS protocol, without any I/O.
//!
//! Everybody else in the workspace reaches Envoy's messages through [`envoy`], so that one crate decides
//! which version of them the mesh speaks. On top of them stand
//!
//! - [`ResourceType`], [`Resource`] and [`ResourceSet`]: what a control plane has to say to one proxy, with
//!   versions that are hashes of the content; most of it is a [`Base`] that proxies share;
//! - [`server::DeltaSession`] and [`client::DeltaClient`]: both ends of incremental ADS as state machines.
//!   Messages go in, messages come out; connections and clocks belong to the caller;
//! - [`names`], [`node`], [`metadata`] and [`Workload`]: what the mesh writes into the free-form parts of
//!   xDS, with one typed reader and writer each, so that both ends agree by construction;
//! - [`mesh`]: the protocols that Envoy does not have: registering a workload and reporting edges.

mod canonical;
pub mod client;
pub mod envoy;
mod locality;
pub mod metadata;
pub mod names;
pub mod node;
mod resource;
pub mod server;
mod set;
mod structs;
mod workload;

pub use locality::{Locality, LocalityError};
pub use resource::{Discoverable, Resource, ResourceError, ResourceType, pack, unpack};
pub use set::{Base, ResourceSet};
pub use workload::Workload;

/// `mesh.v1`: the Registry and Telemetry services, generated from `proto/mesh.proto`, which documents them.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)] // generated
pub mod mesh {
    tonic::include_proto!("mesh.v1");
}
