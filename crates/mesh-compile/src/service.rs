//! Services: their ports, and which workloads they select.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use mesh_config::model::{
    EntryPort, Location, MeshConfig, Metadata, Protocol, Resolution, TargetPort,
};
use mesh_config::{model, service_host};
use mesh_xds::metadata::ServiceRef;

use crate::visibility::Visibility;
use crate::workload::{Labels, Member, Reach, Workloads};

/// A service and what stands behind it.
#[derive(Debug)]
pub(crate) struct Service {
    /// `reviews.default.svc.cluster.local`
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Where sidecars may listen for it.
    pub(crate) address: Ipv4Addr,
    pub(crate) selector: Labels,
    pub(crate) ports: Vec<Port>,
    /// Into [`Workloads::members`].
    pub(crate) members: Vec<usize>,
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
#[derive(Clone, Debug)]
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
    pub(crate) fn build(
        metadata: &Metadata,
        spec: &model::Service,
        workloads: &Workloads,
        mesh: &MeshConfig,
    ) -> Self {
        let Metadata {
            namespace, name, ..
        } = metadata;
        let members = workloads.select(namespace, &spec.selector);
        let host = service_host(name, namespace);
        let has_plain = workloads
            .members(&members)
            .any(|member| matches!(member.reach, Reach::Plain { .. }));
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
        Self {
            address: spec.address(&host),
            host,
            name: name.clone(),
            namespace: namespace.clone(),
            selector: spec.selector.clone(),
            ports,
            principals: workloads
                .select_groups(namespace, &spec.selector)
                .into_iter()
                .map(|group| group.workload.principal.clone())
                .collect(),
            members,
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
        }
    }

    /// The services of a ServiceEntry, one for each host.
    pub(crate) fn of_entry<'a>(
        metadata: &'a Metadata,
        spec: &'a model::ServiceEntry,
        workloads: &'a Workloads,
        mesh: &'a MeshConfig,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let Metadata {
            namespace, name, ..
        } = metadata;
        let members = match spec.selector.is_empty() {
            true => workloads.of_entry(namespace, name).to_vec(),
            false => workloads.select(namespace, &spec.selector),
        };
        let ports: Vec<Port> = spec.ports.iter().map(Port::of_entry).collect();
        let addresses = spec.addresses.iter();
        let addresses: Vec<String> = addresses.filter(|a| !a.contains('/')).cloned().collect();
        let loopback = addresses.iter().filter_map(|a| a.parse().ok());
        let loopback = loopback.clone().find(Ipv4Addr::is_loopback);
        let groups = workloads.select_groups(namespace, &spec.selector);
        let mut principals: BTreeSet<String> = groups
            .into_iter()
            .map(|group| group.workload.principal.clone())
            .collect();
        let ids = spec.subject_alt_names.iter();
        principals.extend(ids.filter(|id| id.starts_with("spiffe://")).cloned());
        let is_external = spec.location == Location::External;
        spec.hosts.iter().map(move |host| {
            let discovery = Discovery::of_entry(spec, host);
            let is_plain = |member: &Member| matches!(member.reach, Reach::Plain { .. });
            Self {
                address: loopback.unwrap_or_else(|| mesh_config::service_address(host)),
                host: host.clone(),
                // As Istio names it in metrics.
                name: host.clone(),
                namespace: namespace.clone(),
                selector: spec.selector.clone(),
                ports: ports.clone(),
                has_plain: is_external
                    || discovery != Discovery::Members
                    || workloads.members(&members).any(is_plain),
                members: members.clone(),
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
