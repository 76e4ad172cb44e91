//! Asking for a certificate: a new key each time, and a distrustful look at what comes back.

use std::time::SystemTime;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tonic::Code;
use zeroize::{Zeroize, Zeroizing};

use super::store::Stored;
use crate::bundle::{BundleError, TrustBundle};
use crate::proto::SignedCertificate;
use crate::svid::{Svid, SvidError};

/// A fresh key and the request that proves to hold it. Names nobody: the authority decides that.
pub(super) struct Request {
    key: Zeroizing<Vec<u8>>,
    /// PKCS#10, DER.
    pub(super) csr: Vec<u8>,
}

impl Request {
    pub(super) fn new() -> Result<Self, AnswerError> {
        let mut pair = KeyPair::generate().map_err(AnswerError::Request)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params
            .serialize_request(&pair)
            .map_err(AnswerError::Request)?;
        let key = Zeroizing::new(pair.serialize_der());
        pair.zeroize();
        Ok(Self {
            key,
            csr: csr.der().to_vec(),
        })
    }

    /// Makes an identity of the answer, if it holds together now.
    pub(super) fn accept(
        &self,
        answer: SignedCertificate,
        now: SystemTime,
    ) -> Result<Stored, AnswerError> {
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let bundle = TrustBundle::from_der(answer.roots.into_iter().map(CertificateDer::from))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.to_vec()));
        let svid = Svid::new(chain, key)?;
        svid.verify(&bundle, now)?;
        Ok(Stored {
            svid,
            bundle,
            obtained: now,
        })
    }
}

/// Why an answer is no identity.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// We could not even ask.
    #[error("a key or a certificate request could not be made: {0}")]
    Request(rcgen::Error),
    /// The chain is wrong.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The roots are wrong.
    #[error("of its roots: {0}")]
    Roots(BundleError),
    /// The roots are not those of the authority that was asked.
    #[error("its roots lack the one that was pinned")]
    Pinned,
    /// It names somebody else.
    #[error("it names {0}")]
    Identity(crate::SpiffeId),
}

impl From<BundleError> for AnswerError {
    fn from(reason: BundleError) -> Self {
        Self::Roots(reason)
    }
}

/// Whether another attempt may end better: the authority is out of reach, busy or unwell, and did
/// not say no.
pub(super) fn is_temporary(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Aborted
            | Code::Internal
            | Code::Unknown
    )
}
