//! A certificate authority in memory, for tests that need identities without a mesh-ca.
//!
//! Behind the feature `testing`, which no program of the mesh turns on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::proto::SignedCertificate;
use crate::{Fingerprint, Identity, SpiffeId, Svid, TrustBundle, TrustDomain};

const HOUR: Duration = Duration::from_secs(3600);

/// A root with its key.
#[derive(Debug)]
pub struct Authority {
    domain: TrustDomain,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new root for a trust domain.
    ///
    /// # Panics
    /// If the name is no trust domain's.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let domain = TrustDomain::new(domain).expect("a trust domain");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&domain.uri())];
        let root = params.self_signed(&key).expect("a root").der().clone();
        Self {
            domain,
            root,
            issuer: Issuer::new(params, key),
        }
    }

    /// Its root, to trust.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Its root, to know it by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.root)
    }

    /// What to verify with who trusts only this authority.
    ///
    /// # Panics
    /// Never: the root is well-formed.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_der([self.root.clone()]).expect("the root is well-formed")
    }

    /// The id of a service account in its trust domain.
    ///
    /// # Panics
    /// If the parts are no path segments.
    #[must_use]
    pub fn id(&self, namespace: &str, service_account: &str) -> SpiffeId {
        SpiffeId::workload(&self.domain, namespace, service_account).expect("a workload's id")
    }

    /// A workload that is valid for an hour and trusts this authority.
    ///
    /// # Panics
    /// If the parts are no path segments.
    #[must_use]
    pub fn identity(&self, namespace: &str, service_account: &str) -> Arc<Identity> {
        Identity::new(self.svid(namespace, service_account, HOUR), self.bundle())
    }

    /// A certificate for a workload, valid since a minute ago, with the root behind the leaf.
    ///
    /// # Panics
    /// If the parts are no path segments.
    #[must_use]
    pub fn svid(&self, namespace: &str, service_account: &str, life: Duration) -> Svid {
        let mut params = leaf_params(&[uri(self.id(namespace, service_account).as_str())]);
        params.not_after = (SystemTime::now() + life).into();
        let (leaf, key) = self.sign(&params);
        Svid::new(vec![leaf, self.root.clone()], key).expect("leaf and key belong together")
    }

    /// Answers a certificate request as mesh-ca does, for whoever asks.
    ///
    /// # Panics
    /// If it is no request.
    #[must_use]
    pub fn answer(
        &self,
        csr: &[u8],
        id: &SpiffeId,
        life: Duration,
        now: SystemTime,
    ) -> SignedCertificate {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).expect("a request");
        let mut params = leaf_params(&[uri(id.as_str())]);
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + life).into();
        let leaf = params
            .signed_by(&request.public_key, &self.issuer)
            .expect("a leaf");
        SignedCertificate {
            chain: vec![leaf.der().to_vec()],
            roots: vec![self.root.to_vec()],
        }
    }

    /// A certificate as the caller wants it, with a new key.
    ///
    /// # Panics
    /// If the parameters make no certificate.
    #[must_use]
    pub fn sign(
        &self,
        params: &CertificateParams,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("a leaf")
            .der()
            .clone();
        (leaf, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

/// A leaf's parameters as mesh-ca makes them, valid from a minute ago for an hour.
#[must_use]
pub fn leaf_params(names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + HOUR).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.subject_alt_names = names.to_vec();
    params
}

/// A URI as a certificate's alternative name.
///
/// # Panics
/// If it is not ASCII.
#[must_use]
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI is ASCII"))
}
