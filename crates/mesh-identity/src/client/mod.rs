//! Joining the mesh, and staying in it.
//!
//! A process has its identity on disk or gets one: it shows mesh-ca a one-time token, which proves
//! who it may become, and a key that it just made (`token.rs`, `join.rs`). The identity is kept on disk
//! (`store.rs`), so that the next start needs neither the token nor the authority, and is renewed
//! in time by a task (`renew.rs`, `authority.rs`). [`obtain`] is all that a daemon calls. Who sees to the
//! identities of others looks at them by `foreign.rs`.

mod args;
mod authority;
mod foreign;
mod join;
mod renew;
mod request;
mod store;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::args::IdentityArgs;
use self::authority::MeshCa;
pub use self::foreign::{forget, kept_svid};
use self::renew::Rotation;
pub use self::request::AnswerError;
use self::store::{Store, Stored};
pub use self::token::{Invitation, JoinToken};
use crate::bundle::Fingerprint;
use crate::grpc::ConnectError;
use crate::identity::Identity;

/// Where the identity is kept and how a first one is got.
#[derive(Debug, Clone)]
pub struct JoinSettings {
    /// The certificate authority, `host:port`.
    pub ca_address: String,
    /// Its root, which makes the first contact safe. Needed to join, unless the token comes with it.
    pub ca_fingerprint: Option<Fingerprint>,
    /// What proves who we may become. Needed to join, not to renew.
    pub token: Option<JoinToken>,
    /// The identity is kept in its directory `identity`.
    pub state_dir: PathBuf,
}

/// Returns the identity that is kept on disk, or joins the mesh to get one; a task then renews it,
/// until `shutdown` completes.
///
/// An identity on disk needs no authority, so that a proxy starts while it is down. To join, an
/// authority that is out of reach is tried again until it answers.
///
/// # Errors
/// If there is no usable identity and it makes no sense to go on trying. Each says the way out.
pub async fn obtain(
    settings: JoinSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Arc<Identity>, Error> {
    let store = Store::open(&settings.state_dir)?;
    let mut shutdown = Box::pin(shutdown);
    let stored = match kept(&store, &settings)? {
        Some(stored) => stored,
        None => tokio::select! {
            () = &mut shutdown => return Err(Error::Stopped),
            joined = join::join(&settings, &store) => joined?,
        },
    };
    let Stored {
        svid,
        bundle,
        obtained,
    } = stored;
    let identity = Identity::new(svid, bundle);
    let authority = MeshCa::new(settings, identity.clone());
    let rotation = Rotation::new(
        identity.clone(),
        Arc::new(store),
        authority,
        obtained,
        SystemTime::now,
    );
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown => {}
            () = rotation.run() => {}
        }
    });
    Ok(identity)
}

/// Keeps an identity in a state directory, as joining does: for the tests of other crates.
///
/// # Errors
/// [`Error::State`] if it cannot be written.
#[cfg(any(test, feature = "testing"))]
pub fn keep(
    state_dir: &std::path::Path,
    svid: crate::svid::Svid,
    bundle: crate::bundle::TrustBundle,
) -> Result<(), Error> {
    Store::open(state_dir)?.save(&Stored {
        svid,
        bundle,
        obtained: SystemTime::now(),
    })
}

/// What is on disk, if it is an identity to go on with; none, if it is time to join.
fn kept(store: &Store, settings: &JoinSettings) -> Result<Option<Stored>, Error> {
    let Some(stored) = store.load()? else {
        return Ok(None);
    };
    let now = SystemTime::now();
    let svid = &stored.svid;
    if svid.not_after <= now {
        if settings.token.is_none() {
            return Err(Error::Expired {
                path: store.path().to_owned(),
                at: svid.not_after,
            });
        }
        tracing::warn!(
            id = %svid.id,
            expired = %humantime::format_rfc3339_seconds(svid.not_after),
            "the certificate on disk has expired, joining again with the token"
        );
        return Ok(None);
    }
    if svid.not_before > now {
        return Err(Error::Clock {
            path: store.path().to_owned(),
            from: svid.not_before,
        });
    }
    svid.verify(&stored.bundle, now)
        .map_err(|reason| store.corrupt(reason))?;
    if let Some(pinned) = settings
        .ca_fingerprint
        .filter(|pinned| !stored.bundle.contains(pinned))
    {
        // Either the mesh has changed its root since, which is fine, or this is another mesh.
        tracing::warn!(
            %pinned,
            trusted = ?stored.bundle,
            "the identity on disk is not of the root that --ca-fingerprint names; if the \
             certificate authority was set up anew, delete {} and start with a new join token",
            store.path().display()
        );
    }
    tracing::info!(
        id = %svid.id,
        expires = %humantime::format_rfc3339_seconds(svid.not_after),
        "using the identity on disk"
    );
    Ok(Some(stored))
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be used.
    #[error("cannot use {path}: {cause}; check --state-dir and who owns it")]
    State {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file on disk is damaged.
    #[error(
        "the identity kept in {path} cannot be used: {reason}; delete that file and start with a new join token (`mesh-ca token create`)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The process was down for too long.
    #[error(
        "the certificate kept in {path} expired at {}; start with a new join token (`mesh-ca token create`) in --join-token-file or MESH_JOIN_TOKEN",
        humantime::format_rfc3339_seconds(*at)
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: SystemTime,
    },
    /// The certificate comes from the future.
    #[error(
        "the certificate kept in {path} is valid only from {}; set this machine's clock",
        humantime::format_rfc3339_seconds(*from)
    )]
    Clock {
        /// The file.
        path: PathBuf,
        /// From when.
        from: SystemTime,
    },
    /// There is nothing to join with.
    #[error(
        "there is no identity in {path} and no join token; make one with `mesh-ca token create` and give it by --join-token-file or MESH_JOIN_TOKEN"
    )]
    NoToken {
        /// Where an identity would be.
        path: PathBuf,
    },
    /// The first contact would not be safe.
    #[error(
        "--ca-fingerprint is needed to join with a bare token: what `mesh-ca fingerprint` prints, so that nobody can pose as the certificate authority; the JSON of `mesh-ca token create -o json` has it with the token"
    )]
    NoFingerprint,
    /// The flag names one root and the token another.
    #[error(
        "--ca-fingerprint is {flag}, but the join token is for the mesh whose root is {token}; leave the flag out, or take a token of the mesh that it names"
    )]
    Fingerprints {
        /// The flag's.
        flag: Fingerprint,
        /// The token's.
        token: Fingerprint,
    },
    /// The token's file cannot be read.
    #[error(
        "cannot read the join token from {path}: {cause}; make one with `mesh-ca token create -o json` and put it there"
    )]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The token's file has something else in it.
    #[error(
        "{path} has no join token in it ({reason}); make one with `mesh-ca token create -o json` and put it there"
    )]
    TokenContent {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: String,
    },
    /// The variable has something else in it.
    #[error(
        "MESH_JOIN_TOKEN has no join token in it ({reason}); make one with `mesh-ca token create -o json`"
    )]
    Token {
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else answers at the authority's address.
    #[error(transparent)]
    Untrusted(ConnectError),
    /// The authority said no.
    #[error("the certificate authority at {address} refuses: {reason}")]
    Refused {
        /// The authority.
        address: String,
        /// In its own words.
        reason: String,
    },
    /// The authority's answer makes no identity.
    #[error("the certificate authority at {address} sent an unusable answer: {reason}")]
    Answer {
        /// The authority.
        address: String,
        /// What is wrong with it.
        reason: AnswerError,
    },
    /// Asked to stop before there was an identity.
    #[error("stopped before the certificate authority could be reached")]
    Stopped,
}

#[cfg(test)]
mod tests;
