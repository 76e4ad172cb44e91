//! Requests that two parsers could read differently are refused, and so are tunnels.

use std::sync::{Arc, Mutex};

use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, full};
use crate::client::raw;
use crate::mesh::{Proxy, Setup, endpoint, soon};

/// What an application behind the proxy was asked, after these bytes were sent to the proxy.
async fn sent(bytes: &str) -> (String, Vec<String>) {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let log = seen.clone();
    let app = App::start(move |request| {
        let line = format!("{} {}", request.method(), request.uri());
        log.lock().expect("not poisoned").push(line);
        async { Response::new(full("ok")) }
    })
    .await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let answer = raw(proxy.address, bytes.as_bytes()).await;
    proxy.finish().await;
    let seen = seen.lock().expect("not poisoned").clone();
    (answer, seen)
}

async fn refused(status: &str, bytes: &str) {
    let (answer, seen) = sent(bytes).await;
    let request: String = bytes.chars().take(200).collect();
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{request:?}: {answer}"
    );
    assert!(
        seen.is_empty(),
        "{request:?} reached the application as {seen:?}"
    );
}

#[tokio::test]
async fn hosts_that_are_missing_doubled_or_odd_are_refused() {
    for head in [
        "",
        "Host: web\r\nHost: web\r\n",
        "Host: web\r\nHost: other\r\n",
        "Host: user@web\r\n",
        "Host: web:http\r\n",
        "Host: web,other\r\n",
        "Host:\r\n",
    ] {
        refused("400", &format!("GET / HTTP/1.1\r\n{head}\r\n")).await;
    }
}

#[tokio::test]
async fn framing_that_is_ambiguous_is_refused() {
    for head in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: +1\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Content-Length : 1\r\n",
        "X-Folded: a\r\n b\r\n",
        "X-Nul: a\0b\r\n",
    ] {
        refused(
            "400",
            &format!("POST / HTTP/1.1\r\nHost: web\r\n{head}\r\nab"),
        )
        .await;
    }
    let doubled = "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\
                   Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused("501", doubled).await;
}

/// RFC 9112 lets a proxy read such a request by its chunks; then nothing after it may be believed.
#[tokio::test]
async fn with_both_framings_the_chunks_count_and_the_connection_ends() {
    for (first, second) in [
        ("Content-Length: 44\r\n", "Transfer-Encoding: chunked\r\n"),
        ("Transfer-Encoding: chunked\r\n", "Content-Length: 44\r\n"),
    ] {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";
        let request =
            format!("POST /a HTTP/1.1\r\nHost: web\r\n{first}{second}\r\n0\r\n\r\n{smuggled}");
        let (answer, seen) = sent(&request).await;
        assert_eq!(seen, ["POST /a"]);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn broken_chunks_never_make_a_request() {
    let (answer, _) = sent(
        "POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    )
    .await;
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn tunnels_and_upgrades_are_answered_clearly() {
    refused(
        "501",
        "CONNECT web:443 HTTP/1.1\r\nHost: web:443\r\nConnection: close\r\n\r\n",
    )
    .await;
    refused(
        "501",
        "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn an_offer_of_http2_is_ignored() {
    let offer = "GET /a HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
                 Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n";
    let (answer, seen) = sent(offer).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(seen, ["GET /a"]);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let long = format!(
        "GET / HTTP/1.1\r\nHost: web\r\nX-Long: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    refused("431", &long).await;
    let many = format!(
        "GET / HTTP/1.1\r\nHost: web\r\n{}\r\n",
        "X-A: b\r\n".repeat(5_000)
    );
    refused("431", &many).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_too() {
    let proxy = Proxy::start(Setup::outbound());
    let answer = raw(proxy.address, b"GET / HTTP/1.1\r\nHost web\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let [edge] = proxy.finish().await.try_into().expect("one edge");
    assert_eq!(
        (edge.response_code, edge.response_flags.as_str()),
        (400, "DPE")
    );
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_it() {
    let app = App::start(|request| async move {
        assert!(
            !request.headers().contains_key("expect"),
            "answered by the proxy"
        );
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
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    let head = "POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\
                Connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut go = [0; 25];
    soon(stream.read_exact(&mut go)).await.expect("permission");
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("it reads");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer))
        .await
        .expect("text");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"),
        "{answer}"
    );
    proxy.finish().await;
}

#[tokio::test]
async fn answers_do_not_wait_for_the_rest_of_the_next_request() {
    let app = App::named("web").await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    let one_and_a_half = b"GET / HTTP/1.1\r\nHost: web\r\n\r\nGET / HT";
    stream.write_all(one_and_a_half).await.expect("it reads");
    let mut answer = [0; 12];
    soon(stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(stream);
    proxy.finish().await;
}
