//! A proxy's life: start everything in order, and stop it in order.
//!
//! Start: ports of one's own, workers, the configuration that was kept, the control plane; once that is
//! in force the proxy is ready, and only then an endpoint. Stop: no endpoint any more, then no new
//! connections while those there are end in peace, then the last report, and the admin interface last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_identity::{Identity, disk};
use mesh_process::logs::{self, LogsError};
use mesh_process::{BindError, Process, Shutdown};
use mesh_xds::{Workload, mesh};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Admin};
use crate::control::cache::Cache;
use crate::control::sockets::{self, Places, Sockets};
use crate::control::{Control, Freshness, Parts, renewal, resolve, stream};
use crate::metrics::Metrics;
use crate::runtime::Workers;
use crate::settings::{Role, Settings, Sidecar};
use crate::snapshot::Snapshot;
use crate::snapshot::compile::Context;
use crate::snapshot::link::Bound;
use crate::telemetry::Telemetry;
use crate::{registration, report};

/// The readiness condition of a proxy that stops, in words that complete "waiting for …".
const STOPPING: &str = "its end: it is draining";
/// Where a sidecar's own listeners ask to be bound; `--listen-…` says where they really are.
const OUTBOUND: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 15001);
const INBOUND: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 15006);
const PLAIN: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 15005);

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Others could reach the admin interface.
    #[error(
        "the admin interface asks nobody who they are: --listen-admin must be a loopback address, not {0}"
    )]
    PublicAdmin(SocketAddr),
    /// The certificate names another namespace than the settings.
    #[error(
        "the certificate is for {identity}, which is not in the namespace {namespace:?}; set --namespace, or join with a token of the right identity"
    )]
    Namespace {
        /// Whom the certificate names.
        identity: String,
        /// The namespace of the settings.
        namespace: String,
    },
    /// A port is taken or forbidden.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The state directory cannot be made.
    #[error(
        "cannot use the state directory {directory}: {source}; choose another one with --state-dir"
    )]
    State {
        /// The directory.
        directory: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A metric exists already in the process's registry.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Spans cannot be exported.
    #[error(transparent)]
    Spans(#[from] LogsError),
    /// A worker's thread could not be made.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
}

/// A proxy that runs.
#[derive(Debug)]
pub struct Running {
    /// What was bound: `admin`, `metrics`, `ready`, and for a sidecar `outbound`, `inbound`, `plain`.
    pub addresses: BTreeMap<&'static str, SocketAddr>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    freshness: watch::Receiver<Freshness>,
    process: Process,
    settings: Settings,
    workers: Workers,
    registration: Option<JoinHandle<()>>,
    /// The control loop, the report, the export of spans and the servers of metrics, health and admin, each with its stop.
    control: Task,
    report: Task,
    spans: Option<Task>,
    servers: Vec<Task>,
}

#[derive(Debug)]
struct Task {
    stop: Shutdown,
    handle: JoinHandle<()>,
}

impl Task {
    fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(Shutdown) -> F) -> Self {
        let stop = Shutdown::new();
        let handle = tokio::spawn(run(stop.clone()));
        Self { stop, handle }
    }

    async fn end(self) {
        self.stop.trigger();
        if self.handle.await.is_err() {
            tracing::warn!("a task of the proxy panicked");
        }
    }
}

/// Starts a proxy. It is ready, as `process.readiness` tells, once it has its configuration.
///
/// # Errors
///
/// [`StartError`], in words for the user. Nothing runs then.
pub async fn start(
    mut settings: Settings,
    identity: Arc<Identity>,
    process: Process,
) -> Result<Running, StartError> {
    let id = identity.id();
    if id.namespace() != settings.namespace {
        let (identity, namespace) = (id.to_string(), settings.namespace.clone());
        return Err(StartError::Namespace {
            identity,
            namespace,
        });
    }
    if !settings.listen_admin.ip().is_loopback() {
        return Err(StartError::PublicAdmin(settings.listen_admin));
    }
    disk::create_private_dir(&settings.state_dir).map_err(|source| StartError::State {
        directory: settings.state_dir.display().to_string(),
        source,
    })?;
    let mut addresses = BTreeMap::new();
    let mut listen = async |name, flag, address| {
        let listener = mesh_process::bind(flag, address).await?;
        let bound = listener
            .local_addr()
            .map_err(|error| BindError::new(flag, address, error))?;
        addresses.insert(name, bound);
        Ok::<_, StartError>(listener)
    };
    let admin_socket = listen("admin", "--listen-admin", settings.listen_admin).await?;
    let metrics_socket = listen("metrics", "--listen-metrics", settings.listen_metrics).await?;
    settings.listen_metrics = metrics_socket
        .local_addr()
        .unwrap_or(settings.listen_metrics);
    let ready_socket = listen("ready", "--listen-ready", settings.listen_ready).await?;
    let places = match &settings.role {
        Role::Sidecar(sidecar) => places(sidecar, settings.workers, &mut addresses)?,
        Role::Gateway(gateway) => Places::Mapped(gateway.port_map.clone()),
    };

    let exporter = settings.tracing.as_ref();
    let exporter = exporter.map(|tracing| logs::span_exporter(&tracing.endpoint));
    let exporter = exporter.transpose()?;
    let (telemetry, spans) = Telemetry::traced(&process.registry, settings.tracing.as_ref())?;
    let freshness = watch::Sender::new(Freshness::Never);
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let metrics = Metrics::register(
        &process.registry,
        identity.clone(),
        freshness.subscribe(),
        snapshots.clone(),
    )?;
    let workers = Workers::start(
        settings.workers,
        snapshots.clone(),
        identity.clone(),
        telemetry.clone(),
    )
    .map_err(StartError::Workers)?;

    let node = settings.node().to_node();
    let spans = spans.zip(exporter).map(|(spans, exporter)| {
        let node = node.id.clone();
        Task::spawn(|stop| spans.export(exporter, node, stop))
    });
    let parts = Parts {
        lookup: resolve::system(),
        context: Context {
            identity: identity.clone(),
            workers: settings.workers,
            workload: Arc::new(Workload {
                name: settings.workload_name.clone(),
                namespace: settings.namespace.clone(),
                principal: id.to_string(),
                ..Workload::default()
            }),
            gateway: matches!(settings.role, Role::Gateway(_)),
            secrets: Arc::default(),
        },
        sockets: Sockets::new(places, settings.workers),
        cache: Cache::new(&settings.state_dir, &node.id),
        snapshots: publish,
        freshness,
        readiness: process.readiness.clone(),
        telemetry: telemetry.clone(),
        metrics,
    };
    let (questions, asked) = mpsc::channel(8);
    let admin = Admin {
        questions,
        freshness: parts.freshness.subscribe(),
        identity: identity.clone(),
        process: process.clone(),
    };
    let (events, happening) = mpsc::channel(16);
    let control = Control::new(parts, node);
    tokio::spawn(stream::keep_up(
        settings.xds_address.clone(),
        identity.clone(),
        events,
    ));
    let control = Task::spawn(|stop| control.run(happening, asked, stop));

    let channels = renewal::channels(settings.xds_address.clone(), identity);
    let freshness = admin.freshness.clone();
    let process_id = format!("{:032x}", fastrand::u128(..));
    let registration = match &settings.role {
        Role::Sidecar(sidecar) => Some(tokio::spawn(registration::keep(
            channels.clone(),
            instance(&settings, sidecar, &addresses, &process_id),
            process.readiness.clone(),
            process.shutdown.clone(),
        ))),
        Role::Gateway(_) => None,
    };
    let report = Task::spawn(|finish| report::keep(channels, telemetry, process_id, finish));

    let health = admin::health(process.readiness.clone(), admin.freshness.clone());
    let metrics = mesh_process::admin::metrics(process.registry.clone());
    let servers = [
        (metrics_socket, metrics),
        (ready_socket, health),
        (admin_socket, admin::router(admin)),
    ];
    let servers = servers
        .map(|(socket, router)| Task::spawn(move |stop| mesh_process::serve(socket, router, stop)));
    Ok(Running {
        addresses,
        snapshots,
        freshness,
        process,
        settings,
        workers,
        registration,
        control,
        report,
        spans,
        servers: servers.into(),
    })
}

impl Running {
    /// Where each listener is bound now, by its xDS name.
    #[must_use]
    pub fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        let snapshot = self.snapshots.borrow().clone();
        let listeners = snapshot.listeners.iter();
        listeners
            .map(|(name, listener)| (name.clone(), listener.address))
            .collect()
    }

    /// Where the application listens or is to listen, `host:port`, as far as services name it.
    #[must_use]
    pub fn app_addresses(&self) -> BTreeSet<Arc<str>> {
        let snapshot = self.snapshots.borrow().clone();
        let inbound = snapshot
            .clusters
            .values()
            .filter(|cluster| cluster.name.starts_with("inbound|"));
        inbound
            .flat_map(|cluster| cluster.endpoints.iter().map(|own| own.address.clone()))
            .collect()
    }

    /// Whether the control plane is in reach.
    #[must_use]
    pub fn has_control_plane(&self) -> bool {
        *self.freshness.borrow() == Freshness::Following
    }

    /// Asks the proxy to stop; [`Self::wait`] returns when it has.
    pub fn drain(&self) {
        self.process.shutdown.trigger();
    }

    /// Runs until the process is asked to stop, then stops in order.
    pub async fn wait(mut self) {
        self.process.shutdown.wait().await;
        self.deregister().await;
        let (timeout, begun) = (self.settings.drain_timeout, Instant::now());
        self.drain_callers(timeout).await;
        self.end(timeout.saturating_sub(begun.elapsed())).await;
    }

    /// The first step of a stop: returns when others no longer send requests here, or should not.
    pub async fn deregister(&mut self) {
        self.process.shutdown.trigger();
        self.process.readiness.expect(STOPPING);
        // It hears the stop itself, and ends once others have heard that we are leaving.
        if let Some(registration) = self.registration.take()
            && registration.await.is_err()
        {
            tracing::warn!("the registration panicked");
        }
    }

    /// The second step: takes nothing more from others, and waits at most for `deadline` until those requests are done
    /// that have come. What the workload itself asks for is served as before.
    pub async fn drain_callers(&mut self, deadline: Duration) {
        self.workers.drain_callers(deadline).await;
    }

    /// The last step: waits at most for `deadline` for whatever is under way, sends the last report, and ends all.
    pub async fn end(self, deadline: Duration) {
        self.workers.drain(deadline).await;
        self.report.end().await;
        if let Some(spans) = self.spans {
            spans.end().await;
        }
        self.control.end().await;
        for server in self.servers {
            // Somebody may keep a connection open to look at metrics; the end is not theirs to delay.
            server.stop.trigger();
            server.handle.abort();
        }
        tracing::info!("stopped");
    }
}

/// Binds what a sidecar's listeners will ask for, so that others can be told where it is.
fn places(
    sidecar: &Sidecar,
    workers: usize,
    addresses: &mut BTreeMap<&'static str, SocketAddr>,
) -> Result<Places, StartError> {
    let mut places = BTreeMap::new();
    let mut bind = |name, flag, asked: (Ipv4Addr, u16), address| {
        let bound: Bound = sockets::bind(address, workers)
            .map_err(|source| BindError::new(flag, address, source))?;
        addresses.insert(name, bound.address);
        places.insert(asked.into(), bound);
        Ok::<_, StartError>(())
    };
    bind(
        "outbound",
        "--listen-outbound",
        OUTBOUND,
        sidecar.listen_outbound,
    )?;
    bind(
        "inbound",
        "--listen-inbound",
        INBOUND,
        sidecar.listen_inbound,
    )?;
    if let Some(plain) = sidecar.listen_plain {
        bind("plain", "--listen-plain", PLAIN, plain)?;
    }
    Ok(Places::Fixed(places))
}

/// What the registry is told.
fn instance(
    settings: &Settings,
    sidecar: &Sidecar,
    addresses: &BTreeMap<&'static str, SocketAddr>,
    process_id: &str,
) -> mesh::Instance {
    let port = addresses.get("inbound").map_or(0, SocketAddr::port);
    let plain = addresses.get("plain");
    mesh::Instance {
        namespace: settings.namespace.clone(),
        workload_group: sidecar.workload_group.clone(),
        name: settings.workload_name.clone(),
        address: settings.advertise_address.clone(),
        inbound_port: port.into(),
        app_ports: sidecar
            .app_ports
            .iter()
            .map(|(name, port)| (name.clone(), (*port).into()))
            .collect(),
        plain_address: plain.map_or_else(String::new, |address| {
            sockets::reachable(*address, &settings.advertise_address)
        }),
        process_id: process_id.to_owned(),
    }
}

#[cfg(test)]
mod tests;
