//! Services: their ports, and which workloads they select.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use mesh_config::model::{
    EntryPort, Location, MeshConfig, Metadata, Protocol, Resolution, TargetPort,
};
use mesh_config::{SharedObject, model, service_host};
use mesh_xds::metadata::ServiceRef;

use crate::visibility::Visibility;
use crate::workload::{Labels, Member, Reach, Selected, Workloads};

/// A service and what stands behind it.
///
/// All of it follows from the object, from what is selected, and, for an alias, from the service that is meant: see
/// [`Service::is_same`].
#[derive(Clone, Debug)]
pub(crate) struct Service {
    object: SharedObject,
    /// `reviews.default.svc.cluster.local`
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Where sidecars may listen for it.
    pub(crate) address: Ipv4Addr,
    pub(crate) selector: Labels,
    pub(crate) ports: Vec<Port>,
    selected: Selected,
    /// Identities of the groups that it selects, whether an instance is there or not.
    pub(crate) principals: BTreeSet<String>,
    /// Some endpoints have no agent.
    pub(crate) has_plain: bool,
    /// Namespaces that see it.
    pub(crate) export_to: Visibility,
    /// How its endpoints are found.
    pub(crate) discovery: Discovery,
    /// Addresses by which clients ask for it besides its host.
    pub(crate) addresses: Vec<String>,
    /// It is another name for this service of the mesh.
    pub(crate) alias_of: Option<String>,
    /// It was written as a ServiceEntry: only its host is its name.
    pub(crate) is_entry: bool,
    /// It is no part of the mesh: its members are reached in plain text, past their agents.
    pub(crate) is_external: bool,
}

/// How a service's endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// They are its members.
    Members,
    /// Proxies resolve the names of its members or, if it has none, this one.
    Dns {
        name: String,
        /// One address at a time.
        one_address: bool,
    },
    /// The host that a request asks for is the endpoint.
    Requested,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) target: TargetPort,
    pub(crate) protocol: Protocol,
    /// Clients speak TLS themselves: their server name can be read, nothing else.
    pub(crate) is_tls: bool,
    /// What a workload has that says nothing of this port.
    pub(crate) otherwise: Option<u16>,
}

impl Port {
    fn of_entry(port: &EntryPort) -> Self {
        let target = port.target_port.unwrap_or(port.number);
        Self {
            name: port.name.clone(),
            number: port.number,
            target: TargetPort::Number(target),
            protocol: port.protocol,
            is_tls: port.is_tls,
            otherwise: Some(target),
        }
    }
}

impl Discovery {
    /// A name is resolved, whichever way it is written: an app that asks its proxy for a host gives no address to
    /// go to.
    fn of_entry(spec: &model::ServiceEntry, host: &str) -> Self {
        match spec.resolution {
            Resolution::Static => Self::Members,
            Resolution::None | Resolution::DynamicDns if host.starts_with('*') => Self::Requested,
            Resolution::DynamicDns | Resolution::None | Resolution::Dns => Self::Dns {
                name: host.to_owned(),
                one_address: false,
            },
            Resolution::DnsRoundRobin => Self::Dns {
                name: host.to_owned(),
                one_address: true,
            },
        }
    }
}

impl Service {
    /// The service of a Service; the known one, if it is the same.
    pub(crate) fn build(
        object: &SharedObject,
        spec: &model::Service,
        workloads: &Workloads,
        mesh: &MeshConfig,
        known: impl FnOnce(&str) -> Option<Arc<Self>>,
    ) -> Arc<Self> {
        let Metadata {
            namespace, name, ..
        } = &object.metadata;
        let selected = workloads.select(namespace, &spec.selector);
        let host = service_host(name, namespace);
        // Another name is looked at anew.
        let known = known(&host).filter(|_| spec.external_name.is_none());
        if let Some(known) = known
            && known.is_made_of(object, &selected)
        {
            return known;
        }
        let has_plain = selected.members().any(is_plain);
        let mut ports: Vec<Port> = Vec::with_capacity(spec.ports.len());
        for port in &spec.ports {
            if ports.iter().all(|known| known.number != port.port) {
                ports.push(Port {
                    name: port.name.clone(),
                    number: port.port,
                    target: port.target_port.clone(),
                    protocol: port.protocol(),
                    is_tls: port.is_tls(),
                    otherwise: None,
                });
            }
        }
        Arc::new(Self {
            object: Arc::clone(object),
            address: spec.address(&host),
            host,
            name: name.clone(),
            namespace: namespace.clone(),
            selector: spec.selector.clone(),
            ports,
            principals: principals(&selected),
            selected,
            has_plain: has_plain || spec.external_name.is_some(),
            export_to: Visibility::new(&spec.export_to, namespace, &mesh.default_service_export_to),
            discovery: match &spec.external_name {
                Some(name) => Discovery::Dns {
                    name: name.clone(),
                    one_address: false,
                },
                None => Discovery::Members,
            },
            addresses: Vec::new(),
            alias_of: None,
            is_entry: false,
            is_external: false,
        })
    }

    /// The services of a ServiceEntry, one for each host.
    pub(crate) fn of_entry<'a>(
        object: &'a SharedObject,
        spec: &'a model::ServiceEntry,
        workloads: &'a Workloads,
        mesh: &'a MeshConfig,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let Metadata {
            namespace, name, ..
        } = &object.metadata;
        let selected = match spec.selector.is_empty() {
            true => workloads.of_entry(namespace, name),
            false => workloads.select(namespace, &spec.selector),
        };
        let ports: Vec<Port> = spec.ports.iter().map(Port::of_entry).collect();
        let addresses = spec.addresses.iter();
        let addresses: Vec<String> = addresses.filter(|a| !a.contains('/')).cloned().collect();
        let loopback = addresses.iter().filter_map(|a| a.parse().ok());
        let loopback = loopback.clone().find(Ipv4Addr::is_loopback);
        let mut principals = principals(&selected);
        let ids = spec.subject_alt_names.iter();
        principals.extend(ids.filter(|id| id.starts_with("spiffe://")).cloned());
        let is_external = spec.location == Location::External;
        spec.hosts.iter().map(move |host| {
            let discovery = Discovery::of_entry(spec, host);
            Self {
                object: Arc::clone(object),
                address: loopback.unwrap_or_else(|| mesh_config::service_address(host)),
                host: host.clone(),
                // As Istio names it in metrics.
                name: host.clone(),
                namespace: namespace.clone(),
                selector: spec.selector.clone(),
                ports: ports.clone(),
                has_plain: is_external
                    || discovery != Discovery::Members
                    || selected.members().any(is_plain),
                selected: selected.clone(),
                principals: principals.clone(),
                export_to: Visibility::new(
                    &spec.export_to,
                    namespace,
                    &mesh.default_service_export_to,
                ),
                discovery,
                addresses: addresses.clone(),
                alias_of: None,
                is_entry: true,
                is_external,
            }
        })
    }

    /// What it selects: instances by group and name, then entries.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.selected.members()
    }

    fn is_made_of(&self, object: &SharedObject, selected: &Selected) -> bool {
        Arc::ptr_eq(&self.object, object) && self.selected.is_same(selected)
    }

    /// Whether a service of the same host and mesh-wide settings is no other than this one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_made_of(&other.object, &other.selected)
            && self.alias_of == other.alias_of
            && self.ports == other.ports
    }

    /// Whether this is the object in which it was written.
    pub(crate) fn is_of(&self, object: &SharedObject) -> bool {
        Arc::ptr_eq(&self.object, object)
    }

    /// Whether it was written in the same words.
    pub(crate) fn has_object_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.object, &other.object)
    }

    /// The port of this number.
    pub(crate) fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// The only port of the service, if it has just one.
    pub(crate) fn only_port(&self) -> Option<&Port> {
        match self.ports.as_slice() {
            [port] => Some(port),
            _ => None,
        }
    }

    /// The ports over which HTTP requests go.
    pub(crate) fn request_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports
            .iter()
            .filter(|port| port.protocol != Protocol::Opaque)
    }

    /// As the metric labels name it.
    pub(crate) fn reference(&self) -> ServiceRef {
        ServiceRef {
            host: self.host.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
        }
    }
}

/// Identities of the groups, whether an instance is there or not.
fn principals(selected: &Selected) -> BTreeSet<String> {
    let groups = selected.groups.iter();
    groups
        .map(|group| group.workload.principal.clone())
        .collect()
}

fn is_plain(member: &Member) -> bool {
    matches!(member.reach, Reach::Plain { .. })
}
