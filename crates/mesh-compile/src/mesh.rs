//! The input, joined and indexed: what the rest of the crate reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use mesh_config::Config;

use crate::destination_rule::DestinationRules;
use crate::service::Service;
use crate::virtual_service::VirtualServices;
use crate::workload::Workloads;
use crate::{Instance, Settings, gateway};

/// Everything about the mesh that a proxy's resources follow from.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) settings: Settings,
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
    /// Oldest first.
    pub(crate) gateways: Vec<gateway::Gateway>,
}

impl Mesh {
    pub(crate) fn build(config: &Config, instances: &[Instance], settings: &Settings) -> Self {
        let workloads = Workloads::build(config, instances, settings);
        let mut services = BTreeMap::new();
        let mut services_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (object, spec) in config.services() {
            let service = Service::build(&object.metadata, spec, &workloads);
            let hosts = services_of.entry(service.namespace.clone()).or_default();
            hosts.push(service.host.clone());
            services.insert(service.host.clone(), service);
        }
        let destination_rules = DestinationRules::build(config);
        Self {
            client_labels: destination_rules.client_labels(),
            settings: settings.clone(),
            services,
            services_of,
            addresses: config
                .service_addresses()
                .iter()
                .map(|(place, object)| (*place, object.host()))
                .collect(),
            workloads,
            destination_rules,
            virtual_services: VirtualServices::build(config),
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
