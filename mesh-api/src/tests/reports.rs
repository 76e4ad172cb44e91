//! From reports of proxies to the graph.

use super::*;

#[tokio::test]
async fn reports_become_a_graph_and_nobody_speaks_for_others() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let workload = |name: &str, app: &str| Workload {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        app: app.to_owned(),
        version: "v1".to_owned(),
        canonical_service: app.to_owned(),
        canonical_revision: "v1".to_owned(),
        cluster: "mesh".to_owned(),
        principal: String::new(),
    };
    let edge = |source: Workload| EdgeDelta {
        reporter: 1,
        source: Some(source),
        destination: Some(workload("web-v1", "web")),
        service_host: "web.shop.svc.cluster.local".to_owned(),
        service_name: "web".to_owned(),
        service_namespace: "shop".to_owned(),
        protocol: "http".to_owned(),
        response_code: 200,
        response_flags: "-".to_owned(),
        security_policy: "unknown".to_owned(),
        requests: 60,
        ..EdgeDelta::default()
    };
    let report = |sequence: u64, edges: Vec<EdgeDelta>| EdgeReport {
        sequence,
        process_id: "one life".to_owned(),
        edges,
    };
    let reports = [
        report(0, vec![edge(workload("client", "client"))]),
        report(0, vec![edge(workload("client", "client"))]),
        report(1, vec![edge(workload("web-v1", "web"))]),
    ];
    let mut client = TelemetryClient::new(plane.channel("shop", "client"));
    let mut acks = client
        .report(tokio_stream::iter(reports))
        .await
        .unwrap()
        .into_inner();
    for sequence in [0, 0, 1] {
        assert_eq!(acks.message().await.unwrap().unwrap().sequence, sequence);
    }

    let path = "/api/namespaces/graph?namespaces=shop&graphType=versionedApp&duration=60s";
    let graph = plane.get(path).await;
    let edges = graph["elements"]["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 1, "{graph:#}");
    assert_eq!(edges[0]["data"]["traffic"]["rates"]["http"], "1.00");
    let everywhere = plane.get("/api/namespaces/graph?duration=60s").await;
    assert_eq!(everywhere["elements"]["edges"].as_array().unwrap().len(), 1);
    let node = plane
        .get("/api/namespaces/shop/workloads/client/graph?duration=60s")
        .await;
    assert_eq!(node["elements"]["edges"].as_array().unwrap().len(), 1);
    let (code, text) = plane
        .call("http", "GET", "/api/namespaces/graph?duration=soon", "")
        .await;
    assert_eq!(code, 400);
    assert!(text.contains("duration"), "{text}");
    for (path, word) in [
        ("/graph.svg", "<svg"),
        ("/graph.dot?graphType=app", "digraph"),
        ("/graph.mmd", "web"),
    ] {
        let (code, picture) = plane.call("http", "GET", path, "").await;
        assert_eq!(code, 200, "{picture}");
        assert!(picture.contains(word), "{path}: {picture}");
    }
    assert!(
        plane
            .call("http", "GET", "/", "")
            .await
            .1
            .contains("/graph.svg")
    );

    let (_, metrics) = plane.call("metrics", "GET", "/stats/prometheus", "").await;
    for line in [
        "mesh_api_edge_reports_received_total 2",
        "mesh_api_edge_reports_repeated_total 1",
        "mesh_api_edges_refused_total 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    plane.stop().await;
}
