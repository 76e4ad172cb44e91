//! An app of a test: it answers what it was asked, does as a request tells it, and remembers.
//!
//! A request's query may say `status=503` (answer so), `times=2&key=K` (only the first two requests of this key),
//! and `delay=100ms`, or be for the app `at=NAME` only, so that a mirror may do otherwise; its header `x-echo-set-header: name:value,name:value` sets headers of the answer. As the echo
//! app of the Gateway API's conformance suite it knows `responseCode=500&succeedAfter=2&uuid=K` (the first two
//! requests of this key) and `delayRetry=300ms` (and only after this delay). A call by gRPC, of whatever method, gets
//! one message back: the same JSON as bytes instead of a protobuf, and the status 0 as trailers.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The content type of gRPC.
pub(crate) const GRPC: &str = "application/grpc";

/// What an app saw of a request, and what it answers as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The app's name.
    pub app: String,
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host` or `:authority`.
    pub host: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub proto: String,
    /// Lower-case name to the values of its lines.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body, as far as it is text.
    pub body: String,
}

impl Echo {
    /// The lines of a header joined by commas; nothing if it was not there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|lines| lines.join(","))
    }
}

/// A running app on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Echo>>>,
    certificate: Option<CertificateDer<'static>>,
    accepting: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl App {
    /// Speaks HTTP/1.1, and HTTP/2 in plain text with those who begin with it.
    ///
    /// # Panics
    ///
    /// When loopback has no free port.
    pub async fn http(name: &str) -> Self {
        let seen = Arc::default();
        let site = Arc::new(Site {
            name: name.to_owned(),
            seen: Arc::clone(&seen),
            counts: Mutex::default(),
        });
        let serve = move |stream| http_connection(Arc::clone(&site), stream);
        Self::start(seen, serve).await
    }

    /// The same behind TLS, as the configuration says.
    ///
    /// # Panics
    ///
    /// When loopback has no free port.
    pub async fn https(name: &str, config: ServerConfig) -> Self {
        let seen = Arc::default();
        let site = Arc::new(Site {
            name: name.to_owned(),
            seen: Arc::clone(&seen),
            counts: Mutex::default(),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serve = move |stream| {
            let (site, acceptor) = (Arc::clone(&site), acceptor.clone());
            async move {
                // A client that wants something else goes away.
                if let Ok(stream) = acceptor.accept(stream).await {
                    http_connection(site, stream).await;
                }
            }
        };
        Self::start(seen, serve).await
    }

    /// Says its name and a line feed to whoever connects, then sends back what it gets.
    ///
    /// # Panics
    ///
    /// When loopback has no free port.
    pub async fn tcp(name: &str) -> Self {
        let name: Arc<str> = name.into();
        Self::start(Arc::default(), move |stream| {
            tcp_connection(Arc::clone(&name), stream)
        })
        .await
    }

    /// Does as [`App::tcp`]'s behind TLS, with a certificate of its own for `NAME.example.com`, and for its
    /// siblings.
    ///
    /// # Panics
    ///
    /// When loopback has no free port.
    pub async fn tls(name: &str) -> Self {
        let hosts = [format!("{name}.example.com"), "*.example.com".to_owned()];
        let made = rcgen::generate_simple_self_signed(hosts).expect("host names");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let name: Arc<str> = name.into();
        let serve = move |stream| {
            let (name, acceptor) = (Arc::clone(&name), acceptor.clone());
            async move {
                // A client that wants something else goes away.
                if let Ok(stream) = acceptor.accept(stream).await {
                    tcp_connection(name, stream).await;
                }
            }
        };
        let mut app = Self::start(Arc::default(), serve).await;
        app.certificate = Some(certificate);
        app
    }

    /// What an app behind TLS shows its clients.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    async fn start<F>(
        seen: Arc<Mutex<Vec<Echo>>>,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self {
            address,
            seen,
            certificate: None,
            accepting,
        }
    }

    /// The requests that have come so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Echo> {
        lock(&self.seen).clone()
    }

    /// Forgets the requests.
    pub fn forget(&self) {
        lock(&self.seen).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn tcp_connection(name: Arc<str>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let greeting = format!("{name}\n");
    if stream.write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    let (mut from, mut to) = tokio::io::split(stream);
    // Whoever goes away in the middle ends it.
    if tokio::io::copy(&mut from, &mut to).await.is_ok() {
        let _ = to.shutdown().await;
    }
}

struct Site {
    name: String,
    seen: Arc<Mutex<Vec<Echo>>>,
    /// How many requests of a key have come.
    counts: Mutex<HashMap<String, u32>>,
}

async fn http_connection(
    site: Arc<Site>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let service = hyper::service::service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A connection that breaks is the client's business.
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let (head, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            // The client broke off, so nobody will read the answer.
            Err(_) => return Response::new(Full::default().boxed()),
        };
        let host = head
            .headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok())
            .or_else(|| head.uri.authority().map(http::uri::Authority::as_str));
        let echo = Echo {
            app: self.name.clone(),
            method: head.method.to_string(),
            path: head
                .uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            host: host.unwrap_or_default().to_owned(),
            proto: format!("{:?}", head.version),
            headers: lines(&head.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        lock(&self.seen).push(echo.clone());
        let mut orders = orders(head.uri.query().unwrap_or_default());
        if orders.get("at").is_some_and(|at| *at != self.name) {
            orders.clear();
        }
        if let Some(delay) = orders.get("delay") {
            tokio::time::sleep(length(delay)).await;
        }
        let status = self.status(&orders);
        if let Some(delay) = orders.get("delayRetry")
            && !status.is_success()
        {
            tokio::time::sleep(length(delay)).await;
        }
        let json = serde_json::to_vec(&echo).expect("an echo is JSON");
        let content = head.headers.get(http::header::CONTENT_TYPE);
        let is_grpc = content.is_some_and(|content| content == GRPC);
        let (content, body) = match is_grpc {
            true => (GRPC, message(&json)),
            false => ("application/json", Full::from(json).boxed()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(content),
        );
        let wanted = head.headers.get_all("x-echo-set-header").iter();
        for pair in wanted.flat_map(|line| line.to_str().unwrap_or_default().split(',')) {
            if let Some((name, value)) = pair.split_once(':')
                && let (Ok(name), Ok(value)) = (
                    name.trim().parse::<HeaderName>(),
                    value.trim().parse::<HeaderValue>(),
                )
            {
                headers.append(name, value);
            }
        }
        response
    }

    fn status(&self, orders: &HashMap<String, String>) -> StatusCode {
        let either = |own: &str, suites: &str| orders.get(own).or_else(|| orders.get(suites));
        let Some(status) = either("status", "responseCode") else {
            return StatusCode::OK;
        };
        if let Some(times) = either("times", "succeedAfter") {
            let mut counts = lock(&self.counts);
            let key = either("key", "uuid").cloned().unwrap_or_default();
            let count = counts.entry(key).or_default();
            *count += 1;
            if *count > times.parse().expect("times is a number") {
                return StatusCode::OK;
            }
        }
        status.parse().expect("status is a status code")
    }
}

/// The one message of a call that went well.
fn message(content: &[u8]) -> BoxBody<Bytes, Infallible> {
    let trailers = HeaderMap::from_iter([(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    Full::from(framed(content))
        .with_trailers(async { Some(Ok(trailers)) })
        .boxed()
}

/// A message as gRPC sends it: whether it is compressed, its length, itself.
pub(crate) fn framed(content: &[u8]) -> Bytes {
    let length = u32::try_from(content.len()).expect("a message of a test is short");
    [&[0], &length.to_be_bytes()[..], content].concat().into()
}

fn lines(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        lines.entry(name.to_string()).or_default().push(value);
    }
    lines
}

fn orders(query: &str) -> HashMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `100ms` or `1s`.
fn length(text: &str) -> Duration {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let number: u64 = number.parse().expect("a delay is like 100ms or 1s");
    Duration::from_millis(number * unit)
}
