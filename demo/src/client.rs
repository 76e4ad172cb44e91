//! A plain HTTP client for the demo's own errands: readiness, configuration, the graph, and the requests
//! that the acts count.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// No answer that the demo reads is larger.
const MOST_BYTES: usize = 16 << 20;

/// An HTTP/1.1 client. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body; what is no UTF-8 is replaced.
    pub(crate) body: String,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nobody listens.
    Refused,
    /// The connection was taken, and closed without a word.
    Closed,
    /// No whole answer within the client's patience.
    Timeout(Duration),
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Closed => f.write_str("connection closed without an answer"),
            Self::Timeout(limit) => write!(f, "no answer within {limit:?}"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Lost {}

impl Client {
    /// Keeps its connections open between requests.
    pub(crate) fn kept_alive(timeout: Duration) -> Self {
        Self::with_idle(timeout, usize::MAX)
    }

    /// Opens a connection for each request.
    pub(crate) fn fresh(timeout: Duration) -> Self {
        Self::with_idle(timeout, 0)
    }

    fn with_idle(timeout: Duration, idle: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle)
            .build(connector);
        Self { pool, timeout }
    }

    /// Asks for a page.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer, Lost> {
        self.get_as(url, None).await
    }

    /// Asks for a page, as the bearer of a token.
    pub(crate) async fn get_as(&self, url: &str, token: Option<&str>) -> Result<Answer, Lost> {
        let request = Request::get(url);
        self.send(url, bearer(request, token), String::new()).await
    }

    /// Posts a text of the given media type, as the bearer of a token.
    pub(crate) async fn post_as(
        &self,
        url: &str,
        token: Option<&str>,
        media_type: &str,
        body: impl Into<String>,
    ) -> Result<Answer, Lost> {
        let request = Request::post(url).header(header::CONTENT_TYPE, media_type);
        self.send(url, bearer(request, token), body.into()).await
    }

    async fn send(&self, url: &str, request: Builder, body: String) -> Result<Answer, Lost> {
        let request = request
            .body(Full::from(body))
            .map_err(|error| Lost::Other(format!("{url} cannot be asked: {error}")))?;
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(done) => done,
            Err(_) => Err(Lost::Timeout(self.timeout)),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        let response = self
            .pool
            .request(request)
            .await
            .map_err(|error| lost(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST_BYTES)
            .collect()
            .await
            .map_err(|error| Lost::Other(format!("the answer broke off: {error}")))?
            .to_bytes();
        Ok(Answer {
            status: parts.status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

fn bearer(request: Builder, token: Option<&str>) -> Builder {
    match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

fn lost(error: &hyper_util::client::legacy::Error) -> Lost {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::ConnectionRefused => return Lost::Refused,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => return Lost::Closed,
                _ => {}
            }
        }
        // Closed after the request was sent, or so soon that it was not.
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return Lost::Closed;
        }
        cause = error.source();
    }
    Lost::Other(whole(error))
}

/// The error with its causes: hyper's own sentence alone says too little.
fn whole(error: &hyper_util::client::legacy::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_without_a_listener_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::fresh(Duration::from_secs(5));
        assert_eq!(client.get(&url).await.unwrap_err(), Lost::Refused);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_closed_without_an_answer_is_not_called_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let client = Client::fresh(Duration::from_secs(5));
        // Now before the request was sent, now after.
        for _ in 0..200 {
            assert_eq!(client.get(&url).await.unwrap_err(), Lost::Closed);
        }
    }

    #[tokio::test]
    async fn a_token_is_shown_only_where_it_is_given() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(|headers: http::HeaderMap| async move {
            let shown = headers.get(header::AUTHORIZATION);
            shown.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::kept_alive(Duration::from_secs(5));
        let body = async |token| client.get_as(&url, token).await.unwrap().body;
        assert_eq!(body(Some("secret")).await, "Bearer secret");
        assert_eq!(body(None).await, "");
        let posted = client.post_as(&url, Some("secret"), "text/plain", "x");
        assert_eq!(posted.await.unwrap().body, "Bearer secret");
    }
}
