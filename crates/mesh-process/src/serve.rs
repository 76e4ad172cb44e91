//! Serves a router with the limits that a server needs which strangers can reach: the time of a request's
//! head, the number of connections, and an end that no client can put off. It is HTTP/1: there nobody keeps a
//! connection for longer than that time without asking for something.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::Shutdown;

/// How long a request's head may take, from the connection's start or the last answer's end.
const HEAD: Duration = Duration::from_secs(10);

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 512;

/// How long requests in flight may take to end after the stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until the stop, then lets requests in flight end. Requests carry the client's address, as
/// [`ConnectInfo`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(100);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, stream, peer) = tokio::select! {
            () = shutdown.wait() => break,
            (place, accepted) = next => match accepted {
                Ok((stream, peer)) => (place, stream, peer),
                Err(error) => {
                    // Out of file descriptors, or the client is gone: the next one may do better.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        let service = TowerToHyperService::new(router);
        let connection = server
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection ended badly");
            }
            drop(place);
        });
    }
    if tokio::time::timeout(FAREWELL, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("requests that did not end in time are cut off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A server of one path that answers when it is told to.
    async fn server() -> (
        TcpStream,
        Arc<Notify>,
        Shutdown,
        tokio::task::JoinHandle<()>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = (Arc::clone(&asked), Arc::clone(&answer));
        let slow = get(move || async move {
            waits.0.notify_one();
            waits.1.notified().await;
            "at last"
        });
        let shutdown = Shutdown::new();
        let router = Router::new().route("/", slow);
        let serving = tokio::spawn(serve(listener, router, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        asked.notified().await;
        (client, answer, shutdown, serving)
    }

    #[tokio::test]
    async fn a_request_in_flight_ends_well_and_then_the_connection() {
        let (mut client, answer, shutdown, serving) = server().await;
        shutdown.trigger();
        answer.notify_one();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("at last"),
            "{text}"
        );
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_off() {
        let (client, _answer, shutdown, serving) = server().await;
        tokio::time::pause();
        let stopped = Instant::now();
        shutdown.trigger();
        serving.await.unwrap();
        assert!(stopped.elapsed() >= FAREWELL);
        drop(client);
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let (first, answer, ..) = server().await;
        answer.notify_one();
        let mut silent = TcpStream::connect(first.peer_addr().unwrap())
            .await
            .unwrap();
        tokio::time::pause();
        let ended = tokio::time::timeout(3 * HEAD, silent.read(&mut [0])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let (mut client, answer, ..) = server().await;
        answer.notify_one();
        tokio::time::pause();
        let started = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        let mut text = String::new();
        // The server ends the connection, whether with an answer or without.
        let _ = client.read_to_string(&mut text).await;
        assert!(text.contains("at last"), "{text}");
        assert!(started.elapsed() >= HEAD);
    }
}
