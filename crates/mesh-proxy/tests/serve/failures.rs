//! What the client, the log and the metrics see when something is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::app::{App, full};
use crate::client::{Answer, Client, body, nothing};
use crate::mesh::{Proxy, Setup, cluster, endpoint, forward, nobody, route, soon};
use mesh_proxy::snapshot::Action;

async fn fails(setup: Setup, status: u16, flag: &str) -> Answer {
    let proxy = Proxy::start(setup);
    let answer = Client::http1(proxy.address).await.get("/").await;
    assert_eq!(answer.status.as_u16(), status);
    assert_eq!(answer.header("x-mesh-error"), flag);
    assert!(
        answer.text().starts_with(&format!("{flag}: ")),
        "{}",
        answer.text()
    );
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    assert_eq!((edge.requests, edge.response_code), (1, status.into()));
    assert_eq!(edge.response_flags, flag);
    answer
}

#[tokio::test]
async fn no_virtual_host_is_404_nr() {
    fails(Setup::outbound(), 404, "NR").await;
}

#[tokio::test]
async fn no_route_is_404_nr() {
    let mut setup = Setup::outbound();
    setup.hosts.push(("web", Vec::new()));
    fails(setup, 404, "NR").await;
}

#[tokio::test]
async fn an_unknown_cluster_is_503_nc() {
    let mut setup = Setup::outbound();
    let missing = "outbound|80|v3|web.default.svc.cluster.local";
    let route = forward(vec![(missing.into(), 1)], 2, 1);
    setup.hosts.push(("web", vec![route]));
    let proxy = Proxy::start(setup);
    let answer = Client::http1(proxy.address).await.get("/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-mesh-error")),
        (503, "NC")
    );
    assert!(answer.text().contains(missing), "{}", answer.text());
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    assert_eq!(edge.response_flags, "NC");
    assert_eq!(
        edge.service_host, "web.default.svc.cluster.local",
        "what was asked for is known"
    );
    assert_eq!(
        (edge.service_name.as_str(), edge.service_namespace.as_str()),
        ("web", "default")
    );
}

#[tokio::test]
async fn strangers_strings_are_no_labels() {
    let proxy = Proxy::start(Setup::outbound());
    let request = Request::get("/")
        .header("host", "made-up.example")
        .header("user-agent", "x");
    let mut client = Client::http1(proxy.address).await;
    client
        .ask(request.body(nothing()).expect("a request"))
        .await;
    let edges = proxy.finish().await;
    assert!(!format!("{edges:?}").contains("made-up"), "{edges:?}");
}

#[tokio::test]
async fn traffic_that_may_not_leave_is_named_as_istio_does() {
    let mut setup = Setup::outbound();
    let refusal = Action::Direct {
        status: http::StatusCode::BAD_GATEWAY,
        body: Bytes::from_static(b"no such service"),
    };
    setup.any = Some(("block_all", vec![route(refusal)]));
    let proxy = Proxy::start(setup);
    let answer = Client::http1(proxy.address).await.get("/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (502, "no such service")
    );
    let edges = proxy.finish().await;
    assert_eq!(
        (
            edges[0].service_name.as_str(),
            edges[0].service_host.as_str()
        ),
        ("BlackHoleCluster", "")
    );
}

#[tokio::test]
async fn no_endpoints_are_503_uh() {
    fails(Setup::outbound().to(Vec::new()), 503, "UH").await;
}

#[tokio::test]
async fn nobody_there_is_503_uf_after_all_retries() {
    let setup = Setup::outbound().to(vec![endpoint(nobody(), "v1")]);
    let answer = fails(setup, 503, "UF,URX").await;
    assert!(
        answer.text().contains("127.0.0.1"),
        "inside the mesh the address helps"
    );
    let mut once = Setup::outbound();
    let cluster = cluster("outbound|80||web", vec![endpoint(nobody(), "v1")]);
    once.hosts
        .push(("web", vec![forward(vec![(cluster.name.clone(), 1)], 0, 1)]));
    once.clusters.push(cluster);
    fails(once, 503, "UF").await;
}

#[tokio::test]
async fn strangers_are_not_told_addresses() {
    let setup = Setup::outbound().edge().to(vec![endpoint(nobody(), "v1")]);
    let answer = fails(setup, 503, "UF,URX").await;
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
}

#[tokio::test]
async fn grpc_clients_get_their_own_kind_of_failure() {
    let proxy = Proxy::start(Setup::outbound().to(Vec::new()));
    let request = Request::post("http://web/s/m").header("content-type", "application/grpc");
    let mut client = Client::http2(proxy.address).await;
    let answer = client
        .ask(request.body(body("x")).expect("a request"))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("grpc-status")),
        (200, "14")
    );
    assert!(answer.header("grpc-message").starts_with("UH: "));
    let edges = proxy.finish().await;
    assert_eq!(
        (
            edges[0].grpc_status.as_str(),
            edges[0].response_flags.as_str()
        ),
        ("14", "UH")
    );
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let app = App::named("alive").await;
    let endpoints = vec![endpoint(nobody(), "v1"), endpoint(app.address, "v2")];
    let proxy = Proxy::start(Setup::outbound().to(endpoints));
    let mut client = Client::http1(proxy.address).await;
    for _ in 0..10 {
        let request = Request::post("/")
            .header("host", "web")
            .body(body("pay"))
            .expect("a request");
        assert_eq!(client.ask(request).await.text(), "alive");
    }
    assert_eq!(app.requests(), 10, "each request arrived once");
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    let destination = edge.destination.expect("a destination");
    assert_eq!((edge.requests, destination.version.as_str()), (10, "v2"));
}

/// Answers the first request of each connection, then does `then`.
async fn one_answer(then: fn(&mut tokio::net::TcpStream), posts: Arc<AtomicUsize>) -> App {
    App::raw(move |mut stream| {
        let posts = posts.clone();
        async move {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            if read > 0 {
                posts.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap_or_default();
                then(&mut stream);
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_endpoint_that_closes_kept_connections_is_never_noticed() {
    let posts = Arc::<AtomicUsize>::default();
    // Closed as soon as it has answered, without saying so.
    let app = one_answer(|_| (), posts.clone()).await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let mut client = Client::http1(proxy.address).await;
    for _ in 0..200 {
        let request = Request::post("/")
            .header("host", "web")
            .body(body("pay"))
            .expect("a request");
        let answer = client.ask(request).await;
        assert_eq!(answer.text(), "ok", "{answer:?}");
    }
    assert_eq!(
        posts.load(Ordering::SeqCst),
        200,
        "no payment was made twice"
    );
    proxy.finish().await;
}

#[tokio::test]
async fn a_request_that_may_have_had_its_effect_is_not_sent_again() {
    let posts = Arc::<AtomicUsize>::default();
    let counted = posts.clone();
    let app = App::raw(move |mut stream| {
        let posts = counted.clone();
        async move {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.unwrap_or(0) > 0 {
                posts.fetch_add(1, Ordering::SeqCst);
            }
            // Took the request and closes without an answer.
        }
    })
    .await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let mut client = Client::http1(proxy.address).await;
    let request = Request::post("/")
        .header("host", "web")
        .body(body("pay"))
        .expect("a request");
    let answer = client.ask(request).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-mesh-error")),
        (503, "UC")
    );
    assert_eq!(posts.load(Ordering::SeqCst), 1);
    proxy.finish().await;
}

#[tokio::test]
async fn nonsense_from_an_endpoint_is_502_upe() {
    for nonsense in [
        "HELLO\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab",
    ] {
        let app = App::raw(move |mut stream| async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            stream
                .write_all(nonsense.as_bytes())
                .await
                .unwrap_or_default();
            // Stays open: it is the message that is wrong.
            let _ = stream.read(&mut request).await;
        })
        .await;
        fails(
            Setup::outbound().to(vec![endpoint(app.address, "v1")]),
            502,
            "UPE",
        )
        .await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_complete() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let app = App::raw(move |mut stream| async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let part = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n");
            stream.write_all(part.as_bytes()).await.unwrap_or_default();
        })
        .await;
        let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
        for mut client in [
            Client::http1(proxy.address).await,
            Client::http2(proxy.address).await,
        ] {
            let request = Request::get("http://web/").header("host", "web");
            let request = request.body(nothing()).expect("a request");
            let response = soon(client.send(request)).await.expect("a head");
            assert_eq!(response.status(), 200);
            assert!(
                soon(response.into_body().collect()).await.is_err(),
                "the break is seen"
            );
        }
        let [edge] = proxy.finish().await.try_into().expect("one edge");
        assert_eq!((edge.requests, edge.response_flags.as_str()), (2, "UC"));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted_once_without_a_status() {
    let asked = Arc::new(Notify::new());
    let heard = asked.clone();
    let app = App::start(move |_| {
        heard.notify_one();
        async { futures_util::future::pending::<Response<_>>().await }
    })
    .await;
    for http2 in [false, true] {
        let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
        let mut client = if http2 {
            Client::http2(proxy.address).await
        } else {
            Client::http1(proxy.address).await
        };
        let request = Request::get("http://web/").header("host", "web");
        let request = request.body(nothing()).expect("a request");
        tokio::select! {
            _ = client.send(request) => panic!("nobody answers"),
            () = asked.notified() => {}
        }
        drop(client);
        let [edge] = proxy.finish().await.try_into().expect("one edge");
        assert_eq!((edge.requests, edge.response_code), (1, 0));
        assert_eq!(edge.response_flags, "DC");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_the_response_is_counted_with_its_status() {
    let app = App::start(|_| async {
        let (frames, stream) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        tokio::spawn(async move {
            let chunk = Bytes::from(vec![b'x'; 1 << 16]);
            while frames.send(Ok(Frame::data(chunk.clone()))).await.is_ok() {}
        });
        Response::new(BodyExt::boxed(StreamBody::new(ReceiverStream::new(stream))))
    })
    .await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let mut client = Client::http1(proxy.address).await;
    let request = Request::get("/")
        .header("host", "web")
        .body(nothing())
        .expect("a request");
    let mut response = soon(client.send(request)).await.expect("a head");
    soon(response.frame())
        .await
        .expect("a frame")
        .expect("data");
    drop((response, client));
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    assert_eq!(
        (edge.response_code, edge.response_flags.as_str()),
        (200, "DC")
    );
}

#[tokio::test]
async fn a_connect_takes_no_longer_than_its_cluster_allows() {
    // A full backlog does not answer: bind without accepting, and fill it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a free port");
    socket.listen(0).expect("it listens");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("IPv4");
    let _first = tokio::net::TcpStream::connect(address)
        .await
        .expect("the one place");
    let slow = mesh_proxy::snapshot::Cluster {
        connect_timeout: Duration::from_millis(200),
        ..cluster("outbound|80||web", vec![endpoint(address, "v1")])
    };
    let answer = fails(Setup::outbound().through(slow), 503, "UF,URX").await;
    assert!(answer.text().contains("200ms"), "{}", answer.text());
}

#[tokio::test]
async fn a_refused_stream_is_tried_again() {
    let refused = Arc::<AtomicUsize>::default();
    let counted = refused.clone();
    let refusing = App::raw(move |stream| {
        let refused = counted.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                refused.fetch_add(1, Ordering::SeqCst);
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        }
    })
    .await;
    let app = App::start(|_| async { Response::new(full("taken")) }).await;
    let endpoints = vec![
        endpoint(refusing.address, "v1"),
        endpoint(app.address, "v2"),
    ];
    let cluster = mesh_proxy::snapshot::Cluster {
        http2: true,
        ..cluster("outbound|80||web", endpoints)
    };
    let proxy = Proxy::start(Setup::outbound().through(cluster));
    let mut client = Client::http1(proxy.address).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "taken");
    }
    assert!(refused.load(Ordering::SeqCst) > 0, "it was asked");
    proxy.finish().await;
}
