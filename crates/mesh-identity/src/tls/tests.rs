//! Handshakes in memory between peers of all sorts.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, SanType};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::testing::{Authority, leaf_params, uri};
use crate::{Svid, TrustBundle};

const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";

/// What each side learned of the other, or why it gave up.
struct Meeting {
    client: io::Result<Option<SpiffeId>>,
    server: io::Result<Option<SpiffeId>>,
}

impl Meeting {
    /// Whom the server saw, where all went well.
    fn caller(self) -> Option<SpiffeId> {
        self.client.expect("the client is content");
        self.server.expect("the server is content")
    }

    /// Why the server refused; the client then gets nothing but an alert.
    fn refused_by_server(self) -> String {
        let told = self
            .client
            .expect_err("the client gets no answer")
            .to_string();
        assert!(told.contains("alert"), "the client is told: {told}");
        self.server.expect_err("the server refuses").to_string()
    }

    fn refused_by_client(self) -> String {
        self.server.expect_err("the server gets no request");
        self.client.expect_err("the client refuses").to_string()
    }
}

/// A handshake and one byte each way: in TLS 1.3 a client knows that it was let in only when it is
/// answered.
async fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Meeting {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("outbound_.80_.v1_.web.default.svc.cluster.local")
        .expect("an SNI of the mesh is a valid server name");
    let client = async {
        let mut stream = TlsConnector::from(client).connect(name, ours).await?;
        stream.write_all(b"?").await?;
        stream.read_exact(&mut [0]).await?;
        Ok(peer_id(stream.get_ref().1))
    };
    let server = async {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await?;
        stream.read_exact(&mut [0]).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        assert_eq!(
            stream.get_ref().1.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        Ok(peer_id(stream.get_ref().1))
    };
    let (client, server) = tokio::join!(client, server);
    Meeting { client, server }
}

/// A client of `identity` at a server of the mesh that takes anybody of the trust domain.
async fn call(authority: &Authority, identity: &Arc<Identity>) -> Meeting {
    let server = authority.identity("default", "server");
    meet(
        client_config(identity, Peers::TrustDomain, ALPN),
        server_config(&server, Peers::TrustDomain, ALPN),
    )
    .await
}

/// A client whose leaf the authority signed just as asked, in a `Svid` that would not be made of it
/// by the usual way.
async fn call_with(authority: &Authority, params: &CertificateParams) -> Meeting {
    let (leaf, key) = authority.sign(params);
    let server = authority.identity("default", "server");
    let client = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verify::PeerVerifier::new(
            server.clone(),
            Peers::TrustDomain,
            true,
        )))
        .with_client_auth_cert(vec![leaf, authority.root().clone()], key)
        .expect("a client");
    meet(
        Arc::new(client),
        server_config(&server, Peers::TrustDomain, &[]),
    )
    .await
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let mesh = Authority::new("cluster.local");
    let meeting = call(&mesh, &mesh.identity("default", "web")).await;
    assert_eq!(
        meeting.client.expect("content"),
        Some(mesh.id("default", "server"))
    );
    assert_eq!(
        meeting.server.expect("content"),
        Some(mesh.id("default", "web"))
    );
}

#[tokio::test]
async fn only_the_expected_peers_are_let_in_on_either_side() {
    let mesh = Authority::new("cluster.local");
    let (web, shop) = (
        mesh.identity("default", "web"),
        mesh.identity("default", "shop"),
    );
    let client = |peer: &str| client_config(&web, Peers::one(mesh.id("default", peer)), ALPN);
    let server = |peer: &str| server_config(&shop, Peers::one(mesh.id("default", peer)), ALPN);
    assert!(meet(client("shop"), server("web")).await.caller().is_some());
    let reason = meet(client("shop"), server("other"))
        .await
        .refused_by_server();
    assert!(
        reason.contains(WEB) && reason.contains("/sa/other"),
        "{reason}"
    );
    let reason = meet(client("other"), server("web"))
        .await
        .refused_by_client();
    assert!(
        reason.contains("/sa/shop") && reason.contains("/sa/other"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_only_where_it_is_optional() {
    let mesh = Authority::new("cluster.local");
    let ca = mesh.identity(crate::ROOT_NAMESPACE, crate::CA_SERVICE_ACCOUNT);
    let newcomer = || pinned_client_config(mesh.fingerprint(), "istio-system", "mesh-ca", ALPN);
    let optional = || server_config_optional_client(&ca, Peers::TrustDomain, ALPN);
    assert_eq!(meet(newcomer(), optional()).await.caller(), None);
    meet(newcomer(), server_config(&ca, Peers::TrustDomain, ALPN))
        .await
        .refused_by_server();
    let web = client_config(&mesh.identity("default", "web"), Peers::TrustDomain, ALPN);
    assert_eq!(
        meet(web, optional()).await.caller(),
        Some(mesh.id("default", "web"))
    );
    let stranger = Authority::new("cluster.local").identity("default", "web");
    // A stranger's certificate is worse than none.
    let verifier = verify::PeerVerifier::new(ca.clone(), Peers::TrustDomain, true);
    let stranger = client_builder()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolve::Current::new(stranger)));
    meet(Arc::new(stranger), optional())
        .await
        .refused_by_server();
}

#[tokio::test]
async fn the_first_contact_is_pinned_to_root_and_name() {
    let mesh = Authority::new("cluster.local");
    let ca = mesh.identity("istio-system", "mesh-ca");
    let server = || server_config_optional_client(&ca, Peers::TrustDomain, ALPN);
    let foreign = Authority::new("cluster.local").fingerprint();
    let pinned =
        |fingerprint, name: &str| pinned_client_config(fingerprint, "istio-system", name, ALPN);
    let reason = meet(pinned(foreign, "mesh-ca"), server())
        .await
        .refused_by_client();
    for part in [
        foreign.to_string(),
        mesh.fingerprint().to_string(),
        "--ca-fingerprint".into(),
    ] {
        assert!(reason.contains(&part), "{reason}");
    }
    let reason = meet(pinned(mesh.fingerprint(), "mesh-api"), server())
        .await
        .refused_by_client();
    assert!(
        reason.contains("mesh-ca") && reason.contains("mesh-api"),
        "{reason}"
    );
    // The right root is shown, but another one signed the leaf.
    let other = Authority::new("cluster.local");
    let params = leaf_params(&[uri("spiffe://cluster.local/ns/istio-system/sa/mesh-ca")]);
    let (leaf, key) = other.sign(&params);
    let fake = Svid::new(vec![leaf, mesh.root().clone()], key).expect("an SVID");
    let fake = Identity::new(fake, other.bundle());
    let server = server_config_optional_client(&fake, Peers::TrustDomain, ALPN);
    meet(pinned(mesh.fingerprint(), "mesh-ca"), server)
        .await
        .refused_by_client();
}

#[tokio::test]
async fn certificates_that_name_not_exactly_one_workload_are_refused() {
    let mesh = Authority::new("cluster.local");
    assert!(
        call_with(&mesh, &leaf_params(&[uri(WEB)]))
            .await
            .caller()
            .is_some()
    );
    let dns = SanType::DnsName("web.default.svc.cluster.local".try_into().expect("a name"));
    let cases = [
        (vec![], "0 URI names"),
        (vec![dns.clone()], "0 URI names"),
        (
            vec![uri(WEB), uri("spiffe://cluster.local/ns/default/sa/admin")],
            "2 URI names",
        ),
        (vec![uri(WEB), uri(WEB)], "2 URI names"),
        (
            vec![uri("https://cluster.local/ns/default/sa/web")],
            "spiffe://",
        ),
        (
            vec![uri("spiffe://cluster.local")],
            "/ns/NAMESPACE/sa/SERVICE_ACCOUNT",
        ),
        (
            vec![uri("spiffe://cluster.local:80/ns/default/sa/web")],
            "':'",
        ),
        (vec![uri("spiffe://Cluster.local/ns/default/sa/web")], "'C'"),
        (
            vec![uri("spiffe://other.mesh/ns/default/sa/web")],
            "another trust domain",
        ),
        (
            vec![uri("spiffe://cluster.local.evil/ns/default/sa/web")],
            "another trust domain",
        ),
    ];
    for (names, expected) in cases {
        let reason = call_with(&mesh, &leaf_params(&names))
            .await
            .refused_by_server();
        assert!(reason.contains(expected), "{names:?}: {reason}");
    }
    // A DNS name beside the one identity is allowed by the standard and means nothing.
    let both = leaf_params(&[dns, uri(WEB)]);
    assert_eq!(
        call_with(&mesh, &both).await.caller(),
        Some(mesh.id("default", "web"))
    );
}

#[tokio::test]
async fn certificates_out_of_time_or_of_the_wrong_kind_are_refused() {
    let mesh = Authority::new("cluster.local");
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change); 4] = [
        ("expired", |params| params.not_after = ago(5).into()),
        ("not valid yet", |params| {
            params.not_before = (SystemTime::now() + Duration::from_secs(300)).into();
        }),
        ("an authority's", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        ("does not hold", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
    ];
    for (expected, change) in cases {
        let mut params = leaf_params(&[uri(WEB)]);
        change(&mut params);
        let reason = call_with(&mesh, &params).await.refused_by_server();
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_foreign_root_of_the_same_name_is_refused_by_both_sides() {
    let (mesh, foreign) = (
        Authority::new("cluster.local"),
        Authority::new("cluster.local"),
    );
    let stranger = foreign.identity("default", "web");
    let reason = call(&mesh, &stranger).await.refused_by_client();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    // One who trusts us, and whom we don't.
    let one_way = Identity::new(
        foreign.svid("default", "web", Duration::from_secs(60)),
        mesh.bundle(),
    );
    let reason = call(&mesh, &one_way).await.refused_by_server();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
}

#[tokio::test]
async fn a_configuration_follows_its_identity() {
    let (old, new) = (
        Authority::new("cluster.local"),
        Authority::new("cluster.local"),
    );
    let life = Duration::from_secs(3600);
    let (web, shop) = (
        old.identity("default", "web"),
        old.identity("default", "shop"),
    );
    let client = client_config(&web, Peers::TrustDomain, ALPN);
    let server = server_config(&shop, Peers::TrustDomain, ALPN);
    let mut told = shop.subscribe();
    assert!(
        meet(client.clone(), server.clone())
            .await
            .caller()
            .is_some()
    );

    let both = TrustBundle::from_der([old.root().clone(), new.root().clone()]).expect("two roots");
    shop.replace(new.svid("default", "shop", life), both.clone());
    assert_eq!((*told.borrow_and_update(), shop.generation()), (2, 2));
    let reason = meet(client.clone(), server.clone())
        .await
        .refused_by_client();
    assert!(reason.contains("UnknownIssuer"), "{reason}");

    web.replace(old.svid("default", "web", life), both);
    assert!(
        meet(client.clone(), server.clone())
            .await
            .caller()
            .is_some()
    );

    // The old root is retired: who still has only its certificate is out, at once.
    shop.replace(new.svid("default", "shop", life), new.bundle());
    let reason = meet(client.clone(), server.clone())
        .await
        .refused_by_server();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    web.replace(new.svid("default", "web", life), new.bundle());
    assert!(meet(client, server).await.caller().is_some());
}

#[tokio::test]
async fn a_plain_text_client_gets_nowhere() {
    let mesh = Authority::new("cluster.local");
    let server = server_config(&mesh.identity("default", "shop"), Peers::TrustDomain, ALPN);
    let (mut ours, theirs) = tokio::io::duplex(4096);
    ours.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        .await
        .expect("written");
    TlsAcceptor::from(server)
        .accept(theirs)
        .await
        .expect_err("no handshake");
}

#[tokio::test]
async fn a_client_of_tls_1_2_gets_nowhere() {
    let mesh = Authority::new("cluster.local");
    let shop = mesh.identity("default", "shop");
    let verifier = verify::PeerVerifier::new(shop.clone(), Peers::TrustDomain, true);
    let old = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolve::Current::new(shop.clone())));
    let server = server_config(&shop, Peers::TrustDomain, ALPN);
    let meeting = meet(Arc::new(old), server).await;
    assert!(meeting.client.is_err() && meeting.server.is_err());
}

#[test]
fn a_key_is_never_printed() {
    let mesh = Authority::new("cluster.local");
    let identity = mesh.identity("default", "web");
    let current = identity.current();
    let text = format!("{identity:?} {current:?}");
    assert!(text.contains(WEB), "{text}");
    let key = current.svid.key.secret_der();
    for window in [&key[..8], &key[key.len() - 8..]] {
        assert!(!text.contains(&format!("{window:?}").trim_matches(['[', ']']).to_owned()));
    }
    assert!(!text.to_lowercase().contains("key"), "{text}");
}
