//! How an app calls another: by the name of its Service, through its own agent as an explicit HTTP proxy.
//!
//! This is all that an app has to do to be in the mesh: what `HTTP_PROXY=http://127.0.0.1:15001` does in
//! most HTTP libraries, and handing on the headers that hold a trace together.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;

use super::chain::{Answer, Hop};
use super::metrics::Metrics;

/// What a call may take, the whole way down the chain.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// No answer of the fleet is larger.
const MOST_BYTES: usize = 1 << 20;

/// The headers that an app hands on from the request it serves to the requests it makes.
const HANDED_ON: [&str; 9] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

type Connector = BoxCloneSyncService<Uri, Proxied, io::Error>;

/// Calls other apps through one agent. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client<Connector, Full<Bytes>>,
    metrics: Metrics,
}

impl Caller {
    /// `proxy` is the agent, as in `HTTP_PROXY`: `http://127.0.0.1:15001`.
    pub(crate) fn new(proxy: &Uri, metrics: Metrics) -> anyhow::Result<Self> {
        if proxy.scheme_str() != Some("http") {
            bail!(
                "--proxy {proxy} is no http:// URL; give the agent's, for example http://127.0.0.1:15001"
            );
        }
        let host = proxy.host().context("--proxy names no host")?;
        let address = format!("{host}:{}", proxy.port_u16().unwrap_or(80));
        let connector = tower::service_fn(move |_to: Uri| {
            let address = address.clone();
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                Ok(Proxied(TokioIo::new(stream)))
            }
        });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(BoxCloneSyncService::new(connector));
        Ok(Self { client, metrics })
    }

    /// `GET http://SERVICE/PATH`.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        serving: &HeaderMap,
        service: &str,
        path: &str,
    ) -> Result<Answer<T>, Hop> {
        self.call(serving, Method::GET, service, path, Bytes::new())
            .await
    }

    /// `POST http://SERVICE/PATH` with a JSON body.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        serving: &HeaderMap,
        service: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Hop> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Hop::lost(service, format!("the body is no JSON: {error}")))?;
        self.call(serving, Method::POST, service, path, body.into())
            .await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        serving: &HeaderMap,
        method: Method,
        service: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Answer<T>, Hop> {
        let sent = self.send(serving, method, service, path, body);
        let answered = tokio::time::timeout(CALL_TIMEOUT, sent)
            .await
            .map_err(|_| format!("no answer within {} s", CALL_TIMEOUT.as_secs()))
            .and_then(|answered| answered.map_err(|error| format!("{error:#}")));
        let (status, body) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                self.metrics.called(service, None);
                return Err(Hop::lost(service, error));
            }
        };
        self.metrics.called(service, Some(status));
        // An app that could not have everything answers 502 and sends what it has: that is worth showing.
        match serde_json::from_slice::<Answer<T>>(&body) {
            Ok(answer) => Ok(answer),
            Err(_) if !status.is_success() => Err(Hop::lost(
                service,
                format!("{status}: {}", first_line(&body)),
            )),
            Err(error) => Err(Hop::lost(service, format!("not understood: {error}"))),
        }
    }

    async fn send(
        &self,
        serving: &HeaderMap,
        method: Method,
        service: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{service}{path}"))
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for name in HANDED_ON {
            for value in serving.get_all(name) {
                request = request.header(name, value);
            }
        }
        let response = self
            .client
            .request(request.body(Full::new(body))?)
            .await
            .context("the agent did not answer")?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST_BYTES)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?
            .to_bytes();
        Ok((parts.status, body))
    }
}

fn first_line(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .lines()
        .next()
        .unwrap_or("without a word")
        .chars()
        .take(200)
        .collect()
}

/// A connection to the proxy: it makes hyper write the whole URL into the request line, as HTTP wants it
/// towards a proxy.
#[derive(Debug)]
struct Proxied(TokioIo<TcpStream>);

impl Connection for Proxied {
    fn connected(&self) -> Connected {
        Connected::new().proxy(true)
    }
}

impl hyper::rt::Read for Proxied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Proxied {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::Uri as RequestUri;
    use axum::response::IntoResponse;

    async fn proxy_that(answer: fn(RequestUri, HeaderMap) -> (StatusCode, String)) -> Caller {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router =
            Router::new().fallback(move |uri: RequestUri, headers: HeaderMap| async move {
                answer(uri, headers).into_response()
            });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let proxy = format!("http://{address}").parse().unwrap();
        Caller::new(&proxy, Metrics::new(&prometheus::Registry::new()).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn speaks_to_the_proxy_in_absolute_form_and_hands_the_trace_on() {
        let caller = proxy_that(|uri, headers| {
            let data = serde_json::json!([
                uri.to_string(),
                headers[header::HOST].to_str().unwrap(),
                headers["traceparent"].to_str().unwrap(),
                headers.contains_key("cookie"),
            ]);
            let chain = serde_json::json!({ "app": "echo" });
            let body = serde_json::json!({ "data": data, "chain": chain });
            (StatusCode::OK, body.to_string())
        })
        .await;
        let mut serving = HeaderMap::new();
        serving.insert("traceparent", "00-1-2-01".parse().unwrap());
        serving.insert("cookie", "private=1".parse().unwrap());
        let answer: Answer<(String, String, String, bool)> = caller
            .get(&serving, "fleetman-x", "/vehicles")
            .await
            .unwrap();
        assert_eq!(
            answer.data,
            (
                "http://fleetman-x/vehicles".to_owned(),
                "fleetman-x".to_owned(),
                "00-1-2-01".to_owned(),
                false
            )
        );
    }

    #[tokio::test]
    async fn a_refusal_is_kept_in_the_words_of_the_agent() {
        let caller = proxy_that(|_, _| {
            let words = "no healthy upstream for fleetman-x\nmore".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, words)
        })
        .await;
        let lost = caller
            .get::<()>(&HeaderMap::new(), "fleetman-x", "/")
            .await
            .unwrap_err();
        assert_eq!(lost.app, "fleetman-x");
        assert_eq!(
            lost.error.as_deref(),
            Some("503 Service Unavailable: no healthy upstream for fleetman-x")
        );
    }

    #[test]
    fn a_proxy_that_is_no_url_is_refused_in_words() {
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let error = Caller::new(&Uri::from_static("127.0.0.1:15001"), metrics)
            .err()
            .expect("without a scheme it is no URL");
        assert!(error.to_string().contains("http://127.0.0.1:15001"));
    }
}
