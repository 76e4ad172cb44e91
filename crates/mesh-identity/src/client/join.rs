//! The first certificate: a one-time token for an identity.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;

use super::request::{AnswerError, Request, is_temporary};
use super::store::{Store, Stored};
use super::{Error, JoinSettings};
use crate::Backoff;
use crate::bundle::Fingerprint;
use crate::grpc::{self, ConnectError};
use crate::proto::certificate_authority_client::CertificateAuthorityClient;
use crate::proto::{JoinRequest, SignedCertificate};
use crate::{CA_SERVICE_ACCOUNT, ROOT_NAMESPACE, tls};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// For one answer, once connected.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Joins, however long the authority takes to be reached, and keeps the identity.
pub(super) async fn join(settings: &JoinSettings, store: &Store) -> Result<Stored, Error> {
    let invitation = match &settings.token {
        Some(token) => token.read()?,
        None => {
            return Err(Error::NoToken {
                path: store.path().to_owned(),
            });
        }
    };
    let pinned = invitation.pinned(settings.ca_fingerprint)?;
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        match attempt(&settings.ca_address, pinned, &invitation.token).await {
            Ok(stored) => {
                // A token that was traded in is gone: without the file, the next start would fail,
                // so this start should.
                store.save(&stored)?;
                tracing::info!(
                    id = %stored.svid.id,
                    expires = %humantime::format_rfc3339_seconds(stored.svid.not_after),
                    "joined the mesh"
                );
                return Ok(stored);
            }
            Err(Attempt::Final(error)) => return Err(error),
            Err(Attempt::Again(reason)) => {
                let wait = backoff.wait();
                tracing::warn!(
                    address = settings.ca_address,
                    reason,
                    retry_in = ?wait,
                    "cannot join the mesh yet"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// How an attempt failed.
pub(super) enum Attempt {
    /// It may work later.
    Again(String),
    /// It will not, unless somebody changes something.
    Final(Error),
}

/// Trades a token for a certificate, once. The answer contains the pinned root.
pub(super) async fn trade(
    address: &str,
    pinned: Fingerprint,
    token: &str,
    csr: Vec<u8>,
) -> Result<SignedCertificate, Attempt> {
    let tls = tls::pinned_client_config(pinned, ROOT_NAMESPACE, CA_SERVICE_ACCOUNT, &[b"h2"]);
    let channel = grpc::connect(address, tls)
        .await
        .map_err(|error| match error {
            ConnectError::Unreachable { .. } => Attempt::Again(error.to_string()),
            ConnectError::Untrusted { .. } => Attempt::Final(Error::Untrusted(error)),
        })?;
    let message = JoinRequest {
        token: token.to_owned(),
        csr,
    };
    let mut client = CertificateAuthorityClient::new(channel);
    match tokio::time::timeout(ANSWER_TIMEOUT, client.join(message)).await {
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            if answer.roots.iter().any(|root| is_pinned(root, &pinned)) {
                Ok(answer)
            } else {
                Err(Attempt::Final(Error::Answer {
                    address: address.to_owned(),
                    reason: AnswerError::Pinned,
                }))
            }
        }
        Ok(Err(status)) if is_temporary(status.code()) => {
            Err(Attempt::Again(status.message().to_owned()))
        }
        Ok(Err(status)) => Err(Attempt::Final(Error::Refused {
            address: address.to_owned(),
            reason: status.message().to_owned(),
        })),
        Err(_) => Err(Attempt::Again(
            "the certificate authority does not answer".to_owned(),
        )),
    }
}

fn is_pinned(root: &[u8], pinned: &Fingerprint) -> bool {
    Fingerprint::of(&CertificateDer::from(root)) == *pinned
}

async fn attempt(address: &str, pinned: Fingerprint, token: &str) -> Result<Stored, Attempt> {
    let unusable = |reason| {
        Attempt::Final(Error::Answer {
            address: address.to_owned(),
            reason,
        })
    };
    let request = Request::new().map_err(unusable)?;
    let answer = trade(address, pinned, token, request.csr.clone()).await?;
    request.accept(answer, SystemTime::now()).map_err(unusable)
}
