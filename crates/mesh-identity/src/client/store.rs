//! The identity on disk: one file, replaced in one step, so that key, certificate and roots always
//! belong together.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::Error;
use crate::bundle::{TrustBundle, certificates_to_pem};
use crate::disk;
use crate::svid::Svid;

pub(super) const DIRECTORY: &str = "identity";
pub(super) const FILE: &str = "identity.json";
const VERSION: u32 = 1;

/// The file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
}

/// What it keeps.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) svid: Svid,
    pub(super) bundle: TrustBundle,
    /// When the certificate was got. Its `not_before` is earlier, to allow for wrong clocks.
    pub(super) obtained: SystemTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// Seconds since 1970.
    obtained: u64,
    /// PEM, as are the next two.
    key: String,
    chain: String,
    roots: String,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Store {
    /// Makes the directory, if it is not there.
    pub(super) fn open(state_dir: &Path) -> Result<Self, Error> {
        let directory = state_dir.join(DIRECTORY);
        disk::create_private_dir(&directory).map_err(|cause| Error::State {
            path: directory.clone(),
            cause,
        })?;
        Ok(Self::at(state_dir))
    }

    /// Where it is or would be; nothing is made.
    pub(super) fn at(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(DIRECTORY).join(FILE),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing, if there is no file.
    pub(super) fn load(&self) -> Result<Option<Stored>, Error> {
        disk::warn_if_open_to_others(&self.path);
        match std::fs::read(&self.path) {
            Ok(bytes) => self.parse(&Zeroizing::new(bytes)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::State {
                path: self.path.clone(),
                cause,
            }),
        }
    }

    /// Reads what the file has in it.
    pub(super) fn parse(&self, bytes: &[u8]) -> Result<Stored, Error> {
        // The parser's own message would quote what it read, which could be the key.
        let content: Content = serde_json::from_slice(bytes).map_err(|error| {
            self.corrupt(format!(
                "it is damaged at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        if content.version != VERSION {
            return Err(self.corrupt(format!("its version is {}, not {VERSION}", content.version)));
        }
        let key = PrivateKeyDer::from_pem_slice(content.key.as_bytes())
            .map_err(|_| self.corrupt("its private key is no PEM text"))?;
        let chain = CertificateDer::pem_slice_iter(content.chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| self.corrupt("its certificate chain is no PEM text"))?;
        let svid = Svid::new(chain, key).map_err(|error| self.corrupt(error))?;
        let bundle = TrustBundle::from_pem(&content.roots).map_err(|error| self.corrupt(error))?;
        // A wrong clock then is no reason to fail now.
        let obtained = UNIX_EPOCH
            .checked_add(Duration::from_secs(content.obtained))
            .unwrap_or(svid.not_before)
            .clamp(svid.not_before, svid.not_after);
        Ok(Stored {
            svid,
            bundle,
            obtained,
        })
    }

    pub(super) fn save(&self, stored: &Stored) -> Result<(), Error> {
        let key = pem::Pem::new("PRIVATE KEY", stored.svid.key.secret_der());
        let since = stored
            .obtained
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let content = Content {
            version: VERSION,
            obtained: since.as_secs(),
            key: pem::encode(&key),
            chain: certificates_to_pem(&stored.svid.chain),
            roots: stored.bundle.to_pem(),
        };
        let failed = |cause| Error::State {
            path: self.path.clone(),
            cause,
        };
        let bytes = serde_json::to_vec_pretty(&content)
            .map(Zeroizing::new)
            .map_err(|error| failed(error.into()))?;
        disk::write_private(&self.path, &bytes).map_err(failed)
    }

    pub(super) fn corrupt(&self, reason: impl Display) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}
