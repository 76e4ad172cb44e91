//! The control plane's server: it takes the user's configuration, knows which workloads run, and serves
//! proxies what concerns them.
//!
//! - `http` is the config API and the views; `store` keeps the objects, on disk; `config_dir` follows a
//!   directory of files;
//! - [`graph`] turns what proxies report into a picture of the mesh.
//!
//! [`start`] puts it together; `main.rs` is that and the flags in [`Args`].

mod config_dir;
pub mod graph;
mod http;
mod metrics;
mod settings;
mod store;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use mesh_identity::Identity;
use mesh_process::{Process, Shutdown, admin, bind};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use settings::{Args, Settings};

use crate::config_dir::ConfigDir;
use crate::metrics::Metrics;
use crate::store::Store;

/// A control plane at work.
#[derive(Debug)]
pub struct Running {
    /// What it listens on: `xds`, `http`, `metrics`.
    pub addresses: BTreeMap<&'static str, SocketAddr>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Returns when everything has ended after the stop.
    pub async fn ended(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the control plane broke off");
            }
        }
    }
}

/// Starts the control plane; it ends with the process's shutdown.
///
/// # Errors
///
/// What keeps it from starting, in words for the operator: state that is in use or damaged, a configuration
/// directory with errors, an address that cannot be had.
pub async fn start(
    settings: Settings,
    identity: Arc<Identity>,
    process: Process,
) -> anyhow::Result<Running> {
    if !settings.listen_http.ip().is_loopback() {
        bail!(
            "the config API has no authentication yet, so it is served on loopback only: --listen-http {} is not a loopback address; use 127.0.0.1:{} and, for others, a proxy that authenticates them",
            settings.listen_http,
            settings.listen_http.port()
        );
    }
    let metrics = Metrics::new(&process.registry).context("cannot register the metrics")?;
    let store = Arc::new(Store::open(&settings.state_dir)?);
    let config_dir = match &settings.config_dir {
        Some(path) => Some(ConfigDir::open(path, Arc::clone(&store))?),
        None => None,
    };
    let mut tasks = JoinSet::new();
    let shutdown = process.shutdown;
    let counted = metrics.clone();
    tasks.spawn(mirror(store.subscribe(), shutdown.clone(), move |view| {
        counted.count_objects(view);
    }));
    let http = bind("--listen-http", settings.listen_http).await?;
    let admin = bind("--listen-metrics", settings.listen_metrics).await?;
    let mut addresses = BTreeMap::new();
    addresses.insert("http", http.local_addr()?);
    addresses.insert("metrics", admin.local_addr()?);

    tracing::debug!(id = %identity.id(), "serving as");
    if let Some(config_dir) = config_dir {
        let gauge = metrics.config_dir_errors.clone();
        tasks.spawn(mirror(
            config_dir.errors(),
            shutdown.clone(),
            move |count| {
                gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
            },
        ));
        tasks.spawn(config_dir.run(shutdown.clone()));
    }
    let routes = http::closed(http::config_api(
        Arc::clone(&store),
        process.readiness.clone(),
    ));
    tasks.spawn(http::serve(http, routes, shutdown.clone()));
    let routes = admin::metrics(process.registry).merge(admin::health(process.readiness));
    tasks.spawn(async move {
        if let Err(error) = admin::serve(admin, routes, shutdown).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    Ok(Running { addresses, tasks })
}

/// Shows each new value to `each`, beginning with the present one, until the stop.
async fn mirror<T>(
    mut values: watch::Receiver<T>,
    shutdown: Shutdown,
    each: impl Fn(&T) + Send + 'static,
) {
    loop {
        each(&values.borrow_and_update());
        tokio::select! {
            changed = values.changed() => if changed.is_err() { return },
            () = shutdown.wait() => return,
        }
    }
}
