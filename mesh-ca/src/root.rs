//! The root of trust on disk: made once, never changed, never overwritten.
//!
//! Key and certificate share one file, which appears whole or not at all; of several processes that
//! find none and make one, one wins and the others take its root. Whatever is wrong with the file
//! is an error for a person to look at: a new root in its place would cut off the whole mesh.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_identity::{CertificateNameError, DEFAULT_TRUST_DOMAIN, Fingerprint, TrustDomain, disk};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::authority::{self, CLOCK_SKEW};
use crate::token;

const FILE: &str = "root.pem";
const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A root certificate with its key.
pub struct Root {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    trust_domain: TrustDomain,
    not_after: SystemTime,
}

impl Root {
    /// The root in a state directory. `trust_domain`, if said, has to be the root's.
    ///
    /// # Errors
    /// If there is none, or it cannot be used, or it is of another trust domain.
    pub fn open(state_dir: &Path, trust_domain: Option<&TrustDomain>) -> Result<Self, RootError> {
        let path = state_dir.join(FILE);
        let Some(root) = read(&path)? else {
            return Err(RootError::Missing { path });
        };
        match trust_domain {
            Some(asked) if *asked != root.trust_domain => Err(RootError::TrustDomain {
                path,
                root: root.trust_domain,
                asked: asked.clone(),
            }),
            _ => Ok(root),
        }
    }

    /// The root in a state directory; where there is nothing yet, a new one.
    ///
    /// # Errors
    /// As [`Self::open`], or if a new root cannot be written.
    pub fn open_or_create(
        state_dir: &Path,
        trust_domain: Option<&TrustDomain>,
    ) -> Result<Self, RootError> {
        let path = state_dir.join(FILE);
        match Self::open(state_dir, trust_domain) {
            Err(RootError::Missing { .. }) => {}
            done => return done,
        }
        // Tokens come after a root. With tokens and no root, the root is lost, and a new one would
        // not be what the mesh trusts; unless both came into being since we looked.
        if token::directory(state_dir).exists() {
            return match Self::open(state_dir, trust_domain) {
                Err(RootError::Missing { path }) => Err(RootError::Lost { path }),
                done => done,
            };
        }
        let write = |cause| RootError::Write {
            path: path.clone(),
            cause,
        };
        disk::create_private_dir(state_dir).map_err(write)?;
        let domain = match trust_domain {
            Some(domain) => domain.clone(),
            None => TrustDomain::new(DEFAULT_TRUST_DOMAIN).expect("the default is valid"),
        };
        match disk::create_private(&path, generate(&domain)?.as_bytes()) {
            Ok(()) => {
                tracing::info!(path = %path.display(), trust_domain = %domain, "made a new root");
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(write(cause)),
        }
        Self::open(state_dir, trust_domain)
    }

    /// The certificate, to be trusted by the mesh.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// By which a newcomer knows it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// What it is the root of.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When it expires.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What signs leaves.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root")
            .field("trust_domain", &self.trust_domain)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Why there is no root to work with.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing is there yet.
    #[error(
        "there is no root at {path} yet; start mesh-ca with this --state-dir, or create a token in it, to make one"
    )]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// Something is there, and the root is not.
    #[error(
        "there are join tokens but no root at {path}: it was lost; restore it from a backup, or empty the state directory to found a new mesh"
    )]
    Lost {
        /// Where it would be.
        path: PathBuf,
    },
    /// The file is unusable.
    #[error(
        "the root at {path} cannot be used: {reason}; restore it from a backup, or empty the state directory to found a new mesh, which every workload then has to join anew"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A root's trust domain is part of its certificate.
    #[error(
        "the root at {path} is of trust domain {root}, which cannot become {asked}; leave out --trust-domain, or choose another --state-dir for another mesh"
    )]
    TrustDomain {
        /// The file.
        path: PathBuf,
        /// What it is of.
        root: TrustDomain,
        /// What was asked for.
        asked: TrustDomain,
    },
    /// It cannot be read.
    #[error("cannot read the root at {path}: {cause}; run mesh-ca as the user who owns it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A new one cannot be written.
    #[error("cannot write a new root to {path}: {cause}; check --state-dir and who owns it")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The cryptographic library failed.
    #[error("a new root cannot be made: {0}")]
    Generate(rcgen::Error),
}

impl From<rcgen::Error> for RootError {
    fn from(reason: rcgen::Error) -> Self {
        Self::Generate(reason)
    }
}

/// A new root as the text of its file.
fn generate(domain: &TrustDomain) -> Result<Zeroizing<String>, RootError> {
    let key = KeyPair::generate()?;
    let now = SystemTime::now();
    let serial = authority::serial()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "mesh");
    // A name of its own, so that nobody takes one root for another that a mesh had before.
    let name = format!(
        "root of {domain} {}",
        authority::hex(&serial.to_bytes()[..4])
    );
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + LIFETIME).into();
    // It signs leaves and no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(domain.uri().try_into()?)];
    let certificate = params.self_signed(&key)?;
    Ok(Zeroizing::new(key.serialize_pem() + &certificate.pem()))
}

fn read(path: &Path) -> Result<Option<Root>, RootError> {
    disk::warn_if_open_to_others(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(corrupt(path, "it is no text"));
        }
        Err(cause) => {
            return Err(RootError::Read {
                path: path.to_owned(),
                cause,
            });
        }
    };
    let mode = std::fs::metadata(path).map_or(0, |data| data.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others may read the root's key; run `chmod 600` on it");
    }
    parse(&text)
        .map(Some)
        .map_err(|reason| corrupt(path, reason))
}

fn parse(text: &str) -> Result<Root, String> {
    let mut blocks = pem::parse_many(text).map_err(|_| "it is no PEM text".to_owned())?;
    let mut take = |tag: &str| {
        let found = blocks.iter().position(|block| block.tag() == tag);
        found
            .map(|at| blocks.remove(at).into_contents())
            .ok_or_else(|| format!("it has no {tag}"))
    };
    let key = Zeroizing::new(take(PRIVATE_KEY)?);
    let certificate = CertificateDer::from(take(CERTIFICATE)?);
    if let Some(block) = blocks.first() {
        return Err(format!("it has an unexpected {}", block.tag()));
    }
    let key = KeyPair::try_from(key.as_slice()).map_err(|_| "its private key cannot be read")?;
    let trust_domain = TrustDomain::from_root(&certificate)
        .map_err(|error: CertificateNameError| error.to_string())?;
    let not_after = {
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| "its certificate cannot be read")?;
        if !parsed.is_ca() {
            return Err("its certificate is no authority's".to_owned());
        }
        if parsed.public_key().subject_public_key.data.as_ref()
            != rcgen::PublicKeyData::der_bytes(&key)
        {
            return Err("its private key is not that of its certificate".to_owned());
        }
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(seconds)
    };
    if not_after <= SystemTime::now() {
        return Err(format!(
            "it expired at {}",
            humantime::format_rfc3339_seconds(not_after)
        ));
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| error.to_string())?;
    Ok(Root {
        certificate,
        issuer,
        trust_domain,
        not_after,
    })
}

fn corrupt(path: &Path, reason: impl Into<String>) -> RootError {
    RootError::Corrupt {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
