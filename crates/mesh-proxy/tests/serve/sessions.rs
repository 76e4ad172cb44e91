//! Sessions: bytes that nobody looks into, over plain TCP and between two proxies.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::testing::Authority;
use mesh_identity::tls::{Peers, server_config};
use mesh_identity::{Identity, tls};
use mesh_proxy::snapshot::{Cluster, Direction, Endpoint, Split, TcpProxy, UpstreamTls};
use mesh_proxy::upstream::EndpointState;
use mesh_xds::Workload;
use mesh_xds::mesh::EdgeDelta;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::app::App;
use crate::mesh::{Proxy, Setup, cluster, endpoint, nobody, peers, soon, workload};

pub(crate) const NAME: &str = "outbound_.3306_._.db";

/// Sessions go to these targets, and may be idle for a day.
fn sessions(targets: &[(&str, u32)]) -> Arc<TcpProxy> {
    let targets = targets.iter();
    let targets = targets.map(|(name, weight)| ((*name).into(), *weight));
    Arc::new(TcpProxy {
        split: Split::new(targets.collect(), 2),
        attempts: 3,
        idle_timeout: Some(Duration::from_secs(86_400)),
        by_source: false,
    })
}

/// Sessions may be idle for so long.
fn idle_for(timeout: Duration) -> Arc<TcpProxy> {
    Arc::new(TcpProxy {
        split: Split::new(vec![("outbound|3306||db".into(), 1)], 1),
        attempts: 1,
        idle_timeout: Some(timeout),
        by_source: false,
    })
}

trait Sessions: Sized {
    /// Everything goes to one cluster of these endpoints.
    fn pass(self, endpoints: Vec<Arc<Endpoint>>) -> Self;
}

impl Sessions for Setup {
    fn pass(mut self, endpoints: Vec<Arc<Endpoint>>) -> Self {
        self.clusters.push(db(endpoints));
        self.tcp = Some(sessions(&[("outbound|3306||db", 1)]));
        self
    }
}

fn db(endpoints: Vec<Arc<Endpoint>>) -> Cluster {
    cluster("outbound|3306||db", endpoints)
}

/// Greets, then says back what it is told until that ends.
pub(crate) async fn database() -> App {
    App::raw(|mut stream| async move {
        let greeted = stream.write_all(b"hello").await;
        let (mut from, mut to) = stream.split();
        if greeted.is_ok() && tokio::io::copy(&mut from, &mut to).await.is_ok() {
            // Whoever has heard all may be gone.
            _ = to.shutdown().await;
        }
    })
    .await
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

pub(crate) async fn hear(stream: &mut TcpStream, words: &str) {
    let mut heard = vec![0; words.len()];
    soon(stream.read_exact(&mut heard))
        .await
        .expect("it speaks");
    assert_eq!(String::from_utf8_lossy(&heard), words);
}

async fn hear_the_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.expect("no reset");
    assert_eq!(rest, b"");
}

async fn hear_a_reset(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let error = soon(stream.read_to_end(&mut rest))
        .await
        .expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// A session that comes to nothing is reset, perhaps before the client has noticed that it is connected.
async fn is_reset(address: SocketAddr) {
    match TcpStream::connect(address).await {
        Ok(mut stream) => hear_a_reset(&mut stream).await,
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

fn reset(stream: TcpStream) {
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

pub(crate) fn only(edges: Vec<EdgeDelta>) -> EdgeDelta {
    let [edge] = edges.try_into().expect("one edge");
    assert_eq!(edge.protocol, "tcp");
    assert_eq!((edge.requests, edge.response_code), (0, 0));
    edge
}

/// Waits until so many bytes have been reported; they are counted when they are on their way already.
async fn reported(proxy: &Proxy, from_client: u64, to_client: u64) -> EdgeDelta {
    let mut sum = EdgeDelta::default();
    let waiting = async {
        while (sum.request_bytes, sum.response_bytes) != (from_client, to_client) {
            for edge in proxy.edges() {
                sum = EdgeDelta {
                    connections_opened: sum.connections_opened + edge.connections_opened,
                    connections_closed: sum.connections_closed + edge.connections_closed,
                    request_bytes: sum.request_bytes + edge.request_bytes,
                    response_bytes: sum.response_bytes + edge.response_bytes,
                    ..edge
                };
            }
            tokio::task::yield_now().await;
        }
    };
    soon(waiting).await;
    only(vec![sum])
}

#[tokio::test]
async fn the_server_may_speak_first_and_each_direction_ends_by_itself() {
    let app = database().await;
    let proxy = Proxy::start(Setup::outbound().pass(vec![endpoint(app.address, "v1")]));
    let mut client = connect(proxy.address).await;
    hear(&mut client, "hello").await;
    client.write_all(b"select 1").await.expect("it reads");
    hear(&mut client, "select 1").await;
    client.shutdown().await.expect("connected");
    hear_the_end(&mut client).await;
    let edge = only(proxy.finish().await);
    assert_eq!((edge.connections_opened, edge.connections_closed), (1, 1));
    assert_eq!((edge.request_bytes, edge.response_bytes), (8, 13));
    assert_eq!(edge.service_host, "web.default.svc.cluster.local");
    assert_eq!(edge.destination.expect("one").name, "web-v1");
    assert_eq!(edge.response_flags, "-");
}

#[tokio::test]
async fn a_server_that_has_said_all_still_listens() {
    let (told, heard) = oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let app = App::raw(move |mut stream| {
        let told = told.lock().expect("not poisoned").take();
        async move {
            stream.shutdown().await.expect("connected");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("no reset");
            told.expect("one session").send(all).expect("it waits");
        }
    })
    .await;
    let proxy = Proxy::start(Setup::outbound().pass(vec![endpoint(app.address, "v1")]));
    let mut client = connect(proxy.address).await;
    hear_the_end(&mut client).await;
    client
        .write_all(b"and another thing")
        .await
        .expect("it reads");
    drop(client);
    let heard = soon(heard).await.expect("a session");
    assert_eq!(heard, b"and another thing");
    assert_eq!(only(proxy.finish().await).request_bytes, 17);
}

/// The server's proxy in front of an application.
pub(crate) fn inbound(identity: &Arc<Identity>, app: &App) -> Setup {
    let mut setup = Setup::new(1, identity.clone(), Direction::Inbound);
    setup = setup.pass(vec![endpoint(app.address, "v1")]);
    setup.listener.workload = workload("web", "v1");
    setup.listener.peers = peers(&[workload("shop", "v1"), workload("shop", "v2")]);
    let config = server_config(identity, Peers::TrustDomain, &[]);
    setup.tls = Some((vec![NAME.into()], config));
    setup
}

/// The client's proxy towards that one.
pub(crate) fn outbound(identity: &Arc<Identity>, server: &Proxy) -> Setup {
    let endpoint = Endpoint {
        address: server.address.to_string().into(),
        workload: workload("web", "v1"),
        tls: Some(UpstreamTls {
            is_mesh: true,
            // What the cluster offers to HTTP does not matter to a session.
            config: tls::client_config(identity, Peers::TrustDomain, &[b"h2"]),
            sni: NAME.try_into().expect("a server name"),
        }),
        weight: 1,
        health: Arc::default(),
        state: Arc::new(EndpointState::new(2)),
    };
    Setup::new(1, identity.clone(), Direction::Outbound).pass(vec![Arc::new(endpoint)])
}

/// A client's and a server's proxy in front of an application.
fn pair(app: &App) -> (Proxy, Proxy) {
    let authority = Authority::new("cluster.local");
    let server = Proxy::start(inbound(&authority.identity("default", "web"), app));
    let client = Proxy::start(outbound(&authority.identity("default", "shop"), &server));
    (client, server)
}

/// The `i`th byte of a stream in which a lost or doubled piece shows.
fn pattern(i: usize) -> u8 {
    (i % 251) as u8 ^ (i / 65_521) as u8
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_arrives_as_it_was() {
    const SIZE: usize = 64 << 20;
    let app = App::raw(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.expect("no reset");
        to.shutdown().await.expect("connected");
    })
    .await;
    let (client, server) = pair(&app);
    let (mut from, mut to) = connect(client.address).await.into_split();
    let sent = tokio::spawn(async move {
        let mut piece = Vec::new();
        for start in (0..SIZE).step_by(1 << 16) {
            piece.clear();
            piece.extend((start..start + (1 << 16)).map(pattern));
            to.write_all(&piece).await.expect("it reads");
        }
        to.shutdown().await.expect("connected");
        to
    });
    let (mut piece, mut came) = (vec![0; 1 << 16], 0);
    loop {
        let read = soon(from.read(&mut piece)).await.expect("no reset");
        let right = |(i, byte): (usize, &u8)| *byte == pattern(came + i);
        assert!(
            piece[..read].iter().enumerate().all(right),
            "after {came} bytes"
        );
        came += read;
        if read == 0 {
            break;
        }
    }
    assert_eq!(came, SIZE);
    sent.await.expect("no panic");
    for proxy in [client, server] {
        let edge = only(proxy.finish().await);
        let size = SIZE as u64;
        assert_eq!((edge.request_bytes, edge.response_bytes), (size, size));
    }
}

#[tokio::test]
async fn both_sides_know_each_other_and_count_while_the_session_lasts() {
    let app = database().await;
    let (client, server) = pair(&app);
    let mut user = connect(client.address).await;
    hear(&mut user, "hello").await;
    user.write_all(b"select 1").await.expect("it reads");
    hear(&mut user, "select 1").await;

    let shop = "spiffe://cluster.local/ns/default/sa/shop";
    let web = "spiffe://cluster.local/ns/default/sa/web";
    let edge = reported(&client, 8, 13).await;
    assert_eq!((edge.connections_opened, edge.connections_closed), (1, 0));
    let (source, destination) = (edge.source.expect("one"), edge.destination.expect("one"));
    assert_eq!(
        (source.name.as_str(), source.principal.as_str()),
        ("shop-v1", shop)
    );
    assert_eq!(
        (destination.name.as_str(), destination.principal.as_str()),
        ("web-v1", web)
    );
    assert_eq!(edge.security_policy, "unknown");

    let edge = reported(&server, 8, 13).await;
    assert_eq!((edge.connections_opened, edge.connections_closed), (1, 0));
    assert_eq!(edge.security_policy, "mutual_tls");
    assert_eq!(edge.destination.expect("one").principal, web);
    // Two workloads have this principal: the client's proxy says which one it is.
    let source = edge.source.expect("one");
    assert_eq!(
        (source.name.as_str(), source.principal.as_str()),
        ("shop-v1", shop)
    );

    user.shutdown().await.expect("connected");
    hear_the_end(&mut user).await;
    for proxy in [client, server] {
        let edge = only(proxy.finish().await);
        assert_eq!((edge.connections_opened, edge.connections_closed), (0, 1));
        assert_eq!(
            (edge.request_bytes, edge.response_bytes),
            (0, 0),
            "told already"
        );
    }
}

#[tokio::test]
async fn what_prometheus_scrapes_has_the_labels_of_sessions() {
    let app = database().await;
    let (client, server) = pair(&app);
    let mut user = connect(client.address).await;
    hear(&mut user, "hello").await;
    for (proxy, reporter, security) in [
        (&client, "source", "unknown"),
        (&server, "destination", "mutual_tls"),
    ] {
        reported(proxy, 0, 5).await;
        let text = proxy.scrape();
        let line = |name: &str| {
            let mut lines = text
                .lines()
                .filter(|line| line.starts_with(&format!("{name}{{")));
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("no {name} in {text}"));
            assert_eq!(lines.next(), None, "one series of {name}");
            line.to_owned()
        };
        let sent = line("istio_tcp_sent_bytes_total");
        assert!(sent.ends_with(" 5"), "{sent}");
        for label in [
            format!("reporter=\"{reporter}\""),
            format!("connection_security_policy=\"{security}\""),
            "request_protocol=\"tcp\"".to_owned(),
            "response_flags=\"-\"".to_owned(),
        ] {
            assert!(sent.contains(&label), "{label} in {sent}");
        }
        assert!(
            !sent.contains("response_code") && !sent.contains("grpc"),
            "{sent}"
        );
        assert!(line("istio_tcp_received_bytes_total").ends_with(" 0"));
        assert!(line("istio_tcp_connections_opened_total").ends_with(" 1"));
        assert!(line("istio_tcp_connections_closed_total").ends_with(" 0"));
        assert!(!text.contains("istio_requests_total"), "{text}");
    }
    drop(user);
    client.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_stranger_gets_nowhere() {
    let authority = Authority::new("cluster.local");
    let app = database().await;
    let server = Proxy::start(inbound(&authority.identity("default", "web"), &app));
    let stranger = Authority::new("cluster.local").identity("default", "shop");
    let client = Proxy::start(outbound(&stranger, &server));
    is_reset(client.address).await;
    let edge = only(client.finish().await);
    assert_eq!(edge.response_flags, "UF,URX");
    let mut plain = connect(server.address).await;
    plain.write_all(b"select 1").await.expect("it reads");
    let mut heard = Vec::new();
    // Closed or reset, but nobody greets.
    let _ = soon(plain.read_to_end(&mut heard)).await;
    assert!(!heard.starts_with(b"hello"), "{heard:?}");
    assert_eq!(app.connections(), 0);
    assert!(server.finish().await.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let app = database().await;
    let endpoints = vec![endpoint(nobody(), "v0"), endpoint(app.address, "v1")];
    let proxy = Proxy::start(Setup::outbound().pass(endpoints));
    for _ in 0..4 {
        let mut client = connect(proxy.address).await;
        hear(&mut client, "hello").await;
    }
    let edge = only(proxy.finish().await);
    assert_eq!(edge.destination.expect("one").name, "web-v1");
    assert_eq!(edge.connections_opened, 4);
    assert_eq!(edge.response_flags, "-");
}

#[tokio::test]
async fn without_a_way_the_client_is_reset_and_the_series_says_why() {
    let cases = [
        (vec![], "outbound|3306||db", "UH", ""),
        (
            vec![endpoint(nobody(), "v1")],
            "outbound|3306||db",
            "UF,URX",
            "web-v1",
        ),
        (
            vec![],
            "outbound|3306||gone.default.svc.cluster.local",
            "NC",
            "",
        ),
    ];
    for (endpoints, target, flags, destination) in cases {
        let mut setup = Setup::outbound().pass(endpoints);
        setup.tcp = Some(sessions(&[(target, 1)]));
        let proxy = Proxy::start(setup);
        is_reset(proxy.address).await;
        let edge = only(proxy.finish().await);
        assert_eq!(edge.response_flags, flags);
        assert_eq!((edge.connections_opened, edge.connections_closed), (1, 1));
        assert_eq!(edge.destination.expect("one").name, destination, "{flags}");
    }
}

#[tokio::test]
async fn sessions_are_split_by_weight() {
    let (old, new) = (database().await, database().await);
    let mut setup = Setup::outbound();
    setup.clusters = vec![
        cluster("old", vec![endpoint(old.address, "v1")]),
        cluster("new", vec![endpoint(new.address, "v2")]),
    ];
    setup.tcp = Some(sessions(&[("old", 3), ("new", 1)]));
    let proxy = Proxy::start(setup);
    for _ in 0..8 {
        hear(&mut connect(proxy.address).await, "hello").await;
    }
    assert_eq!((old.connections(), new.connections()), (6, 2));
    proxy.finish().await;
}

#[tokio::test]
async fn a_reset_is_passed_on_through_both_proxies() {
    let (told, heard) = oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let app = App::raw(move |mut stream| {
        let told = told.lock().expect("not poisoned").take();
        async move {
            stream.write_all(b"hello").await.expect("it reads");
            let mut all = Vec::new();
            match (stream.read_to_end(&mut all).await, told) {
                // The first client breaks off, with the others the application does.
                (ended, Some(told)) => told.send(ended.map_err(|e| e.kind())).expect("it waits"),
                (_, None) => reset(stream),
            }
        }
    })
    .await;
    let (client, server) = pair(&app);
    let mut user = connect(client.address).await;
    hear(&mut user, "hello").await;
    reset(user);
    let ended = soon(heard).await.expect("a session");
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));

    let mut user = connect(client.address).await;
    hear(&mut user, "hello").await;
    user.shutdown().await.expect("connected");
    hear_a_reset(&mut user).await;
    for proxy in [client, server] {
        let edge = only(proxy.finish().await);
        assert_eq!((edge.connections_opened, edge.connections_closed), (2, 2));
        assert_eq!(
            edge.response_flags, "-",
            "what opens in a series closes there"
        );
    }
}

#[tokio::test]
async fn a_drain_lets_sessions_go_on_and_takes_no_new_ones() {
    let app = database().await;
    let proxy = Proxy::start(Setup::outbound().pass(vec![endpoint(app.address, "v1")]));
    let address = proxy.address;
    let mut client = connect(address).await;
    hear(&mut client, "hello").await;
    let drained = tokio::spawn(proxy.finish());
    soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    client.write_all(b"select 1").await.expect("it reads");
    hear(&mut client, "select 1").await;
    assert!(!drained.is_finished(), "it waits for the session");
    client.shutdown().await.expect("connected");
    hear_the_end(&mut client).await;
    let edge = only(drained.await.expect("no panic"));
    assert!(
        edge.connections_opened >= 1,
        "those that came at the last moment count too"
    );
    assert_eq!(edge.connections_opened, edge.connections_closed);
}

#[tokio::test]
async fn the_deadline_of_a_drain_ends_what_goes_on() {
    let app = database().await;
    let proxy = Proxy::start(Setup::outbound().pass(vec![endpoint(app.address, "v1")]));
    let mut client = connect(proxy.address).await;
    hear(&mut client, "hello").await;
    let (workers, telemetry) = proxy.into_workers();
    soon(workers.drain(Duration::from_millis(50))).await;
    hear_a_reset(&mut client).await;
    let edge = only(telemetry.take_edges());
    assert_eq!((edge.connections_opened, edge.connections_closed), (1, 1));
}

#[tokio::test]
async fn a_session_outlives_its_listener_and_its_cluster() {
    let app = database().await;
    let proxy = Proxy::start(Setup::outbound().pass(vec![endpoint(app.address, "v1")]));
    let address = proxy.address;
    let mut client = connect(address).await;
    hear(&mut client, "hello").await;
    let before = Arc::downgrade(&proxy.snapshots.send_replace(Arc::default()));
    soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    let is_kept = async {
        while before.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(is_kept).await;
    client.write_all(b"select 1").await.expect("it reads");
    hear(&mut client, "select 1").await;
    client.shutdown().await.expect("connected");
    hear_the_end(&mut client).await;
    proxy.finish().await;
}

#[tokio::test]
async fn a_session_without_movement_ends_in_peace() {
    let app = database().await;
    let mut setup = Setup::outbound().pass(vec![endpoint(app.address, "v1")]);
    setup.tcp = Some(idle_for(Duration::from_secs(1)));
    let proxy = Proxy::start(setup);
    let mut client = connect(proxy.address).await;
    hear(&mut client, "hello").await;
    hear_the_end(&mut client).await;
    assert_eq!(only(proxy.finish().await).connections_closed, 1);
}

#[tokio::test]
async fn a_stream_that_is_not_taken_does_not_look_whole_when_its_session_ends() {
    let app = App::raw(|mut stream| async move {
        // More than all buffers on the way hold, so it is broken off.
        _ = stream.write_all(&vec![1; 64 << 20]).await;
    })
    .await;
    let mut setup = Setup::outbound().pass(vec![endpoint(app.address, "v1")]);
    setup.tcp = Some(idle_for(Duration::from_secs(1)));
    let proxy = Proxy::start(setup);
    let mut client = connect(proxy.address).await;
    let mut edges = Vec::new();
    let closed = async {
        while edges.iter().all(|e: &EdgeDelta| e.connections_closed == 0) {
            tokio::task::yield_now().await;
            edges.extend(proxy.edges());
        }
    };
    soon(closed).await;
    let mut taken = Vec::new();
    let end = soon(client.read_to_end(&mut taken)).await;
    assert_eq!(end.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    assert!(taken.len() < 64 << 20);
    proxy.finish().await;
}

#[tokio::test]
async fn a_session_ends_with_the_certificate_that_began_it() {
    let authority = Authority::new("cluster.local");
    let app = database().await;
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    shop.replace(
        authority.svid("default", "shop", Duration::from_secs(5)),
        authority.bundle(),
    );
    let server = Proxy::start(inbound(&web, &app));
    let client = Proxy::start(outbound(&shop, &server));
    let mut user = connect(client.address).await;
    hear(&mut user, "hello").await;
    // Renewed in time, which helps the next session only.
    shop.replace(
        authority.svid("default", "shop", Duration::from_secs(600)),
        authority.bundle(),
    );
    hear_a_reset(&mut user).await;
    let mut user = connect(client.address).await;
    hear(&mut user, "hello").await;
    drop(user);
    for proxy in [client, server] {
        assert_eq!(only(proxy.finish().await).connections_closed, 2);
    }
}

#[tokio::test]
async fn a_published_port_takes_sessions_of_strangers() {
    let app = database().await;
    let identity = Authority::new("cluster.local").identity("default", "web");
    let mut setup = inbound(&identity, &app).edge();
    setup.tls = None;
    let proxy = Proxy::start(setup);
    hear(&mut connect(proxy.address).await, "hello").await;
    let edge = only(proxy.finish().await);
    assert_eq!(
        edge.source.expect("one"),
        mesh_xds::mesh::Workload::default()
    );
    assert_eq!(edge.security_policy, "none");
    let destination = edge.destination.expect("one");
    let own: Arc<Workload> = workload("web", "v1");
    assert_eq!(
        (destination.name, destination.principal),
        (own.name.clone(), String::new())
    );
}
