//! From configuration and registrations to the model that proxies are served from.
//!
//! One place follows both, so that a burst of changes is compiled once, off the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use mesh_compile::{Instance, Model, Settings};
use mesh_config::Config;
use mesh_process::Shutdown;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::store::Store;

/// How long further changes are awaited before the model is built.
const GATHER: Duration = Duration::from_millis(20);

/// The mesh at one moment, and what it was built from.
#[derive(Debug)]
pub(crate) struct Published {
    /// The store's revision that it has taken in.
    pub(crate) revision: u64,
    pub(crate) config: Config,
    pub(crate) instances: Vec<Instance>,
    pub(crate) model: Model,
}

/// Builds the model anew whenever something that it is built from changes.
#[derive(Debug)]
pub(crate) struct Publisher {
    store: Arc<Store>,
    registry: Arc<Registry>,
    settings: Settings,
    metrics: Metrics,
    published: watch::Sender<Arc<Published>>,
}

impl Publisher {
    /// Builds the first model.
    pub(crate) fn new(
        store: Arc<Store>,
        registry: Arc<Registry>,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        let first = build(&store, &registry, &settings, &metrics);
        Self {
            store,
            registry,
            settings,
            metrics,
            published: watch::Sender::new(Arc::new(first)),
        }
    }

    /// Follows the models.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Follows the changes until the stop.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let publisher = Arc::new(self);
        let mut views = publisher.store.subscribe();
        let mut arrivals = publisher.registry.subscribe();
        // Something may have changed since the first model.
        views.mark_changed();
        loop {
            // The senders live in the publisher.
            tokio::select! {
                _ = views.changed() => {}
                _ = arrivals.changed() => {}
                () = shutdown.wait() => return,
            }
            sleep(GATHER).await;
            // Seen before the model is built: what changes meanwhile wakes us again.
            views.mark_unchanged();
            arrivals.mark_unchanged();
            let builder = Arc::clone(&publisher);
            if let Err(error) = tokio::task::spawn_blocking(move || builder.publish()).await {
                tracing::error!(%error, "compiling the configuration broke off; proxies keep the last model");
            }
        }
    }

    fn publish(&self) {
        let next = build(&self.store, &self.registry, &self.settings, &self.metrics);
        self.published.send_replace(Arc::new(next));
    }
}

fn build(store: &Store, registry: &Registry, settings: &Settings, metrics: &Metrics) -> Published {
    let view = store.view();
    let config = view.config.clone();
    let instances = registry.instances(&config);
    let timer = metrics.compile_duration.start_timer();
    let model = Model::build(&config, &instances, settings);
    timer.observe_duration();
    Published {
        revision: view.revision,
        config,
        instances,
        model,
    }
}
