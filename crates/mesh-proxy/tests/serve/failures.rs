//! What the client, the log and the metrics see when something is not there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::client::{Answer, Client, body, nothing};
use crate::mesh::{Proxy, Setup, cluster, endpoint, forward, nobody, route, soon, unanswered};
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
    let (address, _socket, _first) = unanswered().await;
    let slow = mesh_proxy::snapshot::Cluster {
        connect_timeout: Duration::from_millis(200),
        ..cluster("outbound|80||web", vec![endpoint(address, "v1")])
    };
    let answer = fails(Setup::outbound().through(slow), 503, "UF,URX").await;
    assert!(answer.text().contains("200ms"), "{}", answer.text());
}
