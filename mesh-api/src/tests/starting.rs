//! Starting, stopping and starting again.

use super::*;

#[tokio::test]
async fn a_restart_serves_the_same_at_once() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let mut lease = Lease::open(&plane, "web", instance("web-1", 1001))
        .await
        .unwrap();
    let mut proxy = Xds::open(&plane, ("shop", "client"), &sidecar("client"))
        .await
        .unwrap();
    let cluster = "outbound|80||web.shop.svc.cluster.local";
    proxy
        .until(None, |client| endpoint_ports(client, cluster) == [1001])
        .await
        .unwrap();
    let authority = plane.stop().await;
    let ended = lease.answers.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    let ended = proxy.until(None, |_| false).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);

    let plane = Plane::start_by(authority, state.path(), |_| ())
        .await
        .unwrap();
    assert_eq!(plane.endpoints().await, ["web-1"]);
    let mut proxy = Xds::open(&plane, ("shop", "client"), &sidecar("client"))
        .await
        .unwrap();
    proxy
        .until(None, |client| endpoint_ports(client, cluster) == [1001])
        .await
        .unwrap();
    plane.stop().await;
}

#[tokio::test]
async fn what_it_cannot_start_with_is_said() {
    let state = tempfile::tempdir().unwrap();
    let authority = || Authority::new("cluster.local");
    let refused = |result: anyhow::Result<Plane>| match result {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error:#}"),
    };
    let without = Plane::start_by(authority(), state.path(), |settings| {
        settings.token_file = Some("/nowhere/token".into());
    });
    let error = refused(without.await);
    assert!(
        error.contains("/nowhere/token") && error.contains("--token-file"),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("bad.yaml"),
        "kind: Service\nspec: [\n",
    )
    .unwrap();
    let wrong = Plane::start_by(authority(), state.path(), |settings| {
        settings.config_dir = Some(directory.path().to_owned());
    });
    let error = refused(wrong.await);
    assert!(error.contains("bad.yaml:"), "{error}");

    let first = Plane::start(state.path()).await;
    let second = Plane::start_by(authority(), state.path(), |_| ());
    let error = refused(second.await);
    assert!(error.contains("in use"), "{error}");
    let elsewhere = tempfile::tempdir().unwrap();
    let taken = first.running.addresses["xds"];
    let busy = Plane::start_by(authority(), elsewhere.path(), |settings| {
        settings.listen_xds = taken;
    });
    let error = refused(busy.await);
    assert!(
        error.contains("--listen-xds") && error.contains(&taken.to_string()),
        "{error}"
    );
    first.stop().await;
}

#[tokio::test]
async fn beyond_loopback_the_token_is_asked_for_and_stays_the_same() {
    // The machine's own address beyond loopback: that of the way out, though nothing is sent there.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    let own = socket.local_addr().unwrap().ip();
    assert!(!own.is_loopback());
    let state = tempfile::tempdir().unwrap();
    let open = |settings: &mut Settings| settings.listen_http = ([0, 0, 0, 0], 0).into();
    let authority = Authority::new("cluster.local");
    let mut plane = Plane::start_by(authority, state.path(), open)
        .await
        .unwrap();
    let token = crate::Token::in_directory(state.path()).unwrap();

    // By loopback as ever.
    let port = plane.running.addresses["http"].port();
    plane
        .running
        .addresses
        .insert("http", ([127, 0, 0, 1], port).into());
    plane.apply(SHOP).await;
    plane.running.addresses.insert("http", (own, port).into());
    let (code, answer) = plane.call("http", "GET", "/apis", "").await;
    assert!(code == 401 && answer.contains("mesh-api token"), "{answer}");
    let (code, answer) = plane.call("http", "GET", "/readyz", "").await;
    assert_eq!((code, answer.as_str()), (200, "ok"));
    let path = format!("/?token={}", token.as_str());
    assert_eq!(plane.call("http", "GET", &path, "").await.0, 303);
    let (_, metrics) = plane.call("metrics", "GET", "/metrics", "").await;
    let counted = "mesh_api_http_requests_refused_total{reason=\"no_token\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    let authority = plane.stop().await;
    let plane = Plane::start_by(authority, state.path(), open)
        .await
        .unwrap();
    let again = crate::Token::in_directory(state.path()).unwrap();
    assert_eq!(again.as_str(), token.as_str());
    plane.stop().await;
}
