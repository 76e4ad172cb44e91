//! Who is asked for the next certificate: mesh-ca, in the two ways that it can be asked.
//!
//! Each time over a connection of its own: so it is authenticated by the certificate of the
//! moment, and none is kept open for hours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::join::{self, Attempt};
use super::{Invitation, JoinSettings, JoinToken};
use crate::grpc;
use crate::identity::Identity;
use crate::proto::certificate_authority_client::CertificateAuthorityClient;
use crate::proto::{RenewRequest, SignedCertificate};
use crate::spiffe::SpiffeId;
use crate::tls::{self, Peers};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who signs the next certificate. A trait, so that time and failures can be played in tests.
pub(super) trait Authority {
    /// Signs a request for the identity that we have; else says why not.
    fn renew(&self, csr: Vec<u8>)
    -> impl Future<Output = Result<SignedCertificate, String>> + Send;
}

/// mesh-ca over gRPC.
pub(super) struct MeshCa {
    settings: JoinSettings,
    identity: Arc<Identity>,
    tls: Arc<rustls::ClientConfig>,
    /// The token that was refused last, which need not be tried again.
    refused: Mutex<Option<Zeroizing<String>>>,
}

impl MeshCa {
    pub(super) fn new(settings: JoinSettings, identity: Arc<Identity>) -> Self {
        let authority = SpiffeId::ca(identity.id().trust_domain());
        let tls = tls::client_config(&identity, Peers::one(authority), &[b"h2"]);
        Self {
            settings,
            identity,
            tls,
            refused: Mutex::new(None),
        }
    }

    /// A new token for a process that runs with an expired certificate, if somebody has put one
    /// into the token's file since.
    fn fresh_token(&self) -> Result<Invitation, String> {
        let helps = "only a new join token helps";
        let Some(file @ JoinToken::File(_)) = &self.settings.token else {
            return Err(helps.to_owned());
        };
        let invitation = file.read().map_err(|error| format!("{helps}: {error}"))?;
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_ref() == Some(&invitation.token) {
            return Err(helps.to_owned());
        }
        Ok(invitation)
    }

    async fn rejoin(
        &self,
        invitation: Invitation,
        csr: Vec<u8>,
    ) -> Result<SignedCertificate, String> {
        let pinned = invitation
            .pinned(self.settings.ca_fingerprint)
            .map_err(|error| error.to_string())?;
        let token = invitation.token;
        join::trade(&self.settings.ca_address, pinned, &token, csr)
            .await
            .map_err(|failed| match failed {
                Attempt::Again(reason) => reason,
                Attempt::Final(error) => {
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                    error.to_string()
                }
            })
    }
}

impl Authority for MeshCa {
    async fn renew(&self, csr: Vec<u8>) -> Result<SignedCertificate, String> {
        if self.identity.not_after() <= SystemTime::now() {
            return self.rejoin(self.fresh_token()?, csr).await;
        }
        let channel = grpc::connect(&self.settings.ca_address, self.tls.clone())
            .await
            .map_err(|error| error.to_string())?;
        let mut client = CertificateAuthorityClient::new(channel);
        tokio::time::timeout(ANSWER_TIMEOUT, client.renew(RenewRequest { csr }))
            .await
            .map_err(|_| "the certificate authority does not answer".to_owned())?
            .map(tonic::Response::into_inner)
            .map_err(|status| status.message().to_owned())
    }
}

#[cfg(test)]
mod tests;
