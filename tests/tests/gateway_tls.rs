//! Promise: a Gateway's TLS is what its servers say: certificates by server name, from Secrets and from files, for
//! any client or for those with a certificate; a renewed certificate is shown at once, and nobody is cut off.

#[path = "gateway_tls/modes.rs"]
mod modes;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mesh_tests::papers::Papers;
use mesh_tests::{Mesh, Workload, eventually, tool};

const RULES: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
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
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*.example.com']
    tls: {httpsRedirect: true}
  - port: {number: 443, name: a, protocol: HTTPS}
    hosts: [a.example.com]
    tls: {mode: SIMPLE, credentialName: a}
  - port: {number: 443, name: file, protocol: HTTPS}
    hosts: [file.example.com]
    tls: {mode: SIMPLE, serverCertificate: DIR/file.crt, privateKey: DIR/file.key, minProtocolVersion: TLSV1_3}
  - port: {number: 443, name: mutual, protocol: HTTPS}
    hosts: [mutual.example.com]
    tls: {mode: MUTUAL, credentialName: mutual, subjectAltNames: [client.example.com]}
  - port: {number: 443, name: optional, protocol: HTTPS}
    hosts: [optional.example.com]
    tls: {mode: OPTIONAL_MUTUAL, credentialName: mutual}
";

/// What came of asking for a host behind TLS.
async fn ask(mesh: &Mesh, host: &str, path: &str, more: &[&str]) -> anyhow::Result<tool::Answer> {
    let port = mesh.gateway_address(443).port();
    let (resolve, url) = (
        format!("{host}:{port}:127.0.0.1"),
        format!("https://{host}:{port}{path}"),
    );
    let mut arguments = vec!["--resolve", resolve.as_str()];
    arguments.extend(more);
    arguments.push(&url);
    tool::curl(&arguments).await
}

async fn shown(mesh: &Mesh, host: &str, papers: &Papers, certificate: &str) -> anyhow::Result<()> {
    // Whoever trusts only this certificate finds it.
    let trusted = papers.text(&format!("{certificate}.crt"));
    let answer = ask(mesh, host, "/", &["--cacert", &trusted]).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_terminates_tls_as_its_servers_say() {
    let papers = Papers::new();
    for (name, host) in [
        ("a", "a.example.com"),
        ("a2", "a.example.com"),
        ("file", "file.example.com"),
    ] {
        papers.issue(name, host, None).await;
    }
    papers.issue("ca", "Authority", None).await;
    papers.issue("mutual", "*.example.com", None).await;
    papers
        .issue("client", "client.example.com", Some("ca"))
        .await;
    papers.issue("other", "other.example.com", Some("ca")).await;
    let mesh = Mesh::plan()
        .workload(Workload::http("shop"))
        .gateway_port(443)
        .gateway_port(8443)
        .start()
        .await;
    let directory = papers.text("");
    let rules = papers.secret("a", "a")
        + &papers.secret("mutual", "mutual")
        + &RULES.replace("DIR", &directory);
    mesh.apply(&rules).await.unwrap();
    let door = mesh.gateway_address(443);
    eventually(
        "the gateway has its secrets",
        Duration::from_secs(20),
        || async { shown(&mesh, "a.example.com", &papers, "a").await },
    )
    .await;

    // Each host has its own certificate, also from a file.
    shown(&mesh, "file.example.com", &papers, "file")
        .await
        .unwrap();
    assert!(
        shown(&mesh, "file.example.com", &papers, "a")
            .await
            .is_err()
    );
    // HTTP/2 is offered, and what the app is told of the client's scheme is true.
    let trusted = papers.text("a.crt");
    let answer = ask(
        &mesh,
        "a.example.com",
        "/",
        &["--cacert", &trusted, "--http2"],
    )
    .await
    .unwrap();
    assert!(answer.headers.starts_with("http/2"), "{}", answer.headers);
    assert_eq!(
        mesh.app("shop")
            .seen()
            .last()
            .unwrap()
            .header("x-forwarded-proto")
            .as_deref(),
        Some("https")
    );

    // Versions, names that nobody serves, and plain text.
    let old = ask(&mesh, "file.example.com", "/", &["-k", "--tls-max", "1.2"]).await;
    assert!(old.is_err(), "{old:?}");
    ask(&mesh, "a.example.com", "/", &["-k", "--tls-max", "1.2"])
        .await
        .unwrap();
    assert!(
        ask(&mesh, "nobody.example.org", "/", &["-k"])
            .await
            .is_err()
    );
    let plain = tool::curl(&["--http0.9", &format!("http://{door}/")]).await;
    assert!(plain.is_err_and(|error| !error.to_string().contains("HTTP/1")));

    // In plain text everybody is sent to https.
    let answer = mesh.gateway(80).get("b.example.com", "/x?y").await.unwrap();
    assert_eq!(answer.status, 301);
    assert_eq!(answer.headers["location"], "https://b.example.com/x?y");

    // Certificates of clients.
    let (certificate, key) = (papers.text("client.crt"), papers.text("client.key"));
    let client = ["-k", "--cert", &certificate, "--key", &key];
    let answer = ask(&mesh, "mutual.example.com", "/", &client)
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = mesh
        .app("shop")
        .seen()
        .last()
        .unwrap()
        .header("x-forwarded-client-cert");
    let told = told.context("the app is told who it was").unwrap();
    assert!(
        told.contains("Subject=\"CN=client.example.com,O=Shop\"")
            && told.contains(";DNS=client.example.com"),
        "{told}"
    );
    assert!(
        ask(&mesh, "mutual.example.com", "/", &["-k"])
            .await
            .is_err()
    );
    let (certificate, key) = (papers.text("other.crt"), papers.text("other.key"));
    let other = ["-k", "--cert", &certificate, "--key", &key];
    assert!(
        ask(&mesh, "mutual.example.com", "/", &other).await.is_err(),
        "its name is not expected"
    );
    assert_eq!(
        ask(&mesh, "optional.example.com", "/", &other)
            .await
            .unwrap()
            .status,
        200
    );
    let lie = ["-k", "-H", "x-forwarded-client-cert: By=me"];
    assert_eq!(
        ask(&mesh, "optional.example.com", "/", &lie)
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        mesh.app("shop")
            .seen()
            .last()
            .unwrap()
            .header("x-forwarded-client-cert"),
        None
    );

    passed_through(&mesh, &papers).await;
    renewed(&mesh, &papers, &directory).await;
}

/// A port that terminates nothing leads to one that does, by the server name alone.
async fn passed_through(mesh: &Mesh, papers: &Papers) {
    let rules = format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: through}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 8443, name: tls, protocol: TLS}}
    hosts: [a.example.com]
    tls: {{mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: inner}}
spec:
  hosts: [inner.example.org]
  ports: [{{number: 443, name: tls, protocol: TLS}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tls: {}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: through}}
spec:
  hosts: [a.example.com]
  gateways: [through]
  tls:
  - match: [{{sniHosts: [a.example.com]}}]
    route: [{{destination: {{host: inner.example.org, port: {{number: 443}}}}}}]
",
        mesh.gateway_address(443).port()
    );
    mesh.apply(&rules).await.expect("the rules are taken");
    let (port, trusted) = (mesh.gateway_address(8443).port(), papers.text("a.crt"));
    let (resolve, url) = (
        format!("a.example.com:{port}:127.0.0.1"),
        format!("https://a.example.com:{port}/"),
    );
    let answer = tool::curl(&["--resolve", &resolve, "--cacert", &trusted, &url])
        .await
        .expect("the certificate is that of the inner port");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let other = format!("b.example.com:{port}:127.0.0.1");
    let url = format!("https://b.example.com:{port}/");
    assert!(
        tool::curl(&["-k", "--resolve", &other, &url])
            .await
            .is_err()
    );
}

/// New certificates are shown to whoever comes, and a connection that is there goes on.
async fn renewed(mesh: &Mesh, papers: &Papers, directory: &str) {
    let (trusted, port) = (papers.text("a.crt"), mesh.gateway_address(443).port());
    let (resolve, urls) = (
        format!("a.example.com:{port}:127.0.0.1"),
        format!("https://a.example.com:{port}/[1-60]?delay=50ms"),
    );
    let arguments = [
        "-sS",
        "--fail",
        "--cacert",
        &trusted,
        "--resolve",
        &resolve,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{num_connects}\n",
        &urls,
    ];
    let kept = tool::run("curl", &arguments);
    let change = async {
        mesh.apply(&papers.secret("a", "a2"))
            .await
            .expect("the Secret is taken");
        papers.issue("file2", "file.example.com", None).await;
        for part in ["crt", "key"] {
            let link = Path::new(directory).join("new");
            std::os::unix::fs::symlink(papers.path(&format!("file2.{part}")), &link)
                .expect("it can be done");
            std::fs::rename(&link, papers.path(&format!("file.{part}"))).expect("it can be done");
        }
        let limit = Duration::from_secs(20);
        eventually("the new certificates are shown", limit, || async {
            shown(mesh, "a.example.com", papers, "a2").await?;
            shown(mesh, "file.example.com", papers, "file2").await
        })
        .await;
    };
    let (kept, ()) = tokio::join!(kept, change);
    let lines: Vec<_> = kept
        .expect("it can be done")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), 60);
    assert_eq!(lines[0], "200 1");
    assert!(lines[1..].iter().all(|line| line == "200 0"), "{lines:?}");
    // No key is shown to whoever looks at the proxy.
    let admin = mesh.proxy("istio-ingressgateway").address("admin");
    let dump = tool::curl(&[&format!("http://{admin}/config_dump")])
        .await
        .expect("it can be done")
        .body;
    let key = papers.read("a2.key");
    assert!(
        dump.contains("kubernetes://a")
            && !dump.contains(key.lines().nth(1).expect("it can be done"))
    );
}
