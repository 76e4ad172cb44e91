//! Clients.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mesh::soon;

pub(crate) type ClientBody = BoxBody<Bytes, std::io::Error>;

/// One connection.
pub(crate) enum Client {
    Http1(http1::SendRequest<ClientBody>),
    Http2(http2::SendRequest<ClientBody>),
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .map(|value| value.to_str().expect("text"));
        value.unwrap_or_default()
    }
}

impl Client {
    pub(crate) async fn http1(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.expect("it listens"));
        let (sender, connection) = http1::handshake(io).await.expect("HTTP/1");
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.expect("it listens"));
        let handshake = http2::handshake(TokioExecutor::new(), io).await;
        let (sender, connection) = handshake.expect("HTTP/2");
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// The same HTTP/2 connection for one more request at once.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Http1(_) => panic!("HTTP/1 carries one request at a time"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }

    /// Sends; the response's body is still to come.
    pub(crate) async fn send(
        &mut self,
        request: Request<ClientBody>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }

    /// Sends, and waits for all of the response.
    pub(crate) async fn ask(&mut self, request: Request<ClientBody>) -> Answer {
        let response = soon(self.send(request)).await.expect("a response");
        let (head, body) = response.into_parts();
        let body = soon(body.collect()).await.expect("a whole body").to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// GET of a path at the host `web`.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let target = match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("http://web{path}"),
        };
        let request = Request::get(target);
        let request = match self {
            Self::Http1(_) => request.header("host", "web"),
            Self::Http2(_) => request,
        };
        self.ask(request.body(nothing()).expect("a request")).await
    }
}

pub(crate) fn nothing() -> ClientBody {
    body(Bytes::new())
}

pub(crate) fn body(bytes: impl Into<Bytes>) -> ClientBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// Writes these bytes to a new connection and returns all that comes back until it is closed.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads");
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
