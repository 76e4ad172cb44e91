//! The load balancer in front of the fleet: round robin, straight to the published ports of a Service's
//! workloads.
//!
//! It is what a NodePort or a cloud's load balancer is: no part of the mesh. It has no identity and knows
//! nothing of weights, and that is its role in the play. [`endpoints`] has the round,
//! [`forward`] the way of a request.

pub(crate) mod endpoints;
mod forward;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use http::uri::Authority;
use mesh_process::{CommonArgs, Process, admin, bind, write_addresses};
use prometheus::{IntCounterVec, Opts};
use tokio::time::{MissedTickBehavior, interval};

use self::endpoints::{Endpoints, Memory};
use self::forward::Balancer;
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

    /// Sends there instead of asking the config API; a name is looked up at each connection; repeatable
    #[arg(
        long = "upstream",
        env = "MESH_UPSTREAM",
        value_name = "HOST:PORT",
        value_parser = endpoints::upstream,
        value_delimiter = ',',
        conflicts_with_all = ["api", "service", "namespace"]
    )]
    upstreams: Vec<Authority>,

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
    let balancer = Balancer::new(endpoints.clone(), sent, args.service.clone());
    let router = balancer.router();
    let admin_router =
        admin::metrics(process.registry.clone()).merge(admin::health(process.readiness.clone()));
    let serving = mesh_process::serve(listener, router, process.shutdown.clone());
    let admin_serving = mesh_process::serve(admin_listener, admin_router, process.shutdown.clone());
    write_addresses(args.common.addresses_file.as_deref(), &addresses)?;

    let readiness = process.readiness.clone();
    let found = move || readiness.set(ENDPOINTS, true);
    let deadline = async {
        process.shutdown.wait().await;
        tokio::time::sleep(args.common.drain_timeout).await;
    };
    let serving = async { tokio::join!(serving, admin_serving) };
    let following = async {
        if args.upstreams.is_empty() {
            follow(&args.api, &args.namespace, &args.service, &endpoints, found).await;
        } else {
            endpoints.replace(args.upstreams);
            found();
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = serving => {}
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
                    endpoints.replace(known.iter().copied().map(endpoints::at));
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
