//! Serves a router with the limits that a public server needs: header and body time, connections, and an
//! orderly end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use mesh_process::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 512;

/// How long requests in flight may take to end after the stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until the stop, then lets requests in flight end.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(100);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD)
        .max_concurrent_streams(100)
        .max_header_list_size(64 << 10);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = shutdown.wait() => break,
            (place, accepted) = next => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(error) => {
                    // Out of file descriptors, or the client is gone: the next one may do better.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection to the config API ended badly");
            }
            drop(place);
        });
    }
    if tokio::time::timeout(FAREWELL, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("requests to the config API that did not end in time are cut off");
    }
}
