//! Promise: an agent's inbound port speaks TLS 1.3 with members of the mesh, and with nobody else.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use mesh_tests::{Fleet, tool};

const SNI: &str = "outbound_.80_._.fleetman-staff-service.default.svc.cluster.local";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nowhere() {
    let fleet = Fleet::up().await;
    let inbound = fleet.state.commands["staff-service-agent"].address("--listen-inbound");

    // Plain text: the connection ends without an answer.
    let plain = tool::run(
        "curl",
        &["-sS", "--max-time", "10", &format!("http://{inbound}/")],
    )
    .await
    .expect_err("plain text gets no answer")
    .to_string();
    assert!(!plain.contains("HTTP/1"), "{plain}");

    // TLS without a certificate: openssl sees TLS 1.3 and who answers, and is turned away.
    let seen = s_client(inbound, &[]).await;
    assert!(seen.contains("TLSv1.3"), "{seen}");
    let names = names_of_leaf(&seen).await;
    assert!(
        names.contains("URI:spiffe://cluster.local/ns/default/sa/staff-service"),
        "{names}"
    );
    assert!(
        !names.contains("DNS:") && names.contains("CA:FALSE"),
        "{names}"
    );
    assert!(!seen.contains("HTTP/1.1 200"), "{seen}");

    // A certificate of a foreign root with the right identity in it.
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = (directory.path().join("key"), directory.path().join("cert"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let request = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=thief",
        "-days",
        "1",
        "-keyout",
        key,
        "-out",
        certificate,
        "-addext",
        "subjectAltName=URI:spiffe://cluster.local/ns/default/sa/api-gateway",
    ];
    tool::run("openssl", &request).await.unwrap();
    let foreign = s_client(inbound, &["-key", key, "-cert", certificate]).await;
    assert!(foreign.contains("TLSv1.3"), "{foreign}");
    assert!(!foreign.contains("HTTP/1.1 200"), "{foreign}");

    // TLS 1.2 is not spoken at all.
    let old = s_client(inbound, &["-tls1_2"]).await;
    assert!(!old.contains(BEGIN), "{old}");

    // A member does get through, by its own agent.
    let proxy = fleet.state.commands["api-gateway-agent"].address("--listen-outbound");
    let answer = tool::curl(&["-x", proxy, "http://fleetman-staff-service/drivers"])
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// What `openssl s_client` sees when it sends a request.
async fn s_client(address: &str, more: &[&str]) -> String {
    let request = "GET / HTTP/1.1\r\nHost: fleetman-staff-service\r\nConnection: close\r\n\r\n";
    // It would end with its input, before an answer could come, but for -ign_eof.
    let mut arguments = vec![
        "10",
        "openssl",
        "s_client",
        "-ign_eof",
        "-showcerts",
        "-connect",
        address,
        "-servername",
        SNI,
    ];
    arguments.extend(more);
    let output = tool::output("timeout", &arguments, request).await.unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn names_of_leaf(seen: &str) -> String {
    let rest = seen
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END));
    let (body, _) = rest.unwrap_or_else(|| panic!("no certificate in {seen}"));
    let extensions = "subjectAltName,basicConstraints,extendedKeyUsage";
    tool::run_with_input(
        "openssl",
        &["x509", "-noout", "-ext", extensions],
        &format!("{BEGIN}{body}{END}\n"),
    )
    .await
    .unwrap()
}
