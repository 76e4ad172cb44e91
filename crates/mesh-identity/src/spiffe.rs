//! SPIFFE ids, read strictly.
//!
//! An id decides what a peer may do, so there must be one way only to write each: no upper-case
//! trust domain, no escapes, no port, no trailing slash. The rules are those of the SPIFFE-ID
//! standard, narrowed to the one path form that names a workload here. Ids are taken from
//! certificates in `tls/verify.rs`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{API_SERVICE_ACCOUNT, CA_SERVICE_ACCOUNT, ROOT_NAMESPACE};

const SCHEME: &str = "spiffe://";
const NAMESPACE: &str = "/ns/";
const SERVICE_ACCOUNT: &str = "/sa/";
/// The standard's limits, in bytes.
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

/// The name of a mesh: everything below one root of trust. Lower-case letters, digits, `.`, `-`, `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Checks the name.
    ///
    /// # Errors
    /// If it is empty, longer than 255 bytes, or has a character that the standard does not allow.
    pub fn new(name: &str) -> Result<Self, SpiffeIdError> {
        if name.is_empty() {
            return Err(SpiffeIdError::EmptyTrustDomain);
        }
        if name.len() > MAX_TRUST_DOMAIN {
            return Err(SpiffeIdError::TrustDomainTooLong(name.len()));
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
        if let Some(found) = name.chars().find(|c| !allowed(*c)) {
            return Err(SpiffeIdError::TrustDomainCharacter(found));
        }
        Ok(Self(name.into()))
    }

    /// The bare name, as in `cluster.local`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own id, which root certificates carry: `spiffe://cluster.local`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// What a root certificate says its trust domain is: its only URI name.
    ///
    /// # Errors
    /// If the certificate cannot be read, or has no such name, or more than one.
    pub fn from_root(certificate: &CertificateDer<'_>) -> Result<Self, CertificateNameError> {
        let uri = only_uri(certificate)?;
        let name = uri.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        Ok(Self::new(name)?)
    }
}

/// The identity of a workload: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.
///
/// Cheap to clone; equality is equality of the text, since each id has one spelling only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    uri: Arc<str>,
    trust_domain: TrustDomain,
    /// Where the namespace ends in `uri`.
    namespace_end: u16,
}

impl SpiffeId {
    /// Reads an id, byte by byte as the standard writes it.
    ///
    /// # Errors
    /// Says what is wrong, if it is not an id in its only spelling or does not name a workload.
    pub fn parse(uri: &str) -> Result<Self, SpiffeIdError> {
        if uri.len() > MAX_ID {
            return Err(SpiffeIdError::TooLong(uri.len()));
        }
        let rest = uri.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = TrustDomain::new(domain)?;
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        for segment in &segments {
            check_segment(segment)?;
        }
        let ["ns", namespace, "sa", _] = segments[..] else {
            return Err(SpiffeIdError::NotAWorkload);
        };
        let namespace_end = SCHEME.len() + domain.len() + NAMESPACE.len() + namespace.len();
        Ok(Self {
            uri: uri.into(),
            trust_domain,
            namespace_end: u16::try_from(namespace_end)
                .map_err(|_| SpiffeIdError::TooLong(uri.len()))?,
        })
    }

    /// The id of a service account.
    ///
    /// # Errors
    /// If a part is empty or has a character that a path segment cannot have.
    pub fn workload(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeIdError> {
        check_segment(namespace)?;
        check_segment(service_account)?;
        Self::parse(&format!(
            "{SCHEME}{trust_domain}{NAMESPACE}{namespace}{SERVICE_ACCOUNT}{service_account}"
        ))
    }

    /// The certificate authority of a trust domain.
    #[must_use]
    pub fn ca(trust_domain: &TrustDomain) -> Self {
        Self::workload(trust_domain, ROOT_NAMESPACE, CA_SERVICE_ACCOUNT)
            .expect("constant parts are valid, and a trust domain leaves them room")
    }

    /// The control plane of a trust domain.
    #[must_use]
    pub fn api(trust_domain: &TrustDomain) -> Self {
        Self::workload(trust_domain, ROOT_NAMESPACE, API_SERVICE_ACCOUNT)
            .expect("constant parts are valid, and a trust domain leaves them room")
    }

    /// The identity that a certificate claims: its only URI name.
    ///
    /// Whether the claim is true is another question, answered when its chain is verified.
    ///
    /// # Errors
    /// If the certificate cannot be read, has no URI name or several, or the name is no workload's.
    pub fn from_certificate(
        certificate: &CertificateDer<'_>,
    ) -> Result<Self, CertificateNameError> {
        Ok(Self::parse(&only_uri(certificate)?)?)
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The mesh that it belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The namespace of the service account.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let start = SCHEME.len() + self.trust_domain.0.len() + NAMESPACE.len();
        &self.uri[start..usize::from(self.namespace_end)]
    }

    /// The service account's name in its namespace.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.uri[usize::from(self.namespace_end) + SERVICE_ACCOUNT.len()..]
    }
}

/// Why a text is no SPIFFE id of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Another scheme, or none.
    #[error("a SPIFFE id starts with `{SCHEME}`, in lower case")]
    Scheme,
    /// Longer than the standard allows.
    #[error("a SPIFFE id has at most {MAX_ID} bytes, this one has {0}")]
    TooLong(usize),
    /// Nothing between the scheme and the path.
    #[error("the trust domain is empty; a name such as `cluster.local` is needed")]
    EmptyTrustDomain,
    /// Longer than the standard allows.
    #[error("a trust domain has at most {MAX_TRUST_DOMAIN} bytes, this one has {0}")]
    TrustDomainTooLong(usize),
    /// An upper-case letter, a port, user information, an escape, …
    #[error("a trust domain has only a-z, 0-9, `.`, `-` and `_`, not {0:?}")]
    TrustDomainCharacter(char),
    /// Two slashes in a row, or one at the end.
    #[error("a part of the path is empty")]
    EmptySegment,
    /// `.` or `..`.
    #[error("a path has no relative part such as `{0}`")]
    RelativeSegment(String),
    /// An escape, a query, a fragment, …
    #[error("a path has only letters, digits, `.`, `-` and `_`, not {0:?}")]
    SegmentCharacter(char),
    /// A valid SPIFFE id, of something else than a service account.
    #[error("a workload's path has the form /ns/NAMESPACE/sa/SERVICE_ACCOUNT")]
    NotAWorkload,
}

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateNameError {
    /// It is not a certificate in DER form, or one of its extensions is malformed.
    #[error("the certificate cannot be read")]
    Malformed,
    /// A SPIFFE certificate has exactly one URI name.
    #[error("the certificate has {0} URI names, where exactly one is the identity")]
    UriCount(usize),
    /// The one URI name is no SPIFFE id of a workload.
    #[error("the certificate's URI name is no workload identity: {0}")]
    Id(SpiffeIdError),
}

impl From<SpiffeIdError> for CertificateNameError {
    fn from(reason: SpiffeIdError) -> Self {
        Self::Id(reason)
    }
}

/// The only URI among a certificate's subject alternative names.
fn only_uri(certificate: &CertificateDer<'_>) -> Result<String, CertificateNameError> {
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateNameError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateNameError::Malformed);
    }
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| CertificateNameError::Malformed)?;
    let mut uris = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            // A name that this parser gives up on could be a second URI to another one.
            GeneralName::Invalid(..) => return Err(CertificateNameError::Malformed),
            _ => {}
        }
    }
    match uris[..] {
        [uri] => Ok(uri.to_owned()),
        _ => Err(CertificateNameError::UriCount(uris.len())),
    }
}

fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    if segment.is_empty() {
        return Err(SpiffeIdError::EmptySegment);
    }
    if segment == "." || segment == ".." {
        return Err(SpiffeIdError::RelativeSegment(segment.to_owned()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    segment
        .chars()
        .find(|c| !allowed(*c))
        .map_or(Ok(()), |c| Err(SpiffeIdError::SegmentCharacter(c)))
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = SpiffeIdError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.as_str().to_owned()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;
    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        Self::parse(uri)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;
    fn try_from(uri: String) -> Result<Self, Self::Error> {
        Self::parse(&uri)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests;
