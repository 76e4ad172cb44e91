//! One request's way through the load balancer: to the endpoint whose turn it is.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus::IntCounterVec;

use super::endpoints::Endpoints;

/// What a request needs.
#[derive(Clone)]
pub(super) struct Balancer {
    endpoints: Endpoints,
    pool: Pool<HttpConnector, Body>,
    sent: IntCounterVec,
    service: String,
}

impl Balancer {
    /// `sent` counts by endpoint and code; `service` is named when there is nobody to send to.
    pub(super) fn new(endpoints: Endpoints, sent: IntCounterVec, service: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(3)));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Self {
            endpoints,
            pool,
            sent,
            service,
        }
    }

    /// Takes every request.
    pub(super) fn router(self) -> Router {
        Router::new().fallback(forward).with_state(self)
    }

    fn count(&self, endpoint: &Authority, code: &str) {
        self.sent
            .with_label_values(&[endpoint.as_str(), code])
            .inc();
    }
}

/// Sends a request to the endpoint whose turn it is, and to the next one if nobody listens there.
async fn forward(State(balancer): State<Balancer>, request: Request) -> Response {
    let round = balancer.endpoints.next_round();
    let (mut parts, body) = request.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    keep_host(&mut parts.headers, &parts.uri);
    // Only a request without a body can be sent twice without keeping it.
    let mut body = Some(body);
    let repeatable = body.as_ref().is_some_and(Body::is_end_stream);
    let mut words = format!(
        "no workload of {} is published; the round is empty",
        balancer.service
    );
    for endpoint in round {
        let Some(body) = body.take().or_else(|| repeatable.then(Body::empty)) else {
            break;
        };
        let uri = match towards(&endpoint, &parts.uri) {
            Ok(uri) => uri,
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        };
        let mut sent = http::Request::new(body);
        *sent.method_mut() = parts.method.clone();
        *sent.uri_mut() = uri;
        *sent.headers_mut() = parts.headers.clone();
        match balancer.pool.request(sent).await {
            Ok(mut response) => {
                balancer.count(&endpoint, response.status().as_str());
                strip_hop_by_hop(response.headers_mut());
                return response.map(Body::new);
            }
            Err(error) => {
                balancer.count(&endpoint, "0");
                words = format!("{endpoint} did not answer: {error}");
                if !error.is_connect() {
                    break;
                }
            }
        }
    }
    (StatusCode::BAD_GATEWAY, format!("{words}\n")).into_response()
}

/// The request's target at another endpoint. The Host header stays the client's.
fn towards(endpoint: &Authority, uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(endpoint.clone())
        .path_and_query(path)
        .build()
}

/// HTTP/2 names the host in the target, HTTP/1 in a header: what goes on as HTTP/1 needs the header.
fn keep_host(headers: &mut HeaderMap, uri: &Uri) {
    if !headers.contains_key(header::HOST)
        && let Some(authority) = uri.authority()
        && let Ok(host) = authority.as_str().parse()
    {
        headers.insert(header::HOST, host);
    }
}

/// Removes what concerns one connection only (RFC 9110, 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    #[test]
    fn only_the_address_of_a_target_changes() {
        let endpoint = Authority::from_static("127.0.0.1:20001");
        let uri = Uri::from_static("http://fleet.example/vehicles?all=1");
        let towards_ = towards(&endpoint, &uri).unwrap();
        assert_eq!(towards_, "http://127.0.0.1:20001/vehicles?all=1");
        let uri = Uri::from_static("/");
        let towards_ = towards(&endpoint, &uri).unwrap();
        assert_eq!(towards_, "http://127.0.0.1:20001/");
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "close, x-private".parse().unwrap());
        headers.insert("x-private", "1".parse().unwrap());
        headers.insert("transfer-encoding", "chunked".parse().unwrap());
        headers.insert("host", "fleet.example".parse().unwrap());
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["host"], "fleet.example");
    }

    async fn endpoint(name: &'static str) -> Authority {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(move |headers: HeaderMap, body: String| async move {
            let host = headers[header::HOST].to_str().unwrap().to_owned();
            format!("{name} {host} {body}")
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        address.to_string().parse().unwrap()
    }

    async fn dead_address() -> Authority {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        address.to_string().parse().unwrap()
    }

    fn balancer(endpoints: impl IntoIterator<Item = Authority>) -> Router {
        let round = Endpoints::default();
        round.replace(endpoints);
        let opts = prometheus::Opts::new("sent_total", "Sent.");
        let sent = IntCounterVec::new(opts, &["address", "code"]).unwrap();
        Balancer::new(round, sent, "fleetman-webapp".to_owned()).router()
    }

    async fn post(balancer: &Router, body: &'static str) -> (StatusCode, String) {
        let request = http::Request::post("/x")
            .header(header::HOST, "fleet.example")
            .body(Body::from(body))
            .unwrap();
        let response = balancer.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn requests_alternate_and_arrive_whole() {
        let balancer = balancer([endpoint("a").await, endpoint("b").await]);
        let mut answers = Vec::new();
        for _ in 0..4 {
            let (status, body) = post(&balancer, "hello").await;
            assert_eq!(status, StatusCode::OK);
            answers.push(body);
        }
        let a = "a fleet.example hello";
        let b = "b fleet.example hello";
        assert_eq!(answers, [a, b, a, b]);
    }

    #[tokio::test]
    async fn a_request_passes_by_where_nobody_listens() {
        let balancer = balancer([dead_address().await, endpoint("b").await]);
        for _ in 0..4 {
            let (status, body) = post(&balancer, "").await;
            assert_eq!(
                (status, body.as_str()),
                (StatusCode::OK, "b fleet.example ")
            );
        }
    }

    #[tokio::test]
    async fn a_request_passes_by_a_name_that_nobody_has() {
        let gone = Authority::from_static("no-such-host.invalid:15005");
        let balancer = balancer([gone, endpoint("b").await]);
        let (status, _) = post(&balancer, "").await;
        assert_eq!(status, StatusCode::OK);
    }

    #[tokio::test]
    async fn an_empty_round_is_told_in_words() {
        let (status, body) = post(&balancer([]), "").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(body.contains("fleetman-webapp"), "{body}");
    }
}
