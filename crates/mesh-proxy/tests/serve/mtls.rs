//! Two proxies and mutual TLS between them: who may talk to whom, and what each side reports.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use mesh_identity::testing::Authority;
use mesh_identity::tls::{Peers, server_config};
use mesh_identity::{Identity, SpiffeId};
use mesh_proxy::snapshot::Direction;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::app::{App, full};
use crate::client::{Client, body, nothing};
use crate::mesh::{Proxy, Setup, cluster, mesh_endpoint, nobody, peers, soon, workload};

const NAME: &str = "outbound_.80_._.web";

/// The server's proxy in front of an application.
fn inbound(identity: &Arc<Identity>, app: &App) -> Setup {
    let mut setup = Setup::new(1, identity.clone(), Direction::Inbound);
    let application = crate::mesh::endpoint(app.address, "v1");
    setup = setup.through(cluster("inbound|8080||", vec![application]));
    setup.listener.workload = workload("web", "v1");
    setup.listener.peers = peers(&[workload("shop", "v1"), workload("shop", "v2")]);
    let config = server_config(identity, Peers::TrustDomain, &[b"h2", b"http/1.1"]);
    setup.tls = Some((vec![NAME.into()], config));
    setup
}

fn only(id: SpiffeId) -> Peers {
    Peers::one(id)
}

/// The client's proxy towards that one.
fn outbound(identity: &Arc<Identity>, server: &Proxy, peers: Peers, name: &str) -> Setup {
    let endpoint = mesh_endpoint(server.address, identity, peers, name);
    Setup::new(1, identity.clone(), Direction::Outbound).to(vec![endpoint])
}

async fn app() -> App {
    App::start(|request| async move {
        let told = request.headers().contains_key("x-mesh-workload");
        let version = request.version();
        Response::new(full(format!("{version:?} told={told}")))
    })
    .await
}

#[tokio::test]
async fn both_sides_know_each_other_and_say_so() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let client = Proxy::start(outbound(
        &shop,
        &server,
        only(authority.id("default", "web")),
        NAME,
    ));
    let mut user = Client::http1(client.address).await;
    for _ in 0..5 {
        assert_eq!(user.get("/").await.text(), "HTTP/1.1 told=false");
    }
    let [edge] = client.finish().await.try_into().expect("one edge");
    let (source, destination) = (
        edge.source.expect("a source"),
        edge.destination.expect("one"),
    );
    assert_eq!(
        source.principal,
        "spiffe://cluster.local/ns/default/sa/shop"
    );
    assert_eq!(
        destination.principal,
        "spiffe://cluster.local/ns/default/sa/web"
    );
    assert_eq!(
        (edge.requests, edge.security_policy.as_str()),
        (5, "unknown")
    );
    let [edge] = server.finish().await.try_into().expect("one edge");
    let (source, destination) = (
        edge.source.expect("a source"),
        edge.destination.expect("one"),
    );
    assert_eq!(
        source.principal,
        "spiffe://cluster.local/ns/default/sa/shop"
    );
    assert_eq!(
        destination.principal,
        "spiffe://cluster.local/ns/default/sa/web"
    );
    assert_eq!(
        (source.name.as_str(), destination.name.as_str()),
        ("shop-v1", "web-v1")
    );
    assert_eq!(
        (edge.requests, edge.security_policy.as_str()),
        (5, "mutual_tls")
    );
    assert_eq!(edge.service_host, "web.default.svc.cluster.local");
}

#[tokio::test]
async fn a_caller_that_no_workload_is_has_a_namespace_at_least() {
    let authority = Authority::new("cluster.local");
    let (tool, web) = (
        authority.identity("tools", "probe"),
        authority.identity("default", "web"),
    );
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let client = Proxy::start(outbound(&tool, &server, Peers::TrustDomain, NAME));
    assert!(
        Client::http1(client.address)
            .await
            .get("/")
            .await
            .status
            .is_success()
    );
    client.finish().await;
    let [edge] = server.finish().await.try_into().expect("one edge");
    let source = edge.source.expect("a source");
    assert_eq!(
        (source.name.as_str(), source.namespace.as_str()),
        ("", "tools")
    );
    assert_eq!(source.principal, "spiffe://cluster.local/ns/tools/sa/probe");
}

#[tokio::test]
async fn many_requests_share_one_handshake() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let setup = outbound(&shop, &server, Peers::TrustDomain, NAME);
    let endpoint = setup.clusters[0].endpoints[0].clone();
    let client = Proxy::start(setup);
    let asking = (0..40).map(|_| async {
        let mut user = Client::http1(client.address).await;
        user.get("/").await.status
    });
    let statuses = soon(futures_util::future::join_all(asking)).await;
    assert!(statuses.iter().all(http::StatusCode::is_success));
    assert_eq!(
        endpoint.state.pooled(),
        1,
        "one connection for all who asked at once"
    );
    client.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_renewed_identity_means_new_connections_and_no_failure() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let setup = outbound(&shop, &server, Peers::TrustDomain, NAME);
    let endpoint = setup.clusters[0].endpoints[0].clone();
    let client = Proxy::start(setup);
    let mut user = Client::http1(client.address).await;
    for _ in 0..5 {
        assert!(user.get("/").await.status.is_success());
        let svid = authority.svid("default", "shop", std::time::Duration::from_secs(60));
        shop.replace(svid, authority.bundle());
    }
    assert!(user.get("/").await.status.is_success());
    assert_eq!(endpoint.state.pooled(), 1, "only the newest is kept");
    client.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn the_wrong_server_is_not_talked_to() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let other = only(authority.id("default", "other"));
    let client = Proxy::start(outbound(&shop, &server, other, NAME));
    let answer = Client::http1(client.address).await.get("/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-mesh-error")),
        (503, "UF,URX")
    );
    assert_eq!(app.requests(), 0);
    let [edge] = client.finish().await.try_into().expect("one edge");
    assert_eq!(
        edge.destination.expect("the one that was tried").principal,
        ""
    );
    assert!(server.finish().await.is_empty());
}

#[tokio::test]
async fn a_foreign_root_and_an_unknown_name_get_nowhere() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let foreign = Authority::new("cluster.local").identity("default", "shop");
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let strangers = [
        outbound(&foreign, &server, Peers::TrustDomain, NAME),
        outbound(&shop, &server, Peers::TrustDomain, "outbound_.81_._.web"),
    ];
    for setup in strangers {
        let client = Proxy::start(setup);
        let answer = Client::http1(client.address).await.get("/").await;
        assert_eq!(answer.status, 503);
        client.finish().await;
    }
    // Each was tried three times.
    server.has_refused(3.0, "tls_handshake").await;
    server.has_refused(3.0, "no_filter_chain").await;
    assert_eq!(app.requests(), 0);
    assert!(server.finish().await.is_empty());
}

/// What a server's proxy answers may be passed on to strangers by a gateway.
#[tokio::test]
async fn a_servers_proxy_names_no_address_of_its_application() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let gone = nobody();
    let mut setup = Setup::new(1, web.clone(), Direction::Inbound);
    setup = setup.to(vec![crate::mesh::endpoint(gone, "v1")]);
    let config = server_config(&web, Peers::TrustDomain, &[b"h2", b"http/1.1"]);
    setup.tls = Some((vec![NAME.into()], config));
    let server = Proxy::start(setup);
    let client = Proxy::start(outbound(&shop, &server, Peers::TrustDomain, NAME));
    let answer = Client::http1(client.address).await.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().starts_with("UF"), "{}", answer.text());
    let port = gone.port().to_string();
    assert!(!answer.text().contains(&port), "{}", answer.text());
    client.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn plain_text_gets_nowhere() {
    let authority = Authority::new("cluster.local");
    let web = authority.identity("default", "web");
    let app = app().await;
    let server = Proxy::start(inbound(&web, &app));
    let mut stream = TcpStream::connect(server.address)
        .await
        .expect("it listens");
    let request = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    // Closed or reset, but never answered in HTTP.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.has_refused(1.0, "tls_handshake").await;
    assert_eq!(app.requests(), 0);
    assert!(server.finish().await.is_empty());
}

#[tokio::test]
async fn a_published_plain_port_reports_strangers() {
    let authority = Authority::new("cluster.local");
    let web = authority.identity("default", "web");
    let app = app().await;
    let mut setup = inbound(&web, &app).edge();
    setup.tls = None;
    let server = Proxy::start(setup);
    let request = Request::get("/")
        .header("host", "web")
        .header("x-mesh-workload", "shop-v1");
    let mut user = Client::http1(server.address).await;
    let answer = user.ask(request.body(nothing()).expect("a request")).await;
    assert_eq!(answer.text(), "HTTP/1.1 told=false");
    let [edge] = server.finish().await.try_into().expect("one edge");
    assert_eq!(
        edge.source.expect("a source"),
        mesh_xds::mesh::Workload::default()
    );
    assert_eq!(edge.security_policy, "none");
}

/// One of two servers leaves under load, and the clients are not told beforehand.
#[tokio::test]
async fn a_restart_under_load_loses_no_request() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let app = App::start(|request| async move {
        let body = request
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        Response::new(full(body))
    })
    .await;
    let leaving = Proxy::start(inbound(&web, &app));
    let staying = Proxy::start(inbound(&web, &app));
    let endpoints = [&leaving, &staying]
        .map(|server| mesh_endpoint(server.address, &shop, Peers::TrustDomain, NAME));
    let client = Setup::new(1, shop, Direction::Outbound).to(endpoints.to_vec());
    let client = Proxy::start(client);

    let (stop, stopped) = watch::channel(false);
    let (progress, mut done) = watch::channel(0_u64);
    let progress = Arc::new(progress);
    let load = (0..8).map(|_| {
        let (stopped, progress, address) = (stopped.clone(), progress.clone(), client.address);
        tokio::spawn(async move {
            let mut user = Client::http1(address).await;
            let mut sent = 0;
            while !*stopped.borrow() {
                let request = Request::post("/").header("host", "web").body(body("pay"));
                let answer = user.ask(request.expect("a request")).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.text()),
                    (200, "pay"),
                    "{answer:?}"
                );
                sent += 1;
                progress.send_modify(|done| *done += 1);
            }
            sent
        })
    });
    let load: Vec<_> = load.collect();
    soon(done.wait_for(|done| *done > 100))
        .await
        .expect("they send");
    leaving.finish().await;
    let now = *done.borrow();
    soon(done.wait_for(|done| *done > now + 100))
        .await
        .expect("they send");
    stop.send_replace(true);
    let sent = futures_util::future::join_all(load).await;
    let sent: usize = sent
        .into_iter()
        .map(|sent| sent.expect("every answer is right"))
        .sum();
    assert_eq!(app.requests(), sent, "each request arrived once");
    client.finish().await;
    staying.finish().await;
}
