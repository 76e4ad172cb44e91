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
    let open = Plane::start_by(authority(), state.path(), |settings| {
        settings.listen_http = ([0, 0, 0, 0], 0).into();
    });
    let error = refused(open.await);
    assert!(
        error.contains("--listen-http") && error.contains("loopback"),
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
