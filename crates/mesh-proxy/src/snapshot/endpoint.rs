//! Load assignments: an Envoy `ClusterLoadAssignment` becomes the endpoints of a cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_xds::envoy::core::address::Address as AddressForm;
use mesh_xds::envoy::core::socket_address::PortSpecifier;
use mesh_xds::envoy::core::{Address, HealthStatus, Metadata, SocketAddress, socket_address};
use mesh_xds::envoy::endpoint as pb;
use mesh_xds::envoy::endpoint::lb_endpoint::HostIdentifier;
use mesh_xds::{Workload, metadata};

use super::cluster::ClusterSpec;
use super::field::{At, Refusal, is_set, must_be_unlimited, sort_fields};
use super::{Cluster, Endpoint, UpstreamTls};
use crate::upstream::EndpointState;

/// The endpoints of a service, before a cluster says how they are spoken to.
#[derive(Debug, Default)]
pub struct Assignment {
    /// Those that take requests.
    pub endpoints: Vec<EndpointSpec>,
}

/// One endpoint of an [`Assignment`].
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// `host:port`, with brackets around an IPv6 address.
    pub address: Arc<str>,
    /// The workload behind it.
    pub workload: Arc<Workload>,
    /// Its share among its neighbours, at least 1.
    weight: u32,
    /// Its priority, its place among the localities, and the place's share.
    key: (u32, usize, u32),
    /// What a cluster's transport socket matches look at.
    metadata: Option<Metadata>,
}

impl Assignment {
    /// The same with each endpoint at all addresses that its name has; what is not among them keeps its name.
    #[must_use]
    pub fn resolved(&self, addresses: &BTreeMap<Arc<str>, Vec<SocketAddr>>) -> Self {
        let mut taken = HashSet::new();
        let mut endpoints = Vec::new();
        for endpoint in &self.endpoints {
            let found = addresses.get(&endpoint.address);
            let found = found.map(|found| found.iter().map(|a| a.to_string().into()).collect());
            let found: Vec<Arc<str>> = found.unwrap_or_else(|| vec![Arc::clone(&endpoint.address)]);
            // Two names may have an address in common.
            for address in found {
                if taken.insert(Arc::clone(&address)) {
                    endpoints.push(EndpointSpec {
                        address,
                        ..endpoint.clone()
                    });
                }
            }
        }
        Self { endpoints }
    }
}

/// Reads a load assignment.
pub(super) fn compile(
    at: &At<'_>,
    message: &pb::ClusterLoadAssignment,
) -> Result<Assignment, Refusal> {
    use pb::cluster_load_assignment::Policy;
    use pb::{ClusterLoadAssignment, LocalityLbEndpoints};
    sort_fields!(at, message => ClusterLoadAssignment {
        takes { endpoints, policy }
        ignores { cluster_name }
        refuses { named_endpoints }
    });
    if let Some(policy) = policy {
        let at = at.field("policy");
        sort_fields!(at, policy => Policy {
            takes { endpoint_stale_after, overprovisioning_factor }
            ignores {}
            refuses { drop_overloads, weighted_priority_health }
        });
        if overprovisioning_factor
            .as_ref()
            .is_some_and(|factor| factor.value != 140)
        {
            return Err(at
                .field("overprovisioning_factor")
                .refuse("must be 140, which is Envoy's default"));
        }
        must_be_unlimited(
            &at.field("endpoint_stale_after"),
            endpoint_stale_after.as_ref(),
        )?;
    }
    let mut reader = Reader::default();
    for (i, locality) in endpoints.iter().enumerate() {
        let at = at.item("endpoints", i);
        sort_fields!(at, locality => LocalityLbEndpoints {
            takes { lb_endpoints, load_balancing_weight, priority }
            // A locality is known by its place in the list.
            ignores { locality, metadata, proximity }
            refuses { lb_config }
        });
        // Without a weight a locality gets nothing from a cluster that looks at weights.
        let share = load_balancing_weight
            .as_ref()
            .map_or(0, |share| share.value);
        reader.key = (*priority, i, share);
        for (i, endpoint) in lb_endpoints.iter().enumerate() {
            reader.endpoint(&at.item("lb_endpoints", i), endpoint)?;
        }
    }
    reader.endpoints.sort_by_key(|endpoint| endpoint.key);
    Ok(Assignment {
        endpoints: reader.endpoints,
    })
}

/// Priority, place and the place's share of each endpoint.
pub(super) fn keys(assignment: &Assignment) -> Vec<(u32, usize, u32)> {
    assignment.endpoints.iter().map(|one| one.key).collect()
}

/// The endpoints of a cluster, with those of `previous` carried over.
pub(super) fn build(
    spec: &ClusterSpec,
    assignment: &Assignment,
    previous: Option<&Cluster>,
    workers: usize,
) -> Vec<Arc<Endpoint>> {
    let known: HashMap<&str, &Arc<Endpoint>> = previous
        .into_iter()
        .flat_map(|cluster| &cluster.endpoints)
        .map(|endpoint| (&*endpoint.address, endpoint))
        .collect();
    let same_plain_text = previous.is_some_and(|cluster| cluster.http2 == spec.http2);
    let build = |endpoint: &EndpointSpec| {
        let tls = spec.transport_to(endpoint.metadata.as_ref());
        // Connections are pooled in the state: it survives while they would be made alike.
        let before = known
            .get(&*endpoint.address)
            .filter(|before| match (&before.tls, tls) {
                (None, None) => same_plain_text,
                (Some(before), Some(now)) => same_tls(before, now),
                _ => false,
            });
        let health = known.get(&*endpoint.address).map(|before| &before.health);
        match before {
            Some(before)
                if before.workload == endpoint.workload && before.weight == endpoint.weight =>
            {
                Arc::clone(before)
            }
            before => Arc::new(Endpoint {
                weight: endpoint.weight,
                health: health.map_or_else(Arc::default, Arc::clone),
                address: Arc::clone(&endpoint.address),
                workload: Arc::clone(&endpoint.workload),
                tls: tls.cloned(),
                state: before.map_or_else(
                    || Arc::new(EndpointState::new(workers)),
                    |before| Arc::clone(&before.state),
                ),
            }),
        }
    };
    assignment.endpoints.iter().map(build).collect()
}

fn same_tls(a: &UpstreamTls, b: &UpstreamTls) -> bool {
    Arc::ptr_eq(&a.config, &b.config) && a.sni == b.sni
}

/// `host:port` of an address; only TCP addresses with a port number have one.
pub(super) fn host_and_port<'m>(
    at: &At<'_>,
    message: Option<&'m Address>,
) -> Result<(&'m str, u16), Refusal> {
    let message = match message.and_then(|address| address.address.as_ref()) {
        Some(AddressForm::SocketAddress(address)) => address,
        Some(AddressForm::Pipe(_)) => return Err(at.field("pipe").unsupported()),
        Some(AddressForm::EnvoyInternalAddress(_)) => {
            return Err(at.field("envoy_internal_address").unsupported());
        }
        None => return Err(at.refuse("is missing")),
    };
    let at = at.field("socket_address");
    sort_fields!(at, message => SocketAddress {
        takes { protocol, address, port_specifier }
        ignores {}
        refuses { resolver_name, ipv4_compat, network_namespace_filepath }
    });
    if *protocol != socket_address::Protocol::Tcp as i32 {
        return Err(at.field("protocol").refuse("must be TCP"));
    }
    if address.is_empty() {
        return Err(at.field("address").refuse("is empty"));
    }
    match port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(*port)
            .map(|port| (address.as_str(), port))
            .map_err(|_| {
                at.field("port_value")
                    .refuse(format!("{port} is no TCP port"))
            }),
        _ => Err(at.field("port_value").refuse("is missing")),
    }
}

#[derive(Default)]
struct Reader {
    endpoints: Vec<EndpointSpec>,
    addresses: HashSet<Arc<str>>,
    /// Of the locality that is read.
    key: (u32, usize, u32),
}

impl Reader {
    fn endpoint(&mut self, at: &At<'_>, message: &pb::LbEndpoint) -> Result<(), Refusal> {
        use pb::{Endpoint, LbEndpoint};
        sort_fields!(at, message => LbEndpoint {
            takes { health_status, metadata, load_balancing_weight, host_identifier }
            ignores {}
            refuses {}
        });
        let weight = load_balancing_weight
            .as_ref()
            .map_or(1, |weight| weight.value);
        if weight == 0 {
            return Err(at
                .field("load_balancing_weight")
                .refuse("must be 1 or more"));
        }
        let Some(HostIdentifier::Endpoint(endpoint)) = host_identifier else {
            return Err(at.field("endpoint").refuse("is missing"));
        };
        let at = at.field("endpoint");
        sort_fields!(at, endpoint => Endpoint {
            takes { address, health_check_config }
            // For rewriting hosts, which a route would have to ask for; for statistics.
            ignores { hostname, observability_name }
            refuses { additional_addresses }
        });
        if health_check_config.as_ref().is_some_and(is_set) {
            return Err(at.field("health_check_config").unsupported());
        }
        let (host, port) = host_and_port(&at.field("address"), address.as_ref())?;
        if !takes_requests(*health_status) {
            return Ok(());
        }
        let address: Arc<str> = match host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{port}").into(),
            _ => format!("{host}:{port}").into(),
        };
        if self.addresses.insert(Arc::clone(&address)) {
            let workload = metadata
                .as_ref()
                .and_then(metadata::workload)
                .unwrap_or_default();
            self.endpoints.push(EndpointSpec {
                address,
                weight,
                key: self.key,
                workload: Arc::new(workload),
                metadata: metadata.clone(),
            });
        }
        Ok(())
    }
}

/// As Envoy takes the control plane's word for an endpoint's health.
fn takes_requests(status: i32) -> bool {
    let out = [
        HealthStatus::Unhealthy,
        HealthStatus::Draining,
        HealthStatus::Timeout,
    ];
    !out.iter().any(|unfit| *unfit as i32 == status)
}

#[cfg(test)]
mod tests;
