//! Services with their endpoints, for whoever wants to look at them or send to them from outside.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh_xds::Workload;

use crate::Protocol;
use crate::mesh::Mesh;
use crate::service::{Port, Service};
use crate::workload::{Member, Reach};

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `reviews.default.svc.cluster.local`.
    pub host: String,
    /// The loopback address at which sidecars listen for it, if they do.
    pub address: Ipv4Addr,
    /// As the user wrote them.
    pub ports: Vec<PortView>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// May be empty.
    pub name: String,
    /// What clients use.
    pub number: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// Workloads that have the port: instances by group and name, then WorkloadEntries.
    pub endpoints: Vec<EndpointView>,
}

/// One workload behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// The name of the instance or of the WorkloadEntry.
    pub name: String,
    /// Who it is in metrics and graphs.
    pub workload: Arc<Workload>,
    /// Where proxies of the mesh send requests: IP address or DNS name, and port.
    pub address: (String, u16),
    /// Whether they do so with mutual TLS.
    pub mutual_tls: bool,
    /// Where it takes plain text from outside the mesh, past its routing.
    pub plain_address: Option<SocketAddr>,
}

/// All services, by host.
pub(crate) fn services(mesh: &Mesh) -> Vec<ServiceView> {
    mesh.services
        .values()
        .map(|service| ServiceView {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            host: service.host.clone(),
            address: service.address,
            ports: service
                .ports
                .iter()
                .map(|port| port_view(service, port))
                .collect(),
        })
        .collect()
}

fn port_view(service: &Service, port: &Port) -> PortView {
    let members = service.members();
    PortView {
        name: port.name.clone(),
        number: port.number,
        protocol: port.protocol,
        endpoints: members
            .filter_map(|member| endpoint_view(service, member, port))
            .collect(),
    }
}

fn endpoint_view(service: &Service, member: &Member, port: &Port) -> Option<EndpointView> {
    let app_port = member.app_port(port)?;
    let (address, mutual_tls, plain_address) = match &member.reach {
        Reach::Agent { address, plain, .. } if service.is_external => {
            ((address.clone(), app_port), false, *plain)
        }
        Reach::Agent {
            address,
            port,
            plain,
        } => ((address.clone(), *port), true, *plain),
        Reach::Plain { address } => {
            let plain = address.parse().ok().map(|ip| SocketAddr::new(ip, app_port));
            ((address.clone(), app_port), false, plain)
        }
    };
    Some(EndpointView {
        name: member.name.clone(),
        workload: Arc::clone(&member.workload),
        address,
        mutual_tls,
        plain_address,
    })
}
