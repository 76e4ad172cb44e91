//! What runs: registered instances in their WorkloadGroups, and WorkloadEntries that were written by hand.

mod labels;
mod ports;

pub(crate) use labels::{Labels, has_labels};
pub(crate) use ports::AppPorts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_config::Config;
use mesh_config::model::{Metadata, WorkloadEntry};
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::{Locality, Workload};

use self::labels::LabelIndex;
use crate::service::Port;
use crate::{Instance, Settings};

/// The workload that a gateway is unless a WorkloadGroup of this name says more.
const GATEWAY: &str = "istio-ingressgateway";
const GATEWAY_ACCOUNT: &str = "istio-ingressgateway-service-account";

/// What the members of a WorkloadGroup have in common.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) labels: Arc<Labels>,
    pub(crate) ports: Arc<BTreeMap<String, u16>>,
    pub(crate) workload: Workload,
    pub(crate) locality: Locality,
    pub(crate) weight: u32,
}

/// Something that can be an endpoint.
#[derive(Debug)]
pub(crate) struct Member {
    /// The instance's or entry's own name.
    pub(crate) name: String,
    pub(crate) labels: Arc<Labels>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) reach: Reach,
    pub(crate) locality: Locality,
    /// Its share among the endpoints of a service, at least 1.
    pub(crate) weight: u32,
    ports: AppPorts,
}

impl Member {
    /// The port of its application behind a service's port, if it has one.
    pub(crate) fn app_port(&self, port: &Port) -> Option<u16> {
        self.ports
            .resolve(&port.target, &port.name)
            .or(port.otherwise)
    }
}

/// How a member is reached.
#[derive(Debug)]
pub(crate) enum Reach {
    /// By mutual TLS through its agent.
    Agent {
        address: String,
        port: u16,
        plain: Option<SocketAddr>,
    },
    /// In plain text, at the application's own port.
    Plain { address: String },
}

/// What the control plane knows of the workload beside a proxy.
#[derive(Clone, Debug)]
pub(crate) struct NodeWorkload {
    pub(crate) labels: Arc<Labels>,
    pub(crate) workload: Workload,
    pub(crate) ports: AppPorts,
}

/// All groups and members.
#[derive(Debug)]
pub(crate) struct Workloads {
    settings: Settings,
    /// By namespace and name.
    groups: BTreeMap<(String, String), Group>,
    groups_by_label: LabelIndex<(String, String)>,
    members: Vec<Member>,
    /// The endpoints of ServiceEntries, by namespace and name.
    entries: BTreeMap<(String, String), Vec<usize>>,
    members_by_label: LabelIndex<usize>,
}

impl Workloads {
    pub(crate) fn build(config: &Config, instances: &[Instance], settings: &Settings) -> Self {
        let mut groups = BTreeMap::new();
        let mut groups_by_label = LabelIndex::default();
        for (object, spec) in config.workload_groups() {
            let Metadata {
                namespace, name, ..
            } = &object.metadata;
            let principal = principal(settings, namespace, &spec.service_account);
            let group = Group {
                labels: Arc::new(spec.labels.clone()),
                ports: Arc::new(spec.ports.clone()),
                locality: place(&spec.locality),
                weight: spec.weight.unwrap_or(1).max(1),
                workload: Workload::from_labels(
                    name,
                    namespace,
                    &spec.labels,
                    &settings.cluster_id,
                    &principal,
                ),
            };
            let key = (namespace.clone(), name.clone());
            groups_by_label.add(namespace, &spec.labels, &key);
            groups.insert(key, group);
        }
        let mut this = Self {
            settings: settings.clone(),
            groups,
            groups_by_label,
            members: Vec::new(),
            entries: BTreeMap::new(),
            members_by_label: LabelIndex::default(),
        };
        this.add_instances(instances);
        let entries = config.workload_entries();
        for (object, entry) in entries.filter(|(_, entry)| is_callable(entry)) {
            this.add_entry(&object.metadata, entry);
        }
        for (object, entry) in config.service_entries() {
            this.add_endpoints(&object.metadata, &entry.endpoints);
        }
        this
    }

    fn add_instances(&mut self, instances: &[Instance]) {
        // By name, so that the order of registration does not show.
        let sorted: BTreeSet<&Instance> = instances.iter().collect();
        let mut workloads: HashMap<(&str, &str), Arc<Workload>> = HashMap::new();
        for instance in sorted {
            let key = (instance.namespace.clone(), instance.group.clone());
            let Some(group) = self.groups.get(&key) else {
                continue;
            };
            let workload = workloads
                .entry((&instance.namespace, &instance.group))
                .or_insert_with(|| Arc::new(group.workload.clone()));
            self.members_by_label
                .add(&instance.namespace, &group.labels, &self.members.len());
            self.members.push(Member {
                name: instance.name.clone(),
                labels: Arc::clone(&group.labels),
                workload: Arc::clone(workload),
                reach: Reach::Agent {
                    address: instance.address.clone(),
                    port: instance.inbound_port,
                    plain: instance.plain_address,
                },
                locality: group.locality.clone(),
                weight: group.weight,
                ports: AppPorts {
                    own: instance.app_ports.clone(),
                    group: Arc::clone(&group.ports),
                },
            });
        }
    }

    /// The endpoints that a ServiceEntry writes down. Nothing selects them, and they are no workload of the mesh.
    fn add_endpoints(&mut self, metadata: &Metadata, endpoints: &[WorkloadEntry]) {
        let first = self.members.len();
        for entry in endpoints.iter().filter(|entry| is_callable(entry)) {
            self.members.push(Member {
                name: format!("{}/{}", metadata.name, entry.address),
                labels: Arc::new(entry.labels.clone()),
                workload: Arc::default(),
                reach: Reach::Plain {
                    address: entry.address.clone(),
                },
                locality: place(&entry.locality),
                weight: entry.weight.unwrap_or(1).max(1),
                ports: AppPorts {
                    own: BTreeMap::new(),
                    group: Arc::new(entry.ports.clone()),
                },
            });
        }
        let key = (metadata.namespace.clone(), metadata.name.clone());
        self.entries
            .insert(key, (first..self.members.len()).collect());
    }

    /// The endpoints that a ServiceEntry writes down.
    pub(crate) fn of_entry(&self, namespace: &str, name: &str) -> &[usize] {
        let key = (namespace.to_owned(), name.to_owned());
        self.entries.get(&key).map_or(&[], Vec::as_slice)
    }

    fn add_entry(&mut self, metadata: &Metadata, entry: &WorkloadEntry) {
        let named = [
            metadata.annotations.get("istio.io/autoRegistrationGroup"),
            entry.labels.get("service.istio.io/workload-name"),
        ];
        let name = named.into_iter().flatten().next();
        let name = name.unwrap_or(&metadata.name);
        let namespace = &metadata.namespace;
        // No certificate stands behind an entry, so it has no principal.
        let workload = Workload::from_labels(
            name,
            namespace,
            &entry.labels,
            &self.settings.cluster_id,
            "",
        );
        self.members_by_label
            .add(namespace, &entry.labels, &self.members.len());
        self.members.push(Member {
            name: metadata.name.clone(),
            labels: Arc::new(entry.labels.clone()),
            workload: Arc::new(workload),
            reach: Reach::Plain {
                address: entry.address.clone(),
            },
            locality: place(&entry.locality),
            weight: entry.weight.unwrap_or(1).max(1),
            ports: AppPorts {
                own: BTreeMap::new(),
                group: Arc::new(entry.ports.clone()),
            },
        });
    }

    /// The members that a service selects: instances by name, then entries by name.
    pub(crate) fn select(&self, namespace: &str, selector: &Labels) -> Vec<usize> {
        self.members_by_label.select(namespace, selector, |index| {
            self.members
                .get(*index)
                .is_some_and(|member| has_labels(&member.labels, selector))
        })
    }

    /// The groups that a service selects, by name.
    pub(crate) fn select_groups(&self, namespace: &str, selector: &Labels) -> Vec<&Group> {
        let keys = self.groups_by_label.select(namespace, selector, |key| {
            self.groups
                .get(key)
                .is_some_and(|group| has_labels(&group.labels, selector))
        });
        keys.iter().filter_map(|key| self.groups.get(key)).collect()
    }

    /// Members by what [`Workloads::select`] gave.
    pub(crate) fn members<'a>(&'a self, indexes: &'a [usize]) -> impl Iterator<Item = &'a Member> {
        indexes.iter().filter_map(|index| self.members.get(*index))
    }

    /// The names of a namespace's groups.
    pub(crate) fn groups_in(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let first = (namespace.to_owned(), String::new());
        self.groups
            .range(first..)
            .map(|((namespace, name), _)| (namespace.as_str(), name.as_str()))
            .take_while(move |(of, _)| *of == namespace)
            .map(|(_, name)| name)
    }

    /// Who the workload beside a proxy is.
    pub(crate) fn of_node(&self, node: &NodeMetadata) -> NodeWorkload {
        let name = match node.workload_group.as_str() {
            "" => &node.workload_name,
            group => group,
        };
        let key = (node.namespace.clone(), name.to_owned());
        let group = match self.groups.get(&key) {
            Some(group) => group.clone(),
            None if node.kind == ProxyKind::Gateway && self.is_built_in(&key) => self.gateway(),
            None => Group {
                labels: Arc::default(),
                ports: Arc::default(),
                locality: Locality::default(),
                weight: 1,
                workload: Workload::from_labels(
                    name,
                    &node.namespace,
                    &Labels::new(),
                    &self.settings.cluster_id,
                    "",
                ),
            },
        };
        NodeWorkload {
            labels: group.labels,
            workload: group.workload,
            ports: AppPorts {
                own: node.app_ports.clone(),
                group: group.ports,
            },
        }
    }

    /// All workloads that may stand behind a verified principal.
    pub(crate) fn peers(&self) -> Vec<Workload> {
        let built_in = (self.settings.root_namespace.clone(), GATEWAY.to_owned());
        let gateway = (!self.groups.contains_key(&built_in)).then(|| self.gateway().workload);
        let groups = self.groups.values().map(|group| group.workload.clone());
        groups.chain(gateway).collect()
    }

    fn is_built_in(&self, (namespace, name): &(String, String)) -> bool {
        *namespace == self.settings.root_namespace && name == GATEWAY
    }

    /// The gateway with Istio's names and labels.
    fn gateway(&self) -> Group {
        let Settings {
            root_namespace,
            cluster_id,
            ..
        } = &self.settings;
        let labels: Labels = [("app", GATEWAY), ("istio", "ingressgateway")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let principal = principal(&self.settings, root_namespace, GATEWAY_ACCOUNT);
        let workload =
            Workload::from_labels(GATEWAY, root_namespace, &labels, cluster_id, &principal);
        Group {
            labels: Arc::new(labels),
            ports: Arc::default(),
            locality: Locality::default(),
            weight: 1,
            workload,
        }
    }
}

/// Whether proxies can connect to it: it has an address, and not that of a Unix socket, which they refuse.
fn is_callable(entry: &WorkloadEntry) -> bool {
    !entry.address.is_empty() && !entry.address.starts_with("unix://")
}

/// Where something runs; what is no locality is nowhere.
fn place(written: &str) -> Locality {
    written.parse().unwrap_or_default()
}

/// The SPIFFE id of a service account.
fn principal(settings: &Settings, namespace: &str, account: &str) -> String {
    let domain = &settings.trust_domain;
    format!("spiffe://{domain}/ns/{namespace}/sa/{account}")
}
