//! One-time join tokens: who may become whom, once, and for how long.
//!
//! A token is a file in the state directory, named by the token's SHA-256, so that who can read
//! the directory still cannot join. It is used up by renaming the file: one system call, of which
//! only one process can be the author, and which a crash cannot undo. Therefore the secret is
//! handed out by anybody who may write there (`mesh-ca token create`), beside a running authority.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, rand};
use mesh_identity::{Fingerprint, SpiffeId, SpiffeIdError, TrustDomain, disk};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::authority::hex;
use crate::root::{Root, RootError};

/// How long a token that is printed can be used, unless the user says otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(600);
const DIRECTORY: &str = "tokens";
/// Makes a token recognisable to people and to scanners for secrets.
const PREFIX: &str = "mesh-join-";
const SECRET_BYTES: usize = 32;
const OPEN: &str = "json";
const USED: &str = "used";
/// How long after its end a token is remembered, for the sake of a better answer.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// A token just made. `Debug` does not show the secret.
pub struct Created {
    /// The secret, which is nowhere else.
    pub token: Zeroizing<String>,
    /// Whom its bearer may become.
    pub identity: SpiffeId,
    /// By which the bearer knows the authority.
    pub fingerprint: Fingerprint,
    /// Until when.
    pub expires_at: SystemTime,
}

impl Created {
    /// All about it, as JSON; `--join-token-file` takes that too.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let content = serde_json::json!({
            "token": self.token.as_str(),
            "identity": self.identity,
            "caFingerprint": self.fingerprint,
            "expiresAt": humantime::format_rfc3339_seconds(self.expires_at).to_string(),
        });
        Zeroizing::new(format!("{content:#}"))
    }
}

/// Makes a token in a state directory, and a root before it, if there is none yet.
///
/// # Errors
/// If the root cannot be used, the identity is no workload's, or the directory is not writable.
pub fn create(
    state_dir: &Path,
    trust_domain: Option<&TrustDomain>,
    namespace: &str,
    service_account: &str,
    ttl: Duration,
) -> Result<Created, TokenError> {
    if ttl.is_zero() {
        return Err(TokenError::Ttl);
    }
    // Checked before anything is made.
    let placeholder = TrustDomain::new("check").expect("a valid name");
    SpiffeId::workload(&placeholder, namespace, service_account)?;
    let root = Root::open_or_create(state_dir, trust_domain)?;
    let identity = SpiffeId::workload(root.trust_domain(), namespace, service_account)?;
    if identity == SpiffeId::ca(root.trust_domain()) {
        return Err(TokenError::Authority(identity));
    }
    let expires_at = SystemTime::now().checked_add(ttl).ok_or(TokenError::Ttl)?;
    let token = Tokens::open(state_dir)?.add(&identity, expires_at)?;
    Ok(Created {
        token,
        identity,
        fingerprint: root.fingerprint(),
        expires_at,
    })
}

/// Where the tokens of a state directory are.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join(DIRECTORY)
}

/// The tokens of an authority.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    directory: PathBuf,
}

/// A token that is good, so far.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) identity: SpiffeId,
    file: PathBuf,
}

/// What a token's file says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    identity: SpiffeId,
    /// Seconds since 1970.
    expires_at: u64,
}

impl Tokens {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, TokenError> {
        let directory = directory(state_dir);
        disk::create_private_dir(&directory).map_err(|cause| TokenError::Disk {
            path: directory.clone(),
            cause,
        })?;
        Ok(Self { directory })
    }

    fn add(
        &self,
        identity: &SpiffeId,
        expires_at: SystemTime,
    ) -> Result<Zeroizing<String>, TokenError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(secret.as_mut()).map_err(|_| TokenError::Random)?;
        let token = Zeroizing::new(format!(
            "{PREFIX}{}",
            Zeroizing::new(hex(secret.as_ref())).as_str()
        ));
        let since = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let content = Content {
            identity: identity.clone(),
            expires_at: since.as_secs(),
        };
        let path = self.file(&token, OPEN);
        let failed = |cause| TokenError::Disk {
            path: path.clone(),
            cause,
        };
        let bytes = serde_json::to_vec(&content).map_err(|error| failed(error.into()))?;
        disk::create_private(&path, &bytes).map_err(failed)?;
        Ok(token)
    }

    /// Looks a token up, without using it.
    pub(crate) fn find(&self, token: &str, now: SystemTime) -> Result<Found, TokenError> {
        let file = self.file(token, OPEN);
        let (content, used) = match read(&file)? {
            Some(content) => (content, false),
            None => match read(&self.file(token, USED))? {
                Some(content) => (content, true),
                None => return Err(TokenError::Unknown),
            },
        };
        if used {
            return Err(TokenError::Used);
        }
        if content.end() <= now {
            return Err(TokenError::Expired(content.end()));
        }
        Ok(Found {
            identity: content.identity,
            file,
        })
    }

    /// Uses a token up. Of all who try, in whatever process, one gets `Ok`.
    pub(crate) fn redeem(&self, found: &Found) -> Result<(), TokenError> {
        let failed = |cause| TokenError::Disk {
            path: found.file.clone(),
            cause,
        };
        match fs::rename(&found.file, found.file.with_extension(USED)) {
            Ok(()) => disk::sync_directory(&self.directory).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TokenError::Used),
            Err(cause) => Err(failed(cause)),
        }
    }

    /// Forgets tokens that ended long ago and counts those that are still good.
    pub(crate) fn prune(&self, now: SystemTime) -> io::Result<usize> {
        let mut outstanding = 0;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !matches!(extension, Some(OPEN | USED)) {
                continue;
            }
            match read(&path) {
                Ok(Some(content)) if content.end() + REMEMBERED <= now => fs::remove_file(&path)?,
                Ok(Some(content)) if content.end() > now && extension == Some(OPEN) => {
                    outstanding += 1;
                }
                // Used up meanwhile, or not to be used.
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "passing over a token"),
            }
        }
        Ok(outstanding)
    }

    fn file(&self, token: &str, extension: &str) -> PathBuf {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        self.directory
            .join(hex(hash.as_ref()))
            .with_extension(extension)
    }
}

impl Content {
    fn end(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_secs(self.expires_at))
            .unwrap_or(UNIX_EPOCH)
    }
}

fn read(path: &Path) -> Result<Option<Content>, TokenError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| TokenError::Damaged {
                path: path.to_owned(),
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(TokenError::Disk {
            path: path.to_owned(),
            cause,
        }),
    }
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created")
            .field("identity", &self.identity)
            .field("fingerprint", &self.fingerprint)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl From<SpiffeIdError> for TokenError {
    fn from(reason: SpiffeIdError) -> Self {
        Self::Identity(reason)
    }
}

/// Why a token was not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody made it, or it was forgotten since.
    #[error(
        "the join token is unknown here: it is mistyped, of another mesh, or expired long ago; create one with `mesh-ca token create`"
    )]
    Unknown,
    /// It worked once.
    #[error(
        "the join token has been used, and each works once, even if its bearer did not get the answer; create a new one with `mesh-ca token create`"
    )]
    Used,
    /// Too late.
    #[error("the join token expired at {}; create a new one with `mesh-ca token create`", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    /// Its file is no token's.
    #[error(
        "the file {path} is damaged; delete it and create a new token with `mesh-ca token create`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Its file cannot be read or written.
    #[error("cannot use {path}: {cause}; check --state-dir and who owns it")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// No such identity is possible.
    #[error("--namespace and --service-account make no identity: {0}")]
    Identity(SpiffeIdError),
    /// The authority's own identity is its own.
    #[error("{0} is the certificate authority itself; choose another service account")]
    Authority(SpiffeId),
    /// No time at all, or too much of it.
    #[error("--ttl has to be longer than nothing and shorter than forever, for example 10m")]
    Ttl,
    /// The system has no randomness.
    #[error("the system gives no random bytes for a new token")]
    Random,
    /// There is no root to speak of.
    #[error(transparent)]
    Root(#[from] RootError),
}

#[cfg(test)]
mod tests;
