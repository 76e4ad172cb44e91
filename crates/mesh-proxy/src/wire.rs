//! A TCP connection, encrypted or not: one type, so that hyper is compiled once for both.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsStream;

use crate::peer::Peer;
use crate::snapshot::Keepalive;

/// A peer that does not answer for this long is gone, whatever its connection says.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// A client that reads nothing for this long is not waited for any longer.
const STUCK_AFTER: Duration = Duration::from_secs(300);

/// What the kernel is asked to watch, since that costs a request nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watch {
    /// A client: it may pause, but not forever.
    Client,
    /// An endpoint: it may leave its input unread while it works.
    Endpoint,
    /// Another proxy: it always reads, so unread bytes mean that it is gone.
    Proxy,
    /// Either end of a session: it reads when its program reads.
    Session,
}

/// Plain text or TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Settings of every connection: no delay for small writes, and the kernel notices when the
    /// other side has vanished.
    pub(crate) fn tune(stream: &TcpStream, watch: Watch) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        let probes = TcpKeepalive::new()
            .with_time(DEAD_AFTER / 2)
            .with_interval(DEAD_AFTER / 6);
        socket.set_tcp_keepalive(&probes)?;
        #[cfg(target_os = "linux")]
        match watch {
            Watch::Client => socket.set_tcp_user_timeout(Some(STUCK_AFTER))?,
            Watch::Endpoint => {}
            Watch::Proxy => socket.set_tcp_user_timeout(Some(DEAD_AFTER))?,
            Watch::Session => socket.set_tcp_user_timeout(None)?,
        }
        Ok(())
    }

    /// The cluster's own ideas of keep-alive.
    pub(crate) fn probe(stream: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
        let mut probes = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            probes = probes.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            probes = probes.with_interval(interval);
        }
        if let Some(retries) = keepalive.probes {
            probes = probes.with_retries(retries);
        }
        let socket = SockRef::from(stream);
        socket.set_tcp_keepalive(&probes)?;
        // It would end a silent connection before the probes do.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(None)?;
        Ok(())
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// How long, and for how many bytes, a client may go on sending after its connection was shut down.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1 << 20);

/// A client's connection: what was read to tell its protocol comes first, and its [`Peer`] is told
/// when bytes of a request arrive.
///
/// When it is shut down, it lingers: closing a socket with unread bytes makes the kernel send a
/// reset, which would overtake and destroy the answer that the client has not read yet, such as the
/// 431 for a head that is still being sent.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    read_ahead: Bytes,
    peer: Arc<Peer>,
    lingering: Option<Lingering>,
}

#[derive(Debug)]
struct Lingering {
    deadline: Pin<Box<Sleep>>,
    left: usize,
}

impl Lingering {
    fn new() -> Self {
        let (time, left) = LINGER;
        Self {
            deadline: Box::pin(tokio::time::sleep(time)),
            left,
        }
    }

    /// Reads and forgets until the client closes too, or its time is up.
    fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while self.left > 0 {
            let mut read = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *socket).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.left = self.left.saturating_sub(read.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.deadline.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl Wire {
    pub(crate) fn new(socket: Socket, read_ahead: Bytes, peer: Arc<Peer>) -> Self {
        Self {
            socket,
            read_ahead,
            peer,
            lingering: None,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read_ahead.is_empty() {
            let n = this.read_ahead.len().min(buf.remaining());
            buf.put_slice(&this.read_ahead[..n]);
            this.read_ahead.advance(n);
            this.peer.heard();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.peer.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        let lingering = this.lingering.get_or_insert_with(Lingering::new);
        lingering.poll(&mut this.socket, cx).map(Ok)
    }
}
