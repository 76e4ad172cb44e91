//! Which certificate requests are taken.
//!
//! A request brings a public key and proves to hold the private one. Names in its subject mean
//! nothing and are passed over; anything that would be a right (another identity, the power of an
//! authority, another use) is refused instead of silently dropped, since who asks for it would
//! believe to have got it.

use mesh_identity::SpiffeId;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Of a point on P-256 and on P-384.
const EC_BITS: [usize; 2] = [256, 384];
/// 1.3.101.112
const ED25519: &str = "1.3.101.112";

/// The public key of a request that may be signed for `id`.
///
/// # Errors
/// Says what about it is refused.
pub(crate) fn check(der: &[u8], id: &SpiffeId) -> Result<SubjectPublicKeyInfo, CsrError> {
    // First, since a signature by a weak key is not even verified.
    let key = key(der)?;
    let request =
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|error| match error {
                rcgen::Error::InvalidCertificationRequestSignature => CsrError::Signature,
                rcgen::Error::UnsupportedExtension => CsrError::Extension,
                _ => CsrError::Malformed,
            })?;
    check_params(&request.params, id)?;
    Ok(key)
}

fn check_params(params: &CertificateParams, id: &SpiffeId) -> Result<(), CsrError> {
    if matches!(params.is_ca, IsCa::Ca(_)) {
        return Err(CsrError::Authority);
    }
    let signs = |usage: &KeyUsagePurpose| {
        matches!(
            usage,
            KeyUsagePurpose::KeyCertSign | KeyUsagePurpose::CrlSign
        )
    };
    if params.key_usages.iter().any(signs) {
        return Err(CsrError::Authority);
    }
    let ours = |usage: &ExtendedKeyUsagePurpose| {
        matches!(
            usage,
            ExtendedKeyUsagePurpose::ServerAuth | ExtendedKeyUsagePurpose::ClientAuth
        )
    };
    if !params.extended_key_usages.iter().all(ours) {
        return Err(CsrError::Usage);
    }
    for name in &params.subject_alt_names {
        if !matches!(name, SanType::URI(uri) if uri.as_str() == id.as_str()) {
            return Err(CsrError::Name {
                asked: describe(name),
                proved: id.clone(),
            });
        }
    }
    Ok(())
}

/// The request's key as it stands there, if it is strong enough.
fn key(der: &[u8]) -> Result<SubjectPublicKeyInfo, CsrError> {
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed);
    }
    let info = &request.certification_request_info.subject_pki;
    let strong = match info.parsed().map_err(|_| CsrError::Malformed)? {
        PublicKey::RSA(key) => RSA_BITS.contains(&key.key_size()),
        PublicKey::EC(point) => EC_BITS.contains(&point.key_size()),
        _ => info.algorithm.algorithm.to_id_string() == ED25519,
    };
    if !strong {
        return Err(CsrError::Weak);
    }
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| CsrError::Weak)
}

/// A name in words, without what could upset a log.
fn describe(name: &SanType) -> String {
    let text = match name {
        SanType::URI(text) | SanType::DnsName(text) | SanType::Rfc822Name(text) => {
            text.as_str().to_owned()
        }
        SanType::IpAddress(address) => address.to_string(),
        _ => "a name of another kind".to_owned(),
    };
    text.chars()
        .take(200)
        .flat_map(char::escape_default)
        .collect()
}

/// Why a request is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsrError {
    #[error("the certificate request is no PKCS#10 in DER form")]
    Malformed,
    #[error("the certificate request is not signed by the key that it brings")]
    Signature,
    #[error(
        "the key of the certificate request is refused: use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits"
    )]
    Weak,
    #[error("the certificate request asks to be an authority, which no workload can be")]
    Authority,
    #[error("the certificate request asks for another use than that of TLS servers and clients")]
    Usage,
    #[error("the certificate request asks for an extension that is not supported; leave it out")]
    Extension,
    #[error(
        "the certificate request asks for {asked}, but what was proved is {proved}; leave the names out, they are set here"
    )]
    Name { asked: String, proved: SpiffeId },
}

#[cfg(test)]
mod tests;
