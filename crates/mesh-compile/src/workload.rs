//! What runs: registered instances in their WorkloadGroups, and WorkloadEntries that were written by hand.
//!
//! Groups and members are kept from model to model: one that has not changed is the same `Arc` in both.

mod labels;
mod ports;

pub(crate) use labels::{Labels, has_labels};
pub(crate) use ports::AppPorts;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_config::model::{Metadata, WorkloadEntry, WorkloadGroup};
use mesh_config::{Config, Kind, SharedObject};
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::{Locality, Workload};

use self::labels::LabelIndex;
use crate::service::Port;
use crate::{Instance, Settings};

/// The workload that a gateway is unless a WorkloadGroup of this name says more.
const GATEWAY: &str = "istio-ingressgateway";
const GATEWAY_ACCOUNT: &str = "istio-ingressgateway-service-account";

/// A WorkloadGroup: what its members have in common, and its instances.
#[derive(Debug)]
pub(crate) struct Group {
    /// What it was made of, if anybody wrote it.
    object: Option<SharedObject>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) ports: Arc<BTreeMap<String, u16>>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) locality: Locality,
    pub(crate) weight: u32,
    /// By name.
    members: Vec<Arc<Member>>,
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

    /// Whether it is made of this instance of its group.
    fn is(&self, instance: &Instance) -> bool {
        let reach = match &self.reach {
            Reach::Agent {
                address,
                port,
                plain,
            } => (address, *port, *plain),
            Reach::Plain { .. } => return false,
        };
        let given = (
            &instance.address,
            instance.inbound_port,
            instance.plain_address,
        );
        self.name == instance.name && reach == given && self.ports.own == instance.app_ports
    }
}

/// What a service selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selected {
    /// By name.
    pub(crate) groups: Vec<Arc<Group>>,
    /// WorkloadEntries by name, or the endpoints of a ServiceEntry as they are written.
    pub(crate) entries: Vec<Arc<Member>>,
}

impl Selected {
    /// Instances by group and name, then entries.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        let instances = self.groups.iter().flat_map(|group| &group.members);
        instances.chain(&self.entries).map(AsRef::as_ref)
    }

    /// Whether nothing has changed.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        all_same(&self.groups, &other.groups) && all_same(&self.entries, &other.entries)
    }
}

/// Whether two lists have the very same elements.
fn all_same<T>(some: &[Arc<T>], others: &[Arc<T>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// How a member is reached.
#[derive(Debug, PartialEq, Eq)]
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
    groups: BTreeMap<(String, String), Arc<Group>>,
    /// WorkloadEntries, and what they were made of, by namespace and name.
    entries: Vec<(SharedObject, Arc<Member>)>,
    /// The endpoints of ServiceEntries, by namespace and name.
    endpoints: BTreeMap<(String, String), Vec<Arc<Member>>>,
    by_label: Arc<ByLabel>,
}

/// Where selectors look.
#[derive(Debug, Default)]
struct ByLabel {
    /// Namespaces and names of groups with instances and without.
    groups: LabelIndex<(String, String)>,
    entries: LabelIndex<Arc<Member>>,
}

impl Workloads {
    /// `previous` is what there was before, under the same settings; `same` says of which kinds all objects are the
    /// same as then.
    pub(crate) fn build(
        config: &Config,
        instances: &[Instance],
        settings: &Settings,
        previous: Option<&Self>,
        same: impl Fn(Kind) -> bool,
    ) -> Self {
        let by_group = by_group(instances);
        let groups: BTreeMap<_, _> = config
            .workload_groups()
            .map(|(object, spec)| {
                let Metadata {
                    namespace, name, ..
                } = &object.metadata;
                let key = (namespace.clone(), name.clone());
                let known = previous.and_then(|previous| previous.groups.get(&key));
                let running = by_group.get(&(namespace.as_str(), name.as_str()));
                let running = running.map(Vec::as_slice).unwrap_or_default();
                let group = Group::build(object, spec, running, settings, known);
                (key, group)
            })
            .collect();
        let known = |kind| previous.filter(|_| same(kind));
        let entries = match known(Kind::WorkloadEntry) {
            Some(previous) => previous.entries.clone(),
            None => entries(config, settings, previous),
        };
        let endpoints = match known(Kind::ServiceEntry) {
            Some(previous) => previous.endpoints.clone(),
            None => config
                .service_entries()
                .map(|(object, entry)| endpoints(&object.metadata, &entry.endpoints))
                .collect(),
        };
        let known = known(Kind::WorkloadEntry).filter(|_| same(Kind::WorkloadGroup));
        let by_label = match known {
            Some(previous) => Arc::clone(&previous.by_label),
            None => Arc::new(ByLabel::build(&groups, &entries)),
        };
        Self {
            settings: settings.clone(),
            groups,
            entries,
            endpoints,
            by_label,
        }
    }

    /// The endpoints that a ServiceEntry writes down.
    pub(crate) fn of_entry(&self, namespace: &str, name: &str) -> Selected {
        let key = (namespace.to_owned(), name.to_owned());
        Selected {
            groups: Vec::new(),
            entries: self.endpoints.get(&key).cloned().unwrap_or_default(),
        }
    }

    /// What a service selects.
    pub(crate) fn select(&self, namespace: &str, selector: &Labels) -> Selected {
        let ByLabel { groups, entries } = &*self.by_label;
        let group = |key: &(String, String)| self.groups.get(key);
        let fits = |group: &Arc<Group>| has_labels(&group.labels, selector);
        let groups = groups.select(namespace, selector, |key| group(key).is_some_and(fits));
        Selected {
            groups: groups.iter().filter_map(group).cloned().collect(),
            entries: entries.select(namespace, selector, |entry| {
                has_labels(&entry.labels, selector)
            }),
        }
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
        let (labels, workload, ports) = match self.groups.get(&key) {
            Some(group) => (
                Arc::clone(&group.labels),
                Workload::clone(&group.workload),
                Arc::clone(&group.ports),
            ),
            None if node.kind == ProxyKind::Gateway && self.is_built_in(&key) => {
                let (labels, workload) = self.gateway();
                (Arc::new(labels), workload, Arc::default())
            }
            None => {
                let (labels, cluster) = (Labels::new(), &self.settings.cluster_id);
                let workload = Workload::from_labels(name, &node.namespace, &labels, cluster, "");
                (Arc::default(), workload, Arc::default())
            }
        };
        NodeWorkload {
            labels,
            workload,
            ports: AppPorts {
                own: node.app_ports.clone(),
                group: ports,
            },
        }
    }

    /// All workloads that may stand behind a verified principal.
    pub(crate) fn peers(&self) -> Vec<Workload> {
        let built_in = (self.settings.root_namespace.clone(), GATEWAY.to_owned());
        let gateway = (!self.groups.contains_key(&built_in)).then(|| self.gateway().1);
        let groups = self.groups.values();
        let groups = groups.map(|group| Workload::clone(&group.workload));
        groups.chain(gateway).collect()
    }

    fn is_built_in(&self, (namespace, name): &(String, String)) -> bool {
        *namespace == self.settings.root_namespace && name == GATEWAY
    }

    /// The gateway with Istio's names and labels.
    fn gateway(&self) -> (Labels, Workload) {
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
        (labels, workload)
    }
}

impl ByLabel {
    fn build(
        groups: &BTreeMap<(String, String), Arc<Group>>,
        entries: &[(SharedObject, Arc<Member>)],
    ) -> Self {
        let mut this = Self::default();
        for (key, group) in groups {
            this.groups.add(&key.0, &group.labels, key);
        }
        for (object, entry) in entries {
            let namespace = &object.metadata.namespace;
            this.entries.add(namespace, &entry.labels, entry);
        }
        this
    }
}

impl Group {
    /// A group with its running instances; the known one, if it is the same, or its members that are.
    fn build(
        object: &SharedObject,
        spec: &WorkloadGroup,
        running: &[&Instance],
        settings: &Settings,
        known: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let is_same = |known: &&Arc<Self>| {
            let of = known.object.as_ref();
            of.is_some_and(|of| Arc::ptr_eq(of, object))
        };
        let known = known.filter(is_same);
        if let Some(known) = known
            && known.members.len() == running.len()
            && known.members.iter().zip(running).all(|(a, b)| a.is(b))
        {
            return Arc::clone(known);
        }
        let Metadata {
            namespace, name, ..
        } = &object.metadata;
        let mut this = Self {
            object: Some(Arc::clone(object)),
            labels: Arc::new(spec.labels.clone()),
            ports: Arc::new(spec.ports.clone()),
            locality: place(&spec.locality),
            weight: spec.weight.unwrap_or(1).max(1),
            workload: Arc::new(Workload::from_labels(
                name,
                namespace,
                &spec.labels,
                &settings.cluster_id,
                &principal(settings, namespace, &spec.service_account),
            )),
            members: Vec::new(),
        };
        let before = known.map_or(&[][..], |known| &known.members);
        let member = |instance: &&Instance| {
            let found = before.iter().find(|member| member.is(instance)).cloned();
            found.unwrap_or_else(|| Arc::new(this.member(instance)))
        };
        this.members = running.iter().map(member).collect();
        Arc::new(this)
    }

    fn member(&self, instance: &Instance) -> Member {
        Member {
            name: instance.name.clone(),
            labels: Arc::clone(&self.labels),
            workload: Arc::clone(&self.workload),
            reach: Reach::of(instance),
            locality: self.locality.clone(),
            weight: self.weight,
            ports: AppPorts {
                own: instance.app_ports.clone(),
                group: Arc::clone(&self.ports),
            },
        }
    }
}

impl Reach {
    fn of(instance: &Instance) -> Self {
        Self::Agent {
            address: instance.address.clone(),
            port: instance.inbound_port,
            plain: instance.plain_address,
        }
    }
}

/// Instances by namespace and group, those of each by name, so that the order of registration does not show.
fn by_group(instances: &[Instance]) -> HashMap<(&str, &str), Vec<&Instance>> {
    let mut groups: HashMap<_, Vec<&Instance>> = HashMap::new();
    for instance in instances {
        let group = (instance.namespace.as_str(), instance.group.as_str());
        groups.entry(group).or_default().push(instance);
    }
    for group in groups.values_mut() {
        group.sort_unstable();
        group.dedup();
    }
    groups
}

/// The WorkloadEntries; those of `previous` that are the same.
fn entries(
    config: &Config,
    settings: &Settings,
    previous: Option<&Workloads>,
) -> Vec<(SharedObject, Arc<Member>)> {
    let known = previous.into_iter().flat_map(|previous| &previous.entries);
    let known: HashMap<_, _> = known
        .map(|(object, member)| (Arc::as_ptr(object), member))
        .collect();
    let written = config.workload_entries();
    written
        .filter(|(_, entry)| is_callable(entry))
        .map(|(object, entry)| {
            let found = known.get(&Arc::as_ptr(object)).copied().cloned();
            let member =
                found.unwrap_or_else(|| Arc::new(of_entry(&object.metadata, entry, settings)));
            (Arc::clone(object), member)
        })
        .collect()
}

fn of_entry(metadata: &Metadata, entry: &WorkloadEntry, settings: &Settings) -> Member {
    let named = [
        metadata.annotations.get("istio.io/autoRegistrationGroup"),
        entry.labels.get("service.istio.io/workload-name"),
    ];
    let name = named.into_iter().flatten().next();
    let name = name.unwrap_or(&metadata.name);
    // No certificate stands behind an entry, so it has no principal.
    let workload = Workload::from_labels(
        name,
        &metadata.namespace,
        &entry.labels,
        &settings.cluster_id,
        "",
    );
    in_plain_text(metadata.name.clone(), entry, workload)
}

/// The endpoints that a ServiceEntry writes down. Nothing selects them, and they are no workload of the mesh.
fn endpoints(
    metadata: &Metadata,
    endpoints: &[WorkloadEntry],
) -> ((String, String), Vec<Arc<Member>>) {
    let callable = |entry: &&WorkloadEntry| is_callable(entry);
    let member = |entry: &WorkloadEntry| {
        let name = format!("{}/{}", metadata.name, entry.address);
        Arc::new(in_plain_text(name, entry, Workload::default()))
    };
    let key = (metadata.namespace.clone(), metadata.name.clone());
    (key, endpoints.iter().filter(callable).map(member).collect())
}

fn in_plain_text(name: String, entry: &WorkloadEntry, workload: Workload) -> Member {
    Member {
        name,
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
