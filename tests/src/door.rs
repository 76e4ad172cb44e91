//! A way into the mesh: a gateway's port, or an agent's outbound port.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::echo::Echo;

/// A client of one address, with kept-alive connections. The host that is asked for is a request's `Host`.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where it leads in.
    pub address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
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
}

impl Door {
    /// By HTTP/1.1.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, client }
    }

    /// By HTTP/2 in plain text.
    #[must_use]
    pub fn http2(address: SocketAddr) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.http2_only(true).build_http();
        Self { address, client }
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
        *request.uri_mut() = format!("http://{}{path}", self.address).parse()?;
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
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
        let mut request = Request::get(path).header(http::header::HOST, host);
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
    /// What the app saw.
    ///
    /// # Errors
    ///
    /// When it was no app that answered.
    pub fn echo(&self) -> anyhow::Result<Echo> {
        ensure!(
            self.header("content-type") == Some("application/json"),
            "{} by the mesh itself: {}",
            self.status,
            self.text()
        );
        serde_json::from_slice(&self.body).with_context(|| self.text())
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
