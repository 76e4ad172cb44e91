//! One app of the fleet: a small HTTP server that plays the role it is given.
//!
//! [`services`] has what each role answers, [`call`] how an app calls another through its agent,
//! [`chain`] the hop chain in every answer, [`simulator`] the traffic that never stops.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Uri;
use clap::Parser;
use mesh_process::{CommonArgs, Process, admin, bind, parse_duration, write_addresses};

use self::call::Caller;
use self::metrics::Metrics;
use self::role::{Role, Version};
use self::services::App;

pub(crate) mod call;
pub(crate) mod chain;
pub(crate) mod fleet_data;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod role;
pub(crate) mod services;
pub(crate) mod simulator;

/// Plays one app of the fleet
#[derive(Clone, Debug, Parser)]
#[command(name = "demo app", bin_name = "demo app")]
pub(crate) struct AppArgs {
    #[command(flatten)]
    common: CommonArgs,

    /// Which app
    #[arg(long, env = "MESH_ROLE", value_enum)]
    pub(crate) role: Role,

    /// Which version of it; only the webapp has two
    #[arg(long, env = "MESH_VERSION", value_enum, default_value_t)]
    version: Version,

    /// The workload's name in the hop chain [default: the role]
    #[arg(long, env = "MESH_WORKLOAD_NAME", value_name = "NAME")]
    name: Option<String>,

    /// Where the app listens
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

    /// The agent, through which the app calls others
    #[arg(
        long,
        env = "MESH_PROXY",
        value_name = "URL",
        default_value = "http://127.0.0.1:15001"
    )]
    proxy: Uri,

    /// How often the position-simulator posts, at least 10ms
    #[arg(long, env = "MESH_INTERVAL", value_name = "DURATION", value_parser = parse_interval, default_value = "250ms")]
    interval: Duration,
}

impl AsRef<CommonArgs> for AppArgs {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(10) {
        return Err("a shorter interval than 10ms would be a load test".to_owned());
    }
    Ok(interval)
}

/// Serves until the stop.
pub(crate) async fn run(args: AppArgs, process: Process) -> anyhow::Result<()> {
    let metrics = Metrics::new(&process.registry)?;
    let caller = Caller::new(&args.proxy, metrics.clone())?;
    let listener = bind("--listen", args.listen).await?;
    let admin_listener = bind("--listen-metrics", args.listen_metrics).await?;
    let addresses = BTreeMap::from([
        ("http", listener.local_addr()?),
        ("metrics", admin_listener.local_addr()?),
    ]);

    let app = App {
        workload: args.name.unwrap_or_else(|| args.role.name().to_owned()),
        role: args.role,
        version: args.version,
        caller: caller.clone(),
        positions: Mutex::default(),
        telemetry: Mutex::default(),
    };
    let router = services::router(Arc::new(app), metrics);
    let admin_router =
        admin::metrics(process.registry.clone()).merge(admin::health(process.readiness.clone()));
    let serving = mesh_process::serve(listener, router, process.shutdown.clone());
    let admin_serving = mesh_process::serve(admin_listener, admin_router, process.shutdown.clone());
    if args.role == Role::PositionSimulator {
        tokio::spawn(simulator::run(
            caller,
            args.interval,
            process.shutdown.clone(),
        ));
    }
    write_addresses(args.common.addresses_file.as_deref(), &addresses)?;

    let serving = async { tokio::join!(serving, admin_serving) };
    let deadline = async {
        process.shutdown.wait().await;
        tokio::time::sleep(args.common.drain_timeout).await;
    };
    tokio::select! {
        _ = serving => {}
        () = deadline => tracing::warn!("stopping with requests in flight: the drain timeout is over"),
    }
    Ok(())
}
