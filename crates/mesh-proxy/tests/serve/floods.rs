//! Clients of HTTP/2 that make work without taking any answer.

use http::Request;
use tokio::net::TcpStream;

use crate::app::App;
use crate::client::Client;
use crate::mesh::{Proxy, Setup, endpoint, soon};

async fn handshake(
    proxy: &Proxy,
) -> (
    h2::client::SendRequest<bytes::Bytes>,
    tokio::task::JoinHandle<()>,
) {
    let stream = TcpStream::connect(proxy.address).await.expect("it listens");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let ended = tokio::spawn(async move {
        // How it ends is what the proxy decides.
        let _ = connection.await;
    });
    (sender, ended)
}

fn request() -> Request<()> {
    Request::get("http://web/").body(()).expect("a request")
}

#[tokio::test]
async fn requests_that_are_called_off_at_once_end_the_connection_and_spare_the_others() {
    // Never answers, so that every request is still under way when it is called off.
    let app = App::start(|_| futures_util::future::pending()).await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let (mut sender, ended) = handshake(&proxy).await;
    let flood = async {
        loop {
            let Ok(ready) = sender.ready().await else {
                break;
            };
            sender = ready;
            let Ok((_, mut stream)) = sender.send_request(request(), true) else {
                break;
            };
            stream.send_reset(h2::Reason::CANCEL);
            tokio::task::yield_now().await;
        }
    };
    soon(flood).await;
    soon(ended).await.expect("no panic");
    // Somebody else is answered all the same: without a route, so without the application.
    let mut other = Client::http1(proxy.address).await;
    let unrouted = Request::get("/")
        .header("host", "none")
        .body(crate::client::nothing());
    let answer = other.ask(unrouted.expect("a request")).await;
    assert_eq!(answer.status, 404);
    proxy.finish().await;
}

#[tokio::test]
async fn heads_that_never_end_are_not_collected() {
    let app = App::named("web").await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let (sender, _ended) = handshake(&proxy).await;
    let mut sender = sender.ready().await.expect("HTTP/2");
    let long = "x".repeat(8_000);
    let request = (0..100).fold(Request::get("http://web/"), |request, i| {
        request.header(format!("x-{i}"), &long)
    });
    let answer = sender.send_request(request.body(()).expect("a request"), true);
    let refused = match answer {
        Ok((response, _)) => match soon(response).await {
            Ok(response) => response.status() == http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Err(_) => true,
        },
        Err(_) => true,
    };
    assert!(refused);
    assert_eq!(app.requests(), 0);
    proxy.finish().await;
}
