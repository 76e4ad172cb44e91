//! The input, joined and indexed: what the rest of the crate reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use mesh_config::{Config, Kind, SharedObject};

use crate::destination_rule::DestinationRules;
use crate::encoded::Encoded;
use crate::service::{Discovery, Service};
use crate::virtual_service::VirtualServices;
use crate::visibility::Sidecars;
use crate::workload::Workloads;
use crate::{Instance, Settings, gateway, gateway_api};

/// Everything about the mesh that a proxy's resources follow from.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) settings: Settings,
    /// What the user wrote, for what needs no index.
    pub(crate) config: Config,
    /// By host.
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    /// Hosts by namespace.
    pub(crate) services_of: Arc<BTreeMap<String, Vec<String>>>,
    /// Hosts by the loopback address and port at which sidecars listen for them.
    pub(crate) addresses: Arc<BTreeMap<(Ipv4Addr, u16), String>>,
    pub(crate) workloads: Workloads,
    pub(crate) destination_rules: Arc<DestinationRules>,
    pub(crate) virtual_services: Arc<VirtualServices>,
    /// The keys of clients' labels on which what they get depends.
    pub(crate) client_labels: BTreeSet<String>,
    pub(crate) sidecars: Sidecars,
    /// Oldest first.
    pub(crate) gateways: Arc<Vec<gateway::Gateway>>,
    /// What proxies of this mesh have been given.
    pub(crate) encoded: Encoded,
}

impl Mesh {
    /// `previous` is what there was before, under the same settings: what has not changed since is taken from it.
    pub(crate) fn build(
        config: &Config,
        instances: &[Instance],
        settings: &Settings,
        previous: Option<&Self>,
    ) -> Self {
        let config = &gateway_api::expand(config);
        let is_same = |kind| previous.is_some_and(|known| same(&known.config, config, kind));
        let known = previous.map(|known| &known.workloads);
        let workloads = Workloads::build(config, instances, settings, known, is_same);
        let known = previous.map(|known| &known.services);
        let services = services(config, &workloads, settings, known);
        let known = previous.filter(|known| has_objects_of(&known.services, &services));
        let (services_of, addresses) = match known {
            Some(known) => (Arc::clone(&known.services_of), Arc::clone(&known.addresses)),
            None => (
                Arc::new(hosts_by_namespace(config, &services)),
                Arc::new(addresses(config, &services)),
            ),
        };
        let known = previous.map(|known| &known.destination_rules);
        let destination_rules = match known.filter(|_| is_same(Kind::DestinationRule)) {
            Some(known) => Arc::clone(known),
            None => {
                let known = known.map(AsRef::as_ref);
                Arc::new(DestinationRules::build(config, &settings.mesh, known))
            }
        };
        let known = previous.filter(|_| is_same(Kind::VirtualService));
        let virtual_services = match known {
            Some(known) => Arc::clone(&known.virtual_services),
            None => Arc::new(VirtualServices::build(config, &settings.mesh)),
        };
        let known = previous.filter(|_| is_same(Kind::Gateway));
        let gateways = match known {
            Some(known) => Arc::clone(&known.gateways),
            None => Arc::new(gateway::build(config)),
        };
        let sidecars = Sidecars::build(config, &settings.root_namespace);
        let mut client_labels = destination_rules.client_labels();
        client_labels.extend(sidecars.client_labels().cloned());
        client_labels.extend(virtual_services.client_labels().cloned());
        Self {
            client_labels,
            sidecars,
            settings: settings.clone(),
            config: config.clone(),
            services,
            services_of,
            addresses,
            workloads,
            destination_rules,
            virtual_services,
            gateways,
            encoded: previous.map_or_else(Encoded::default, |known| known.encoded.next()),
        }
    }

    /// The services of a namespace, by name.
    pub(crate) fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Service> {
        self.services_of
            .get(namespace)
            .into_iter()
            .flatten()
            .filter_map(|host| self.services.get(host))
            .map(AsRef::as_ref)
    }
}

/// Whether the objects of a kind are the very same ones.
fn same(some: &Config, others: &Config, kind: Kind) -> bool {
    let mut others = others.of_kind(kind);
    some.of_kind(kind)
        .all(|one| others.next().is_some_and(|other| Arc::ptr_eq(one, other)))
        && others.next().is_none()
}

/// By host.
type Services = BTreeMap<String, Arc<Service>>;

fn services(
    config: &Config,
    workloads: &Workloads,
    settings: &Settings,
    known: Option<&Services>,
) -> Services {
    let of_host = |host: &str| known.and_then(|known| known.get(host));
    let mut services = Services::new();
    for (object, spec) in config.services() {
        let known = |host: &str| of_host(host).cloned();
        let service = Service::build(object, spec, workloads, &settings.mesh, known);
        services.insert(service.host.clone(), service);
    }
    for (object, spec) in config.service_entries() {
        for service in Service::of_entry(object, spec, workloads, &settings.mesh) {
            // A Service has its host, and of several ServiceEntries the oldest.
            let place = services.entry(service.host.clone());
            place.or_insert_with(|| Arc::new(service));
        }
    }
    let names: Vec<String> = services
        .values()
        .filter(|service| matches!(service.discovery, Discovery::Dns { .. }))
        .map(|service| service.host.clone())
        .collect();
    for name in names {
        resolve_alias(&mut services, &name);
    }
    for (host, service) in &mut services {
        if let Some(known) = of_host(host).filter(|known| known.is_same(service)) {
            *service = Arc::clone(known);
        }
    }
    services
}

/// Whether the services were written in the same words.
fn has_objects_of(some: &Services, others: &Services) -> bool {
    some.len() == others.len()
        && (some.iter().zip(others))
            .all(|((a, one), (b, other))| a == b && one.has_object_of(other))
}

/// Services by name, then what ServiceEntries say, the oldest first.
fn hosts_by_namespace(config: &Config, services: &Services) -> BTreeMap<String, Vec<String>> {
    let mut by_namespace: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |object: &SharedObject, host: &str| {
        if let Some(service) = services.get(host).filter(|service| service.is_of(object)) {
            let hosts = by_namespace.entry(service.namespace.clone()).or_default();
            hosts.push(service.host.clone());
        }
    };
    for (object, _) in config.services() {
        add(object, &object.host());
    }
    for (object, spec) in config.service_entries() {
        // A host may be written twice.
        let mut known = BTreeSet::new();
        for host in spec.hosts.iter().filter(|host| known.insert(*host)) {
            add(object, host);
        }
    }
    by_namespace
}

fn addresses(config: &Config, services: &Services) -> BTreeMap<(Ipv4Addr, u16), String> {
    let places = config.service_addresses().iter();
    let mut addresses: BTreeMap<_, _> = places
        .map(|(place, object)| (*place, object.host()))
        .collect();
    for (object, spec) in config.service_entries() {
        let hosts = spec.hosts.iter().filter(|host| !host.starts_with('*'));
        let services = hosts.filter_map(|host| services.get(host));
        for service in services.filter(|service| service.is_of(object)) {
            for port in &service.ports {
                let place = addresses.entry((service.address, port.number));
                place.or_insert_with(|| service.host.clone());
            }
        }
    }
    addresses
}

/// A Service that stands for another name of the mesh is another name for that service, with its ports unless it
/// has some itself.
fn resolve_alias(services: &mut Services, host: &str) {
    let name = services
        .get(host)
        .and_then(|service| match &service.discovery {
            Discovery::Dns { name, .. } if !service.is_entry && name != host => Some(name.clone()),
            _ => None,
        });
    let Some((name, target)) = name.and_then(|name| Some((name.clone(), services.get(&name)?)))
    else {
        return;
    };
    // An alias of an alias ends at the first name.
    if matches!(target.discovery, Discovery::Dns { .. }) && !target.is_entry {
        return;
    }
    let ports = target.ports.clone();
    if let Some(service) = services.get_mut(host).map(Arc::make_mut) {
        service.alias_of = Some(name);
        if service.ports.is_empty() {
            service.ports = ports;
        }
    }
}
