//! The input, joined and indexed: what the rest of the crate reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use mesh_config::Config;

use crate::destination_rule::DestinationRules;
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
    pub(crate) services: BTreeMap<String, Service>,
    /// Hosts by namespace.
    pub(crate) services_of: BTreeMap<String, Vec<String>>,
    /// Hosts by the loopback address and port at which sidecars listen for them.
    pub(crate) addresses: BTreeMap<(Ipv4Addr, u16), String>,
    pub(crate) workloads: Workloads,
    pub(crate) destination_rules: DestinationRules,
    pub(crate) virtual_services: VirtualServices,
    /// The keys of clients' labels on which what they get depends.
    pub(crate) client_labels: BTreeSet<String>,
    pub(crate) sidecars: Sidecars,
    /// Oldest first.
    pub(crate) gateways: Vec<gateway::Gateway>,
}

impl Mesh {
    pub(crate) fn build(config: &Config, instances: &[Instance], settings: &Settings) -> Self {
        let config = &gateway_api::expand(config);
        let workloads = Workloads::build(config, instances, settings);
        let mut services = BTreeMap::new();
        let mut services_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (object, spec) in config.services() {
            let service = Service::build(&object.metadata, spec, &workloads, &settings.mesh);
            let hosts = services_of.entry(service.namespace.clone()).or_default();
            hosts.push(service.host.clone());
            services.insert(service.host.clone(), service);
        }
        let places = config.service_addresses().iter();
        let mut addresses: BTreeMap<_, _> = places
            .map(|(place, object)| (*place, object.host()))
            .collect();
        for (object, spec) in config.service_entries() {
            for service in Service::of_entry(&object.metadata, spec, &workloads, &settings.mesh) {
                // A Service has its host, and of several ServiceEntries the oldest.
                if services.contains_key(&service.host) {
                    continue;
                }
                if !service.host.starts_with('*') {
                    for port in &service.ports {
                        let place = addresses.entry((service.address, port.number));
                        place.or_insert_with(|| service.host.clone());
                    }
                }
                let hosts = services_of.entry(service.namespace.clone()).or_default();
                hosts.push(service.host.clone());
                services.insert(service.host.clone(), service);
            }
        }
        let names: Vec<String> = services.keys().cloned().collect();
        for name in names {
            resolve_alias(&mut services, &name);
        }
        let destination_rules = DestinationRules::build(config, &settings.mesh);
        let sidecars = Sidecars::build(config, &settings.root_namespace);
        let mut client_labels = destination_rules.client_labels();
        client_labels.extend(sidecars.client_labels().cloned());
        let virtual_services = VirtualServices::build(config, &settings.mesh);
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
            gateways: gateway::build(config),
        }
    }

    /// The services of a namespace, by name.
    pub(crate) fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Service> {
        self.services_of
            .get(namespace)
            .into_iter()
            .flatten()
            .filter_map(|host| self.services.get(host))
    }
}

/// A Service that stands for another name of the mesh is another name for that service, with its ports unless it
/// has some itself.
fn resolve_alias(services: &mut BTreeMap<String, Service>, host: &str) {
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
    if let Some(service) = services.get_mut(host) {
        service.alias_of = Some(name);
        if service.ports.is_empty() {
            service.ports = ports;
        }
    }
}
