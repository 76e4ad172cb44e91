//! What proxies have been given, encoded, so that the next model needs to encode only what has changed.
//!
//! Each entry keeps what was looked up while it was made. It is still right if looking up the same again finds the
//! very same things: services and rules that have not changed are the same `Arc` from model to model. Nothing is
//! trusted that was not looked up again, so it does not matter what has happened between two models, and an entry
//! lives only as long as each model asks for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_xds::{Resource, ResourceType};

use crate::client::Client;
use crate::cluster;
use crate::destination_rule::Rule;
use crate::gateway::secrets::{self, SecretRef};
use crate::mesh::Mesh;
use crate::route::ClusterRef;
use crate::service::Service;

/// A resource and its type.
pub(crate) type Typed = (ResourceType, Arc<Resource>);

/// What TLS the connections of a cluster have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    /// That of the mesh.
    Ours,
    /// That of the clients, which is passed on.
    Theirs,
}

/// Clusters with their endpoints, for each client.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    now: Mutex<ByClient>,
    before: ByClient,
}

type ByClient = HashMap<(Client, Security), Arc<Mutex<Clusters>>>;
type Clusters = HashMap<Arc<ClusterRef>, Arc<Entry>>;

#[derive(Debug)]
struct Entry {
    service: Arc<Service>,
    rule: Option<Arc<Rule>>,
    resources: Arc<[Typed]>,
    /// What its TLS takes. The secrets themselves change without their cluster, so they are never kept.
    secrets: Arc<[SecretRef]>,
}

impl Entry {
    fn is_made_of(&self, service: &Arc<Service>, rule: Option<&Arc<Rule>>) -> bool {
        let rules = (self.rule.as_ref(), rule);
        Arc::ptr_eq(&self.service, service)
            && match rules {
                (Some(own), Some(rule)) => Arc::ptr_eq(own, rule),
                (own, rule) => own.is_none() && rule.is_none(),
            }
    }
}

impl Encoded {
    /// For the next model under the same settings.
    pub(crate) fn next(&self) -> Self {
        Self {
            now: Mutex::default(),
            before: lock(&self.now).clone(),
        }
    }

    /// Clusters and their endpoints, as far as there are such.
    pub(crate) fn clusters<'a>(
        &self,
        mesh: &Mesh,
        client: &Client,
        security: Security,
        references: impl IntoIterator<Item = &'a ClusterRef>,
    ) -> Vec<Typed> {
        let key = (client.clone(), security);
        let before = self.before.get(&key).map(|before| lock(before));
        let known = Arc::clone(lock(&self.now).entry(key).or_default());
        let (mut known, mut all) = (lock(&known), Vec::new());
        let mut secrets = BTreeSet::new();
        let root = &mesh.settings.root_namespace;
        // The clusters of a service come one after the other.
        let mut last: Option<(&Arc<Service>, Option<&Arc<Rule>>)> = None;
        for reference in references {
            // Within a model nothing changes.
            if let Some(entry) = known.get(reference) {
                all.extend_from_slice(&entry.resources);
                secrets.extend(entry.secrets.iter().cloned());
                continue;
            }
            let (service, rule) = match last.filter(|(last, _)| last.host == reference.host) {
                Some(last) => last,
                None => {
                    let Some(service) = mesh.services.get(&reference.host) else {
                        continue;
                    };
                    let rule = mesh.destination_rules.choose(client, service, root);
                    *last.insert((service, rule))
                }
            };
            let found = before.as_ref();
            let found = found.and_then(|before| before.get_key_value(reference));
            let (key, entry) = match found.filter(|(_, found)| found.is_made_of(service, rule)) {
                Some((key, entry)) => (Arc::clone(key), Arc::clone(entry)),
                None => {
                    let (resources, secrets) = encode(mesh, client, reference, security);
                    let entry = Entry {
                        service: Arc::clone(service),
                        rule: rule.cloned(),
                        resources,
                        secrets,
                    };
                    (Arc::new(reference.clone()), Arc::new(entry))
                }
            };
            all.extend_from_slice(&entry.resources);
            secrets.extend(entry.secrets.iter().cloned());
            known.insert(key, entry);
        }
        let secrets = secrets.iter();
        let secrets = secrets.filter_map(|one| secrets::secret(mesh, &client.namespace, one));
        all.extend(secrets.map(|one| (ResourceType::Secret, Arc::new(Resource::new(&one)))));
        all
    }
}

fn encode(
    mesh: &Mesh,
    client: &Client,
    reference: &ClusterRef,
    security: Security,
) -> (Arc<[Typed]>, Arc<[SecretRef]>) {
    let made = match security {
        Security::Ours => cluster::outbound(mesh, client, reference),
        Security::Theirs => cluster::passed_on(mesh, client, reference),
    };
    let Some(made) = made else {
        return Default::default();
    };
    let endpoints = made.endpoints.map(|endpoints| Resource::new(&endpoints));
    let endpoints = endpoints.map(|one| (ResourceType::Endpoint, Arc::new(one)));
    let cluster = (
        ResourceType::Cluster,
        Arc::new(Resource::new(&made.cluster)),
    );
    let resources = [Some(cluster), endpoints].into_iter().flatten();
    (resources.collect(), made.secrets.into())
}

/// Each change of what is within is one insertion, so it is whole whatever happened to who held the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
