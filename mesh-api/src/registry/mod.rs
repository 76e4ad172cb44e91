//! Who is running: the instances that registered, on which endpoints are built.
//!
//! [`table`] holds the leases and [`admit`] says who may have one, both without I/O. [`service`] is the gRPC
//! side. Here they meet the clock and the disk: what is registered survives a restart of the control plane,
//! so that endpoints do not vanish while their proxies reconnect.

mod admit;
mod service;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_compile::Instance;
use mesh_config::Config;
use mesh_identity::SpiffeId;
use mesh_process::Shutdown;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub(crate) use admit::{admit, may_speak_for};
pub(crate) use service::RegistryService;
pub(crate) use table::{Arrival, Ended, GRACE, LEASE, Registered, StreamId, Table};

use crate::events::Events;
use crate::store::{DiskError, read_json, write_json};

/// How long changes are gathered before the file is written. Who registers and is forgotten by a crash in
/// between is no endpoint until it comes back.
const WRITE_DELAY: Duration = Duration::from_millis(50);

/// The registered instances.
#[derive(Debug)]
pub(crate) struct Registry {
    table: Mutex<Table>,
    /// Counts the changes of who is there.
    changes: watch::Sender<u64>,
    file: PathBuf,
    events: Events,
}

/// Why an instance may not have its name.
#[derive(Debug, thiserror::Error)]
#[error(
    "the name {name} in namespace {namespace} is that of an instance of the service account {service_account}; choose another --workload-name, or stop that one first"
)]
pub(crate) struct Taken {
    namespace: String,
    name: String,
    service_account: String,
}

impl Registry {
    /// Opens the registry that an earlier life left in the state directory, or an empty one. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if the file is damaged or cannot be read.
    pub(crate) fn open(state_dir: &Path, events: Events) -> Result<Arc<Self>, DiskError> {
        let file = state_dir.join("registry.json");
        let way_out = "remove it: running agents register again by themselves";
        let earlier: Vec<Registered> = read_json(&file, way_out)?.unwrap_or_default();
        if !earlier.is_empty() {
            tracing::info!(
                instances = earlier.len(),
                grace_s = GRACE.as_secs(),
                "instances of an earlier life stay while they come back"
            );
        }
        Ok(Arc::new(Self {
            table: Mutex::new(Table::restored(earlier, Instant::now())),
            changes: watch::Sender::new(0),
            file,
            events,
        }))
    }

    /// Follows the changes of who is there.
    #[must_use]
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Everybody who is there and whose WorkloadGroup is there, with the group's own service account.
    #[must_use]
    pub(crate) fn instances(&self, config: &Config) -> Vec<Instance> {
        self.lock()
            .iter()
            .filter(|registered| admit::still_admitted(config, registered))
            .map(|registered| registered.instance.clone())
            .collect()
    }

    /// How many there are, whatever became of their groups.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.lock().iter().count()
    }

    /// A stream registers an instance, whoever of its service account had the name.
    ///
    /// # Errors
    ///
    /// If the name belongs to an instance of another service account, which nobody may push out.
    pub(crate) fn register(&self, registered: &Registered) -> Result<StreamId, Taken> {
        let instance = &registered.instance;
        let (stream, arrival, differs) = {
            let mut table = self.lock();
            let before = table.get(&instance.namespace, &instance.name).cloned();
            if let Some(other) = &before
                && other.service_account != registered.service_account
            {
                return Err(Taken {
                    namespace: instance.namespace.clone(),
                    name: instance.name.clone(),
                    service_account: other.service_account.clone(),
                });
            }
            let (stream, arrival) = table.register(registered.clone(), Instant::now());
            (stream, arrival, before.as_ref() != Some(registered))
        };
        let (namespace, name, group) = (&instance.namespace, &instance.name, &instance.group);
        match arrival {
            Arrival::New => tracing::info!(namespace, name, group, "instance registered"),
            Arrival::Back | Arrival::Known | Arrival::Restarted => {
                tracing::info!(namespace, name, group, "instance came back");
            }
            Arrival::Renewed => {
                tracing::debug!(namespace, name, group, "instance renewed its stream");
            }
            Arrival::Replaced => {
                tracing::warn!(
                    namespace,
                    name,
                    group,
                    "instance replaced another one of its name"
                );
            }
        }
        self.events.registered(instance, arrival);
        if differs {
            self.changed();
        }
        Ok(stream)
    }

    /// Somebody may not register.
    pub(crate) fn refused(&self, peer: &SpiffeId, reason: &str) {
        tracing::warn!(%peer, reason, "registration refused");
        self.events.registration_refused(peer, reason);
    }

    /// A stream renews its lease.
    pub(crate) fn heartbeat(&self, stream: StreamId, registered: &Registered) {
        if self.lock().heartbeat(stream, registered, Instant::now()) {
            let Instance {
                namespace, name, ..
            } = &registered.instance;
            tracing::info!(namespace, name, "instance is heard of again");
            self.events.heard_of_again(&registered.instance);
            self.changed();
        }
    }

    /// A stream ended because its client wants to leave.
    pub(crate) fn leave(&self, stream: StreamId, registered: &Registered) {
        if self.lock().leave(stream, registered) {
            let Instance {
                namespace, name, ..
            } = &registered.instance;
            tracing::info!(namespace, name, "instance left");
            self.events.left(&registered.instance);
            self.changed();
        }
    }

    /// A stream broke; the lease decides.
    pub(crate) fn broken(&self, stream: StreamId, registered: &Registered) {
        if self.lock().broken(stream, registered) {
            self.events.lost(&registered.instance);
        }
    }

    /// Ends leases and keeps the file up to date, until the stop.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut changes = self.subscribe();
        let mut write_at: Option<Instant> = None;
        loop {
            let next_expiry = self.lock().next_expiry();
            tokio::select! {
                () = shutdown.wait() => break,
                () = at(next_expiry) => self.expire(),
                () = at(write_at) => {
                    write_at = None;
                    Arc::clone(&self).write().await;
                }
                // The sender lives in self.
                _ = changes.changed() => {
                    write_at = write_at.or_else(|| Some(Instant::now() + WRITE_DELAY));
                }
            }
        }
        self.write().await;
    }

    fn expire(&self) {
        let gone = self.lock().expire(Instant::now());
        for (instance, ended) in &gone {
            let Instance {
                namespace, name, ..
            } = instance;
            tracing::warn!(
                namespace,
                name,
                "instance was not heard of for too long and is gone"
            );
            self.events.gone(instance, *ended);
        }
        if !gone.is_empty() {
            self.changed();
        }
    }

    async fn write(self: Arc<Self>) {
        let earlier: Vec<Registered> = self.lock().iter().cloned().collect();
        let written = tokio::task::spawn_blocking(move || write_json(&self.file, &earlier)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the registry is not on disk: a restart would forget instances");
            }
            Err(error) => tracing::error!(%error, "writing the registry broke off"),
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a moment, or for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
