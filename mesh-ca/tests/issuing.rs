//! The authority in this process, asked over its real door: gRPC over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ca::{Running, Settings, start, token};
use mesh_identity::client::{self, JoinSettings, JoinToken};
use mesh_identity::proto::certificate_authority_client::CertificateAuthorityClient;
use mesh_identity::proto::{JoinRequest, RenewRequest, SignedCertificate};
use mesh_identity::testing::{Authority, uri};
use mesh_identity::tls::{self, Peers};
use mesh_identity::{Fingerprint, Identity, SpiffeId, Svid, TrustBundle, grpc};
use mesh_process::{Process, Shutdown};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tonic::transport::Channel;
use tonic::{Code, Status};

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

fn never() -> impl Future<Output = ()> + Send + 'static {
    std::future::pending()
}

fn stopped(shutdown: &Shutdown) -> impl Future<Output = ()> + Send + 'static {
    let shutdown = shutdown.clone();
    async move { shutdown.wait().await }
}

#[tokio::test]
async fn a_token_gets_its_identity_once() {
    let ca = Ca::new().await;
    let token = ca.token("webapp");
    let asked = Asked::plain();
    let identity = asked.identity(ca.join(&token, &asked).await.expect("a certificate"));
    assert_eq!(
        identity.id().as_str(),
        "spiffe://cluster.local/ns/default/sa/webapp"
    );
    assert!(identity.current().bundle.contains(&ca.running.fingerprint));
    assert_eq!(
        identity.current().svid.chain.len(),
        1,
        "the root is not part of the chain"
    );
    let left = identity
        .not_after()
        .duration_since(SystemTime::now())
        .expect("valid");
    assert!(left > Duration::from_secs(24 * 3600 - 60), "{left:?}");

    let again = ca.join(&token, &Asked::plain()).await.expect_err("used");
    assert_eq!(again.code(), Code::Unauthenticated);
    assert!(again.message().contains("has been used"), "{again}");
    assert!(again.message().contains("mesh-ca token create"), "{again}");
    assert_eq!(ca.metric("mesh_ca_certificates_issued_total", "join"), 1.0);
    assert_eq!(
        ca.metric("mesh_ca_requests_refused_total", "token_used"),
        1.0
    );
}

#[tokio::test]
async fn of_many_that_join_with_one_token_one_does() {
    let ca = Ca::new().await;
    let token = ca.token("webapp");
    let asked: Vec<_> = (0..8).map(|_| Asked::plain()).collect();
    let mut clients = Vec::new();
    for _ in &asked {
        clients.push(ca.newcomer().await);
    }
    let tasks: Vec<_> = clients
        .into_iter()
        .zip(&asked)
        .map(|(mut client, asked)| {
            let request = JoinRequest {
                token: token.clone(),
                csr: asked.csr.clone(),
            };
            tokio::spawn(async move { client.join(request).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.expect("no panic"));
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn unknown_and_expired_tokens_are_refused_with_the_way_out() {
    let ca = Ca::new().await;
    let unknown = ca
        .join("mesh-join-abc", &Asked::plain())
        .await
        .expect_err("unknown");
    assert_eq!(unknown.code(), Code::Unauthenticated);
    assert!(unknown.message().contains("unknown"), "{unknown}");

    // The file keeps whole seconds, so less than one is over before it began.
    let expired = ca.token_for("webapp", Duration::from_millis(1));
    let refusal = loop {
        match ca
            .join(&expired, &Asked::with(|params| params.is_ca = ca_true()))
            .await
        {
            Err(status) if status.code() == Code::Unauthenticated => break status,
            // Still good, and therefore refused for its request, which leaves it as it is.
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument),
            Ok(_) => panic!("a request to be an authority was granted"),
        }
    };
    assert!(refusal.message().contains("expired at 20"), "{refusal}");
    assert!(
        refusal.message().contains("mesh-ca token create"),
        "{refusal}"
    );
    assert_eq!(
        ca.metric("mesh_ca_requests_refused_total", "token_expired"),
        1.0
    );
}

fn ca_true() -> IsCa {
    IsCa::Ca(BasicConstraints::Unconstrained)
}

#[tokio::test]
async fn a_request_for_more_is_refused_and_leaves_the_token_good() {
    let ca = Ca::new().await;
    let token = ca.token("webapp");
    let admin = Asked::with(|params| {
        params.subject_alt_names = vec![uri("spiffe://cluster.local/ns/default/sa/admin")];
    });
    let refusal = ca.join(&token, &admin).await.expect_err("another identity");
    assert_eq!(refusal.code(), Code::PermissionDenied);
    for id in ["sa/admin", "sa/webapp"] {
        assert!(refusal.message().contains(id), "{refusal}");
    }
    let authority = Asked::with(|params| params.is_ca = ca_true());
    let refusal = ca.join(&token, &authority).await.expect_err("an authority");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let broken = Asked {
        csr: vec![1, 2, 3],
        ..Asked::plain()
    };
    let refusal = ca.join(&token, &broken).await.expect_err("no request");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    ca.join(&token, &Asked::plain())
        .await
        .expect("the token is still good");
    assert_eq!(ca.metric("mesh_ca_requests_refused_total", "identity"), 1.0);
    assert_eq!(ca.metric("mesh_ca_requests_refused_total", "request"), 2.0);
}

#[tokio::test]
async fn an_oversized_request_is_refused() {
    let ca = Ca::new().await;
    let huge = Asked {
        csr: vec![0; 70 * 1024],
        ..Asked::plain()
    };
    let refusal = ca
        .join(&ca.token("webapp"), &huge)
        .await
        .expect_err("too large");
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal}");
}

#[tokio::test]
async fn a_certificate_is_renewed_as_what_it_is() {
    let ca = Ca::new().await;
    let identity = ca.joined("webapp").await;
    let mut client = ca.member(&identity).await;
    let asked = Asked::plain();
    let answer = client
        .renew(RenewRequest {
            csr: asked.csr.clone(),
        })
        .await
        .expect("renewed");
    let renewed = asked.identity(answer.into_inner());
    assert_eq!(renewed.id(), identity.id());
    assert_ne!(
        renewed.current().svid.leaf(),
        identity.current().svid.leaf()
    );
    assert_eq!(ca.metric("mesh_ca_certificates_issued_total", "renew"), 1.0);

    let admin = Asked::with(|params| {
        params.subject_alt_names = vec![uri("spiffe://cluster.local/ns/default/sa/admin")];
    });
    let refusal = client
        .renew(RenewRequest { csr: admin.csr })
        .await
        .expect_err("somebody else");
    assert_eq!(refusal.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn nothing_is_renewed_without_a_certificate() {
    let ca = Ca::new().await;
    let request = RenewRequest {
        csr: Asked::plain().csr,
    };
    let refusal = ca
        .newcomer()
        .await
        .renew(request)
        .await
        .expect_err("who are you");
    assert_eq!(refusal.code(), Code::Unauthenticated);
    assert!(refusal.message().contains("join"), "{refusal}");
    assert_eq!(
        ca.metric("mesh_ca_requests_refused_total", "certificate"),
        1.0
    );
}

#[tokio::test]
async fn a_certificate_of_a_foreign_root_is_let_in_nowhere() {
    let ca = Ca::new().await;
    let bundle = ca.joined("webapp").await.current().bundle.as_ref().clone();
    let foreign = Authority::new("cluster.local");
    // It knows our root, so only we can refuse.
    let stranger = Identity::new(foreign.svid("default", "webapp", TTL), bundle);
    let ours = SpiffeId::ca(stranger.id().trust_domain());
    let tls = tls::client_config(&stranger, Peers::one(ours), &[b"h2"]);
    let mut client = CertificateAuthorityClient::new(grpc::channel(&ca.address(), tls));
    let request = RenewRequest {
        csr: Asked::plain().csr,
    };
    client.renew(request).await.expect_err("no connection");
    // The service never saw the request.
    assert_eq!(ca.metric("mesh_ca_certificates_issued_total", "renew"), 0.0);
    assert_eq!(
        ca.metric("mesh_ca_requests_refused_total", "certificate"),
        0.0
    );
}

#[tokio::test]
async fn failed_joins_are_limited_and_good_tokens_wait_with_them() {
    let ca = Ca::new().await;
    let mut client = ca.newcomer().await;
    let csr = Asked::plain().csr;
    let mut codes = Vec::new();
    for n in 0..40 {
        let request = JoinRequest {
            token: format!("guess-{n}"),
            csr: csr.clone(),
        };
        codes.push(client.join(request).await.expect_err("a guess").code());
    }
    assert_eq!(codes[..20], [Code::Unauthenticated; 20]);
    assert_eq!(codes.last(), Some(&Code::ResourceExhausted));
}

#[tokio::test]
async fn a_workload_joins_and_starts_again_while_the_authority_is_down() {
    let ca = Ca::new().await;
    let settings = ca.join_settings("web", Some(ca.token("webapp")));
    let first = client::obtain(settings.clone(), never())
        .await
        .expect("joined");
    let file = settings.state_dir.join("identity/identity.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file)
            .expect("the identity is on disk")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let _state = ca.stop().await;

    let without = JoinSettings {
        token: None,
        ca_fingerprint: None,
        ..settings
    };
    let second = client::obtain(without, never()).await.expect("from disk");
    assert_eq!(second.current().svid.leaf(), first.current().svid.leaf());
}

#[tokio::test]
async fn a_workload_waits_for_an_authority_that_comes_later() {
    let ca = Ca::new().await;
    let (settings, address) = (
        ca.join_settings("web", Some(ca.token("webapp"))),
        ca.running.address,
    );
    let state = ca.stop().await;
    let joining = tokio::spawn(client::obtain(settings, never()));
    let mut later = Settings::local(state.path().join("ca"));
    later.listen = address;
    let running = start(later, Process::new("mesh-ca"))
        .await
        .expect("it starts again");
    let identity = joining.await.expect("no panic").expect("joined");
    assert_eq!(identity.id().service_account(), "webapp");
    assert!(
        identity.current().bundle.contains(&running.fingerprint),
        "it is the same root"
    );
}

#[tokio::test]
async fn a_workload_that_waits_can_be_stopped() {
    let ca = Ca::new().await;
    let settings = ca.join_settings("web", Some(ca.token("webapp")));
    let _state = ca.stop().await;
    let shutdown = Shutdown::new();
    let joining = tokio::spawn(client::obtain(settings, stopped(&shutdown)));
    shutdown.trigger();
    let error = joining.await.expect("no panic").expect_err("stopped");
    assert!(matches!(error, client::Error::Stopped), "{error}");
}

#[tokio::test]
async fn a_workload_is_told_at_once_what_only_a_person_can_mend() {
    let ca = Ca::new().await;
    let obtain = async |settings| {
        client::obtain(settings, never())
            .await
            .expect_err("no identity")
            .to_string()
    };
    let used = ca.token("webapp");
    ca.join(&used, &Asked::plain()).await.expect("used");
    let text = obtain(ca.join_settings("a", Some(used))).await;
    assert!(
        text.contains("has been used") && text.contains(&ca.address()),
        "{text}"
    );

    let foreign = Authority::new("cluster.local").fingerprint();
    let good = ca.token("webapp");
    let mut settings = ca.join_settings("b", Some(good.clone()));
    settings.ca_fingerprint = Some(foreign);
    let text = obtain(settings).await;
    for part in [
        foreign.to_string(),
        ca.running.fingerprint.to_string(),
        "mesh-ca fingerprint".into(),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    let mut settings = ca.join_settings("c", Some(good.clone()));
    settings.ca_fingerprint = None;
    assert!(obtain(settings).await.contains("--ca-fingerprint"));
    assert!(
        obtain(ca.join_settings("d", None))
            .await
            .contains("mesh-ca token create")
    );
    // None of this used the token up.
    client::obtain(ca.join_settings("e", Some(good)), never())
        .await
        .expect("joined");
}

#[tokio::test]
async fn an_identity_is_renewed_in_time_and_kept() {
    let ca = Ca::with(|settings| settings.leaf_lifetime = Duration::from_secs(10)).await;
    let settings = ca.join_settings("web", Some(ca.token("webapp")));
    let identity = client::obtain(settings.clone(), never())
        .await
        .expect("joined");
    let first = identity.current();
    let mut told = identity.subscribe();
    told.changed()
        .await
        .expect("renewed after half of its ten seconds");
    let second = identity.current();
    assert_eq!((second.generation, &second.svid.id), (2, &first.svid.id));
    assert!(
        SystemTime::now() < first.svid.not_after,
        "long before it expired"
    );
    assert_ne!(
        second.svid.key.secret_der(),
        first.svid.key.secret_der(),
        "with a new key"
    );
    let kept = client::obtain(
        JoinSettings {
            token: None,
            ..settings
        },
        never(),
    )
    .await;
    assert_eq!(
        kept.expect("from disk").current().svid.leaf(),
        second.svid.leaf()
    );
    assert!(ca.metric("mesh_ca_certificates_issued_total", "renew") >= 1.0);
}

#[tokio::test]
async fn the_root_survives_and_a_used_token_stays_used() {
    let ca = Ca::new().await;
    let fingerprint = ca.running.fingerprint;
    let token = ca.token("webapp");
    ca.join(&token, &Asked::plain()).await.expect("joined");
    let identity = ca.joined("other").await;
    let state = ca.stop().await;
    let process = Process::new("mesh-ca");
    let running = start(Settings::local(state.path().join("ca")), process.clone())
        .await
        .expect("again");
    let ca = Ca {
        state,
        process,
        running,
    };
    assert_eq!(ca.running.fingerprint, fingerprint);
    let refusal = ca
        .join(&token, &Asked::plain())
        .await
        .expect_err("used before");
    assert!(refusal.message().contains("has been used"), "{refusal}");
    let renewal = RenewRequest {
        csr: Asked::plain().csr,
    };
    ca.member(&identity)
        .await
        .renew(renewal)
        .await
        .expect("the old certificate is still good");
}

#[tokio::test]
async fn a_start_that_cannot_succeed_says_why() {
    let ca = Ca::new().await;
    let failed = async |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::local(ca.directory());
        change(&mut settings);
        start(settings, Process::new("mesh-ca"))
            .await
            .expect_err("no start")
            .to_string()
    };
    let text = failed(&|settings| settings.listen = ca.running.address).await;
    assert!(
        text.contains("--listen") && text.contains(&ca.address()),
        "{text}"
    );
    let text = failed(&|settings| settings.listen_metrics = ca.running.metrics_address).await;
    assert!(text.contains("--listen-metrics"), "{text}");
    let text = failed(&|settings| settings.leaf_lifetime = Duration::from_secs(9)).await;
    assert!(
        text.contains("--leaf-lifetime") && text.contains("10s"),
        "{text}"
    );
    let text =
        failed(&|settings| settings.trust_domain = Some("other".parse().expect("valid"))).await;
    assert!(text.contains("--trust-domain"), "{text}");
    // What was running still is.
    ca.join(&ca.token("webapp"), &Asked::plain())
        .await
        .expect("joined");
    assert!(root_is(&ca.directory(), ca.running.fingerprint));
}

fn root_is(state: &Path, fingerprint: Fingerprint) -> bool {
    mesh_ca::root::Root::open(state, None).is_ok_and(|root| root.fingerprint() == fingerprint)
}

#[tokio::test]
async fn tokens_that_were_made_before_the_start_are_counted() {
    let state = tempfile::tempdir().expect("a directory");
    let create = || {
        token::create(state.path(), None, "default", "web", TTL)
            .expect("a token")
            .fingerprint
    };
    let fingerprints = [create(), create()];
    let process = Process::new("mesh-ca");
    let running = start(Settings::local(state.path().to_owned()), process.clone());
    let running = running.await.expect("it starts");
    assert_eq!(
        fingerprints, [running.fingerprint; 2],
        "the first token made the root"
    );
    let ca = Ca {
        state,
        process,
        running,
    };
    assert_eq!(ca.metric("mesh_ca_tokens_outstanding", ""), 2.0);
    assert!(ca.metric("mesh_ca_root_expiry_timestamp_seconds", "") > 2e9);
}
