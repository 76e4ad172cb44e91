//! Services: their ports, and which workloads they select.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use mesh_config::model::{Metadata, Protocol, TargetPort};
use mesh_config::{model, service_host};
use mesh_xds::metadata::ServiceRef;

use crate::workload::{Labels, Reach, Workloads};

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
}

/// A port of a service.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) target: TargetPort,
    pub(crate) protocol: Protocol,
}

impl Service {
    pub(crate) fn build(metadata: &Metadata, spec: &model::Service, workloads: &Workloads) -> Self {
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
            has_plain,
        }
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
