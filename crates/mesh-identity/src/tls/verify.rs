//! Where a peer is let in or turned away.
//!
//! In this order: its chain leads to a root that we trust now and is valid now, for this use, and
//! its leaf is no authority (webpki); the leaf has exactly one URI name, a workload's
//! ([`SpiffeId::from_certificate`]); of our trust domain; and among those expected. The peer
//! learns only that it was refused; why is in our log.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Peers, provider};
use crate::bundle::Fingerprint;
use crate::identity::Identity;
use crate::spiffe::{CertificateNameError, SpiffeId, TrustDomain};

/// Checks a peer, whichever side it is on, against the identity's roots of the moment.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    identity: Arc<Identity>,
    peers: Peers,
    /// Whether a client without a certificate is turned away.
    mandatory: bool,
}

impl PeerVerifier {
    pub(super) fn new(identity: Arc<Identity>, peers: Peers, mandatory: bool) -> Self {
        Self {
            identity,
            peers,
            mandatory,
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Refusal> {
        let current = self.identity.current();
        verify_leaf(current.bundle.anchors(), leaf, intermediates, now, usage)?;
        let id = SpiffeId::from_certificate(leaf)?;
        let ours = current.svid.id.trust_domain();
        if id.trust_domain() != ours {
            return Err(Refusal::TrustDomain {
                id,
                ours: ours.clone(),
            });
        }
        match &self.peers {
            Peers::TrustDomain => Ok(()),
            Peers::Only(ids) if ids.contains(&id) => Ok(()),
            Peers::Only(ids) => Err(Refusal::Unexpected {
                id,
                expected: ids.clone(),
            }),
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: they would tell a stranger whom we trust, and could not follow rotation.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, KeyUsage::client_auth())
            .map(|()| ClientCertVerified::assertion())
            // Anybody can make this happen as often as they like, so it is no warning.
            .inspect_err(|reason| tracing::debug!(%reason, "refused a client's certificate"))
            .map_err(Refusal::into)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, KeyUsage::server_auth())
            .map(|()| ServerCertVerified::assertion())
            .inspect_err(|reason| {
                tracing::warn!(%reason, server = %server.to_str(), "refused a server's certificate");
            })
            .map_err(Refusal::into)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Checks a server of which nothing is known but its root's fingerprint and its name in the mesh.
#[derive(Debug)]
pub(super) struct PinnedVerifier {
    fingerprint: Fingerprint,
    namespace: String,
    service_account: String,
}

impl PinnedVerifier {
    pub(super) fn new(fingerprint: Fingerprint, namespace: &str, service_account: &str) -> Self {
        Self {
            fingerprint,
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let root = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.fingerprint)
            .ok_or_else(|| Refusal::Fingerprint {
                pinned: self.fingerprint,
                presented: intermediates.last().map(Fingerprint::of),
            })?;
        let anchor = webpki::anchor_from_trusted_cert(root).map_err(Refusal::Chain)?;
        verify_leaf(&[anchor], leaf, intermediates, now, KeyUsage::server_auth())?;
        let id = SpiffeId::from_certificate(leaf)?;
        let ours = TrustDomain::from_root(root)?;
        if *id.trust_domain() != ours {
            return Err(Refusal::TrustDomain { id, ours });
        }
        if id.namespace() != self.namespace || id.service_account() != self.service_account {
            let expected = SpiffeId::workload(&ours, &self.namespace, &self.service_account)
                .map_err(CertificateNameError::Id)?;
            return Err(Refusal::Unexpected {
                id,
                expected: Arc::new([expected]),
            });
        }
        Ok(())
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(Refusal::into)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Checks a whole chain as it is kept, without a peer.
pub(crate) fn verify_chain(
    anchors: &[TrustAnchor<'_>],
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
    build_chain(anchors, leaf, intermediates, now, KeyUsage::client_auth())
}

/// Why a peer was turned away.
#[derive(thiserror::Error)]
pub(crate) enum Refusal {
    /// No way to a trusted root, not valid now, a wrong use, or an authority in a leaf's place.
    #[error("{}", describe(.0))]
    Chain(webpki::Error),
    /// It names nobody.
    #[error(transparent)]
    Name(#[from] CertificateNameError),
    /// Another mesh's.
    #[error("{id} is of another trust domain than ours, {ours}")]
    TrustDomain {
        /// Who it is.
        id: SpiffeId,
        /// What it had to belong to.
        ours: TrustDomain,
    },
    /// Somebody else.
    #[error("the peer is {id}, expected {expected:?}")]
    Unexpected {
        /// Who it is.
        id: SpiffeId,
        /// Who it might have been.
        expected: Arc<[SpiffeId]>,
    },
    /// At first contact: another certificate authority.
    #[error(
        "the root {} is presented, not {pinned}, which was pinned; compare --ca-fingerprint with what `mesh-ca fingerprint` prints at that address",
        presented.map_or_else(|| "(none)".to_owned(), |presented| presented.to_string())
    )]
    Fingerprint {
        /// What we know.
        pinned: Fingerprint,
        /// What the server showed last, which is where a root stands.
        presented: Option<Fingerprint>,
    },
}

/// rustls prints what it cannot name itself by `Debug`, so this is the sentence too.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Three cases are told to the peer by their usual alerts, since they help its owner and tell
/// nothing that the certificate does not say; all others are one and the same alert.
impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        use webpki::Error as Chain;
        Self::InvalidCertificate(match refusal {
            Refusal::Chain(Chain::CertExpired { time, not_after }) => {
                CertificateError::ExpiredContext { time, not_after }
            }
            Refusal::Chain(Chain::CertNotValidYet { time, not_before }) => {
                CertificateError::NotValidYetContext { time, not_before }
            }
            Refusal::Chain(Chain::UnknownIssuer | Chain::InvalidSignatureForPublicKey) => {
                CertificateError::UnknownIssuer
            }
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}

fn verify_leaf(
    anchors: &[TrustAnchor<'_>],
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), Refusal> {
    build_chain(anchors, leaf, intermediates, now, usage).map_err(Refusal::Chain)
}

fn build_chain(
    anchors: &[TrustAnchor<'_>],
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let algorithms = provider().signature_verification_algorithms.all;
    EndEntityCert::try_from(leaf)?
        .verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)
        .map(|_| ())
}

/// The usual reasons in words; webpki's own are names of Rust types.
pub(crate) fn describe(error: &webpki::Error) -> String {
    use webpki::Error as Chain;
    match error {
        Chain::CertExpired { time, not_after } => format!(
            "the certificate expired {} s ago",
            time.as_secs().saturating_sub(not_after.as_secs())
        ),
        Chain::CertNotValidYet { time, not_before } => format!(
            "the certificate is valid only in {} s; one of the two clocks is wrong",
            not_before.as_secs().saturating_sub(time.as_secs())
        ),
        // The second is what another root of the same name looks like.
        Chain::UnknownIssuer | Chain::InvalidSignatureForPublicKey => {
            "no root that we trust signed the certificate".to_owned()
        }
        Chain::CaUsedAsEndEntity => {
            "the certificate is an authority's, which cannot be a workload's".to_owned()
        }
        other => format!("the certificate does not hold: {other}"),
    }
}

fn verify_signature(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let algorithms = &provider().signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
}

/// Never asked, since no configuration offers it.
fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not offered".to_owned())
}
