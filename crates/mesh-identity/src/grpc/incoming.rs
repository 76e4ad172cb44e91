//! The server's side: accepted connections whose TLS handshake is done.
//!
//! Handshakes run beside each other, so that a client that stalls delays nobody; their number and
//! their time are bounded, so that many of them fill neither memory nor the table of files. A
//! connection ends with the certificate that opened it, see `proof.rs`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::proof::Proof;
use crate::spiffe::SpiffeId;
use crate::tls;

/// Handshakes at one time; the kernel queues the connections beyond.
const MAX_HANDSHAKES: usize = 512;
/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after `accept` failed, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that arrive at `listener` and are let in by `tls`.
///
/// The stream never ends and never fails by itself. Dropping it closes the listener. Needs a tokio
/// runtime.
pub fn incoming(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
) -> impl Stream<Item = io::Result<Connection>> + Send + Unpin + 'static {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, TlsAcceptor::from(tls), sender));
    ReceiverStream::new(receiver)
}

/// A connection whose peer is known. It ends when the peer's certificate expires: nothing is read
/// from it any more, as if the peer had ended it, and nothing can be written.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: PeerInfo,
    proof: Proof,
}

impl Connection {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }
}

/// The other end of a connection; tonic puts it among each request's extensions.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Its address.
    pub addr: SocketAddr,
    /// Its identity, if it presented a certificate (which was verified).
    pub id: Option<SpiffeId>,
    /// When the certificate that it presented expires, and the connection ends. An answer to what
    /// was asked before may still be in the making: who grants something for the certificate itself
    /// has to look.
    pub not_after: Option<SystemTime>,
}

/// Who sent a request, if it came by [`incoming`].
pub fn peer<T>(request: &tonic::Request<T>) -> Option<&PeerInfo> {
    request.extensions().get::<PeerInfo>()
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    connections: mpsc::Sender<io::Result<Connection>>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let permit = tokio::select! {
            () = connections.closed() => return,
            permit = handshakes.clone().acquire_owned() => permit.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            () = connections.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, connections) = (tls.clone(), connections.clone());
        tokio::spawn(async move {
            let shaken =
                tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(tls, stream, addr)).await;
            drop(permit);
            match shaken {
                // If the receiver is gone, the server has stopped, and the connection with it.
                Ok(Ok(connection)) => drop(connections.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::debug!(peer = %addr, %error, "no TLS connection"),
                Err(_) => tracing::debug!(peer = %addr, "the TLS handshake took too long"),
            }
        });
    }
}

async fn handshake(
    tls: TlsAcceptor,
    stream: TcpStream,
    addr: SocketAddr,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    let session = stream.get_ref().1;
    let id = tls::peer_id(session);
    let not_after = tls::peer_not_after(session);
    Ok(Connection {
        stream,
        peer: PeerInfo {
            addr,
            id,
            not_after,
        },
        proof: Proof::until(not_after),
    })
}

impl fmt::Display for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{id} at {}", self.addr),
            None => write!(f, "{}", self.addr),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl Connection {
    /// Whether the peer's certificate has expired. Else the task is woken when it does.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.proof.is_over() {
            return true;
        }
        let over = self.proof.poll_over(cx).is_ready();
        if over {
            tracing::info!(
                peer = %self.peer,
                "a connection ends: the client certificate that opened it has expired"
            );
        }
        over
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(expired()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(expired()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let over = self.is_over(cx);
        last_word(over, Pin::new(&mut self.stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let over = self.is_over(cx);
        last_word(over, Pin::new(&mut self.stream).poll_shutdown(cx))
    }
}

/// A farewell for which the peer makes no room keeps nothing open.
fn last_word(over: bool, said: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    match said {
        Poll::Pending if over => Poll::Ready(Err(expired())),
        said => said,
    }
}

fn expired() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the client certificate that opened the connection has expired",
    )
}
