//! Promise: TLS towards a service is what its DestinationRule says: with servers outside the mesh, verified by
//! authority and name and shown a certificate if they want one, and with members of the mesh.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use mesh_tests::echo::App;
use mesh_tests::papers::Papers;
use mesh_tests::{Door, Mesh, Workload, eventually};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

const HOST: &str = "ext.example.com";

/// An authority, what it has signed, and an authority that nobody knows.
async fn papers() -> Papers {
    let papers = Papers::new();
    papers.issue("ca", "Shop CA", None).await;
    papers.issue("stranger", "Stranger CA", None).await;
    papers.issue("server", HOST, Some("ca")).await;
    papers
        .issue("client", "client.example.com", Some("ca"))
        .await;
    papers
}

fn certificate(papers: &Papers, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(papers.path(name)).expect("the test is right")
}

/// A server outside the mesh.
async fn server(papers: &Papers, asks_for_certificates: bool) -> App {
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate(papers, "ca.crt"))
        .expect("the test is right");
    let builder = ServerConfig::builder();
    let builder = match asks_for_certificates {
        false => builder.with_no_client_auth(),
        true => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .expect("the test is right"),
        ),
    };
    let key = PrivateKeyDer::from_pem_file(papers.path("server.key")).expect("the test is right");
    let mut config = builder
        .with_single_cert(vec![certificate(papers, "server.crt")], key)
        .expect("the test is right");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    App::https("ext", config).await
}

fn entry(name: &str, host: &str, app: &App) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
         spec:\n  hosts: [{host}]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n  \
         ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 443, name: https, protocol: HTTPS}}]\n  \
         endpoints: [{{address: 127.0.0.1, ports: {{http: {0}, https: {0}}}}}]\n",
        app.address.port()
    )
}

/// A DestinationRule with `tls` for a port.
fn rule(name: &str, host: &str, port: u16, tls: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
         spec: {{host: {host}, trafficPolicy: {{portLevelSettings: [{{port: {{number: {port}}}, tls: {tls}}}]}}}}\n"
    )
}

/// Whether requests get through.
async fn is_open(door: &Door, host: &str) -> bool {
    let status = door
        .get(host, "/")
        .await
        .expect("the test is right")
        .status
        .as_u16();
    // Who gets no TLS where it is wanted may see a broken answer instead of none.
    assert!([200, 502, 503].contains(&status), "{status}");
    status == 200
}

/// Each row is a `tls` section and whether requests get through with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_outside_is_believed_by_authority_and_name() {
    let papers = papers().await;
    let app = server(&papers, false).await;
    let mesh = Mesh::plan()
        .workload(Workload::client("client"))
        .start()
        .await;
    let client = mesh.from("client");
    let entries = [
        entry("ext", HOST, &app),
        entry("other", "other.example.com", &app),
    ];
    mesh.apply(&entries.concat()).await.unwrap();
    let authority = papers.text("ca.crt");
    let stranger = papers.text("stranger.crt");
    for (host, tls, expected) in [
        (
            HOST,
            format!("{{mode: SIMPLE, caCertificates: {authority}}}"),
            true,
        ),
        // The certificate is not for this host, which counts unless the rule gives names.
        (
            "other.example.com",
            format!("{{mode: SIMPLE, caCertificates: {authority}}}"),
            false,
        ),
        (
            "other.example.com",
            format!("{{mode: SIMPLE, caCertificates: {authority}, subjectAltNames: [{HOST}]}}"),
            true,
        ),
        (
            HOST,
            format!(
                "{{mode: SIMPLE, caCertificates: {authority}, subjectAltNames: [x.example.com]}}"
            ),
            false,
        ),
        (
            HOST,
            format!("{{mode: SIMPLE, caCertificates: {stranger}}}"),
            false,
        ),
        // No system trusts the authority of a test.
        (HOST, "{mode: SIMPLE}".to_owned(), false),
        (
            HOST,
            "{mode: SIMPLE, insecureSkipVerify: true}".to_owned(),
            true,
        ),
        (HOST, "{mode: DISABLE}".to_owned(), false),
    ] {
        let rules = rule(host.split('.').next().unwrap(), host, 80, &tls);
        mesh.apply(&rules).await.unwrap();
        assert_eq!(is_open(&client, host).await, expected, "{host} {tls}");
    }
    // What is offered is HTTP/2, and what it is asked for is the host.
    let seen = app.seen();
    assert!(!seen.is_empty());
    for request in seen {
        assert_eq!(request.proto, "HTTP/2.0");
        assert!(request.host.ends_with(".example.com"), "{}", request.host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_again_when_they_change() {
    let papers = papers().await;
    let app = server(&papers, false).await;
    let mesh = Mesh::plan()
        .workload(Workload::client("client"))
        .start()
        .await;
    let client = mesh.from("client");
    let file = papers.path("trusted.crt");
    std::fs::copy(papers.path("stranger.crt"), &file).unwrap();
    let tls = format!("{{mode: SIMPLE, caCertificates: {}}}", file.display());
    let rules = [entry("ext", HOST, &app), rule("ext", HOST, 80, &tls)];
    mesh.apply(&rules.concat()).await.unwrap();
    assert!(!is_open(&client, HOST).await);
    std::fs::copy(papers.path("ca.crt"), &file).unwrap();
    let trusted = || async {
        ensure!(is_open(&client, HOST).await, "it is refused");
        Ok(())
    };
    eventually("the new authority counts", Duration::from_secs(30), trusted).await;
}

/// What leaves by way of the gateway: requests in plain text for port 80 become TLS to port 443.
const EDGE: &str = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ext}
spec:
  hosts: [ext.example.com]
  gateways: [edge, mesh]
  http:
  - match: [{port: 80}]
    route: [{destination: {host: ext.example.com, port: {number: 443}}}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_shown_from_files_and_from_a_secret() {
    let papers = papers().await;
    let app = server(&papers, true).await;
    let mesh = Mesh::plan()
        .workload(Workload::client("client"))
        .start()
        .await;
    let (client, gateway) = (mesh.from("client"), mesh.gateway(80));
    let authority = papers.text("ca.crt");
    let simple = format!("{{mode: SIMPLE, caCertificates: {authority}}}");
    let rules = [
        EDGE,
        &entry("ext", HOST, &app),
        &rule("ext", HOST, 443, &simple),
    ];
    mesh.apply(&rules.concat()).await.unwrap();
    assert!(!is_open(&client, HOST).await);
    assert!(!is_open(&gateway, HOST).await);

    let files = format!(
        "{{mode: MUTUAL, caCertificates: {authority}, clientCertificate: {}, privateKey: {}}}",
        papers.text("client.crt"),
        papers.text("client.key")
    );
    mesh.apply(&rule("ext", HOST, 443, &files)).await.unwrap();
    assert!(is_open(&client, HOST).await);
    assert!(is_open(&gateway, HOST).await);

    // Only gateways heed a credential, and they have the Secrets of their own namespace.
    let secret = papers.secret("ext", "stranger");
    let credential = rule("ext", HOST, 443, "{mode: MUTUAL, credentialName: ext}");
    mesh.apply(&[secret, credential].concat()).await.unwrap();
    assert!(!is_open(&gateway, HOST).await);
    mesh.apply(&papers.secret("ext", "client")).await.unwrap();
    assert!(is_open(&gateway, HOST).await);
    assert!(!is_open(&client, HOST).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_mesh_take_its_tls_only() {
    let mesh = Mesh::plan()
        .workload(Workload::http("reviews"))
        .workload(Workload::client("client"))
        .start()
        .await;
    let client = mesh.from("client");
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: reviews}\n\
                   spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}\n";
    for (tls, expected) in [("{mode: ISTIO_MUTUAL}", true), ("{mode: DISABLE}", false)] {
        let rules = [service, &rule("reviews", "reviews", 80, tls)].concat();
        mesh.apply(&rules).await.unwrap();
        assert_eq!(is_open(&client, "reviews").await, expected, "{tls}");
    }
}
