//! From reports of TCP connections to every form of the graph.

use super::*;

/// A connection from client to web, as one of their proxies reports what was added to it.
fn session(reporter: i32, bytes: (u64, u64), connections: (u64, u64)) -> EdgeDelta {
    let workload = |name: &str, app: &str, account: &str| Workload {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        app: app.to_owned(),
        version: "v1".to_owned(),
        canonical_service: app.to_owned(),
        canonical_revision: "v1".to_owned(),
        cluster: "mesh".to_owned(),
        principal: format!("spiffe://cluster.local/ns/shop/sa/{account}"),
    };
    let policy = if reporter == 2 {
        "mutual_tls"
    } else {
        "unknown"
    };
    EdgeDelta {
        reporter,
        source: Some(workload("client", "client", "client")),
        destination: Some(workload("web-v1", "web", "web")),
        service_host: "web.shop.svc.cluster.local".to_owned(),
        service_name: "web".to_owned(),
        service_namespace: "shop".to_owned(),
        protocol: "tcp".to_owned(),
        response_flags: "-".to_owned(),
        security_policy: policy.to_owned(),
        request_bytes: bytes.0,
        response_bytes: bytes.1,
        connections_opened: connections.0,
        connections_closed: connections.1,
        ..EdgeDelta::default()
    }
}

/// A proxy's reports, while this is held.
pub(super) struct Reporting {
    reports: mpsc::Sender<EdgeReport>,
    pub(super) acks: Streaming<mesh_xds::mesh::EdgeReportAck>,
    sent: u64,
    is_new: bool,
}

impl Reporting {
    async fn open(plane: &Plane, account: &str) -> Self {
        Self::over(plane.channel("shop", account)).await
    }

    pub(super) async fn over(channel: Channel) -> Self {
        let (reports, stream) = mpsc::channel(4);
        let mut client = TelemetryClient::new(channel);
        let acks = client.report(ReceiverStream::new(stream)).await.unwrap();
        Self {
            reports,
            acks: acks.into_inner(),
            sent: 0,
            is_new: true,
        }
    }

    /// Goes on over another connection, as a proxy does whose certificate was renewed. Answers the earlier stream.
    async fn renew(&mut self, plane: &Plane, account: &str) -> Self {
        let next = Self {
            sent: self.sent,
            ..Self::open(plane, account).await
        };
        std::mem::replace(self, next)
    }

    async fn tell(&mut self, edge: EdgeDelta) {
        self.tell_all(vec![edge]).await;
    }

    pub(super) async fn tell_all(&mut self, edges: Vec<EdgeDelta>) {
        let report = EdgeReport {
            sequence: self.sent,
            // The first report of a stream says whose it is. Whatever it says later, what it has open ends with it.
            process_id: match std::mem::take(&mut self.is_new) {
                true => "one life".to_owned(),
                false => format!("life {}", self.sent),
            },
            edges,
        };
        self.reports.send(report).await.unwrap();
        let ack = timeout(PATIENCE, self.acks.message()).await.unwrap();
        assert_eq!(ack.unwrap().unwrap().sequence, self.sent);
        self.sent += 1;
    }
}

#[tokio::test]
async fn connections_are_in_every_form_of_the_graph() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let mut client = Reporting::open(&plane, "client").await;
    let mut server = Reporting::open(&plane, "web").await;
    client.tell(session(1, (0, 0), (1, 0))).await;

    // Open and silent: pictures show it, Kiali only where it asks for idle edges.
    let picture = || async { plane.call("http", "GET", "/graph.svg", "").await.1 };
    let shown = picture().await;
    assert!(shown.contains(">open, idle<"), "{shown}");
    let json = "/api/namespaces/graph?graphType=workload&duration=60s";
    let edges = |graph: Value| graph["elements"]["edges"].as_array().unwrap().clone();
    assert_eq!(edges(plane.get(json).await), [] as [Value; 0]);
    let idle = edges(plane.get(&format!("{json}&includeIdleEdges=true")).await);
    assert_eq!(idle.len(), 1);
    assert_eq!(idle[0]["data"]["traffic"]["protocol"], "tcp");

    client.tell(session(1, (6_000, 600_000), (1, 0))).await;
    server.tell(session(2, (6_000, 600_000), (1, 0))).await;
    let flowing = edges(plane.get(json).await);
    assert_eq!(flowing.len(), 1, "both ends tell of one edge");
    let data = &flowing[0]["data"];
    assert_eq!(data["traffic"]["rates"]["tcp"], "100.00", "{data:#}");
    assert_eq!(data["isMTLS"], "100");
    assert_eq!(
        data["sourcePrincipal"],
        "spiffe://cluster.local/ns/shop/sa/client"
    );
    let received = edges(plane.get(&format!("{json}&rateTcp=received")).await);
    assert_eq!(received[0]["data"]["traffic"]["rates"]["tcp"], "10000.00");
    for (path, words) in [
        ("/graph.svg", [">10.1 kB/s<", "lock-body"]),
        ("/graph.dot", ["10.1 kB/s", "mutual TLS"]),
        ("/graph.mmd", ["10.1 kB/s", "mutual TLS"]),
        ("/", [">10.1 kB/s<", "mutual TLS"]),
    ] {
        let (code, text) = plane.call("http", "GET", path, "").await;
        assert_eq!(code, 200, "{text}");
        for word in words {
            assert!(text.contains(word), "{path}: {word} is not in {text}");
        }
    }

    // In a window without bytes the connection is there while a proxy that has it open lives.
    let later = std::time::SystemTime::now() + Duration::from_secs(600);
    let later = later
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let silent = format!("{json}&includeIdleEdges=true&queryTime={later}");
    assert_eq!(edges(plane.get(&silent).await).len(), 1);

    // It also is while the proxies go on over another stream, before whose beginning the earlier one does not end.
    let mut ended = Vec::new();
    for (reporting, account) in [(&mut client, "client"), (&mut server, "web")] {
        let earlier = reporting.renew(&plane, account).await;
        reporting.tell_all(Vec::new()).await;
        drop(earlier.reports);
        ended.push(earlier.acks);
    }
    for mut acks in ended {
        let end = timeout(PATIENCE, acks.message()).await.unwrap();
        assert!(end.unwrap().is_none());
    }
    assert_eq!(edges(plane.get(&silent).await).len(), 1);
    drop((client, server));
    let begun = tokio::time::Instant::now();
    while !edges(plane.get(&silent).await).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it is still shown");
        tokio::task::yield_now().await;
    }
    plane.stop().await;
}
