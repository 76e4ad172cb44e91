//! Hands the certificate of the moment to each handshake.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::identity::Identity;

/// The current certificate of an identity, for either side of a handshake.
#[derive(Debug)]
pub(super) struct Current(Arc<Identity>);

impl Current {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self(identity)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().svid.certified().clone())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().svid.certified().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
