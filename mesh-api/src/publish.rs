//! From configuration and registrations to the model that proxies are served from.
//!
//! One place follows both, so that a burst of changes is compiled once, off the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use mesh_compile::{Instance, Model, Settings};
use mesh_config::Config;
use mesh_config::model::MeshConfig;
use mesh_process::Shutdown;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::mesh_wide;
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
    /// The MeshConfig of a file, if there is one.
    mesh: Option<watch::Receiver<MeshConfig>>,
    metrics: Metrics,
    published: watch::Sender<Arc<Published>>,
}

impl Publisher {
    /// Builds the first model.
    pub(crate) fn new(
        store: Arc<Store>,
        registry: Arc<Registry>,
        settings: Settings,
        mesh: Option<watch::Receiver<MeshConfig>>,
        metrics: Metrics,
    ) -> Self {
        let first = build(&store, &registry, &settings, mesh.as_ref(), &metrics, None);
        Self {
            store,
            registry,
            settings,
            mesh,
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
        let mut mesh = publisher.mesh.clone();
        // Something may have changed since the first model.
        views.mark_changed();
        loop {
            // The senders live in the publisher.
            tokio::select! {
                _ = views.changed() => {}
                _ = arrivals.changed() => {}
                () = changed(mesh.as_mut()) => {}
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
        let Self {
            store,
            registry,
            settings,
            mesh,
            metrics,
            ..
        } = self;
        let last = Arc::clone(&self.published.borrow());
        let last = Some(&last.model);
        let next = build(store, registry, settings, mesh.as_ref(), metrics, last);
        self.published.send_replace(Arc::new(next));
    }
}

/// Waits for the file's next version, for ever if there is no file or nobody follows it any more.
async fn changed(mesh: Option<&mut watch::Receiver<MeshConfig>>) {
    if let Some(mesh) = mesh
        && mesh.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// What has not changed is taken from the last model.
fn build(
    store: &Store,
    registry: &Registry,
    settings: &Settings,
    file: Option<&watch::Receiver<MeshConfig>>,
    metrics: &Metrics,
    last: Option<&Model>,
) -> Published {
    let view = store.view();
    let config = view.config.clone();
    let instances = registry.instances(&config);
    let mut settings = settings.clone();
    let (root, domain) = (&settings.root_namespace, &settings.trust_domain);
    let mesh = match file {
        Some(file) => Some(file.borrow().clone()),
        None => mesh_wide::of_config_map(&config, root, domain),
    };
    if let Some(mesh) = mesh {
        if let Some(root) = &mesh.root_namespace {
            settings.root_namespace.clone_from(root);
        }
        settings.mesh = mesh;
    }
    let timer = metrics.compile_duration.start_timer();
    let model = match last {
        Some(last) => last.next(&config, &instances, &settings),
        None => Model::build(&config, &instances, &settings),
    };
    timer.observe_duration();
    Published {
        revision: view.revision,
        config,
        instances,
        model,
    }
}
