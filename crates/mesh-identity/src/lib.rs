//! Who a process is in the mesh, and how it proves that to others.
//!
//! A workload's name is a SPIFFE id (`spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`), its
//! proof a short-lived X.509 certificate that mesh-ca signed. This crate holds everything between
//! the two: the ids ([`SpiffeId`]), the roots that are trusted ([`TrustBundle`]), a certificate
//! with its key ([`Svid`]), the live handle that follows rotation ([`Identity`]), the rustls
//! configurations built on it ([`tls`]), gRPC over them ([`grpc`]), and the client that joins the
//! mesh and renews in time ([`client`]).
//!
//! Start with `identity.rs`, then `tls/verify.rs`, where a peer is let in or turned away.

mod backoff;
mod bundle;
pub mod client;
pub mod disk;
pub mod grpc;
mod identity;
mod spiffe;
mod svid;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;

pub use backoff::Backoff;
pub use bundle::{BundleError, Fingerprint, FingerprintError, TrustBundle};
pub use identity::{Identity, Material};
pub use spiffe::{CertificateNameError, SpiffeId, SpiffeIdError, TrustDomain};
pub use svid::{Svid, SvidError};

/// The namespace of the mesh's own workloads, named as Istio's.
pub const ROOT_NAMESPACE: &str = "istio-system";
/// The service account of the certificate authority, in [`ROOT_NAMESPACE`].
pub const CA_SERVICE_ACCOUNT: &str = "mesh-ca";
/// The service account of the control plane, in [`ROOT_NAMESPACE`].
pub const API_SERVICE_ACCOUNT: &str = "mesh-api";
/// The trust domain of a mesh that did not choose one, Istio's default.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// The gRPC service of mesh-ca (`mesh.ca.v1`), generated from `proto/ca.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]
pub mod proto {
    tonic::include_proto!("mesh.ca.v1");
}
