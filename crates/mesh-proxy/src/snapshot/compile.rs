//! From xDS resources to valid specifications, resource by resource.
//!
//! This is the first of two steps. Here each resource is read by itself: it is accepted, or refused with
//! the name of the field at fault while its last good version stays. What refers to what is settled in
//! the second step, [`super::link`], which makes a [`super::Snapshot`]. In between, the control thread
//! binds the sockets that the listeners ask for. Both steps are pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use mesh_identity::Identity;
use mesh_xds::client::Rejection;
use mesh_xds::{Discoverable, Resource, ResourceSet, ResourceType, Workload};

use super::cluster::{self, ClusterSpec, Source};
use super::endpoint::{self, Assignment};
use super::field::{At, Refusal};
use super::listener::{self, ListenerSpec};
use super::route::{self, RouteSpec};
use super::secret::{self, SecretSpec, Secrets, Slot};

/// What resources are read with, for the whole life of a proxy.
#[derive(Clone, Debug)]
pub struct Context {
    /// Whose certificate is shown and whose roots are believed.
    pub identity: Arc<Identity>,
    /// How many workers share the live state.
    pub workers: usize,
    /// The workload of listeners that name none.
    pub workload: Arc<Workload>,
    /// The proxy stands at the edge: its outbound listeners face strangers.
    pub gateway: bool,
    /// Where what has come of secrets is found.
    pub secrets: Arc<Secrets>,
}

/// A resource in its last good version.
#[derive(Debug)]
pub struct Held<T> {
    /// As it came; `None` for one that the control plane said does not exist.
    pub resource: Option<Arc<Resource>>,
    /// What it means.
    pub spec: Arc<T>,
    /// When this version came.
    pub since: Instant,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self {
            resource: self.resource.clone(),
            spec: Arc::clone(&self.spec),
            since: self.since,
        }
    }
}

/// A version of a resource that was not accepted.
#[derive(Clone, Debug)]
pub struct Refused {
    /// That version.
    pub version: String,
    /// The field and the reason.
    pub reason: String,
}

/// Everything that was accepted, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// By name.
    pub clusters: BTreeMap<String, Held<ClusterSpec>>,
    /// By the name under which a cluster asks for them.
    pub endpoints: BTreeMap<String, Held<Assignment>>,
    /// By name.
    pub listeners: BTreeMap<String, Held<ListenerSpec>>,
    /// By name.
    pub routes: BTreeMap<String, Held<RouteSpec>>,
    /// What the names of clusters have turned out to be, by cluster.
    pub resolved: BTreeMap<String, Arc<Assignment>>,
    /// By name.
    pub secrets: BTreeMap<String, Held<SecretSpec>>,
    /// Until another version is accepted, or the resource is gone.
    pub refused: BTreeMap<(ResourceType, String), Refused>,
}

impl Accepted {
    /// Takes what changed in one type, and returns what was refused of it.
    ///
    /// A resource whose version is held already keeps its specification. Endpoints and routes that are
    /// said to be gone while something still asks for them stay as they are, as in Envoy: they leave
    /// with what asks for them.
    pub fn apply(
        &mut self,
        kind: ResourceType,
        changed: &[Arc<Resource>],
        removed: &[String],
        context: &Context,
        now: Instant,
    ) -> Vec<Rejection> {
        let trust = (&context.identity, &*context.secrets);
        let workers = context.workers;
        let mut table = Table {
            kind,
            refused: &mut self.refused,
            changed,
            removed,
            now,
        };
        let rejections = match kind {
            ResourceType::Cluster => table.update(&mut self.clusters, |message, before| {
                cluster::compile(&At::ROOT, message, before, trust)
            }),
            ResourceType::Endpoint => {
                table.note_absent(&mut self.endpoints, |_| Assignment::default());
                table.update(&mut self.endpoints, |message, _| {
                    endpoint::compile(&At::ROOT, message)
                })
            }
            ResourceType::Listener => table.update(&mut self.listeners, |message, before| {
                listener::compile(&At::ROOT, message, before, context)
            }),
            ResourceType::Route => {
                table.note_absent(&mut self.routes, RouteSpec::empty);
                table.update(&mut self.routes, |message, before| {
                    let before = before.map(|spec| &*spec.router);
                    route::compile(&At::ROOT, message, before, workers)
                })
            }
            ResourceType::Secret => table.update(&mut self.secrets, |message, _| {
                secret::compile(&At::ROOT, message)
            }),
        };
        self.forget_unwanted(kind);
        rejections
    }

    /// Takes a whole set, as it was kept on disk.
    pub fn apply_all(
        &mut self,
        resources: &ResourceSet,
        context: &Context,
        now: Instant,
    ) -> Vec<(ResourceType, Rejection)> {
        let mut rejections = Vec::new();
        // Clusters and listeners after endpoints and routes, and secrets after both: what nobody asks for is
        // forgotten.
        for kind in [
            ResourceType::Endpoint,
            ResourceType::Route,
            ResourceType::Cluster,
            ResourceType::Listener,
            ResourceType::Secret,
        ] {
            let changed: Vec<_> = resources.iter(kind).cloned().collect();
            let refused = self.apply(kind, &changed, &[], context, now);
            rejections.extend(refused.into_iter().map(|rejection| (kind, rejection)));
        }
        rejections
    }

    /// The endpoints that clusters ask for.
    #[must_use]
    pub fn wanted_endpoints(&self) -> BTreeSet<String> {
        let eds = self
            .clusters
            .values()
            .filter_map(|held| match &held.spec.source {
                Source::Eds(name) => Some(name.clone()),
                Source::Static(_) | Source::Dns(_) | Source::Dynamic { .. } => None,
            });
        eds.collect()
    }

    /// The routes that listeners ask for.
    #[must_use]
    pub fn wanted_routes(&self) -> BTreeSet<String> {
        let names = self
            .listeners
            .values()
            .flat_map(|held| held.spec.route_names());
        names.map(str::to_owned).collect()
    }

    /// The secrets that listeners and clusters ask for.
    #[must_use]
    pub fn wanted_secrets(&self) -> BTreeSet<String> {
        let listeners = self.listeners.values();
        let listeners = listeners.flat_map(|held| held.spec.secrets().map(Slot::name));
        let clusters = self.clusters.values();
        let clusters = clusters.flat_map(|held| held.spec.secrets.iter().map(|slot| slot.name()));
        listeners.chain(clusters).map(str::to_owned).collect()
    }

    fn forget_unwanted(&mut self, changed: ResourceType) {
        let (dependent, wanted) = match changed {
            ResourceType::Cluster => (ResourceType::Endpoint, self.wanted_endpoints()),
            ResourceType::Listener => (ResourceType::Route, self.wanted_routes()),
            ResourceType::Endpoint | ResourceType::Route | ResourceType::Secret => return,
        };
        match dependent {
            ResourceType::Endpoint => self.endpoints.retain(|name, _| wanted.contains(name)),
            _ => self.routes.retain(|name, _| wanted.contains(name)),
        }
        self.refused
            .retain(|(kind, name), _| *kind != dependent || wanted.contains(name));
        let wanted = self.wanted_secrets();
        self.secrets.retain(|name, _| wanted.contains(name));
        self.refused
            .retain(|(kind, name), _| *kind != ResourceType::Secret || wanted.contains(name));
    }
}

impl RouteSpec {
    fn empty(name: &str) -> Self {
        let router = super::Router {
            name: name.into(),
            ..super::Router::default()
        };
        Self {
            router: Arc::new(router),
            clusters: BTreeSet::new(),
        }
    }
}

/// One type's part of an update.
struct Table<'a> {
    kind: ResourceType,
    refused: &'a mut BTreeMap<(ResourceType, String), Refused>,
    changed: &'a [Arc<Resource>],
    removed: &'a [String],
    now: Instant,
}

impl Table<'_> {
    fn update<M: Discoverable, T>(
        &mut self,
        held: &mut BTreeMap<String, Held<T>>,
        compile: impl Fn(&M, Option<&T>) -> Result<T, Refusal>,
    ) -> Vec<Rejection> {
        let mut rejections = Vec::new();
        for resource in self.changed {
            let before = held.get(&resource.name);
            let is_known = before
                .and_then(|held| held.resource.as_ref())
                .is_some_and(|known| {
                    known.version == resource.version && known.any == resource.any
                });
            let key = (self.kind, resource.name.clone());
            if is_known {
                self.refused.remove(&key);
                continue;
            }
            let compiled = read(resource).and_then(|message| {
                compile(&message, before.map(|held| &*held.spec))
                    .map_err(|refusal| refusal.to_string())
            });
            match compiled {
                Ok(spec) => {
                    self.refused.remove(&key);
                    let resource = Some(Arc::clone(resource));
                    let entry = Held {
                        resource,
                        spec: Arc::new(spec),
                        since: self.now,
                    };
                    held.insert(key.1, entry);
                }
                Err(reason) => {
                    let name = resource.name.clone();
                    rejections.push(Rejection {
                        name,
                        reason: reason.clone(),
                    });
                    self.refused.insert(
                        key,
                        Refused {
                            version: resource.version.clone(),
                            reason,
                        },
                    );
                }
            }
        }
        for name in self.removed {
            self.refused.remove(&(self.kind, name.clone()));
            if self.kind.is_wildcard() {
                held.remove(name);
            }
        }
        rejections
    }

    /// Remembers that the control plane has answered a question: there is nothing of that name.
    fn note_absent<T>(&self, held: &mut BTreeMap<String, Held<T>>, nothing: impl Fn(&str) -> T) {
        for name in self.removed {
            held.entry(name.clone()).or_insert_with(|| Held {
                resource: None,
                spec: Arc::new(nothing(name)),
                since: self.now,
            });
        }
    }
}

/// Decodes a resource, whose own name must be the one under which it was sent.
fn read<M: Discoverable>(resource: &Resource) -> Result<M, String> {
    let message: M = resource.decode().map_err(|error| error.to_string())?;
    if message.resource_name() == resource.name {
        return Ok(message);
    }
    Err(format!(
        "name: is {:?}, but the resource was sent as {:?}",
        message.resource_name(),
        resource.name
    ))
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} was refused: {}", self.version, self.reason)
    }
}

#[cfg(test)]
mod tests;
