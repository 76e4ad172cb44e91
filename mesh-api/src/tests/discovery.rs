//! Discovery over mutual TLS: what proxies get, and what is known of them.

use super::*;

#[tokio::test]
async fn each_proxy_gets_what_concerns_it_and_says_what_it_made_of_it() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let mut edge = Xds::open(&plane, GATEWAY_ACCOUNT, &gateway())
        .await
        .unwrap();
    let mut proxy = Xds::open(&plane, ("shop", "web"), &sidecar("web-v1"))
        .await
        .unwrap();
    proxy
        .until(None, |client| {
            client
                .held()
                .get(ResourceType::Listener, "virtualInbound")
                .is_some()
        })
        .await
        .unwrap();

    // No Gateway, no listener; with one there is, and the proxy rejects it.
    plane.apply(GATEWAY).await;
    edge.until(Some("0.0.0.0_80"), |_| false).await.unwrap();
    assert!(edge.seen[&ResourceType::Listener].contains("0.0.0.0_80"));
    assert!(!proxy.seen[&ResourceType::Listener].contains("0.0.0.0_80"));
    // An answer to a later request means that the rejection was taken in.
    let barrier = BTreeSet::from(["http.80".to_owned()]);
    let request = edge.client.subscribe(ResourceType::Route, barrier).unwrap();
    edge.send(request).await;
    edge.until(None, |client| {
        client.held().get(ResourceType::Route, "http.80").is_some()
    })
    .await
    .unwrap();

    let proxies = plane.get("/api/mesh/proxies").await;
    let proxies = proxies["proxies"].as_array().unwrap();
    assert_eq!(proxies.len(), 2);
    let edge_view = proxies
        .iter()
        .find(|proxy| proxy["kind"] == "gateway")
        .unwrap();
    assert_eq!(edge_view["workload"], "istio-ingressgateway");
    let listeners = &edge_view["types"]["LDS"];
    assert_eq!(listeners["status"], "REJECTED");
    assert_eq!(listeners["rejected"], json!(["0.0.0.0_80"]));
    let reason = listeners["lastRejection"]["reason"].as_str().unwrap();
    assert!(reason.contains("no such thing"), "{reason}");
    let (_, metrics) = plane.call("metrics", "GET", "/metrics", "").await;
    assert!(
        metrics.contains("mesh_api_xds_rejections_total{type=\"LDS\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("mesh_api_connected_proxies 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("mesh_api_objects{group=\"networking.istio.io\",kind=\"Gateway\"} 1"),
        "{metrics}"
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_proxy_must_be_who_it_says_and_speak_delta() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    for (account, node, code) in [
        (
            ("shop", "client"),
            sidecar("web-v1"),
            Code::PermissionDenied,
        ),
        (("shop", "client"), sidecar("web-v9"), Code::NotFound),
        (("shop", "client"), gateway(), Code::PermissionDenied),
    ] {
        let mut proxy = Xds::open(&plane, account, &node).await.unwrap();
        let refused = proxy.until(None, |_| false).await.unwrap_err();
        assert_eq!(refused.code(), code, "{}", refused.message());
    }
    let mut stub = AggregatedDiscoveryServiceClient::new(plane.channel("shop", "client"));
    let refused = stub
        .stream_aggregated_resources(tokio_stream::iter([DiscoveryRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(
        refused.message().contains("DELTA_GRPC"),
        "{}",
        refused.message()
    );
    plane.stop().await;
}

#[tokio::test]
async fn objects_of_the_config_directory_reach_proxies() {
    let state = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("shop.yaml"), SHOP).unwrap();
    let plane = Plane::start_by(Authority::new("cluster.local"), state.path(), |settings| {
        settings.config_dir = Some(directory.path().to_owned());
    });
    let plane = plane.await.unwrap();
    let mut edge = Xds::open(&plane, GATEWAY_ACCOUNT, &gateway())
        .await
        .unwrap();
    std::fs::write(directory.path().join("gateway.yaml"), GATEWAY).unwrap();
    edge.until(None, |client| {
        client
            .held()
            .get(ResourceType::Listener, "0.0.0.0_80")
            .is_some()
    })
    .await
    .unwrap();
    let listener = edge
        .client
        .held()
        .get(ResourceType::Listener, "0.0.0.0_80")
        .unwrap();
    assert_eq!(listener.decode::<Listener>().unwrap().name, "0.0.0.0_80");
    let path = "/apis/networking.istio.io/v1/namespaces/shop/gateways/edge";
    let (code, text) = plane.call("http", "DELETE", path, "").await;
    assert_eq!(code, 403);
    assert!(text.contains("gateway.yaml:2"), "{text}");
    plane.stop().await;
}

#[tokio::test]
async fn a_proxy_whose_group_goes_to_somebody_else_is_turned_away() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let mut proxy = Xds::open(&plane, ("shop", "web"), &sidecar("web-v1"))
        .await
        .unwrap();
    let inbound = |client: &DeltaClient| {
        let listeners = client.held();
        listeners
            .get(ResourceType::Listener, "virtualInbound")
            .is_some()
    };
    proxy.until(None, inbound).await.unwrap();
    plane
        .apply(&SHOP.replace("serviceAccount: web", "serviceAccount: other"))
        .await;
    let refused = proxy.until(None, |_| false).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("other"), "{}", refused.message());
    plane.stop().await;
}

#[tokio::test]
async fn prometheus_finds_the_proxies_that_can_be_scraped() {
    let state = tempfile::tempdir().unwrap();
    let mut plane = Plane::start_by(Authority::new("cluster.local"), state.path(), |settings| {
        settings.listen_metrics = ([0, 0, 0, 0], 0).into();
    })
    .await
    .unwrap();
    plane.apply(SHOP).await;
    let port = plane.running.addresses["metrics"].port();
    let reached = SocketAddr::from(([127, 0, 0, 1], port));
    plane.running.addresses.insert("metrics", reached);
    let at = |node: NodeMetadata, metrics_address: &str| NodeMetadata {
        metrics_address: metrics_address.to_owned(),
        ..node
    };
    let held = [
        (("shop", "web"), at(sidecar("web-v1"), "10.9.0.7:15020")),
        (GATEWAY_ACCOUNT, at(gateway(), "edge:15020")),
        // Nobody else could mean that.
        (("shop", "client"), at(sidecar("client"), "127.0.0.1:15020")),
    ];
    let mut streams = Vec::new();
    for (account, node) in held {
        let stream = Xds::open(&plane, account, &node).await.unwrap();
        let subject = format!("{}/{}", node.namespace, node.workload_name);
        plane.event("proxy-connected", &subject).await;
        streams.push(stream);
    }
    let (code, text) = plane.call("metrics", "GET", "/api/prometheus/sd", "").await;
    assert_eq!(code, 200, "{text}");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        found,
        json!([
            {
                "targets": ["edge:15020"],
                "labels": {
                    "kind": "gateway",
                    "namespace": "istio-system",
                    "workload": "istio-ingressgateway",
                },
            },
            {
                "targets": ["10.9.0.7:15020"],
                "labels": {
                    "app": "web",
                    "app_version": "v1",
                    "kind": "sidecar",
                    "namespace": "shop",
                    "workload": "web-v1-1",
                    "workload_group": "web-v1",
                },
            },
            { "targets": [format!("127.0.0.1:{port}")], "labels": { "workload": "mesh-api" } },
        ])
    );
    assert_eq!(plane.get("/api/prometheus/sd").await, found);
    drop(streams);
    plane.stop().await;
}

#[tokio::test]
async fn nobody_takes_another_ones_place_by_claiming_its_id() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let own = sidecar("web-v1");
    let posing = NodeMetadata {
        workload_group: "client".to_owned(),
        ..own.clone()
    };
    assert_eq!(own.to_node().id, posing.to_node().id);
    let mut streams = Vec::new();
    for (account, node) in [("web", &own), ("client", &posing)] {
        let mut stream = Xds::open(&plane, ("shop", account), node).await.unwrap();
        let any = |client: &DeltaClient| client.held().iter(ResourceType::Cluster).next().is_some();
        stream.until(None, any).await.unwrap();
        streams.push(stream);
    }
    let proxies = plane.get("/api/mesh/proxies").await;
    let shown: Vec<(&Value, &Value)> = proxies["proxies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proxy| (&proxy["identity"], &proxy["workloadGroup"]))
        .collect();
    assert_eq!(
        shown,
        [
            (
                &json!("spiffe://cluster.local/ns/shop/sa/client"),
                &json!("client")
            ),
            (
                &json!("spiffe://cluster.local/ns/shop/sa/web"),
                &json!("web-v1")
            ),
        ]
    );
    drop(streams);
    plane.stop().await;
}
