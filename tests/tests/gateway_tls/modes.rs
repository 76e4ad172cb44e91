//! The modes of which Gateways make less use: for members of the mesh alone, passed through to a service that the
//! server name says, and terminated before TCP; two certificates of one server, several addresses, and what an
//! authority has taken back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use mesh_tests::papers::Papers;
use mesh_tests::session::tls_name_by;
use mesh_tests::{Mesh, Workload, eventually, tool};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// No other service or test listens at these addresses.
const BOUND: [[u8; 4]; 2] = [[127, 77, 3, 1], [127, 77, 3, 2]];
const BOUND_PORT: u16 = 18_443;

const RULES: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp-sql, port: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ['*.example.com']
  gateways: [edge]
  http: [{route: [{destination: {host: shop}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.example.com]
  gateways: [edge]
  tcp: [{match: [{port: 9443}], route: [{destination: {host: db}}]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: two, protocol: HTTPS}
    hosts: [two.example.com]
    tls: {mode: SIMPLE, credentialNames: [rsa, elliptic]}
  - port: {number: 443, name: taken-back, protocol: HTTPS}
    hosts: [taken-back.example.com]
    tls:
      mode: MUTUAL
      serverCertificate: DIR/elliptic.crt
      privateKey: DIR/elliptic.key
      caCertificates: DIR/ca.crt
      caCrl: DIR/list.crl
  - port: {number: 443, name: members, protocol: HTTPS}
    hosts: [members.example.com]
    tls: {mode: ISTIO_MUTUAL}
  - port: {number: 9443, name: db, protocol: TLS}
    hosts: [db.example.com]
    tls: {mode: SIMPLE, credentialName: elliptic}
  - port: {number: 15443, name: auto, protocol: TLS}
    hosts: ['*.default.svc.cluster.local']
    tls: {mode: AUTO_PASSTHROUGH}
  - port: {number: 18443, name: first, protocol: HTTPS}
    bind: 127.77.3.1
    hosts: [bound.example.com]
    tls: {mode: SIMPLE, credentialName: rsa}
  - port: {number: 18443, name: second, protocol: HTTPS}
    bind: 127.77.3.2
    hosts: [bound.example.com]
    tls: {mode: SIMPLE, credentialName: elliptic}
";

async fn ask(address: SocketAddr, host: &str, more: &[&str]) -> anyhow::Result<tool::Answer> {
    let (to, url) = (format!("{host}:443:{address}"), format!("https://{host}/"));
    let mut arguments = vec!["--connect-to", to.as_str()];
    arguments.extend(more);
    arguments.push(&url);
    tool::curl(&arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_has_its_own_clients() {
    let papers = Papers::new();
    papers.issue("ca", "Authority", None).await;
    papers.issue_rsa("rsa", "*.example.com").await;
    let elliptic = papers.issue("elliptic", "*.example.com", Some("ca"));
    elliptic.await;
    papers
        .issue("client", "client.example.com", Some("ca"))
        .await;
    papers.issue("other", "other.example.com", Some("ca")).await;
    papers.revoke("list", "ca", &[]).await;
    let mesh = Mesh::plan()
        .workload(Workload::http("shop"))
        .workload(Workload::tcp("db"))
        .workload(Workload::client("client"))
        .gateway_port(443)
        .gateway_port(9443)
        .gateway_port(15443)
        .start()
        .await;
    let rules = papers.secret("rsa", "rsa")
        + &papers.secret("elliptic", "elliptic")
        + &RULES.replace("DIR", &papers.text(""));
    mesh.apply(&rules).await.unwrap();
    let door = mesh.gateway_address(443);
    let limit = Duration::from_secs(20);
    eventually("the gateway has its secrets", limit, || async {
        let answer = ask(door, "two.example.com", &["-k"]).await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;

    two_certificates(&mesh, &papers).await;
    addresses(&papers, limit).await;
    before_tcp(&mesh, &papers, limit).await;
    members(&mesh, &papers).await;
    taken_back(&mesh, &papers, limit).await;
    asked_for_more(&mesh, &rules, limit).await;
}

/// Clients get the certificate whose kind of key they know.
async fn two_certificates(mesh: &Mesh, papers: &Papers) {
    let door = mesh.gateway_address(443);
    let kinds = [
        ("ECDHE-RSA-AES128-GCM-SHA256", "rsa.crt", "ca.crt"),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "ca.crt", "rsa.crt"),
    ];
    for (suite, right, wrong) in kinds {
        for (trusted, works) in [(right, true), (wrong, false)] {
            let trusted = papers.text(trusted);
            let more = ["--tls-max", "1.2", "--ciphers", suite, "--cacert", &trusted];
            let answer = ask(door, "two.example.com", &more).await;
            assert_eq!(answer.is_ok(), works, "{suite}, {trusted}: {answer:?}");
        }
    }
}

/// One port, and at each address another server; nobody is at a third.
async fn addresses(papers: &Papers, limit: Duration) {
    for (ip, trusted) in BOUND.into_iter().zip(["rsa.crt", "ca.crt"]) {
        let (address, trusted) = (SocketAddr::from((ip, BOUND_PORT)), papers.text(trusted));
        eventually("the address is listened at", limit, || async {
            let answer = ask(address, "bound.example.com", &["--cacert", &trusted]).await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .await;
    }
    let third = SocketAddr::from(([127, 77, 3, 3], BOUND_PORT));
    let refused = ask(third, "bound.example.com", &["-k"]).await;
    assert!(refused.is_err(), "{refused:?}");
}

/// TLS ends at the gateway, and what is in it is nobody's business.
async fn before_tcp(mesh: &Mesh, papers: &Papers, limit: Duration) {
    let authority = CertificateDer::from_pem_file(papers.path("ca.crt")).expect("it is PEM");
    let trusted = || vec![authority.clone()];
    let door = mesh.gateway_address(9443);
    let name = eventually("the port is open", limit, || {
        tls_name_by(door, "db.example.com", trusted())
    });
    assert_eq!(name.await, "db");
    let unknown = tls_name_by(door, "two.example.com", trusted()).await;
    assert!(unknown.is_err(), "{unknown:?}");
}

/// What only members of the mesh may use.
async fn members(mesh: &Mesh, papers: &Papers) {
    let (chain, key) = mesh.identity("client");
    for (file, text) in [("member.crt", chain), ("member.key", key)] {
        std::fs::write(papers.path(file), text).expect("a file can be written");
    }
    let (certificate, key) = (papers.text("member.crt"), papers.text("member.key"));
    let member = ["-k", "--cert", &certificate, "--key", &key];
    let (certificate, key) = (papers.text("client.crt"), papers.text("client.key"));
    let stranger = ["-k", "--cert", &certificate, "--key", &key];

    let door = mesh.gateway_address(443);
    let answer = ask(door, "members.example.com", &member)
        .await
        .expect("it is let in");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = mesh.app("shop").seen();
    let told = seen
        .last()
        .expect("it was asked")
        .header("x-forwarded-client-cert");
    let expected = ";URI=spiffe://cluster.local/ns/default/sa/client";
    assert!(
        told.as_deref().is_some_and(|told| told.contains(expected)),
        "{told:?}"
    );
    for nobody in [&["-k"][..], &stranger] {
        let answer = ask(door, "members.example.com", nobody).await;
        assert!(answer.is_err(), "{answer:?}");
    }

    // The server name is that of the cluster, and TLS is the service's own.
    let door = mesh.gateway_address(15443);
    let service = "outbound_.80_._.shop.default.svc.cluster.local";
    let asked = [&member[..], &["-H", "host: shop"]].concat();
    let answer = ask(door, service, &asked).await.expect("it is let in");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = ask(door, service, &stranger).await;
    assert!(answer.is_err(), "{answer:?}");
    let none = "outbound_.81_._.shop.default.svc.cluster.local";
    let answer = ask(door, none, &asked).await;
    assert!(answer.is_err(), "{answer:?}");
}

/// A certificate is of no use any more once its authority's list has it.
async fn taken_back(mesh: &Mesh, papers: &Papers, limit: Duration) {
    let door = mesh.gateway_address(443);
    let host = "taken-back.example.com";
    let (client, client_key) = (papers.text("client.crt"), papers.text("client.key"));
    let client = ["-k", "--cert", &client, "--key", &client_key];
    let (other, other_key) = (papers.text("other.crt"), papers.text("other.key"));
    let other = ["-k", "--cert", &other, "--key", &other_key];
    for known in [&client, &other] {
        assert_eq!(
            ask(door, host, known).await.expect("it is let in").status,
            200
        );
    }
    papers.revoke("list", "ca", &["client"]).await;
    eventually("the list is followed", limit, || async {
        ensure!(ask(door, host, &client).await.is_err(), "it is let in");
        Ok(())
    })
    .await;
    assert_eq!(
        ask(door, host, &other).await.expect("it is let in").status,
        200
    );
}

/// Who is connected when a server begins to ask for certificates has shown none, and does not stay.
async fn asked_for_more(mesh: &Mesh, rules: &str, limit: Duration) {
    let app = mesh.app("shop");
    app.forget();
    let to = format!("two.example.com:443:{}", mesh.gateway_address(443));
    let url = "https://two.example.com/[1-100]?delay=50ms";
    let arguments = ["-sS", "-k", "--connect-to", &to, "-o", "/dev/null", url];
    let kept = tool::run("curl", &arguments);
    let change = async {
        eventually("a client is connected", limit, || async {
            ensure!(!app.seen().is_empty(), "nobody has come");
            Ok(())
        })
        .await;
        let strict = rules.replace("SIMPLE, credentialNames", "MUTUAL, credentialNames");
        assert_ne!(strict, rules);
        mesh.apply(&strict).await.expect("the rules are taken");
    };
    let (kept, ()) = tokio::join!(kept, change);
    assert!(kept.is_err(), "{kept:?}");
}
