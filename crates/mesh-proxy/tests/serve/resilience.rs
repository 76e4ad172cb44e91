//! Limits of time, and what is tried again because the user said so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use mesh_proxy::snapshot::{Action, Conditions, Endpoint, Forward, Retry, Split, Timeout};
use mesh_proxy::upstream::breaker::Limits;
use mesh_proxy::upstream::outlier::Terms;
use tokio::sync::Semaphore;

use crate::app::{App, AppBody, full};
use crate::client::{Client, body, nothing};
use crate::mesh::{Proxy, Setup, cluster, endpoint, route, soon, unanswered};

const SHORT: Duration = Duration::from_millis(60);
/// Longer than anything that is waited for here.
const LONG: Duration = Duration::from_secs(600);

/// Everything for `web` goes to these endpoints, under these rules.
fn setup(endpoints: Vec<Arc<Endpoint>>, rules: impl FnOnce(&mut Forward)) -> Setup {
    let cluster = cluster("outbound|80||web", endpoints);
    let mut forward = Forward::to(Split::new(vec![(cluster.name.clone(), 1)], 1));
    rules(&mut forward);
    let mut setup = Setup::outbound();
    setup.clusters.push(cluster);
    setup
        .hosts
        .push(("web", vec![route(Action::Forward(forward))]));
    setup
}

fn within(time: Duration) -> Timeout {
    Timeout {
        route: Some(time),
        grpc_max: Some(time),
    }
}

fn on(conditions: Conditions) -> Retry {
    Retry {
        on: conditions,
        ..Retry::unprocessed(2)
    }
}

async fn silent() -> App {
    App::start(|_| std::future::pending::<Response<AppBody>>()).await
}

fn post(bytes: impl Into<Bytes>) -> Request<crate::client::ClientBody> {
    let request = Request::post("/").header("host", "web");
    request.body(body(bytes)).expect("a request")
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_a_504_ut() {
    let app = silent().await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.timeout = within(SHORT);
        forward.retry = on(Conditions::SERVER_ERRORS);
    }));
    let mut client = Client::http1(proxy.address).await;
    let answer = client.ask(post("hello")).await;
    assert_eq!(
        (answer.status, answer.header("x-mesh-error")),
        (StatusCode::GATEWAY_TIMEOUT, "UT")
    );
    let grpc = Request::post("/a/b")
        .header("host", "web")
        .header("content-type", "application/grpc");
    let answer = client.ask(grpc.body(nothing()).expect("a request")).await;
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (StatusCode::OK, "14")
    );
    assert_eq!(app.requests(), 2, "the time is for all tries together");
    let edges = proxy.finish().await;
    assert!(
        edges.iter().all(|edge| edge.response_flags == "UT"),
        "{edges:?}"
    );
}

#[tokio::test]
async fn the_time_begins_with_the_end_of_the_request() {
    let app = App::start(|request: Request<Incoming>| async {
        let body = request.into_body().collect().await.expect("a body");
        Response::new(full(body.to_bytes()))
    })
    .await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.timeout = within(SHORT);
    }));
    let mut client = Client::http1(proxy.address).await;
    let slow = futures_util::stream::unfold(0, |n| async move {
        tokio::time::sleep(SHORT).await;
        (n < 3).then(|| (Ok(Frame::data(Bytes::from_static(b"."))), n + 1))
    });
    let request = Request::post("/").header("host", "web");
    let request = request.body(StreamBody::new(slow).boxed());
    assert_eq!(client.ask(request.expect("a request")).await.text(), "...");
    proxy.finish().await;
}

#[tokio::test]
async fn the_time_to_a_connection_counts_as_long_as_no_body_is_asked_for() {
    let (address, _socket, _first) = unanswered().await;
    let mut setup = setup(vec![endpoint(address, "v1")], |forward| {
        forward.timeout = within(SHORT);
    });
    setup.clusters[0].connect_timeout = LONG;
    let proxy = Proxy::start(setup);
    let mut client = Client::http1(proxy.address).await;
    let answer = client.ask(post("hello")).await;
    assert_eq!(
        (answer.status, answer.header("x-mesh-error")),
        (StatusCode::GATEWAY_TIMEOUT, "UT")
    );
    proxy.finish().await;
}

#[tokio::test]
async fn the_time_of_a_try_is_for_its_connection_too() {
    let (address, _socket, _first) = unanswered().await;
    let app = App::named("alive").await;
    let endpoints = vec![endpoint(address, "v1"), endpoint(app.address, "v2")];
    let mut setup = setup(endpoints, |forward| {
        forward.retry = Retry {
            per_try_timeout: Some(SHORT),
            ..on(Conditions::SERVER_ERRORS)
        };
    });
    setup.clusters[0].connect_timeout = LONG;
    let proxy = Proxy::start(setup);
    let mut client = Client::http1(proxy.address).await;
    for _ in 0..2 {
        assert_eq!(client.ask(post("hello")).await.text(), "alive");
    }
    proxy.finish().await;
}

#[tokio::test]
async fn who_waits_for_a_connection_gets_one_when_the_last_one_here_has_closed() {
    // It keeps the only connection that the cluster may have; the other endpoint has its first one in any case.
    let busy = silent().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let app = App::start(move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.expect("it stays").forget();
            let mut response = Response::new(full("served"));
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert("connection", close);
            response
        }
    })
    .await;
    let endpoints = vec![endpoint(busy.address, "v1"), endpoint(app.address, "v2")];
    let mut setup = setup(endpoints.clone(), |_| {});
    setup.clusters[0].limits = Some(Limits {
        connections: 1,
        ..Limits::NONE
    });
    let proxy = Proxy::start(setup);
    let mut asked = Vec::new();
    for turn in 0..6 {
        let mut client = Client::http1(proxy.address).await;
        asked.push(tokio::spawn(async move { client.get("/").await }));
        soon(async {
            while endpoints[turn % 2].state.active() as usize <= turn / 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // Both are connected before anybody closes.
    soon(async {
        while busy.requests() + app.requests() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    opened.add_permits(3);
    for turn in [1, 3, 5] {
        let answer = soon(&mut asked[turn]).await.expect("it ends");
        assert_eq!(answer.text(), "served");
    }
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    proxy.finish().await;
}

#[tokio::test]
async fn a_response_that_does_not_end_in_time_is_broken_off() {
    let app = App::start(|_| async {
        let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"begun")))]);
        let rest = futures_util::stream::pending();
        let body = StreamBody::new(futures_util::StreamExt::chain(first, rest));
        Response::new(BodyExt::boxed(body))
    })
    .await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.timeout = within(SHORT);
    }));
    let mut client = Client::http1(proxy.address).await;
    let request = Request::get("/").header("host", "web").body(nothing());
    let response = soon(client.send(request.expect("a request"))).await;
    let response = response.expect("a head");
    assert_eq!(response.status(), StatusCode::OK);
    soon(response.into_body().collect())
        .await
        .expect_err("it does not end");
    drop(client);
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    assert_eq!(edge.response_flags, "UT");
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_made_again_elsewhere_if_that_is_asked_for() {
    let (slow, app) = (silent().await, App::named("alive").await);
    let endpoints = || vec![endpoint(slow.address, "v1"), endpoint(app.address, "v2")];
    let run = |conditions| {
        setup(endpoints(), |forward| {
            forward.timeout = within(LONG);
            forward.retry = Retry {
                per_try_timeout: Some(SHORT),
                ..on(conditions)
            };
        })
    };
    let proxy = Proxy::start(run(Conditions::RESET));
    let mut client = Client::http1(proxy.address).await;
    for _ in 0..4 {
        assert_eq!(client.ask(post("pay")).await.text(), "alive");
    }
    proxy.finish().await;
    let proxy = Proxy::start(run(Conditions::CONNECT_FAILURE));
    let mut client = Client::http1(proxy.address).await;
    let before = slow.requests();
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(client.ask(post("pay")).await.status.as_u16());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 504], "it may have had its effect");
    assert_eq!(slow.requests(), before + 1);
    proxy.finish().await;
}

/// Answers 503 twice to each body, then repeats it; tells how often a request had come.
async fn third_time_lucky() -> App {
    let times = Arc::<AtomicUsize>::default();
    App::start(move |request: Request<Incoming>| {
        let nth = times.fetch_add(1, Ordering::SeqCst);
        async move {
            let count = request.headers()["x-envoy-attempt-count"].clone();
            let body = request.into_body().collect().await.expect("a body");
            let mut response = Response::new(full(body.to_bytes()));
            if nth % 3 < 2 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response.headers_mut().insert("x-count", count);
            response
        }
    })
    .await
}

#[tokio::test]
async fn what_is_listed_is_tried_again_with_all_of_its_body() {
    let app = third_time_lucky().await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.count_attempts = true;
        forward.retry = Retry {
            statuses: vec![StatusCode::SERVICE_UNAVAILABLE],
            ..on(Conditions::STATUSES)
        };
    }));
    let mut client = Client::http1(proxy.address).await;
    let long = "x".repeat(1024 * 1024);
    for sent in ["", "pay", &long] {
        let answer = client.ask(post(sent.to_owned())).await;
        assert_eq!(
            (answer.status, answer.header("x-count")),
            (StatusCode::OK, "3")
        );
        assert!(answer.text() == sent, "{} bytes", answer.body.len());
    }
    let edges = proxy.finish().await;
    assert!(
        edges.iter().all(|edge| edge.response_flags == "-"),
        "{edges:?}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_sent_once() {
    let app = third_time_lucky().await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.count_attempts = true;
        forward.retry = on(Conditions::SERVER_ERRORS);
    }));
    let mut client = Client::http1(proxy.address).await;
    let long = vec![b'x'; 1024 * 1024 + 1];
    let announced = client.ask(post(long.clone())).await;
    assert_eq!(announced.status, StatusCode::SERVICE_UNAVAILABLE);
    let pieces: Vec<_> = long.chunks(64 * 1024).map(Bytes::copy_from_slice).collect();
    let pieces = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    let streamed = Request::post("/").header("host", "web");
    let streamed = streamed.body(StreamBody::new(futures_util::stream::iter(pieces)).boxed());
    let streamed = client.ask(streamed.expect("a request")).await;
    assert_eq!(streamed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(streamed.body.len(), long.len());
    assert_eq!(app.requests(), 2);
    proxy.finish().await;
}

#[tokio::test]
async fn a_try_that_is_over_lets_go_of_its_stream() {
    let (bodies, mut received) = tokio::sync::mpsc::unbounded_channel();
    let app = App::start(move |request: Request<Incoming>| {
        let is_first = request.headers()["x-envoy-attempt-count"] == "1";
        let bodies = bodies.clone();
        async move {
            let mut response = Response::new(full("done"));
            if is_first {
                // Answered early, and the stream stays open.
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                bodies.send(request.into_body()).expect("somebody waits");
            } else {
                bodies.send(request.into_body()).expect("somebody waits");
                std::future::pending::<()>().await;
            }
            response
        }
    })
    .await;
    let mut setup = setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.count_attempts = true;
        forward.retry = on(Conditions::SERVER_ERRORS);
    });
    setup.clusters[0].http2 = true;
    let proxy = Proxy::start(setup);
    let mut client = Client::http1(proxy.address).await;
    let begun = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"begun")))]);
    let body = futures_util::StreamExt::chain(begun, futures_util::stream::pending());
    let request = Request::post("/").header("host", "web");
    let request = request
        .body(StreamBody::new(body).boxed())
        .expect("a request");
    let asked = tokio::spawn(async move { client.send(request).await });
    let first = soon(received.recv()).await.expect("a try");
    let mut second = soon(received.recv()).await.expect("another try");
    let again = soon(second.frame()).await.expect("a piece").expect("data");
    assert_eq!(again.into_data().expect("data"), "begun");
    soon(first.collect()).await.expect_err("it is over");
    asked.abort();
    proxy.finish().await;
}

#[tokio::test]
async fn a_body_in_too_many_pieces_to_keep_is_sent_once() {
    let app = third_time_lucky().await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.count_attempts = true;
        forward.retry = on(Conditions::SERVER_ERRORS);
    }));
    let mut client = Client::http1(proxy.address).await;
    let pieces = (0..20_000).map(|_| Ok(Frame::data(Bytes::from_static(b"."))));
    let crumbs = Request::post("/").header("host", "web");
    let crumbs = crumbs.body(StreamBody::new(futures_util::stream::iter(pieces)).boxed());
    let answer = client.ask(crumbs.expect("a request")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((answer.body.len(), app.requests()), (20_000, 1));
    proxy.finish().await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_left_alone() {
    for per_try in [false, true] {
        let app = silent().await;
        let silent = endpoint(app.address, "v1");
        let mut setup = setup(vec![silent.clone()], |forward| {
            if per_try {
                forward.retry.per_try_timeout = Some(SHORT);
            } else {
                forward.timeout = within(SHORT);
            }
        });
        setup.clusters[0].outlier = Some(Terms {
            consecutive_5xx: 0,
            consecutive_gateway: 1,
            consecutive_local: 0,
            split_local: false,
            interval: LONG,
            base: LONG,
            longest: LONG,
            most_percent: 100,
            always_one: true,
        });
        let proxy = Proxy::start(setup);
        let answer = Client::http1(proxy.address).await.get("/").await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(silent.health.is_ejected(), "{per_try}");
        proxy.finish().await;
    }
}

#[tokio::test]
async fn when_the_tries_are_used_up_the_last_answer_stands_with_urx() {
    let app = App::start(|_| async {
        let mut response = Response::new(full("broken"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
    .await;
    let proxy = Proxy::start(setup(vec![endpoint(app.address, "v1")], |forward| {
        forward.retry = on(Conditions::SERVER_ERRORS);
    }));
    let mut client = Client::http1(proxy.address).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (500, "broken"));
    assert_eq!(app.requests(), 3);
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    assert_eq!((edge.requests, edge.response_flags.as_str()), (1, "URX"));
}

#[tokio::test]
async fn a_post_that_was_cut_off_is_sent_again_only_if_that_is_asked_for() {
    let cut = App::raw(|mut stream| async move {
        // Takes the request and closes without an answer.
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
    })
    .await;
    let app = App::named("alive").await;
    let endpoints = || vec![endpoint(cut.address, "v1"), endpoint(app.address, "v2")];
    for (conditions, expected) in [
        (Conditions::RESET, [200, 200]),
        (Conditions::UNAVAILABLE | Conditions::CANCELLED, [200, 503]),
    ] {
        let proxy = Proxy::start(setup(endpoints(), |forward| forward.retry = on(conditions)));
        let mut client = Client::http1(proxy.address).await;
        let mut answers = [0, 0];
        for answer in &mut answers {
            *answer = client.ask(post("pay")).await.status.as_u16();
        }
        answers.sort_unstable();
        assert_eq!(answers, expected, "{conditions:?}");
        proxy.finish().await;
    }
}
