//! The load balancer in front of the fleet: round robin, straight to the published ports of a Service's
//! workloads.
//!
//! It is what a NodePort or a cloud's load balancer is: no part of the mesh. It has no identity and knows
//! nothing of weights, and that is its role in the play. [`endpoints`] has the round.

pub(crate) mod endpoints;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use clap::Parser;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mesh_process::{CommonArgs, Process, admin, bind, write_addresses};
use prometheus::{IntCounterVec, Opts};
use tokio::time::{MissedTickBehavior, interval};

use self::endpoints::{Endpoints, Memory};
use crate::client::Client;

/// How often the workloads are listed.
const LISTING_EVERY: Duration = Duration::from_secs(1);

/// Plays the load balancer that sends straight to the apps
#[derive(Clone, Debug, Parser)]
#[command(name = "demo loadbalancer", bin_name = "demo loadbalancer")]
pub(crate) struct LoadbalancerArgs {
    #[command(flatten)]
    common: CommonArgs,

    /// Where it listens
    #[arg(
        long,
        env = "MESH_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    listen: SocketAddr,

    /// Where /metrics and /healthz/ready are served
    #[arg(
        long,
        env = "MESH_LISTEN_METRICS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    listen_metrics: SocketAddr,

    /// The Service whose workloads get the requests
    #[arg(
        long,
        env = "MESH_SERVICE",
        value_name = "NAME",
        default_value = "fleetman-webapp"
    )]
    service: String,

    /// Its namespace
    #[arg(
        long,
        env = "MESH_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "default"
    )]
    namespace: String,

    /// The config API, which knows the published addresses
    #[arg(
        long,
        env = "MESH_API",
        value_name = "URL",
        default_value = "http://127.0.0.1:15080"
    )]
    api: String,
}

impl AsRef<CommonArgs> for LoadbalancerArgs {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

/// What a request needs.
#[derive(Clone)]
struct Balancer {
    endpoints: Endpoints,
    pool: Pool<HttpConnector, Body>,
    sent: IntCounterVec,
    service: String,
}

/// Serves until the stop.
pub(crate) async fn run(args: LoadbalancerArgs, process: Process) -> anyhow::Result<()> {
    const ENDPOINTS: &str = "published endpoints";
    let sent = IntCounterVec::new(
        Opts::new(
            "demo_loadbalancer_requests_total",
            "Requests by the address that they were sent to; code 0 when no answer came.",
        ),
        &["address", "code"],
    )?;
    process.registry.register(Box::new(sent.clone()))?;
    process.readiness.expect(ENDPOINTS);

    let listener = bind("--listen", args.listen).await?;
    let admin_listener = bind("--listen-metrics", args.listen_metrics).await?;
    let addresses = BTreeMap::from([
        ("http", listener.local_addr()?),
        ("metrics", admin_listener.local_addr()?),
    ]);
    let endpoints = Endpoints::default();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(3)));
    let pool = Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector);
    let balancer = Balancer {
        endpoints: endpoints.clone(),
        pool,
        sent,
        service: args.service.clone(),
    };
    let router = Router::new().fallback(forward).with_state(balancer);
    let admin_router =
        admin::metrics(process.registry.clone()).merge(admin::health(process.readiness.clone()));
    let serving = admin::serve(listener, router, process.shutdown.clone());
    let admin_serving = admin::serve(admin_listener, admin_router, process.shutdown.clone());
    write_addresses(args.common.addresses_file.as_deref(), &addresses)?;

    let readiness = process.readiness.clone();
    let found = move || readiness.set(ENDPOINTS, true);
    let deadline = async {
        process.shutdown.wait().await;
        tokio::time::sleep(args.common.drain_timeout).await;
    };
    let serving = async { tokio::try_join!(serving, admin_serving) };
    let following = follow(&args.api, &args.namespace, &args.service, &endpoints, found);
    tokio::select! {
        served = serving => { served?; }
        () = following => {}
        () = deadline => {
            tracing::warn!("stopping with requests in flight: the drain timeout is over");
        }
    }
    Ok(())
}

/// Keeps the endpoints as the config API publishes them, and the last ones while it is away.
async fn follow(
    api: &str,
    namespace: &str,
    service: &str,
    endpoints: &Endpoints,
    found: impl Fn(),
) {
    let client = Client::kept_alive(Duration::from_secs(3));
    let url = format!("{}/api/mesh/services", api.trim_end_matches('/'));
    let mut memory = Memory::default();
    let mut round = Vec::new();
    let mut well = true;
    let mut ticks = interval(LISTING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let listing = match client.get(&url).await {
            Ok(answer) if answer.status.is_success() => {
                endpoints::published(&answer.body, namespace, service)
            }
            Ok(answer) => Err(anyhow::anyhow!("{url} answered {}", answer.status)),
            Err(lost) => Err(anyhow::anyhow!("{url}: {lost}")),
        };
        match listing {
            Ok(listed) => {
                well = true;
                let known = memory.seen(&listed);
                if known != round {
                    tracing::info!(service, endpoints = ?known, "the round has changed");
                    endpoints.replace(known.iter().copied());
                    round = known;
                }
                if !round.is_empty() {
                    found();
                }
            }
            Err(error) if well => {
                well = false;
                tracing::warn!("going on with the last known endpoints: {error:#}");
            }
            Err(_) => {}
        }
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
    let repeatable = body
        .as_ref()
        .is_some_and(axum::body::HttpBody::is_end_stream);
    let mut words = format!(
        "no workload of {} is published; the round is empty",
        balancer.service
    );
    for address in round {
        let Some(body) = body.take().or_else(|| repeatable.then(Body::empty)) else {
            break;
        };
        let uri = match towards(address, &parts.uri) {
            Ok(uri) => uri,
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        };
        let mut sent = http::Request::new(body);
        *sent.method_mut() = parts.method.clone();
        *sent.uri_mut() = uri;
        *sent.headers_mut() = parts.headers.clone();
        match balancer.pool.request(sent).await {
            Ok(mut response) => {
                balancer.count(address, response.status().as_str());
                strip_hop_by_hop(response.headers_mut());
                return response.map(Body::new);
            }
            Err(error) => {
                balancer.count(address, "0");
                words = format!("{address} did not answer: {error}");
                if !error.is_connect() {
                    break;
                }
            }
        }
    }
    (StatusCode::BAD_GATEWAY, format!("{words}\n")).into_response()
}

impl Balancer {
    fn count(&self, address: SocketAddr, code: &str) {
        self.sent
            .with_label_values(&[&address.to_string(), code])
            .inc();
    }
}

/// The request's target at another address. The Host header stays the client's.
fn towards(address: SocketAddr, uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(Authority::try_from(address.to_string())?)
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

    #[test]
    fn only_the_address_of_a_target_changes() {
        let uri = Uri::from_static("http://fleet.example/vehicles?all=1");
        let towards_ = towards(([127, 0, 0, 1], 20001).into(), &uri).unwrap();
        assert_eq!(towards_, "http://127.0.0.1:20001/vehicles?all=1");
        let uri = Uri::from_static("/");
        let towards_ = towards(([127, 0, 0, 1], 20001).into(), &uri).unwrap();
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
}
