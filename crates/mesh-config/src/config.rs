//! A set of objects: the whole configuration at one moment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use crate::model::{
    ConfigMap, DestinationRule, Gateway, Kind, Object, ObjectKey, Secret, Service, ServiceEntry,
    SharedObject, Sidecar, VirtualService, WorkloadEntry, WorkloadGroup,
};
use crate::rules::covers;

/// The DNS suffix of services, as in `reviews.default.svc.cluster.local`.
pub const DOMAIN: &str = "cluster.local";

/// All objects of a mesh at one moment.
///
/// A clone is cheap and never changes under its reader; a change to one of two clones copies the
/// index, not the objects. Objects do not change while they are in it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    objects: Arc<BTreeMap<ObjectKey, SharedObject>>,
    /// Of these objects; made when first asked for.
    addresses: Arc<OnceLock<Addresses>>,
}

/// Which service has an address and port.
type Addresses = BTreeMap<(Ipv4Addr, u16), SharedObject>;

impl Config {
    /// A configuration without objects.
    pub fn new() -> Self {
        Config::default()
    }

    /// Puts an object in; gives the one that it replaced.
    pub fn insert(&mut self, object: impl Into<SharedObject>) -> Option<SharedObject> {
        let object = object.into();
        self.addresses = Arc::default();
        Arc::make_mut(&mut self.objects).insert(object.key(), object)
    }

    /// Takes an object out.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<SharedObject> {
        if !self.objects.contains_key(key) {
            return None;
        }
        self.addresses = Arc::default();
        Arc::make_mut(&mut self.objects).remove(key)
    }

    /// The object of this identity.
    pub fn get(&self, key: &ObjectKey) -> Option<&SharedObject> {
        self.objects.get(key)
    }

    /// The object of this kind, namespace and name.
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&SharedObject> {
        self.objects.get(&ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All objects by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &SharedObject> {
        self.objects.values()
    }

    /// The objects of one kind by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &SharedObject> {
        let first = ObjectKey {
            kind,
            namespace: String::new(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(_, object)| object)
    }

    /// The objects of one kind in one namespace by name.
    pub fn in_namespace<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a SharedObject> {
        let first = ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// All Services by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = (&SharedObject, &Service)> {
        self.of_kind(Kind::Service)
            .filter_map(|object| Some((object, object.as_service()?)))
    }

    /// The Service of this fully qualified host, as [`resolve_host`] gives it.
    pub fn service(&self, host: &str) -> Option<(&SharedObject, &Service)> {
        let (name, namespace) = split_host(host)?;
        let object = self.find(Kind::Service, namespace, name)?;
        Some((object, object.as_service()?))
    }

    /// The loopback addresses and ports at which sidecars listen for Services, each with the Service that has
    /// it: of several that claim one, the oldest.
    pub fn service_addresses(&self) -> &BTreeMap<(Ipv4Addr, u16), SharedObject> {
        self.addresses.get_or_init(|| {
            let mut addresses = Addresses::new();
            for object in self.oldest_first(Kind::Service) {
                let Some(service) = object.as_service() else {
                    continue;
                };
                let address = service.address(&object.host());
                for port in &service.ports {
                    let place = addresses.entry((address, port.port));
                    place.or_insert_with(|| Arc::clone(object));
                }
            }
            addresses
        })
    }

    /// All Gateways, the oldest first.
    pub fn gateways(&self) -> impl Iterator<Item = (&SharedObject, &Gateway)> {
        self.oldest_first(Kind::Gateway)
            .filter_map(|object| Some((object, object.as_gateway()?)))
    }

    /// The Gateway that a VirtualService of `namespace` names as `name` or `namespace/name`.
    pub fn gateway(&self, reference: &str, namespace: &str) -> Option<(&SharedObject, &Gateway)> {
        let (namespace, name) = reference.split_once('/').unwrap_or((namespace, reference));
        let object = self.find(Kind::Gateway, namespace, name)?;
        Some((object, object.as_gateway()?))
    }

    /// All VirtualServices, the oldest first.
    pub fn virtual_services(&self) -> impl Iterator<Item = (&SharedObject, &VirtualService)> {
        self.oldest_first(Kind::VirtualService)
            .filter_map(|object| Some((object, object.as_virtual_service()?)))
    }

    /// All DestinationRules, the oldest first.
    pub fn destination_rules(&self) -> impl Iterator<Item = (&SharedObject, &DestinationRule)> {
        self.oldest_first(Kind::DestinationRule)
            .filter_map(|object| Some((object, object.as_destination_rule()?)))
    }

    /// The Secret of this namespace and name.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<(&SharedObject, &Secret)> {
        let object = self.find(Kind::Secret, namespace, name)?;
        Some((object, object.as_secret()?))
    }

    /// A ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.find(Kind::ConfigMap, namespace, name)?.as_config_map()
    }

    /// The labels of a namespace; none if no Namespace was applied for it.
    pub fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        let object = self.find(Kind::Namespace, "", namespace)?;
        Some(&object.metadata.labels)
    }

    /// All WorkloadGroups by namespace and name.
    pub fn workload_groups(&self) -> impl Iterator<Item = (&SharedObject, &WorkloadGroup)> {
        self.of_kind(Kind::WorkloadGroup)
            .filter_map(|object| Some((object, object.as_workload_group()?)))
    }

    /// The WorkloadGroup of this namespace and name.
    pub fn workload_group(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<(&SharedObject, &WorkloadGroup)> {
        let object = self.find(Kind::WorkloadGroup, namespace, name)?;
        Some((object, object.as_workload_group()?))
    }

    /// All WorkloadEntries by namespace and name.
    pub fn workload_entries(&self) -> impl Iterator<Item = (&SharedObject, &WorkloadEntry)> {
        self.of_kind(Kind::WorkloadEntry)
            .filter_map(|object| Some((object, object.as_workload_entry()?)))
    }

    /// All ServiceEntries, the oldest first.
    pub fn service_entries(&self) -> impl Iterator<Item = (&SharedObject, &ServiceEntry)> {
        self.oldest_first(Kind::ServiceEntry)
            .filter_map(|object| Some((object, object.as_service_entry()?)))
    }

    /// The oldest ServiceEntry that has a host, by its name or, if none does, by a wildcard.
    pub fn service_entry(&self, host: &str) -> Option<(&SharedObject, &ServiceEntry)> {
        let mut entries: Vec<_> = self.service_entries().collect();
        entries.retain(|(_, entry)| entry.hosts.iter().any(|own| covers(own, host)));
        let names = |(_, entry): &&(&SharedObject, &ServiceEntry)| {
            entry.hosts.iter().any(|own| own == host)
        };
        let exact = entries.iter().find(names).copied();
        exact.or_else(|| entries.first().copied())
    }

    /// All Sidecars, the oldest first.
    pub fn sidecars(&self) -> impl Iterator<Item = (&SharedObject, &Sidecar)> {
        self.oldest_first(Kind::Sidecar)
            .filter_map(|object| Some((object, object.as_sidecar()?)))
    }

    /// The objects of one kind by age, as Istio orders them: by creation, then namespace and name.
    /// What has no creation time yet is the youngest.
    fn oldest_first(&self, kind: Kind) -> impl Iterator<Item = &SharedObject> {
        let mut objects: Vec<_> = self.of_kind(kind).collect();
        // Sorting is stable, and the objects come by namespace and name.
        objects.sort_by(|one, other| age(one).cmp(&age(other)));
        objects.into_iter()
    }
}

impl<O: Into<SharedObject>> FromIterator<O> for Config {
    fn from_iter<I: IntoIterator<Item = O>>(objects: I) -> Self {
        Config {
            objects: Arc::new(
                objects
                    .into_iter()
                    .map(Into::into)
                    .map(|object| (object.key(), object))
                    .collect(),
            ),
            addresses: Arc::default(),
        }
    }
}

impl<O: Into<SharedObject>> Extend<O> for Config {
    fn extend<I: IntoIterator<Item = O>>(&mut self, objects: I) {
        self.addresses = Arc::default();
        let all = Arc::make_mut(&mut self.objects);
        for object in objects {
            let object = object.into();
            all.insert(object.key(), object);
        }
    }
}

/// Sorts the oldest first. What has no creation time yet is the youngest.
pub(crate) fn age(object: &Object) -> (bool, Option<&str>) {
    let time = object.metadata.creation_timestamp.as_deref();
    (time.is_none(), time)
}

/// The full, lower-case name of a host that a rule of `namespace` mentions.
///
/// A name without a dot belongs to the rule's own namespace; a name with one is taken as it is, so
/// `reviews.default` is not a service's name. Wildcards stay as they are.
pub fn resolve_host(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') || host.contains('*') {
        host
    } else {
        service_host(&host, namespace)
    }
}

/// The full name under which a Service is called, `reviews.default.svc.cluster.local`.
pub fn service_host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.{DOMAIN}")
}

/// Name and namespace of the service that a full host names.
pub fn split_host(host: &str) -> Option<(&str, &str)> {
    let (name, namespace) = host
        .strip_suffix(DOMAIN)?
        .strip_suffix(".svc.")?
        .split_once('.')?;
    (!name.is_empty() && !namespace.is_empty() && !namespace.contains('.'))
        .then_some((name, namespace))
}

impl Object {
    /// The full name of the host under which a Service is called; for other kinds it means nothing.
    pub fn host(&self) -> String {
        service_host(&self.metadata.name, &self.metadata.namespace)
    }
}

#[cfg(test)]
mod tests;
