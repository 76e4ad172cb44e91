//! What goes in comes out: both versions, both ways, bodies, trailers, headers.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_proxy::snapshot::{Action, Cluster};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::{App, full};
use crate::client::{Client, body, nothing, raw};
use crate::mesh::{Proxy, Setup, cluster, endpoint, route, soon};

fn over_http2(cluster: Cluster) -> Cluster {
    Cluster {
        http2: true,
        ..cluster
    }
}

/// Each dial serves as many as one connection carries; the others wait for the next, however many.
#[tokio::test]
async fn a_burst_opens_as_many_shared_connections_as_it_takes() {
    const CLIENTS: usize = 14;
    const EACH: usize = 100;
    let all = Arc::new(tokio::sync::Barrier::new(CLIENTS * EACH));
    let app = App::start(move |_| {
        let all = all.clone();
        async move {
            // Nobody is answered, so no stream is free, before all have been asked.
            all.wait().await;
            Response::new(full("served"))
        }
    })
    .await;
    let web = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
    let proxy = Proxy::start(Setup::outbound().through(over_http2(web)));
    let mut answers = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client::http2(proxy.address).await;
        answers.extend((0..EACH).map(|_| {
            let mut client = client.share();
            tokio::spawn(async move { client.get("/").await })
        }));
    }
    for answer in answers {
        assert_eq!(answer.await.expect("no panic").text(), "served");
    }
    assert!(app.connections() >= CLIENTS, "{}", app.connections());
    proxy.finish().await;
}

/// An application that says how it was asked.
async fn mirror() -> App {
    App::start(|request| async move {
        let host = request
            .headers()
            .get("host")
            .map(|h| h.to_str().expect("text").to_owned());
        let authority = request.uri().authority().map(ToString::to_string);
        let path = request.uri().path_and_query().expect("a path").clone();
        let mut response = Response::new(full(format!(
            "{} {path} {} {:?}",
            request.method(),
            host.or(authority).expect("a host"),
            request.version(),
        )));
        *response.headers_mut() = request.headers().clone();
        response.headers_mut().remove("content-length");
        response
    })
    .await
}

#[tokio::test]
async fn every_pair_of_versions_passes() {
    let app = mirror().await;
    for http2_upstream in [false, true] {
        let cluster = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
        let cluster = if http2_upstream {
            over_http2(cluster)
        } else {
            cluster
        };
        let proxy = Proxy::start(Setup::outbound().through(cluster));
        for mut client in [
            Client::http1(proxy.address).await,
            Client::http2(proxy.address).await,
        ] {
            let answer = client.get("/a?b=c").await;
            let version = if http2_upstream {
                "HTTP/2.0"
            } else {
                "HTTP/1.1"
            };
            assert_eq!(answer.text(), format!("GET /a?b=c web {version}"));
        }
        let edges = proxy.finish().await;
        assert_eq!(edges.iter().map(|edge| edge.requests).sum::<u64>(), 2);
        assert_eq!(edges[0].response_code, 200);
    }
}

#[tokio::test]
async fn an_explicit_proxy_is_asked_with_whole_urls() {
    let app = mirror().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let request = "GET http://web:8080/a?b HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = raw(proxy.address, request.as_bytes()).await;
    assert!(answer.ends_with("GET /a?b web:8080 HTTP/1.1"), "{answer}");
    proxy.finish().await;
}

#[tokio::test]
async fn the_app_reads_the_path_that_was_routed() {
    let app = mirror().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let request =
        "GET /public/%2e%2E/%61dmin?a=/../b HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    let answer = raw(proxy.address, request.as_bytes()).await;
    assert!(
        answer.ends_with("GET /admin?a=/../b web HTTP/1.1"),
        "{answer}"
    );
    proxy.finish().await;
}

#[tokio::test]
async fn old_clients_are_served() {
    let app = mirror().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let answer = raw(proxy.address, b"GET / HTTP/1.0\r\nHost: web\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(answer.ends_with("GET / web HTTP/1.1"), "{answer}");
    proxy.finish().await;
}

#[tokio::test]
async fn what_belongs_to_a_hop_does_not_pass() {
    let app = mirror().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let request = Request::get("/")
        .header("host", "web")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-mesh-workload", "forged")
        .header("proxy-authorization", "Basic x")
        .header("x-end", "1");
    let mut client = Client::http1(proxy.address).await;
    let answer = client
        .ask(request.body(nothing()).expect("a request"))
        .await;
    for hop in [
        "x-hop",
        "x-mesh-workload",
        "proxy-authorization",
        "connection",
    ] {
        assert!(!answer.headers.contains_key(hop), "{hop}");
    }
    assert_eq!(answer.header("x-end"), "1");
    assert_eq!(answer.header("x-request-id").len(), 36);
    proxy.finish().await;
}

#[tokio::test]
async fn what_a_request_says_of_its_trace_passes_as_it_is_if_nobody_collects_spans() {
    let app = mirror().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let said = [
        ("traceparent", "not even one"),
        ("tracestate", "a=1"),
        ("b3", "1"),
        ("x-b3-traceid", "1"),
    ];
    let mut request = Request::get("/").header("host", "web");
    for (name, value) in said {
        request = request.header(name, value);
    }
    let mut client = Client::http1(proxy.address).await;
    let answer = client
        .ask(request.body(nothing()).expect("a request"))
        .await;
    for (name, value) in said {
        assert_eq!(answer.header(name), value);
    }
    let request = Request::get("/").header("host", "web");
    let answer = client
        .ask(request.body(nothing()).expect("a request"))
        .await;
    assert!(!answer.headers.contains_key("traceparent"));
    proxy.finish().await;
}

#[tokio::test]
async fn cookies_in_crumbs_become_one_line() {
    let app = mirror().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let request = Request::get("http://web/")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let mut client = Client::http2(proxy.address).await;
    let answer = client
        .ask(request.body(nothing()).expect("a request"))
        .await;
    assert_eq!(answer.header("cookie"), "a=1; b=2");
    proxy.finish().await;
}

#[tokio::test]
async fn a_route_may_answer_by_itself() {
    let mut setup = Setup::outbound();
    let action = Action::Direct {
        status: http::StatusCode::IM_A_TEAPOT,
        body: Bytes::from_static(b"short and stout"),
    };
    setup.hosts.push(("web", vec![route(action)]));
    let proxy = Proxy::start(setup);
    let answer = Client::http1(proxy.address).await.get("/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (418, "short and stout")
    );
    let edges = proxy.finish().await;
    assert_eq!(
        (edges[0].response_code, edges[0].response_flags.as_str()),
        (418, "-")
    );
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    let large = pattern(10 << 20);
    let app = App::start(|request| async move {
        // Straight back, as it comes.
        Response::new(request.into_body().map_err(std::io::Error::other).boxed())
    })
    .await;
    for http2 in [false, true] {
        let cluster = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
        let cluster = if http2 { over_http2(cluster) } else { cluster };
        let proxy = Proxy::start(Setup::outbound().through(cluster));
        for mut client in [
            Client::http1(proxy.address).await,
            Client::http2(proxy.address).await,
        ] {
            let request = Request::post("http://web/").header("host", "web");
            let answer = client
                .ask(request.body(body(large.clone())).expect("a request"))
                .await;
            assert_eq!(answer.body.len(), large.len());
            assert!(answer.body == large, "the same bytes");
        }
        let edges = proxy.finish().await;
        let (received, sent) = edges.iter().fold((0, 0), |(r, s), edge| {
            (r + edge.request_bytes, s + edge.response_bytes)
        });
        let bodies = 2 * large.len() as u64;
        assert!((bodies..bodies + 2000).contains(&received), "{received}");
        assert!((bodies..bodies + 2000).contains(&sent), "{sent}");
    }
}

#[tokio::test]
async fn a_chunked_get_keeps_its_body() {
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
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let request = "GET / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    let answer = raw(proxy.address, request.as_bytes()).await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    proxy.finish().await;
}

#[tokio::test]
async fn streams_flow_both_ways_at_once() {
    let app = App::start(|request| async move {
        Response::new(request.into_body().map_err(std::io::Error::other).boxed())
    })
    .await;
    let cluster = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
    let proxy = Proxy::start(Setup::outbound().through(over_http2(cluster)));
    let (words, said) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let request = Request::post("http://web/");
    let request = request.body(BodyExt::boxed(StreamBody::new(ReceiverStream::new(said))));
    let mut client = Client::http2(proxy.address).await;
    let response = client
        .send(request.expect("a request"))
        .await
        .expect("a response");
    let mut echo = response.into_body().into_data_stream();
    for word in ["one", "two", "three"] {
        words
            .send(Ok(Frame::data(word.into())))
            .await
            .expect("it is read");
        let back = soon(echo.next()).await.expect("an echo").expect("data");
        assert_eq!(back, word, "each word comes back before the next is said");
    }
    drop(words);
    while let Some(rest) = soon(echo.next()).await {
        assert!(rest.expect("a clean end").is_empty());
    }
    proxy.finish().await;
}

#[tokio::test]
async fn grpc_keeps_its_trailers_and_its_status_is_counted() {
    let app = App::start(|request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        let frames = [
            Frame::data(Bytes::from_static(b"message")),
            Frame::trailers(trailers),
        ];
        let frames = frames.map(Ok::<_, std::io::Error>);
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let response = Response::builder().header("content-type", "application/grpc");
        response.body(BodyExt::boxed(body)).expect("a response")
    })
    .await;
    let cluster = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
    let proxy = Proxy::start(Setup::outbound().through(over_http2(cluster)));
    let request = Request::post("http://web/pkg.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(body("request")).expect("a request");
    let mut client = Client::http2(proxy.address).await;
    let response = soon(client.send(request)).await.expect("a response");
    let body = soon(response.into_body().collect()).await.expect("a body");
    assert_eq!(body.trailers().expect("trailers")["grpc-status"], "5");
    assert_eq!(body.to_bytes(), "message");
    let edges = proxy.finish().await;
    assert_eq!(
        (edges[0].protocol.as_str(), edges[0].grpc_status.as_str()),
        ("grpc", "5")
    );
    assert_eq!(edges[0].response_code, 200);
}

#[tokio::test]
async fn a_head_request_is_complete_without_a_body() {
    let app = App::start(|_| async { Response::new(full("0123456789")) }).await;
    for http2 in [false, true] {
        let cluster = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
        let cluster = if http2 { over_http2(cluster) } else { cluster };
        let proxy = Proxy::start(Setup::outbound().through(cluster));
        let request = || {
            Request::head("/")
                .header("host", "web")
                .body(nothing())
                .expect("a request")
        };
        let mut client = Client::http1(proxy.address).await;
        for _ in 0..2 {
            let answer = client.ask(request()).await;
            assert_eq!(
                (answer.header("content-length"), answer.body.len()),
                ("10", 0)
            );
        }
        let edges = proxy.finish().await;
        assert_eq!((edges.len(), edges[0].requests), (1, 2));
        assert_eq!(edges[0].response_flags, "-");
    }
}

#[tokio::test]
async fn connections_to_endpoints_are_used_again() {
    let app = App::named("web").await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let mut client = Client::http1(proxy.address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "web");
    }
    assert_eq!((app.requests(), app.connections()), (20, 1));
    proxy.finish().await;
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let arrived = Arc::new(tokio::sync::Barrier::new(50));
    let app = App::start(move |_| {
        let arrived = arrived.clone();
        async move {
            // Answers only when all are under way at once.
            arrived.wait().await;
            Response::new(full("web"))
        }
    })
    .await;
    let cluster = cluster("outbound|80||web", vec![endpoint(app.address, "v1")]);
    let proxy = Proxy::start(Setup::outbound().through(over_http2(cluster)));
    let asking = (0..50).map(|_| async {
        let mut client = Client::http1(proxy.address).await;
        client.get("/").await.status
    });
    let statuses = soon(futures_util::future::join_all(asking)).await;
    assert!(statuses.iter().all(http::StatusCode::is_success));
    assert_eq!(app.connections(), 1, "one dial for all who waited");
    proxy.finish().await;
}
