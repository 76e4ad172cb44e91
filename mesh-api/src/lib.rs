//! The control plane's server: it takes the user's configuration, knows which workloads run, and serves
//! proxies what concerns them.
//!
//! - `http` is the config API and the views; `store` keeps the objects, on disk; `config_dir` follows a
//!   directory of files;
//! - `registry` knows which workloads run; `publish` compiles both into the model of the mesh;
//! - `ads` serves each proxy its part of the model;
//! - `events` is what happened, for people;
//! - `telemetry` takes in what proxies report, and [`graph`] turns it into a picture of the mesh.
//!
//! [`start`] puts it together; `main.rs` is that and the flags in [`Args`].

mod ads;
mod config_dir;
mod events;
pub mod graph;
mod http;
mod mesh_wide;
mod metrics;
mod peer;
mod publish;
mod registry;
mod serve_xds;
mod settings;
mod store;
mod telemetry;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use mesh_identity::Identity;
use mesh_process::{Process, Shutdown, admin, bind};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use settings::{Args, Command, Settings};
pub use token::{Token, TokenError};

use crate::ads::{Ads, Proxies};
use crate::config_dir::ConfigDir;
use crate::events::Events;
use crate::graph::Window;
use crate::http::{Access, Graphs, Page, Scraping, Views};
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::registry::{Registry, RegistryService};
use crate::serve_xds::Services;
use crate::store::Store;
use crate::telemetry::Telemetry;

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
    settings.check()?;
    let metrics = Metrics::new(&process.registry).context("cannot register the metrics")?;
    let events = Events::new();
    let store = Arc::new(Store::open(&settings.state_dir, events.clone())?);
    let registry = Registry::open(&settings.state_dir, events.clone())?;
    let config_dir = match &settings.config_dir {
        Some(path) => Some(ConfigDir::open(path, Arc::clone(&store), events.clone())?),
        None => None,
    };
    events.started(store.view().config.len(), registry.len());
    let token = match &settings.token_file {
        Some(file) => Token::read(file)?,
        None => Token::open(&settings.state_dir)?,
    };
    if !settings.listen_http.ip().is_loopback() {
        tracing::info!(
            listen_http = %settings.listen_http,
            "the config API asks everybody beyond loopback for the token that `mesh-api token` prints"
        );
    }
    let access = Arc::new(Access::new(&token, metrics.requests_refused.clone()));
    let xds = bind("--listen-xds", settings.listen_xds).await?;
    let http = bind("--listen-http", settings.listen_http).await?;
    let admin = bind("--listen-metrics", settings.listen_metrics).await?;
    let addresses = BTreeMap::from([
        ("xds", xds.local_addr()?),
        ("http", http.local_addr()?),
        ("metrics", admin.local_addr()?),
    ]);

    let Process {
        registry: exposed,
        shutdown,
        readiness,
        ..
    } = process;
    let trust_domain = identity.id().trust_domain().as_str().to_owned();
    let mesh_config = match &settings.mesh_config {
        Some(path) => Some(mesh_wide::File::open(path, &trust_domain)?),
        None => None,
    };
    let publisher = Publisher::new(
        Arc::clone(&store),
        Arc::clone(&registry),
        mesh_compile::Settings {
            trust_domain,
            ..mesh_compile::Settings::default()
        },
        mesh_config.as_ref().map(mesh_wide::File::subscribe),
        metrics.clone(),
    );
    let published = publisher.subscribe();
    let proxies = Proxies::new(metrics.connected_proxies.clone(), events.clone());
    let window = Arc::new(Window::new());
    let services = Services {
        ads: Ads::new(
            Arc::clone(&store),
            published.clone(),
            Arc::clone(&proxies),
            metrics.clone(),
            events.clone(),
            shutdown.clone(),
        ),
        registry: RegistryService::new(Arc::clone(&registry), Arc::clone(&store), shutdown.clone()),
        telemetry: Telemetry::new(
            Arc::clone(&window),
            Arc::clone(&store),
            metrics.clone(),
            shutdown.clone(),
        ),
    };
    let targets = http::scraping(Scraping {
        proxies: Arc::clone(&proxies),
        store: Arc::clone(&store),
        own: admin.local_addr()?,
    });
    let graphs = Graphs::new(
        window,
        Arc::clone(&store),
        published.clone(),
        Arc::clone(&proxies),
    );
    let routes = http::config_api(Arc::clone(&store), readiness.clone())
        .merge(http::views(Views {
            published: published.clone(),
            proxies: Arc::clone(&proxies),
            events: events.clone(),
            shutdown: shutdown.clone(),
        }))
        .merge(targets.clone())
        .merge(http::graphs(graphs.clone()))
        .merge(http::page(Page::new(graphs, events, shutdown.clone())));

    let mut tasks = JoinSet::new();
    count(
        &mut tasks,
        &metrics,
        &store,
        &registry,
        config_dir.as_ref(),
        &shutdown,
    );
    if let Some(config_dir) = config_dir {
        tasks.spawn(config_dir.run(shutdown.clone()));
    }
    if let Some(file) = mesh_config {
        tasks.spawn(file.run(shutdown.clone()));
    }
    tasks.spawn(registry.run(shutdown.clone()));
    tasks.spawn(publisher.run(shutdown.clone()));
    tasks.spawn(services.serve(xds, identity, shutdown.clone()));
    tasks.spawn(mesh_process::serve(
        http,
        http::closed(routes, access),
        shutdown.clone(),
    ));
    let routes = admin::metrics(exposed)
        .merge(admin::health(readiness))
        .merge(targets);
    tasks.spawn(mesh_process::serve(admin, routes, shutdown));
    Ok(Running { addresses, tasks })
}

/// Keeps the gauges up to date.
fn count(
    tasks: &mut JoinSet<()>,
    metrics: &Metrics,
    store: &Store,
    registry: &Arc<Registry>,
    config_dir: Option<&ConfigDir>,
    shutdown: &Shutdown,
) {
    let objects = metrics.clone();
    tasks.spawn(mirror(store.subscribe(), shutdown.clone(), move |view| {
        objects.count_objects(view);
    }));
    let instances = metrics.registered_instances.clone();
    let counted = Arc::clone(registry);
    tasks.spawn(mirror(registry.subscribe(), shutdown.clone(), move |_| {
        instances.set(gauge(counted.len()));
    }));
    if let Some(config_dir) = config_dir {
        let errors = metrics.config_dir_errors.clone();
        tasks.spawn(mirror(
            config_dir.errors(),
            shutdown.clone(),
            move |count| {
                errors.set(gauge(*count));
            },
        ));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
