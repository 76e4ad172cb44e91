//! The gRPC service: who may ask for a certificate, and what they are told.
//!
//! Every refusal is one sentence for the operator at the other end, counted by reason. A token is
//! used up only when everything else about its request is right, and before anything is signed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mesh_identity::SpiffeId;
use mesh_identity::grpc::{PeerInfo, peer};
use mesh_identity::proto::certificate_authority_server::CertificateAuthority;
use mesh_identity::proto::{JoinRequest, RenewRequest, SignedCertificate};
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

use crate::authority::{Authority, Issued};
use crate::csr::{self, CsrError};
use crate::limit::Failures;
use crate::metrics::{Method, Metrics, Reason};
use crate::token::{TokenError, Tokens};

/// The service's state, shared by all its requests.
#[derive(Debug)]
pub(crate) struct Service {
    authority: Arc<Authority>,
    tokens: Tokens,
    metrics: Arc<Metrics>,
    failures: Failures,
}

impl Service {
    pub(crate) fn new(authority: Arc<Authority>, tokens: Tokens, metrics: Arc<Metrics>) -> Self {
        Self {
            authority,
            tokens,
            metrics,
            failures: Failures::default(),
        }
    }

    fn join(&self, request: &JoinRequest) -> Result<SignedCertificate, Refusal> {
        let now = SystemTime::now();
        let found = self.tokens.find(&request.token, now)?;
        let key = csr::check(&request.csr, &found.identity)?;
        self.tokens.redeem(&found)?;
        let issued = self.authority.issue(&found.identity, &key, now)?;
        Ok(self.hand_out(Method::Join, &found.identity, &issued))
    }

    fn renew(
        &self,
        request: &RenewRequest,
        peer: Option<&PeerInfo>,
    ) -> Result<SignedCertificate, Refusal> {
        let now = SystemTime::now();
        let Some((id, not_after)) =
            peer.and_then(|peer| Some((peer.id.as_ref()?, peer.not_after?)))
        else {
            return Err(Refusal::NoCertificate);
        };
        // The handshake checked it; the connection may have outlived it.
        if not_after <= now {
            return Err(Refusal::Expired(not_after));
        }
        let key = csr::check(&request.csr, id)?;
        let issued = self.authority.issue(id, &key, now)?;
        Ok(self.hand_out(Method::Renew, id, &issued))
    }

    fn hand_out(&self, method: Method, id: &SpiffeId, issued: &Issued) -> SignedCertificate {
        self.metrics.issued(method);
        tracing::info!(
            identity = %id,
            serial = issued.serial,
            expires = %humantime::format_rfc3339_seconds(issued.not_after),
            method = method.label(),
            "issued a certificate"
        );
        SignedCertificate {
            chain: vec![issued.leaf.to_vec()],
            roots: vec![self.authority.root().certificate().to_vec()],
        }
    }

    fn refuse(&self, peer: Option<&PeerInfo>, refusal: &Refusal) -> Status {
        let reason = refusal.reason();
        self.metrics.refused(reason);
        let who = peer.map_or_else(|| "unknown".to_owned(), ToString::to_string);
        if reason == Reason::Internal {
            tracing::error!(peer = who, error = %refusal, "cannot issue a certificate");
            // What is wrong with our disk is none of a stranger's business.
            return Status::internal(
                "the certificate authority has a problem of its own; see its log",
            );
        }
        if reason == Reason::RateLimited {
            // Whoever is turned away for trying too often does not fill the log either.
            tracing::debug!(peer = who, reason = reason.label(), "refused: {refusal}");
        } else {
            tracing::warn!(peer = who, reason = reason.label(), "refused: {refusal}");
        }
        Status::new(refusal.code(), refusal.to_string())
    }
}

/// The tonic side of a [`Service`]: files are read and written off the runtime's threads.
#[derive(Debug, Clone)]
pub(crate) struct Shared(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl CertificateAuthority for Shared {
    async fn join(
        &self,
        request: Request<JoinRequest>,
    ) -> Result<Response<SignedCertificate>, Status> {
        let peer = peer(&request).cloned();
        let service = self.0.clone();
        let Some(taken) = service
            .failures
            .take(address(peer.as_ref()), Instant::now())
        else {
            return Err(service.refuse(peer.as_ref(), &Refusal::RateLimited));
        };
        let mut request = request.into_inner();
        blocking(move || {
            let answer = service.join(&request);
            drop(Zeroizing::new(std::mem::take(&mut request.token)));
            let is_their_fault =
                matches!(&answer, Err(refusal) if refusal.reason() != Reason::Internal);
            if !is_their_fault {
                service.failures.give_back(&taken, Instant::now());
            }
            answer
                .map(Response::new)
                .map_err(|refusal| service.refuse(peer.as_ref(), &refusal))
        })
        .await
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<SignedCertificate>, Status> {
        let peer = peer(&request).cloned();
        // Who has shown a certificate is no stranger; who has not fails in any case.
        if peer.as_ref().is_none_or(|peer| peer.id.is_none())
            && self
                .0
                .failures
                .take(address(peer.as_ref()), Instant::now())
                .is_none()
        {
            return Err(self.0.refuse(peer.as_ref(), &Refusal::RateLimited));
        }
        self.0
            .renew(request.get_ref(), peer.as_ref())
            .map(Response::new)
            .map_err(|refusal| self.0.refuse(peer.as_ref(), &refusal))
    }
}

/// Where a request comes from.
fn address(peer: Option<&PeerInfo>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.addr.ip())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Status::internal("the certificate authority is stopping")))
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error(
        "a renewal needs the current certificate as the client certificate of the connection; without one, join with a token"
    )]
    NoCertificate,
    #[error("the certificate of this connection expired at {}; open a new one with the current certificate, or join again with a new token", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    #[error("too many attempts from this address have failed or are under way; wait a minute")]
    RateLimited,
    #[error("cannot sign: {0}")]
    Sign(rcgen::Error),
}

impl From<rcgen::Error> for Refusal {
    fn from(reason: rcgen::Error) -> Self {
        Self::Sign(reason)
    }
}

impl Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Token(TokenError::Unknown) => Reason::TokenUnknown,
            Self::Token(TokenError::Used) => Reason::TokenUsed,
            Self::Token(TokenError::Expired(_)) => Reason::TokenExpired,
            Self::Csr(CsrError::Name { .. }) => Reason::Identity,
            Self::Csr(_) => Reason::Request,
            Self::NoCertificate | Self::Expired(_) => Reason::Certificate,
            Self::RateLimited => Reason::RateLimited,
            Self::Token(_) | Self::Sign(_) => Reason::Internal,
        }
    }

    fn code(&self) -> Code {
        match self.reason() {
            Reason::TokenUnknown
            | Reason::TokenUsed
            | Reason::TokenExpired
            | Reason::Certificate => Code::Unauthenticated,
            Reason::Request => Code::InvalidArgument,
            Reason::Identity => Code::PermissionDenied,
            Reason::RateLimited => Code::ResourceExhausted,
            Reason::Internal => Code::Internal,
        }
    }
}
