//! The user's model: Istio's and Kubernetes' own objects as typed Rust.
//!
//! Only what the mesh acts on has a typed field. Everything else that is valid is kept in
//! [`Object::raw`] and named in a warning (see [`crate::parse`]), so nothing is lost.

mod kind;
mod metadata;
mod networking;
mod service;
mod workload;

pub use kind::Kind;
pub use metadata::Metadata;
pub use networking::{
    DestinationRule, Gateway, GatewayServer, HttpDestination, HttpMatch, HttpRoute, ServerPort,
    StringMatch, Subset, VirtualService,
};
pub use service::{Service, ServicePort, TargetPort};
pub use workload::{WorkloadEntry, WorkloadGroup};

use std::path::PathBuf;
use std::sync::Arc;

/// Where an object was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or a name such as `request body`.
    pub file: PathBuf,
    /// The document inside the file, counted from 1.
    pub document: usize,
    /// The line on which the document starts, counted from 1.
    pub line: usize,
}

/// One object as the user wrote it, and what it means to the mesh.
#[derive(Clone, Debug)]
pub struct Object {
    /// As written, for example `networking.istio.io/v1alpha3`.
    pub api_version: String,
    /// What kind of object this is.
    pub kind: Kind,
    /// Name, namespace, labels and bookkeeping.
    pub metadata: Metadata,
    /// The part that the mesh acts on.
    pub spec: Spec,
    /// The whole object as JSON, unchanged, for reading it back.
    pub raw: serde_json::Value,
    /// Where it came from, if it came from a text.
    pub origin: Option<Origin>,
}

/// What an object asks of the mesh.
#[derive(Clone, Debug)]
pub enum Spec {
    /// Core v1 Service.
    Service(Service),
    /// `networking.istio.io` Gateway.
    Gateway(Gateway),
    /// `networking.istio.io` VirtualService.
    VirtualService(VirtualService),
    /// `networking.istio.io` DestinationRule.
    DestinationRule(DestinationRule),
    /// `networking.istio.io` WorkloadGroup.
    WorkloadGroup(WorkloadGroup),
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry(WorkloadEntry),
    /// A known kind that is kept and not acted on, for example a Deployment.
    Inert,
}

/// Kind, namespace and name: what makes an object one object. The API version is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// An object that many readers share.
pub type SharedObject = Arc<Object>;
