//! What happened, as the config API tells it.

use super::*;

#[tokio::test]
async fn workloads_come_and_leave() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let subject = "shop/web-1";
    let lease = Lease::open(&plane, "web", instance("web-1", 1001))
        .await
        .unwrap();
    let joined = plane.event("workload-joined", subject).await;
    assert_eq!(joined["message"], "web-1 (shop) has joined the mesh");
    assert_eq!(
        (&joined["level"], &joined["count"]),
        (&json!("info"), &json!(1))
    );
    let time = joined["time"].as_str().unwrap();
    assert!(
        time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).is_ok(),
        "{time}"
    );

    drop(lease.requests);
    plane.event("workload-left", subject).await;

    let Err(refused) = Lease::open(&plane, "client", instance("web-2", 1)).await else {
        panic!("somebody else's workload was registered");
    };
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = plane
        .event(
            "workload-refused",
            "spiffe://cluster.local/ns/shop/sa/client",
        )
        .await;
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("may not join"), "{message}");
    plane.stop().await;
}

#[tokio::test]
async fn proxies_connect_reject_and_vanish() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(GATEWAY).await;
    let subject = "istio-system/istio-ingressgateway";
    let mut edge = Xds::open(&plane, GATEWAY_ACCOUNT, &gateway())
        .await
        .unwrap();
    let connected = plane.event("proxy-connected", subject).await;
    let message = connected["message"].as_str().unwrap();
    assert!(
        message.starts_with("the gateway istio-ingressgateway (istio-system)"),
        "{message}"
    );
    edge.until(Some("0.0.0.0_80"), |_| false).await.unwrap();
    let rejected = plane.event("configuration-rejected", subject).await;
    let message = rejected["message"].as_str().unwrap();
    assert!(
        message.contains("listeners") && message.contains("no such thing"),
        "{message}"
    );
    drop(edge);
    let gone = plane.event("proxy-disconnected", subject).await;
    assert!(gone["id"].as_u64() > rejected["id"].as_u64());

    let other = Xds::open(&plane, ("shop", "client"), &sidecar("web-v1")).await;
    if let Ok(mut other) = other {
        assert!(other.until(None, |_| false).await.is_err());
    }
    plane
        .event("proxy-refused", "spiffe://cluster.local/ns/shop/sa/client")
        .await;
    plane.stop().await;
}

#[tokio::test]
async fn objects_and_the_directory_change() {
    let state = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, GATEWAY).unwrap();
    let plane = Plane::start_by(Authority::new("cluster.local"), state.path(), |settings| {
        settings.config_dir = Some(directory.path().to_owned());
    })
    .await
    .unwrap();
    let started = plane.event("api-started", "mesh-api").await;
    let message = started["message"].as_str().unwrap();
    assert!(
        message.ends_with("with 1 object and 0 workloads known from before"),
        "{message}"
    );

    plane.apply(SHOP).await;
    let created = plane.event("object-created", "Service/shop/web").await;
    assert_eq!(
        created["message"],
        "Service shop/web was created over the config API"
    );
    plane.apply(&SHOP.replace("port: 80", "port: 81")).await;
    plane.event("object-changed", "Service/shop/web").await;
    let path = "/api/v1/namespaces/shop/services/web";
    let (code, answer) = plane.call("http", "DELETE", path, "").await;
    assert_eq!(code, 200, "{answer}");
    plane.event("object-deleted", "Service/shop/web").await;

    let subject = directory.path().display().to_string();
    std::fs::write(&file, "kind: Gateway\nspec: [\n").unwrap();
    let refused = plane.event("config-dir-refused", &subject).await;
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("gateway.yaml:"), "{message}");
    std::fs::remove_file(&file).unwrap();
    plane.event("config-dir-mended", &subject).await;
    let deleted = plane.event("object-deleted", "Gateway/shop/edge").await;
    assert_eq!(
        deleted["message"],
        "Gateway shop/edge was deleted in the configuration directory"
    );
    // What the directory held at the start is no news.
    let all = plane.get("/api/mesh/events").await;
    let of_gateway = |event: &&Value| event["subject"] == "Gateway/shop/edge";
    let events = all["events"].as_array().unwrap();
    assert_eq!(events.iter().filter(of_gateway).count(), 1);

    let (code, answer) = plane
        .call("http", "GET", "/api/mesh/events?after=x", "")
        .await;
    assert!(code == 400 && answer.contains("after=ID"), "{answer}");
    let (code, answer) = plane
        .call("http", "GET", "/api/mesh/events?before=1", "")
        .await;
    assert!(code == 400 && answer.contains("before"), "{answer}");
    plane.stop().await;
}
