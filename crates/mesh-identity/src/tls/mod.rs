//! rustls configurations that prove who we are and check who the others are.
//!
//! Each is built once and follows rotation by itself: certificates come from `resolve.rs`, checks
//! from `verify.rs`, and both read the [`Identity`] when a handshake asks. TLS 1.3 only, no DNS
//! names, no early data.

mod resolve;
mod verify;

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, CommonState, ServerConfig};

pub(crate) use self::verify::{describe, verify_chain};
use crate::bundle::Fingerprint;
use crate::identity::Identity;
use crate::spiffe::SpiffeId;
use crate::svid;

/// Who may be at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Peers {
    /// Every workload of our own trust domain.
    TrustDomain,
    /// These only, and they have to be of our own trust domain as well.
    Only(Arc<[SpiffeId]>),
}

impl Peers {
    /// One identity only.
    #[must_use]
    pub fn one(id: SpiffeId) -> Self {
        Self::Only(Arc::new([id]))
    }
}

/// A server that lets in nobody without a valid certificate of one of `peers`.
#[must_use]
pub fn server_config(identity: &Arc<Identity>, peers: Peers, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    server(identity, peers, alpn, true)
}

/// A server that lets in clients without a certificate too; one that is presented has to be valid.
///
/// For the certificate authority, to whom a newcomer comes to get its first one.
#[must_use]
pub fn server_config_optional_client(
    identity: &Arc<Identity>,
    peers: Peers,
    alpn: &[&[u8]],
) -> Arc<ServerConfig> {
    server(identity, peers, alpn, false)
}

/// A client that presents our certificate and talks to nobody but `peers`.
///
/// The name that a connection is opened with goes out as SNI and proves nothing: who the server is
/// follows from its certificate.
#[must_use]
pub fn client_config(identity: &Arc<Identity>, peers: Peers, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let verifier = verify::PeerVerifier::new(identity.clone(), peers, true);
    let config = client_builder()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolve::Current::new(identity.clone())));
    Arc::new(client(config, alpn))
}

/// A client without a certificate, for the first contact: it knows the server by the fingerprint
/// of its root, which the server has to send with its chain, and expects the workload
/// `ns/NAMESPACE/sa/SERVICE_ACCOUNT` of the root's trust domain.
#[must_use]
pub fn pinned_client_config(
    fingerprint: Fingerprint,
    namespace: &str,
    service_account: &str,
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let verifier = verify::PinnedVerifier::new(fingerprint, namespace, service_account);
    let config = client_builder()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Arc::new(client(config, alpn))
}

/// Who is at the other end of a connection whose handshake is complete; nobody, if the peer
/// presented no certificate.
#[must_use]
pub fn peer_id(connection: &CommonState) -> Option<SpiffeId> {
    SpiffeId::from_certificate(connection.peer_certificates()?.first()?).ok()
}

/// Until when the certificate of the other end is valid. The connection does not end with it: who
/// wants that has to look.
#[must_use]
pub fn peer_not_after(connection: &CommonState) -> Option<SystemTime> {
    let leaf = connection.peer_certificates()?.first()?;
    svid::validity(leaf).ok().map(|(_, not_after)| not_after)
}

/// The one source of cryptography in the mesh.
#[must_use]
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}

fn server(
    identity: &Arc<Identity>,
    peers: Peers,
    alpn: &[&[u8]],
    mandatory: bool,
) -> Arc<ServerConfig> {
    let verifier = verify::PeerVerifier::new(identity.clone(), peers, mandatory);
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites and key exchanges of TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolve::Current::new(identity.clone())));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // No resumption. A resumed handshake verifies no certificate: it would let in a peer whose
    // certificate has expired or whose root was retired since, and a session store cannot tell
    // them, since rustls shows it neither the peer nor the verifier. Short lives are how access
    // ends in this mesh, so they have to count at every connection. What a ticket would save is
    // signatures, not the key exchange; and connections are pooled, so handshakes are few.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn client_builder() -> rustls::client::danger::DangerousClientConfigBuilder {
    ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites and key exchanges of TLS 1.3")
        .dangerous()
}

fn client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // As in `server`: a ticket would spare the server from showing its certificate again.
    config.resumption = Resumption::disabled();
    config
}

#[cfg(test)]
mod tests;
