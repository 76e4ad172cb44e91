//! What the service grants and refuses, asked by hand.

use std::path::Path;
use std::time::{Duration, SystemTime};

use mesh_ca::{Settings, start, token};
use mesh_identity::proto::certificate_authority_client::CertificateAuthorityClient;
use mesh_identity::proto::{JoinRequest, RenewRequest};
use mesh_identity::testing::{Authority, uri};
use mesh_identity::tls::{self, Peers};
use mesh_identity::{Fingerprint, Identity, SpiffeId, grpc};
use mesh_process::Process;
use rcgen::{BasicConstraints, IsCa};
use tonic::Code;

use super::{Asked, Ca, TTL};

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
    // A renewal without a certificate is an attempt like any other.
    let renewal = RenewRequest { csr };
    let refused = client.renew(renewal).await.expect_err("no certificate");
    assert_eq!(refused.code(), Code::ResourceExhausted);
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
