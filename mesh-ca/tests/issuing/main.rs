//! The authority in this process, asked over its real door: gRPC over TLS.
//!
//! Here is what all need; the promises are in `service.rs` and `workload.rs`.

mod service;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ca::{Running, Settings, start, token};
use mesh_identity::client::{JoinSettings, JoinToken};
use mesh_identity::proto::certificate_authority_client::CertificateAuthorityClient;
use mesh_identity::proto::{JoinRequest, SignedCertificate};
use mesh_identity::tls::{self, Peers};
use mesh_identity::{Identity, SpiffeId, Svid, TrustBundle, grpc};
use mesh_process::Process;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tonic::Status;
use tonic::transport::Channel;

const TTL: Duration = Duration::from_secs(600);

/// An authority and its state.
struct Ca {
    state: tempfile::TempDir,
    process: Process,
    running: Running,
}

impl Ca {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let mut settings = Settings::local(state.path().join("ca"));
        change(&mut settings);
        let process = Process::new("mesh-ca");
        let running = start(settings, process.clone()).await.expect("it starts");
        Self {
            state,
            process,
            running,
        }
    }

    fn directory(&self) -> PathBuf {
        self.state.path().join("ca")
    }

    fn token(&self, account: &str) -> String {
        self.token_for(account, TTL)
    }

    fn token_for(&self, account: &str, ttl: Duration) -> String {
        let created = token::create(&self.directory(), None, "default", account, ttl);
        created.expect("a token").token.as_str().to_owned()
    }

    fn address(&self) -> String {
        self.running.address.to_string()
    }

    /// Connected as a newcomer is.
    async fn newcomer(&self) -> CertificateAuthorityClient<Channel> {
        self.with_tls(tls::pinned_client_config(
            self.running.fingerprint,
            "istio-system",
            "mesh-ca",
            &[b"h2"],
        ))
        .await
    }

    async fn member(&self, identity: &Arc<Identity>) -> CertificateAuthorityClient<Channel> {
        let ca = SpiffeId::ca(identity.id().trust_domain());
        self.with_tls(tls::client_config(identity, Peers::one(ca), &[b"h2"]))
            .await
    }

    async fn with_tls(
        &self,
        tls: Arc<rustls::ClientConfig>,
    ) -> CertificateAuthorityClient<Channel> {
        let channel = grpc::connect(&self.address(), tls)
            .await
            .expect("connected");
        CertificateAuthorityClient::new(channel)
    }

    async fn join(&self, token: &str, asked: &Asked) -> Result<SignedCertificate, Status> {
        let request = JoinRequest {
            token: token.to_owned(),
            csr: asked.csr.clone(),
        };
        self.newcomer()
            .await
            .join(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Joins in the ordinary way, by hand.
    async fn joined(&self, account: &str) -> Arc<Identity> {
        let asked = Asked::plain();
        let answer = self
            .join(&self.token(account), &asked)
            .await
            .expect("a certificate");
        asked.identity(answer)
    }

    fn join_settings(&self, name: &str, token: Option<String>) -> JoinSettings {
        JoinSettings {
            ca_address: self.address(),
            ca_fingerprint: Some(self.running.fingerprint),
            token: token.map(JoinToken::from),
            state_dir: self.state.path().join(name),
        }
    }

    /// A sample of the metrics, as they are scraped.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.process.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .expect(name);
        let metric = family
            .get_metric()
            .iter()
            .find(|metric| metric.get_label().iter().all(|pair| pair.value() == label))
            .expect(label);
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    async fn stop(self) -> tempfile::TempDir {
        self.process.shutdown.trigger();
        self.running.stopped().await.expect("an orderly stop");
        self.state
    }
}

/// A key with a request of any kind.
struct Asked {
    key: KeyPair,
    csr: Vec<u8>,
}

impl Asked {
    fn plain() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let csr = params
            .serialize_request(&key)
            .expect("a request")
            .der()
            .to_vec();
        Self { key, csr }
    }

    fn identity(&self, answer: SignedCertificate) -> Arc<Identity> {
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let svid = Svid::new(chain, key).expect("an SVID");
        let roots = answer.roots.into_iter().map(CertificateDer::from);
        let bundle = TrustBundle::from_der(roots).expect("roots");
        svid.verify(&bundle, SystemTime::now()).expect("it holds");
        Identity::new(svid, bundle)
    }
}
