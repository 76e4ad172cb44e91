//! A certificate with its private key: what SPIFFE calls an X.509 SVID.
//!
//! The key is read once into the form that signs handshakes. It never appears in `Debug` output
//! and its bytes are wiped when the last holder lets go of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroize;

use crate::bundle::TrustBundle;
use crate::spiffe::{CertificateNameError, SpiffeId};
use crate::tls::provider;

/// An identity with its proof: a certificate chain and the key of its first certificate.
pub struct Svid {
    /// Whom the leaf names.
    pub id: SpiffeId,
    /// The leaf, then what leads to a root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
    /// Since when the leaf is valid, to the second.
    pub not_before: SystemTime,
    /// Until when the leaf is valid, to the second.
    pub not_after: SystemTime,
    certified: Arc<CertifiedKey>,
}

impl Svid {
    /// Puts a chain and its key together.
    ///
    /// # Errors
    /// If the leaf cannot be read or names no workload, or the key is not the leaf's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, SvidError> {
        let leaf = chain.first().ok_or(SvidError::Empty)?;
        let id = SpiffeId::from_certificate(leaf)?;
        let (not_before, not_after) = validity(leaf)?;
        let signing = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|cause| SvidError::Key(cause.to_string()))?;
        let certified = CertifiedKey::new(chain.clone(), signing);
        certified.keys_match().map_err(|_| SvidError::KeyMismatch)?;
        Ok(Self {
            id,
            chain,
            key,
            not_before,
            not_after,
            certified: Arc::new(certified),
        })
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.chain
            .first()
            .expect("a chain was refused as empty when the SVID was made")
    }

    /// Whether it proves the identity to one who trusts `bundle`, at a time.
    ///
    /// # Errors
    /// If the chain does not lead to one of the roots, or is not valid at that time.
    pub fn verify(&self, bundle: &TrustBundle, at: SystemTime) -> Result<(), SvidError> {
        let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        crate::tls::verify_chain(bundle.anchors(), &self.chain, at).map_err(SvidError::Chain)
    }

    /// What rustls signs with.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl Svid {
    /// The leaf's serial number in hexadecimal, as `openssl x509 -serial` shows it.
    ///
    /// # Errors
    /// If the leaf cannot be read, which [`Svid::new`] has ruled out.
    pub fn serial(&self) -> Result<String, SvidError> {
        let (_, parsed) =
            X509Certificate::from_der(self.leaf()).map_err(|_| CertificateNameError::Malformed)?;
        Ok(parsed
            .raw_serial()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect())
    }
}

impl Drop for Svid {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Why a chain and a key make no SVID.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// No certificate at all.
    #[error("the certificate chain is empty")]
    Empty,
    /// The leaf names no workload.
    #[error(transparent)]
    Name(#[from] CertificateNameError),
    /// The key is in no form that is known.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// The key belongs to another certificate.
    #[error("the private key is not that of the certificate")]
    KeyMismatch,
    /// The chain leads to no root that is trusted, or not now.
    #[error("{}", crate::tls::describe(.0))]
    Chain(webpki::Error),
}

/// The first and last second of a certificate's life.
pub(crate) fn validity(
    certificate: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), SvidError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateNameError::Malformed)?;
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).map_err(|_| CertificateNameError::Malformed)?;
        UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or(CertificateNameError::Malformed)
    };
    let validity = parsed.validity();
    Ok((
        time(validity.not_before.timestamp())?,
        time(validity.not_after.timestamp())?,
    ))
}
