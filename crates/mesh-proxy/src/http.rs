//! HTTP towards clients: which version they speak, and a connection's life from its first request to
//! its end.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use ::http::StatusCode;
use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tracing::debug;

use crate::exchange::Exchange;
use crate::peer::{Order, Peer, Protocol};
use crate::pipeline;
use crate::wire::Wire;
use crate::worker::Worker;

/// What one client or endpoint may cost.
pub(crate) mod limits {
    use std::time::Duration;

    /// Connections of one listener at one worker.
    pub(crate) const CONNECTIONS: usize = 16_384;
    /// From the connection to the end of the TLS handshake, or to the first bytes in plain text.
    pub(crate) const GREETING: Duration = Duration::from_secs(10);
    /// How long a drain waits for connections that have not said yet what they want: those who have
    /// connected want to say it at once, unless they connect ahead of need.
    pub(crate) const LAST_GREETING: Duration = Duration::from_secs(2);
    /// For a request's head, from its first byte to its last.
    pub(crate) const HEADER_SECONDS: u64 = 15;
    /// A connection without requests is closed after this: longer than load balancers in front keep
    /// theirs, so that they close first.
    pub(crate) const IDLE_SECONDS: u64 = 600;
    /// How long a stranger's request may stand still for the stranger's own sake: it neither goes on
    /// with its body nor takes the answer. Waiting for the application has no limit here.
    pub(crate) const STALL_SECONDS: u64 = 300;
    /// All fields of a message together.
    pub(crate) const HEADER_BYTES: u32 = 96 * 1024;
    /// Fields of an HTTP/1 message.
    pub(crate) const HEADER_FIELDS: usize = 100;
    /// What hyper may hold of one HTTP/1 connection in each direction.
    pub(crate) const HTTP1_BUFFER: usize = 128 * 1024;
    /// Requests at once on an HTTP/2 connection.
    pub(crate) const STREAMS: u32 = 128;
    /// Streams that a client may reset before they were looked at, and that we may reset for its
    /// mistakes, before the connection is ended.
    pub(crate) const RESETS: usize = 64;
    /// The same for a proxy of the mesh, whose connection carries the requests of many clients.
    pub(crate) const MESH_RESETS: usize = 4_096;
    /// What a stream may send ahead: a fast link's bandwidth times its delay.
    pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
    /// What a connection may send ahead, all streams together.
    pub(crate) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
    /// What is kept of a stream for a peer that reads slowly.
    pub(crate) const SEND_BUFFER: usize = 128 * 1024;
    /// Requests that one connection may call off within a second: each costs us more than the client.
    pub(crate) const CANCELS_PER_SECOND: u32 = 500;
    /// The same for a proxy of the mesh, which passes on what its many clients call off. More is not
    /// held against the requests that are under way: the connection ends in peace.
    pub(crate) const MESH_CANCELS_PER_SECOND: u32 = 20_000;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tells HTTP/2 from HTTP/1 in plain text by its first bytes, which are returned too.
pub(crate) async fn detect(mut stream: TcpStream) -> io::Result<(Protocol, Bytes, TcpStream)> {
    let mut read = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = read.len().min(PREFACE.len());
        if read[..known] != PREFACE[..known] {
            return Ok((Protocol::Http1, read.freeze(), stream));
        }
        if known == PREFACE.len() {
            return Ok((Protocol::Http2, read.freeze(), stream));
        }
    }
}

/// Serves a connection until it ends or is told to.
pub(crate) async fn serve(worker: Arc<Worker>, peer: Arc<Peer>, wire: Wire) {
    let io = TokioIo::new(wire);
    let resets = if peer.is_mesh() {
        limits::MESH_RESETS
    } else {
        limits::RESETS
    };
    let service = {
        let (worker, peer) = (worker.clone(), peer.clone());
        service_fn(move |request| pipeline::serve(worker.clone(), peer.clone(), request))
    };
    let ended = if peer.hello.protocol == Protocol::Http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(limits::STREAMS)
            .max_header_list_size(limits::HEADER_BYTES)
            .max_pending_accept_reset_streams(resets)
            .max_local_error_reset_streams(resets)
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_send_buf_size(limits::SEND_BUFFER)
            .serve_connection(io, service);
        drive(connection, &peer).await
    } else {
        let connection = http1::Builder::new()
            .max_headers(limits::HEADER_FIELDS)
            .max_header_size(limits::HEADER_BYTES as usize)
            .max_buf_size(limits::HTTP1_BUFFER)
            // Heads are timed by the worker's sweep, which costs a request nothing.
            .header_read_timeout(None)
            // Gathering the answers to pipelined requests would hold each back for as long as the
            // next request has come in part.
            .pipeline_flush(false)
            .serve_connection(io, service);
        drive(connection, &peer).await
    };
    let Err(error) = ended else {
        return;
    };
    debug!(client = %peer.hello.address, %error, "a client's connection broke");
    if error.is_parse() {
        // hyper has answered by itself; it counts all the same.
        let status = if error.is_parse_too_large() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        drop(Exchange::malformed(worker, peer, status));
    }
}

/// Runs a connection and passes its orders on. Without orders a poll costs one atomic read more.
async fn drive<C, E>(connection: C, peer: &Peer) -> Result<(), E>
where
    C: GracefulConnection<Error = E> + Future<Output = Result<(), E>>,
{
    let mut connection = pin!(connection);
    let mut waker: Option<Waker> = None;
    let mut draining = false;
    poll_fn(move |cx| {
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            waker = Some(cx.waker().clone());
            peer.listen(cx);
        }
        // First, so that a request which has come is found by the shutdown.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        match peer.orders() {
            Order::Drain if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
                connection.as_mut().poll(cx)
            }
            Order::None | Order::Drain => Poll::Pending,
            Order::Close => Poll::Ready(Ok(())),
        }
    })
    .await
}
