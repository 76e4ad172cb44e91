//! The certificate authority of the mesh.
//!
//! It trades a one-time token for a first certificate and a valid certificate for its successor,
//! and it issues the identity that the token or the certificate proves, whatever the request asks
//! for. All its state is a directory: the root (`root.rs`) and the tokens (`token.rs`), which
//! `provision.rs` hands out to workloads. What it signs is decided in `authority.rs`, which requests it takes in `csr.rs`, and who may ask in
//! `service.rs`.

pub mod authority;
mod csr;
mod limit;
mod metrics;
pub mod provision;
pub mod root;
mod server;
mod service;
pub mod token;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mesh_identity::TrustDomain;

pub use self::server::{Running, start};

/// The shortest life of a leaf: renewal needs some time.
pub const SHORTEST_LEAF_LIFETIME: Duration = Duration::from_secs(10);
/// The life of a leaf, unless the user says otherwise.
pub const DEFAULT_LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What a certificate authority is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its root and its tokens are.
    pub state_dir: PathBuf,
    /// Where it serves gRPC over TLS.
    pub listen: SocketAddr,
    /// Where it serves its metrics and health, in plain HTTP.
    pub listen_metrics: SocketAddr,
    /// The trust domain of a new root; of an existing one it has to be the same, or unsaid.
    pub trust_domain: Option<TrustDomain>,
    /// How long the certificates of workloads are valid; at least [`SHORTEST_LEAF_LIFETIME`].
    pub leaf_lifetime: Duration,
    /// How long requests in flight may take once it stops.
    pub drain_timeout: Duration,
    /// Where to write the bound addresses.
    pub addresses_file: Option<PathBuf>,
}

impl Settings {
    /// Free ports on loopback and otherwise the defaults: for running it inside of another process.
    #[must_use]
    pub fn local(state_dir: PathBuf) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            state_dir,
            listen: free,
            listen_metrics: free,
            trust_domain: None,
            leaf_lifetime: DEFAULT_LEAF_LIFETIME,
            drain_timeout: Duration::from_secs(10),
            addresses_file: None,
        }
    }
}
