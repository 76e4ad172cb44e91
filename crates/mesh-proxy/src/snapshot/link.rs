//! From valid specifications to a snapshot: the second step, which settles what refers to what.
//!
//! Everything that did not change is shared with the snapshot before. What changed is put in place only
//! when it can work at once (make before break):
//!
//! - routes stay on their last version while they name a cluster whose endpoints have not come yet;
//! - a listener stays on its last version, or away, until its routes and secrets have come and its sockets are
//!   bound;
//! - a cluster that is gone stays for as long as published routes still name it.
//!
//! Each wait ends after [`WARMING`], so that a control plane that forgets something cannot hold up
//! everything else: the requests concerned then get their 503 or 404 with the flag that says why.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_xds::ResourceType;

use super::cluster::{self, ClusterSpec, Source};
use super::compile::Accepted;
use super::endpoint::Assignment;
use super::listener::{self, ListenerSpec};
use super::route::RouteSpec;
use super::{Cluster, Listener, Router, Snapshot};

/// How long something waits for what it refers to. Envoy's default for an initial fetch.
pub const WARMING: Duration = Duration::from_secs(15);

/// The sockets of a listener.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The address really bound.
    pub address: SocketAddr,
    /// One for each worker.
    pub sockets: Arc<Vec<TcpListener>>,
}

/// Why a resource is not in the snapshot in its newest accepted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when.
    pub since: Instant,
    /// For what, as in `endpoints of outbound|80|v2|shop.default.svc.cluster.local`.
    pub reason: String,
}

/// A snapshot, and what it was made of.
#[derive(Clone, Debug, Default)]
pub struct Linked {
    /// What the workers get.
    pub snapshot: Arc<Snapshot>,
    /// What waits, by type and name.
    pub waiting: BTreeMap<(ResourceType, String), Waiting>,
    /// When to link again if nothing changes until then.
    pub next: Option<Instant>,
    clusters: HashMap<Arc<str>, ClusterParts>,
    routes: BTreeMap<String, Arc<RouteSpec>>,
    listeners: BTreeMap<String, ListenerParts>,
    /// Clusters that are gone but still named, and since when.
    lingering: HashMap<Arc<str>, Instant>,
}

#[derive(Clone, Debug)]
struct ClusterParts {
    spec: Arc<ClusterSpec>,
    /// `None` while EDS has not answered.
    assignment: Option<Arc<Assignment>>,
}

impl ClusterParts {
    fn are(&self, spec: &Arc<ClusterSpec>, assignment: Option<&Arc<Assignment>>) -> bool {
        let same_assignment = match (&self.assignment, assignment) {
            (None, None) => true,
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            _ => false,
        };
        same_assignment && Arc::ptr_eq(&self.spec, spec)
    }
}

#[derive(Clone, Debug)]
struct ListenerParts {
    spec: Arc<ListenerSpec>,
    sockets: Arc<Vec<TcpListener>>,
    routers: BTreeMap<String, Arc<Router>>,
}

impl Linked {
    /// Makes the next snapshot; the same one if nothing changes. `sockets` finds what was bound for a
    /// listener.
    #[must_use]
    pub fn link(
        &self,
        accepted: &Accepted,
        sockets: impl Fn(&ListenerSpec) -> Option<Bound>,
        workers: usize,
        now: Instant,
    ) -> Self {
        let mut linker = Linker {
            before: self,
            accepted,
            workers,
            now,
            after: Self::default(),
        };
        let mut clusters = linker.clusters();
        linker.routes(&clusters.unready);
        let listeners = linker.listeners(&clusters.unready, sockets);
        linker.linger(&mut clusters.linked);
        linker.finish(clusters.linked, listeners)
    }

    /// The clusters that published routes name.
    fn named_clusters(&self) -> HashSet<&Arc<str>> {
        let inline = self
            .listeners
            .values()
            .flat_map(|parts| parts.spec.inline_clusters());
        self.routes
            .values()
            .flat_map(|spec| &spec.clusters)
            .chain(inline)
            .collect()
    }
}

struct Clusters {
    linked: HashMap<Arc<str>, Arc<Cluster>>,
    /// Those that nothing can be sent to yet, and what they lack.
    unready: BTreeMap<Arc<str>, String>,
}

struct Linker<'a> {
    before: &'a Linked,
    accepted: &'a Accepted,
    workers: usize,
    now: Instant,
    after: Linked,
}

impl Linker<'_> {
    fn clusters(&mut self) -> Clusters {
        let mut linked = HashMap::with_capacity(self.accepted.clusters.len());
        let mut unready = BTreeMap::new();
        for held in self.accepted.clusters.values() {
            let spec = &held.spec;
            let assignment = match &spec.source {
                Source::Static(assignment) => Some(assignment),
                Source::Dns(names) => Some(
                    self.accepted
                        .resolved
                        .get(&*spec.name)
                        .unwrap_or(&names.assignment),
                ),
                Source::Dynamic { nothing, .. } => Some(nothing),
                Source::Eds(name) => self.accepted.endpoints.get(name).map(|held| &held.spec),
            };
            let before = self.before.clusters.get(&spec.name);
            let before = before.zip(self.before.snapshot.clusters.get(&spec.name));
            let (parts, cluster) = match before {
                Some((parts, cluster)) if parts.are(spec, assignment) => {
                    (parts.clone(), Arc::clone(cluster))
                }
                // Its endpoints will come from elsewhere: until then the old ones are better than none.
                Some((parts, cluster)) if assignment.is_none() && parts.assignment.is_some() => {
                    (parts.clone(), Arc::clone(cluster))
                }
                before => {
                    let before = before.map(|(_, cluster)| &**cluster);
                    let parts = ClusterParts {
                        spec: Arc::clone(spec),
                        assignment: assignment.cloned(),
                    };
                    let nothing = Assignment::default();
                    let assignment = parts.assignment.as_deref().unwrap_or(&nothing);
                    let cluster = cluster::build(spec, assignment, before, self.workers);
                    (parts, Arc::new(cluster))
                }
            };
            let secret = spec.secrets.iter().find(|slot| !slot.is_filled());
            let lack = match (&parts.assignment, secret) {
                (None, _) => Some(format!("endpoints of {}", spec.name)),
                (_, Some(slot)) => Some(format!("the secret {} of {}", slot.name(), spec.name)),
                _ => None,
            };
            if let Some(lack) = lack {
                unready.insert(Arc::clone(&spec.name), lack);
            }
            self.after.clusters.insert(Arc::clone(&spec.name), parts);
            linked.insert(Arc::clone(&spec.name), cluster);
        }
        Clusters { linked, unready }
    }

    fn routes(&mut self, unready: &BTreeMap<Arc<str>, String>) {
        for (name, held) in &self.accepted.routes {
            let before = self.before.routes.get(name);
            let is_new = before.is_none_or(|before| !Arc::ptr_eq(before, &held.spec));
            let mut lacks = unready.iter();
            let missing = lacks.find(|(cluster, _)| held.spec.clusters.contains(*cluster));
            let spec = match missing {
                Some((_, lack)) if is_new => {
                    if self.may_wait(ResourceType::Route, name, held.since, lack.clone()) {
                        before
                    } else {
                        Some(&held.spec)
                    }
                }
                _ => Some(&held.spec),
            };
            if let Some(spec) = spec {
                self.after.routes.insert(name.clone(), Arc::clone(spec));
            }
        }
    }

    fn listeners(
        &mut self,
        unready: &BTreeMap<Arc<str>, String>,
        sockets: impl Fn(&ListenerSpec) -> Option<Bound>,
    ) -> BTreeMap<String, Arc<Listener>> {
        let mut linked = BTreeMap::new();
        for (name, held) in &self.accepted.listeners {
            let before = self.before.listeners.get(name);
            let before = before.zip(self.before.snapshot.listeners.get(name));
            let is_new = before.is_none_or(|(parts, _)| !Arc::ptr_eq(&parts.spec, &held.spec));
            let bound = sockets(&held.spec);
            let missing = match &bound {
                None => Some(format!("a socket on {}", held.spec.address)),
                Some(_) if is_new => self.missing_of(&held.spec, unready),
                Some(_) => None,
            };
            let stays = match (missing, &bound) {
                (None, _) => false,
                // There is no way to serve without a socket, so this wait has no end.
                (Some(reason), None) => self.wait(ResourceType::Listener, name, held.since, reason),
                (Some(reason), Some(_)) => {
                    self.may_wait(ResourceType::Listener, name, held.since, reason)
                }
            };
            let listener = match (stays, bound, before) {
                (false, Some(bound), before) => self.listener(name, &held.spec, &bound, before),
                (_, _, Some((parts, listener))) => {
                    let bound = Bound {
                        address: listener.address,
                        sockets: Arc::clone(&parts.sockets),
                    };
                    let spec = Arc::clone(&parts.spec);
                    self.listener(name, &spec, &bound, before)
                }
                _ => continue,
            };
            linked.insert(name.clone(), listener);
        }
        linked
    }

    /// What a new version of a listener would lack.
    fn missing_of(
        &self,
        spec: &ListenerSpec,
        unready: &BTreeMap<Arc<str>, String>,
    ) -> Option<String> {
        let routes = spec.route_names();
        let route = routes
            .into_iter()
            .find(|name| !self.after.routes.contains_key(*name));
        let cluster = spec.inline_clusters().find_map(|name| unready.get(name));
        let secret = spec.secrets().find(|slot| !slot.is_filled());
        route
            .map(|name| format!("routes {name}"))
            .or_else(|| cluster.cloned())
            .or_else(|| secret.map(|slot| format!("the secret {}", slot.name())))
    }

    fn listener(
        &mut self,
        name: &str,
        spec: &Arc<ListenerSpec>,
        bound: &Bound,
        before: Option<(&ListenerParts, &Arc<Listener>)>,
    ) -> Arc<Listener> {
        let mut routers = BTreeMap::new();
        for route in spec.route_names() {
            let now = self.after.routes.get(route).map(|spec| &spec.router);
            // A version that waits to be replaced may use routes that nobody asks for any more.
            let then = || before.and_then(|(parts, _)| parts.routers.get(route));
            if let Some(router) = now.or_else(then) {
                routers.insert(route.to_owned(), Arc::clone(router));
            }
        }
        let parts = ListenerParts {
            spec: Arc::clone(spec),
            sockets: Arc::clone(&bound.sockets),
            routers,
        };
        let listener = match before {
            Some((before, listener)) if before.is(&parts) => Arc::clone(listener),
            _ => Arc::new(listener::build(
                spec,
                bound.address,
                &bound.sockets,
                |name| parts.routers.get(name).cloned(),
            )),
        };
        self.after.listeners.insert(name.to_owned(), parts);
        listener
    }

    /// Keeps clusters that are gone while published routes name them.
    fn linger(&mut self, linked: &mut HashMap<Arc<str>, Arc<Cluster>>) {
        let gone = self.before.snapshot.clusters.iter();
        let gone: Vec<_> = gone
            .filter(|(name, _)| !linked.contains_key(*name))
            .collect();
        if gone.is_empty() {
            return;
        }
        let named: HashSet<Arc<str>> = self.after.named_clusters().into_iter().cloned().collect();
        for (name, cluster) in gone {
            let since = *self.before.lingering.get(name).unwrap_or(&self.now);
            if named.contains(name) && self.now < since + WARMING {
                self.after.lingering.insert(Arc::clone(name), since);
                self.wake_at(since + WARMING);
                linked.insert(Arc::clone(name), Arc::clone(cluster));
            }
        }
    }

    fn finish(
        mut self,
        clusters: HashMap<Arc<str>, Arc<Cluster>>,
        listeners: BTreeMap<String, Arc<Listener>>,
    ) -> Linked {
        let before = &self.before.snapshot;
        let same_clusters = clusters.len() == before.clusters.len()
            && clusters.iter().all(|(name, cluster)| {
                before
                    .clusters
                    .get(name)
                    .is_some_and(|before| Arc::ptr_eq(before, cluster))
            });
        let same_listeners = listeners.len() == before.listeners.len()
            && listeners.iter().all(|(name, listener)| {
                before
                    .listeners
                    .get(name)
                    .is_some_and(|before| Arc::ptr_eq(before, listener))
            });
        self.after.snapshot = if same_clusters && same_listeners {
            Arc::clone(before)
        } else {
            Arc::new(Snapshot {
                version: before.version + 1,
                listeners,
                clusters,
            })
        };
        self.after
    }

    /// Notes that something waits, if it has not waited for too long.
    fn may_wait(&mut self, kind: ResourceType, name: &str, since: Instant, reason: String) -> bool {
        let since = self.waiting_since(kind, name, since);
        if self.now >= since + WARMING {
            return false;
        }
        self.wake_at(since + WARMING);
        self.wait(kind, name, since, reason)
    }

    fn wait(&mut self, kind: ResourceType, name: &str, since: Instant, reason: String) -> bool {
        let since = self.waiting_since(kind, name, since);
        self.after
            .waiting
            .insert((kind, name.to_owned()), Waiting { since, reason });
        true
    }

    /// A newer version does not start the wait anew, or a busy control plane could prolong it forever.
    fn waiting_since(&self, kind: ResourceType, name: &str, since: Instant) -> Instant {
        let before = self.before.waiting.get(&(kind, name.to_owned()));
        before.map_or(since, |waiting| waiting.since.min(since))
    }

    fn wake_at(&mut self, at: Instant) {
        self.after.next = Some(self.after.next.map_or(at, |next| next.min(at)));
    }
}

impl ListenerParts {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
            && Arc::ptr_eq(&self.sockets, &other.sockets)
            && self.routers.len() == other.routers.len()
            && self
                .routers
                .iter()
                .zip(&other.routers)
                .all(|((a, one), (b, other))| a == b && Arc::ptr_eq(one, other))
    }
}

#[cfg(test)]
mod tests;
