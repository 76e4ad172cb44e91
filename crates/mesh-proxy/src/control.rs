//! The control thread's half of a proxy: follows the control plane and publishes snapshots.
//!
//! One loop owns everything: what was accepted, what waits, which sockets are bound. A response is
//! compiled resource by resource, sockets are bound, a snapshot is linked and published, and only then
//! answered, with a reason for each resource that was refused. Workers are never waited for and never
//! made to wait. Read [`stream`] for the connection, [`sockets`] for binding, [`cache`] for what is kept
//! on disk, and `snapshot/compile.rs` and `snapshot/link.rs` for what is done with a response.

pub(crate) mod cache;
pub(crate) mod renewal;
pub(crate) mod resolve;
pub(crate) mod sockets;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mesh_process::{Readiness, Shutdown};
use mesh_xds::ResourceType;
use mesh_xds::client::{DeltaClient, Rejection, Update};
use mesh_xds::envoy::core::Node;
use mesh_xds::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::cache::{Cache, Kept};
use self::resolve::Resolver;
use self::sockets::Sockets;
use self::stream::{Event, Requests};
use crate::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::{Accepted, Context};
use crate::snapshot::link::Linked;
use crate::telemetry::Telemetry;

/// The readiness condition, in words that complete "waiting for …".
pub(crate) const CONFIGURATION: &str = "its first configuration from the control plane";
/// Changes are written to disk together.
const SAVE_AFTER: Duration = Duration::from_secs(2);
/// How often files with certificates are read. Reading finds every way in which they can change, also by links
/// that lead elsewhere.
const LOOK_AT_FILES: Duration = Duration::from_secs(2);

/// How fresh the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// There is none, and the control plane has not been reached yet.
    Never,
    /// The stream is up.
    Following,
    /// The control plane is away since then; the configuration is from before.
    AwaySince(SystemTime),
}

/// What is in force, for people to look at.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Secrets in use, and what is wrong with them.
    pub(crate) secrets: BTreeMap<String, Option<String>>,
    pub(crate) accepted: Accepted,
    pub(crate) linked: Linked,
    /// Listeners that could not be bound, and why.
    pub(crate) unbound: BTreeMap<String, String>,
}

/// Asks the control loop what is in force.
pub(crate) type Questions = mpsc::Sender<oneshot::Sender<View>>;

/// What the loop works with.
pub(crate) struct Parts {
    pub(crate) context: Context,
    pub(crate) sockets: Sockets,
    pub(crate) cache: Cache,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(crate) freshness: watch::Sender<Freshness>,
    pub(crate) readiness: Readiness,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lookup: resolve::Lookup,
}

/// The loop's state.
pub(crate) struct Control {
    parts: Parts,
    client: DeltaClient,
    accepted: Accepted,
    linked: Linked,
    resolver: Resolver,
    /// The stream, while it may be used.
    requests: Option<Requests>,
    /// Types that the control plane, or the disk, has said something about.
    answered: BTreeSet<ResourceType>,
    save: Save,
    /// The last reason for which the stream was lost, so that each is told once.
    lost: String,
    /// When to look whether certificates in files have changed.
    look_at_files: Option<Instant>,
    /// Looks that are under way, beside the loop. One whose file system does not answer is waited for by nobody.
    looks: JoinSet<bool>,
}

#[derive(Default)]
struct Save {
    /// When what changed is to be written.
    at: Option<Instant>,
    running: Option<JoinHandle<()>>,
}

impl Control {
    /// Begins with what is kept on disk, if anything is.
    pub(crate) fn new(parts: Parts, node: Node) -> Self {
        parts.readiness.expect(CONFIGURATION);
        let kept = parts.cache.load();
        let resolver = Resolver::new(Arc::clone(&parts.lookup));
        let mut control = Self {
            parts,
            client: DeltaClient::new(node.clone()),
            accepted: Accepted::default(),
            linked: Linked::default(),
            resolver,
            requests: None,
            answered: BTreeSet::new(),
            save: Save::default(),
            lost: String::new(),
            look_at_files: None,
            looks: JoinSet::new(),
        };
        if let Some(kept) = kept {
            control.resume(kept, node);
        }
        control
    }

    /// Follows the control plane until `stop`. What was accepted is on disk when it returns.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut questions: mpsc::Receiver<oneshot::Sender<View>>,
        stop: Shutdown,
    ) {
        loop {
            let wake = self.wake_at().map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                () = stop.wait() => break,
                Some(event) = events.recv() => self.on_event(event),
                // After the events, so that an answer has seen all that came before the question.
                Some(question) = questions.recv() => {
                    // Whoever asked may have gone.
                    _ = question.send(self.view());
                }
                Some(answer) = self.resolver.next() => {
                    self.resolver.take(answer, &mut self.accepted);
                    self.link(now());
                }
                Some(changed) = self.looks.join_next() => if changed.is_ok_and(|changed| changed) {
                    self.link(now());
                },
                () = sleep_until(wake) => self.on_time(),
            }
        }
        self.finish().await;
    }

    fn resume(&mut self, kept: Kept, node: Node) {
        let now = now();
        let Kept {
            mut resources,
            confirmed,
        } = kept;
        for (kind, rejection) in self
            .accepted
            .apply_all(&resources, &self.parts.context, now)
        {
            tracing::warn!(%kind, name = rejection.name, reason = rejection.reason, "a resource that was kept is refused");
            resources.remove(kind, &rejection.name);
        }
        self.client = DeltaClient::with_resources(node, resources);
        self.answered.extend(ResourceType::ALL);
        self.parts
            .freshness
            .send_replace(Freshness::AwaySince(confirmed));
        self.refresh_secrets(now);
        self.bind(now);
        self.subscribe();
        self.link(now);
        tracing::info!(
            confirmed = %humantime::format_rfc3339_seconds(confirmed),
            listeners = self.linked.snapshot.listeners.len(),
            clusters = self.linked.snapshot.clusters.len(),
            "serving the configuration that was kept, until the control plane answers"
        );
    }

    fn on_event(&mut self, event: Event) {
        match event {
            // The first one, or one with a renewed certificate: what is held goes on, and the earlier stream
            // is not asked for anything any more.
            Event::Up(requests) => {
                for request in self.client.reconnect() {
                    requests.send(request);
                }
                self.requests = Some(requests);
            }
            // What still comes from a stream that was closed is not listened to.
            Event::Response(_) if self.requests.is_none() => {}
            Event::Response(response) => self.on_response(*response),
            Event::Down(reason) => self.on_down(reason),
        }
    }

    fn on_down(&mut self, reason: String) {
        self.requests = None;
        self.parts
            .freshness
            .send_if_modified(|freshness| match freshness {
                Freshness::Following => {
                    *freshness = Freshness::AwaySince(SystemTime::now());
                    true
                }
                Freshness::Never | Freshness::AwaySince(_) => false,
            });
        if self.lost == reason {
            tracing::debug!(reason, "the control plane is still away");
        } else {
            let serving = self.linked.snapshot.version;
            tracing::warn!(
                reason,
                serving,
                "the control plane is away; the last configuration stays"
            );
            self.lost = reason;
        }
    }

    fn on_response(&mut self, response: DeltaDiscoveryResponse) {
        let update = match self.client.on_response(response) {
            Ok(update) => update,
            Err(error) => {
                // Its end is an event like any other, and the next stream begins from what is held.
                if let Some(requests) = self.requests.take() {
                    requests.close(format!("the control plane broke the protocol: {error}"));
                }
                return;
            }
        };
        if self.parts.freshness.send_replace(Freshness::Following) != Freshness::Following {
            tracing::info!("following the control plane");
            self.lost.clear();
        }
        let (kind, now) = (update.resource_type, now());
        let Update {
            changed, removed, ..
        } = &update;
        let mut rejections = self
            .accepted
            .apply(kind, changed, removed, &self.parts.context, now);
        self.answered.insert(kind);
        if kind == ResourceType::Listener {
            rejections.extend(self.bind(now));
        }
        for rejection in update.malformed.iter().chain(&rejections) {
            tracing::warn!(%kind, name = rejection.name, reason = rejection.reason, "a resource is refused");
            self.parts
                .metrics
                .rejections
                .with_label_values(&[kind.abbreviation()])
                .inc();
        }
        self.refresh_secrets(now);
        // What is new is asked for before the answer, which tells the control plane to go on.
        if kind.is_wildcard() {
            self.subscribe();
        }
        self.link(now);
        let answer = self.client.nack(&update, &rejections);
        self.send(answer);
        self.save.at.get_or_insert(now + SAVE_AFTER);
    }

    /// Binds what listeners ask for.
    fn bind(&mut self, now: Instant) -> Vec<Rejection> {
        let specs = self.accepted.listeners.values().map(|held| &*held.spec);
        self.parts.sockets.keep_in_step(specs, now)
    }

    /// Asks for what clusters and listeners need.
    fn subscribe(&mut self) {
        let wanted = [
            (ResourceType::Endpoint, self.accepted.wanted_endpoints()),
            (ResourceType::Route, self.accepted.wanted_routes()),
            (ResourceType::Secret, self.accepted.wanted_secrets()),
        ];
        for (kind, names) in wanted {
            if let Some(request) = self.client.subscribe(kind, names) {
                self.send(request);
            }
        }
    }

    /// Brings what has come of secrets into use; at files the loop looks next.
    fn refresh_secrets(&mut self, now: Instant) {
        let secrets = &self.accepted.secrets;
        self.parts.context.secrets.refresh(secrets);
        let in_files = secrets.values().any(|held| held.spec.is_in_files());
        self.look_at_files = in_files.then_some(now);
    }

    /// Begins to look at secrets in files, and does so again after a while.
    fn look_at_files(&mut self, now: Instant) {
        for look in self.parts.context.secrets.looks(&self.accepted.secrets) {
            self.looks.spawn_blocking(move || look.take());
        }
        self.look_at_files = Some(now + LOOK_AT_FILES);
    }

    /// Publishes a snapshot of all that is ready.
    fn link(&mut self, now: Instant) {
        self.resolver.keep_in_step(&mut self.accepted);
        let Parts {
            sockets, context, ..
        } = &self.parts;
        let linked = self.linked.link(
            &self.accepted,
            |spec| sockets.get(spec),
            context.workers,
            now,
        );
        for ((kind, name), waiting) in &linked.waiting {
            let before = self.linked.waiting.get(&(*kind, name.clone()));
            if before.is_none_or(|before| before.reason != waiting.reason) {
                tracing::info!(%kind, name, reason = waiting.reason, "a new version waits");
            }
        }
        let is_new = !Arc::ptr_eq(&linked.snapshot, &self.linked.snapshot);
        self.linked = linked;
        if is_new {
            let snapshot = &self.linked.snapshot;
            tracing::debug!(version = snapshot.version, "publishing a snapshot");
            self.parts.telemetry.retain(snapshot);
            self.parts.metrics.published(snapshot);
            self.parts.snapshots.send_replace(Arc::clone(snapshot));
        }
        let has_both = [ResourceType::Cluster, ResourceType::Listener]
            .iter()
            .all(|kind| self.answered.contains(kind));
        let mut waiting = self.linked.waiting.keys();
        if has_both && waiting.all(|(kind, name)| self.can_do_without(*kind, name)) {
            if self.parts.readiness.pending().contains(&CONFIGURATION) {
                // The first whole configuration: from here on a restart needs no control plane.
                self.save.at = Some(now);
            }
            self.parts.readiness.set(CONFIGURATION, true);
        }
    }

    /// Whether the proxy is of use before this comes.
    fn can_do_without(&self, kind: ResourceType, name: &str) -> bool {
        let listener = self.accepted.listeners.get(name);
        kind == ResourceType::Listener
            && listener.is_some_and(|held| self.parts.sockets.can_do_without(&held.spec))
    }

    fn send(&self, request: DeltaDiscoveryRequest) {
        if let Some(requests) = &self.requests {
            requests.send(request);
        }
    }

    fn view(&self) -> View {
        let specs = self.accepted.listeners.values().map(|held| &held.spec);
        let unbound = specs.filter_map(|spec| {
            let reason = self.parts.sockets.failure(spec)?;
            Some((spec.name.to_string(), reason.to_owned()))
        });
        View {
            accepted: self.accepted.clone(),
            secrets: self.parts.context.secrets.states(),
            linked: self.linked.clone(),
            unbound: unbound.collect(),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        [
            self.linked.next,
            self.parts.sockets.next_retry(),
            self.save.at,
            self.look_at_files,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_time(&mut self) {
        let now = now();
        if self.look_at_files.is_some_and(|at| at <= now) {
            self.look_at_files(now);
        }
        self.bind(now);
        self.link(now);
        if self.save.at.is_some_and(|at| at <= now) {
            if self
                .save
                .running
                .as_ref()
                .is_some_and(|save| !save.is_finished())
            {
                self.save.at = Some(now + SAVE_AFTER);
            } else {
                self.save();
            }
        }
    }

    /// Writes to disk beside the loop.
    fn save(&mut self) {
        self.save.at = None;
        let confirmed = match *self.parts.freshness.borrow() {
            Freshness::AwaySince(time) => time,
            Freshness::Following => SystemTime::now(),
            // There is nothing that anybody has confirmed.
            Freshness::Never => return,
        };
        let (cache, held) = (self.parts.cache.clone(), self.client.held().clone());
        self.save.running = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = cache.save(&held, confirmed) {
                tracing::warn!(%error, "cannot keep the configuration on disk; a restart will need the control plane");
            }
        }));
    }

    async fn finish(mut self) {
        let before = self.save.running.take();
        self.save();
        for save in [before, self.save.running.take()].into_iter().flatten() {
            _ = save.await;
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
