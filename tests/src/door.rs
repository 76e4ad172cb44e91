//! A way into the mesh: a gateway's port, or an agent's outbound port.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::echo::{Echo, GRPC, framed};

const STATUS: &str = "grpc-status";

/// A client of one address, with kept-alive connections. The host that is asked for is a request's `Host`.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where it leads in.
    pub address: SocketAddr,
    /// `None` for HTTP/2.
    client: Option<Client<HttpConnector, Full<Bytes>>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// What follows it.
    pub trailers: HeaderMap,
}

impl Door {
    /// By HTTP/1.1.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let client = Some(Client::builder(TokioExecutor::new()).build_http());
        Self { address, client }
    }

    /// By HTTP/2 in plain text, with a connection for each request.
    #[must_use]
    pub fn http2(address: SocketAddr) -> Self {
        Self {
            address,
            client: None,
        }
    }

    /// Sends a request: its URI's path is asked of its `Host`.
    ///
    /// # Errors
    ///
    /// When no whole answer comes.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        if let Some(client) = &self.client {
            *request.uri_mut() = format!("http://{}{path}", self.address).parse()?;
            return Answer::whole(client.request(request).await?).await;
        }
        let host = request.headers().get(HOST).context("a Host")?.to_str()?;
        *request.uri_mut() = format!("http://{host}{path}").parse()?;
        request.headers_mut().remove(HOST);
        self.send_http2(request).await
    }

    async fn send_http2(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await?);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        let answered = async { Answer::whole(sender.send_request(request).await?).await };
        tokio::select! {
            answer = answered => answer,
            ended = connection => {
                ended?;
                bail!("the connection ended before the answer")
            }
        }
    }

    /// A call by gRPC: one empty message, by HTTP/2 in plain text and a connection of its own.
    ///
    /// # Errors
    ///
    /// When no whole answer comes.
    pub async fn call(
        &self,
        host: &str,
        method: &str,
        metadata: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let mut request = Request::post(format!("http://{host}{method}"))
            .header(http::header::CONTENT_TYPE, GRPC)
            .header(http::header::TE, "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        self.send_http2(request.body(Full::new(framed(&[])))?).await
    }

    /// `GET`, with these headers besides `Host`.
    ///
    /// # Errors
    ///
    /// When no whole answer comes.
    pub async fn get_with(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let mut request = Request::get(path).header(HOST, host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default())?).await
    }

    /// `GET`.
    ///
    /// # Errors
    ///
    /// When no whole answer comes.
    pub async fn get(&self, host: &str, path: &str) -> anyhow::Result<Answer> {
        self.get_with(host, path, &[]).await
    }

    /// Which apps answer `count` requests, and how many each.
    ///
    /// # Errors
    ///
    /// When one of them is not answered by an app.
    pub async fn shares(
        &self,
        host: &str,
        path: &str,
        count: u32,
    ) -> anyhow::Result<BTreeMap<String, u32>> {
        let mut shares = BTreeMap::new();
        for _ in 0..count {
            *shares
                .entry(self.get(host, path).await?.echo()?.app)
                .or_default() += 1;
        }
        Ok(shares)
    }
}

impl Answer {
    async fn whole(response: Response<Incoming>) -> anyhow::Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        Ok(Self {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// The status of a call by gRPC.
    ///
    /// # Errors
    ///
    /// When there is none in the trailers, nor in the header of an answer without a message.
    pub fn grpc_status(&self) -> anyhow::Result<u64> {
        let at = match self.body.is_empty() {
            true => self.trailers.get(STATUS).or(self.headers.get(STATUS)),
            false => self.trailers.get(STATUS),
        };
        let status = at.with_context(|| format!("{} without a grpc-status", self.status))?;
        Ok(status.to_str()?.parse()?)
    }

    /// What the app saw.
    ///
    /// # Errors
    ///
    /// When it was no app that answered.
    pub fn echo(&self) -> anyhow::Result<Echo> {
        let json = match self.header("content-type") {
            Some("application/json") => Some(&*self.body),
            Some(GRPC) => self.body.get(framed(&[]).len()..),
            _ => None,
        };
        let json =
            json.with_context(|| format!("{} by the mesh itself: {}", self.status, self.text()))?;
        serde_json::from_slice(json).with_context(|| self.text())
    }

    /// The first line of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
