//! What a certificate of the mesh looks like.
//!
//! Nothing in it comes from the request but the public key: the identity is what the caller has
//! proved, the rest is decided here.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use mesh_identity::{Identity, SpiffeId, Svid, SvidError, TrustBundle};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::root::Root;

/// How far a workload's clock may be behind ours.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
const SERIAL_BYTES: usize = 16;

/// Signs leaves.
#[derive(Debug)]
pub struct Authority {
    root: Root,
    lifetime: Duration,
}

/// A leaf that was signed.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub leaf: CertificateDer<'static>,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// Its end.
    pub not_after: SystemTime,
}

impl Authority {
    /// Signs with `root`, for `lifetime` each.
    #[must_use]
    pub fn new(root: Root, lifetime: Duration) -> Self {
        Self { root, lifetime }
    }

    /// What it signs with.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A certificate that says that who holds the private half of `key` is `id`, and nothing else.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn issue(
        &self,
        id: &SpiffeId,
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> Result<Issued, rcgen::Error> {
        let serial = serial()?;
        let not_after = (now + self.lifetime).min(self.root.not_after());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(serial.clone());
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = not_after.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(key, self.root.issuer())?.der().clone();
        Ok(Issued {
            leaf,
            serial: hex(&serial.to_bytes()),
            not_after,
        })
    }

    /// The authority's own certificate, with the root behind it, by which a newcomer knows it.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn own(&self, now: SystemTime) -> Result<(Svid, Issued), OwnError> {
        let key = KeyPair::generate()?;
        let issued = self.issue(&SpiffeId::ca(self.root.trust_domain()), &key, now)?;
        let chain = vec![issued.leaf.clone(), self.root.certificate().clone()];
        Ok((
            Svid::new(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())?,
            issued,
        ))
    }

    /// The roots that the mesh trusts.
    ///
    /// # Panics
    /// Never: a root that cannot be read was refused when it was loaded.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_der([self.root.certificate().clone()])
            .expect("the root was readable when it was loaded")
    }

    /// A live identity for its server.
    ///
    /// # Errors
    /// As [`Self::own`].
    pub fn identity(&self, now: SystemTime) -> Result<std::sync::Arc<Identity>, OwnError> {
        Ok(Identity::new(self.own(now)?.0, self.bundle()))
    }
}

/// Why the authority has no certificate of its own.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// It could not be signed.
    #[error("the authority cannot sign its own certificate")]
    Sign(#[from] rcgen::Error),
    /// What was signed is no SVID.
    #[error("the authority's own certificate cannot be used")]
    Svid(#[from] SvidError),
}

/// 127 bits at random: unique without a counter, and not to be guessed.
pub(crate) fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive and of full length in every encoding.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    use super::*;

    fn authority(lifetime: Duration) -> (tempfile::TempDir, Authority) {
        let state = tempfile::tempdir().expect("a directory");
        let root = Root::open_or_create(state.path(), None).expect("a root");
        (state, Authority::new(root, lifetime))
    }

    fn issue(authority: &Authority, now: SystemTime) -> Issued {
        let id = SpiffeId::parse("spiffe://cluster.local/ns/default/sa/web").expect("an id");
        authority
            .issue(&id, &KeyPair::generate().expect("a key"), now)
            .expect("a leaf")
    }

    #[test]
    fn a_leaf_says_one_thing_only() {
        let (_state, authority) = authority(Duration::from_secs(600));
        let now = SystemTime::now();
        let issued = issue(&authority, now);
        let (_, leaf) = X509Certificate::from_der(&issued.leaf).expect("DER");
        let names = leaf
            .subject_alternative_name()
            .expect("unique")
            .expect("present");
        // Without a subject, the standard wants this to be critical.
        assert!(names.critical && leaf.subject().as_raw() == [0x30, 0]);
        let [GeneralName::URI(uri)] = names.value.general_names[..] else {
            panic!("{names:?}")
        };
        assert_eq!(uri, "spiffe://cluster.local/ns/default/sa/web");
        let constraints = leaf.basic_constraints().expect("unique").expect("explicit");
        assert!(constraints.critical && !constraints.value.ca);
        let usage = leaf.key_usage().expect("unique").expect("present").value;
        assert_eq!(usage.flags, 1, "digital signature and nothing else");
        let uses = leaf
            .extended_key_usage()
            .expect("unique")
            .expect("present")
            .value;
        assert!(uses.server_auth && uses.client_auth && !uses.any && uses.other.is_empty());
        let unix = |time: SystemTime| {
            let since = time
                .duration_since(std::time::UNIX_EPOCH)
                .expect("after 1970");
            i64::try_from(since.as_secs()).expect("small")
        };
        assert_eq!(
            leaf.validity().not_before.timestamp(),
            unix(now - CLOCK_SKEW)
        );
        assert_eq!(
            leaf.validity().not_after.timestamp(),
            unix(now + Duration::from_secs(600))
        );
    }

    #[test]
    fn serials_are_random_and_as_logged() {
        let (_state, authority) = authority(Duration::from_secs(600));
        let serials: std::collections::BTreeSet<_> = (0..100)
            .map(|_| issue(&authority, SystemTime::now()).serial)
            .collect();
        assert_eq!(serials.len(), 100);
        let issued = issue(&authority, SystemTime::now());
        let (_, leaf) = X509Certificate::from_der(&issued.leaf).expect("DER");
        assert_eq!(hex(leaf.raw_serial()), issued.serial);
        assert_eq!(leaf.raw_serial().len(), SERIAL_BYTES);
    }

    #[test]
    fn a_leaf_does_not_outlive_the_root() {
        let (_state, authority) = authority(Duration::from_secs(600));
        let end = authority.root().not_after();
        assert_eq!(
            issue(&authority, end - Duration::from_secs(5)).not_after,
            end
        );
    }

    #[test]
    fn the_own_certificate_is_the_authoritys_and_shows_the_root() {
        let (_state, authority) = authority(Duration::from_secs(600));
        let (svid, _) = authority.own(SystemTime::now()).expect("an SVID");
        assert_eq!(
            svid.id.as_str(),
            "spiffe://cluster.local/ns/istio-system/sa/mesh-ca"
        );
        assert_eq!(svid.chain.last(), Some(authority.root().certificate()));
        svid.verify(&authority.bundle(), SystemTime::now())
            .expect("it holds");
    }
}
