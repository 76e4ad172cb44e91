//! The roots that a mesh trusts, and the fingerprint by which a newcomer knows one.
//!
//! A bundle is prepared once for verifying, so that a handshake parses no root. It is replaced as
//! a whole (`identity.rs`), never changed.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "sha256:";
const DIGEST: usize = 32;

/// The SHA-256 of a root certificate's DER form, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; DIGEST]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; DIGEST];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// Reads `sha256:` and 64 hexadecimal digits, in upper or lower case; colons between pairs, as
    /// `openssl x509 -fingerprint` prints them, are fine.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let malformed = || FingerprintError(text.chars().take(100).collect());
        let digits = text.trim().strip_prefix(PREFIX).ok_or_else(malformed)?;
        let digits: Vec<u8> = digits
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(malformed)?;
        if digits.len() != 2 * DIGEST {
            return Err(malformed());
        }
        let mut bytes = [0; DIGEST];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

/// The roots of a trust domain. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl TrustBundle {
    /// Takes roots in DER form.
    ///
    /// # Errors
    /// If there is none, or one cannot be read.
    pub fn from_der(
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        let roots: Vec<_> = roots.into_iter().collect();
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut anchors = Vec::with_capacity(roots.len());
        for (index, root) in roots.iter().enumerate() {
            let anchor =
                webpki::anchor_from_trusted_cert(root).map_err(|cause| BundleError::Root {
                    number: index + 1,
                    cause,
                })?;
            anchors.push(anchor.to_owned());
        }
        Ok(Self { roots, anchors })
    }

    /// Takes roots from PEM text; other blocks are passed over.
    ///
    /// # Errors
    /// If there is no certificate, or one cannot be read.
    pub fn from_pem(text: &str) -> Result<Self, BundleError> {
        let roots = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|cause| BundleError::Pem(cause.to_string()))?;
        Self::from_der(roots)
    }

    /// The roots as PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        certificates_to_pem(&self.roots)
    }

    /// The roots.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Whether a root with this fingerprint is among them.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.roots
            .iter()
            .any(|root| Fingerprint::of(root) == *fingerprint)
    }

    /// What a chain may end in.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

/// Why roots were not taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A bundle of no roots would trust nobody.
    #[error("there is no root certificate in it")]
    Empty,
    /// The text is no PEM.
    #[error("it is no PEM text: {0}")]
    Pem(String),
    /// One of them is no certificate.
    #[error("root certificate number {number} cannot be read: {cause}")]
    Root {
        /// Which, counted from 1.
        number: usize,
        /// What the parser says.
        cause: webpki::Error,
    },
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fingerprint: it is `sha256:` and 64 hexadecimal digits, as `mesh-ca fingerprint` prints it"
)]
pub struct FingerprintError(String);

/// Certificates one after the other in PEM form.
pub(crate) fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|certificate| pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_vec())))
        .collect()
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.roots.iter().map(Fingerprint::of))
            .finish()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_what_it_writes_and_what_openssl_prints() {
        let certificate = CertificateDer::from(b"anything".to_vec());
        let fingerprint = Fingerprint::of(&certificate);
        let text = fingerprint.to_string();
        assert_eq!(text.len(), PREFIX.len() + 64);
        assert_eq!(Fingerprint::parse(&text), Ok(fingerprint));
        let digits = text.strip_prefix(PREFIX).expect("prefix").to_uppercase();
        let pairs: Vec<_> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair))
            .collect();
        assert_eq!(
            Fingerprint::parse(&format!("sha256:{}", pairs.join(":"))),
            Ok(fingerprint)
        );
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for text in [
            "",
            "sha256:",
            "sha256:00",
            "sha1:00",
            &format!("sha256:{}", "g".repeat(64)),
        ] {
            let error = Fingerprint::parse(text).expect_err(text);
            assert!(error.to_string().contains("mesh-ca fingerprint"), "{error}");
        }
        assert!(Fingerprint::parse(&format!("sha256:{}", "a".repeat(66))).is_err());
    }

    #[test]
    fn an_empty_or_broken_bundle_is_refused() {
        assert!(matches!(TrustBundle::from_pem(""), Err(BundleError::Empty)));
        assert!(matches!(TrustBundle::from_der([]), Err(BundleError::Empty)));
        let broken = TrustBundle::from_der([CertificateDer::from(vec![1, 2, 3])]);
        assert!(matches!(broken, Err(BundleError::Root { number: 1, .. })));
        let torn = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        assert!(matches!(
            TrustBundle::from_pem(torn),
            Err(BundleError::Pem(_))
        ));
    }
}
