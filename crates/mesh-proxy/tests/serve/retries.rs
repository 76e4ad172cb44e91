//! What is sent again, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use mesh_proxy::snapshot::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, full};
use crate::client::{Client, body};
use crate::mesh::{Proxy, Setup, cluster, endpoint, nobody};

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
    let cluster = Cluster {
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
