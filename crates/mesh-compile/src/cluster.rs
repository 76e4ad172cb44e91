//! Clusters and their endpoints.

mod discovery;

use mesh_config::model::TlsMode;
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy, TransportSocketMatch,
};
use mesh_xds::envoy::core::{Metadata, TransportSocket};
use mesh_xds::envoy::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use mesh_xds::envoy::http_protocol_options::HttpProtocolOptions;
use mesh_xds::envoy::http_protocol_options::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions,
    explicit_http_config::ProtocolConfig,
};
use mesh_xds::envoy::protobuf::{Duration, Struct, UInt32Value};
use mesh_xds::metadata::ServiceRef;
use mesh_xds::{Locality, metadata, names, pack};

use crate::Protocol;
use crate::client::Client;
use crate::destination_rule::Policy;
use crate::gateway::secrets::SecretRef;
use crate::listener::socket_address;
use crate::locality::{self, Placed};
use crate::mesh::Mesh;
use crate::route::ClusterRef;
use crate::service::{Discovery, Port, Service};
use crate::workload::{Labels, Member, Reach, has_labels};
use crate::{tls, traffic_policy};

/// Istio's name of the cluster for hosts that are not known.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What is spoken to the endpoints of a service.
///
/// Between agents the protocol is settled by TLS. Envoy lets a cluster do so only if all of its endpoints take
/// TLS; as soon as one of them has no agent, the protocol must be said beforehand, and then HTTP/1.1 is what
/// both kinds take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Negotiated,
    /// The same with a server outside the mesh, which may not know HTTP/2.
    Offered,
    Http1,
    Http2,
    /// Whatever comes: nothing is settled by TLS, nor said.
    Bytes,
}

impl Spoken {
    fn to(service: &Service, port: &Port, policy: &Policy) -> Self {
        let upgrade = policy.parts.connection_pool.as_ref();
        let upgrade = upgrade.and_then(|pool| pool.h2_upgrade);
        let mode = policy.parts.tls.as_ref().map(|tls| tls.mode);
        match port.protocol {
            Protocol::Http if upgrade == Some(true) => Self::Http2,
            Protocol::Http if upgrade == Some(false) => Self::Http1,
            Protocol::Http2 => Self::Http2,
            Protocol::Http => match mode {
                Some(TlsMode::Disable) => Self::Http1,
                Some(TlsMode::Simple | TlsMode::Mutual) => Self::Offered,
                None if service.has_plain => Self::Http1,
                None | Some(TlsMode::IstioMutual) => Self::Negotiated,
            },
            Protocol::Opaque => Self::Bytes,
        }
    }

    fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Negotiated | Self::Http2 => &["h2"],
            Self::Offered => &["h2", "http/1.1"],
            Self::Http1 => &["http/1.1"],
            Self::Bytes => &[],
        }
    }

    fn options(self) -> Option<UpstreamProtocolOptions> {
        let explicit = |protocol| {
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(protocol),
            })
        };
        Some(match self {
            Self::Negotiated | Self::Offered => {
                UpstreamProtocolOptions::AutoConfig(AutoHttpConfig {
                    http2_protocol_options: Some(Default::default()),
                    ..AutoHttpConfig::default()
                })
            }
            Self::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
            Self::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(Default::default())),
            Self::Bytes => return None,
        })
    }
}

/// A cluster with what belongs to it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) cluster: Cluster,
    /// Its endpoints, if they are not part of it.
    pub(crate) endpoints: Option<ClusterLoadAssignment>,
    /// What its TLS takes.
    pub(crate) secrets: Vec<SecretRef>,
}

/// The cluster for a service's port or a subset of it.
pub(crate) fn outbound(mesh: &Mesh, client: &Client, cluster: &ClusterRef) -> Option<Outbound> {
    let service = mesh.services.get(&cluster.host)?;
    let port = service.port(cluster.port)?;
    let subset = cluster.subset.as_deref();
    let name = names::cluster(names::OUTBOUND, port.number, subset, &service.host);
    let root = &mesh.settings.root_namespace;
    let rule = mesh.destination_rules.choose(client, service, root);
    let policy = rule.map_or_else(Policy::default, |rule| rule.policy(port.number, subset));
    let spoken = Spoken::to(service, port, &policy);
    let mut secrets = Vec::new();
    let (matches, transport_socket) = match &policy.parts.tls {
        Some(wanted) => {
            let (target, alpn) = ((&**service, port.number, subset), spoken.alpn());
            let demanded = tls::demanded(&mesh.settings, client, target, alpn, &policy, wanted);
            secrets = demanded.secrets;
            (Vec::new(), demanded.socket)
        }
        None => automatic(mesh, service, port, subset, spoken),
    };
    let labels = subset
        .and_then(|subset| rule?.subsets.get(subset))
        .map(|subset| &subset.labels);
    let assignment = ClusterLoadAssignment {
        cluster_name: name.clone(),
        ..assignment(service, port, labels, (client, &policy))
    };
    let mut message = Cluster {
        name,
        transport_socket_matches: matches,
        transport_socket,
        ..base(&[service], spoken, &policy)
    };
    message.connect_timeout = Some(traffic_policy::duration(mesh.settings.mesh.connect_timeout));
    traffic_policy::apply(&mut message, &policy);
    let endpoints = discovery::apply(&mut message, service, assignment);
    Some(Outbound {
        cluster: message,
        endpoints,
        secrets,
    })
}

/// The cluster of a service's port or a subset of it for connections that are encrypted already: they go to the
/// agents of its members as they are, by the server name that is the cluster's own name.
pub(crate) fn passed_on(mesh: &Mesh, client: &Client, cluster: &ClusterRef) -> Option<Outbound> {
    let service = mesh.services.get(&cluster.host)?;
    let port = service.port(cluster.port)?;
    let subset = cluster.subset.as_deref();
    let name = names::sni(port.number, subset, &service.host);
    let root = &mesh.settings.root_namespace;
    let rule = mesh.destination_rules.choose(client, service, root);
    let labels = subset
        .and_then(|subset| rule?.subsets.get(subset))
        .map(|subset| &subset.labels);
    let policy = rule.map_or_else(Policy::default, |rule| rule.policy(port.number, subset));
    let mut endpoints = ClusterLoadAssignment {
        cluster_name: name.clone(),
        ..assignment(service, port, labels, (client, &policy))
    };
    for locality in &mut endpoints.endpoints {
        locality.lb_endpoints.retain(takes_mesh_tls);
    }
    let mut message = Cluster {
        name,
        ..base(&[service], Spoken::Bytes, &policy)
    };
    let endpoints = discovery::apply(&mut message, service, endpoints);
    Some(Outbound {
        cluster: message,
        endpoints,
        secrets: Vec::new(),
    })
}

/// Whether an endpoint has an agent.
fn takes_mesh_tls(endpoint: &LbEndpoint) -> bool {
    let data = endpoint.metadata.as_ref();
    data.is_some_and(metadata::has_tls_mode)
}

/// Mutual TLS to endpoints that have an agent, plain text to others.
fn automatic(
    mesh: &Mesh,
    service: &Service,
    port: &Port,
    subset: Option<&str>,
    spoken: Spoken,
) -> (Vec<TransportSocketMatch>, Option<TransportSocket>) {
    let socket = tls::outbound(&mesh.settings, service, port.number, subset, spoken.alpn());
    let mut matches = vec![TransportSocketMatch {
        name: "tlsMode-istio".to_owned(),
        r#match: Some(metadata::tls_mode_match()),
        transport_socket: Some(socket.clone()),
    }];
    if spoken != Spoken::Negotiated {
        matches.push(TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(Struct::default()),
            transport_socket: Some(tls::plain()),
        });
    }
    (matches, (spoken == Spoken::Negotiated).then_some(socket))
}

/// The cluster of the application beside the proxy: `services` are those whose traffic it takes.
pub(crate) fn inbound(name: String, app_port: u16, port: &Port, services: &[&Service]) -> Cluster {
    let spoken = match port.protocol {
        Protocol::Http2 => Spoken::Http2,
        Protocol::Http => Spoken::Http1,
        Protocol::Opaque => Spoken::Bytes,
    };
    let endpoint = lb_endpoint("127.0.0.1", app_port, None);
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        circuit_breakers: Some(traffic_policy::no_limits()),
        name,
        ..base(services, spoken, &Policy::default())
    }
}

/// What all clusters have in common.
fn base(services: &[&Service], spoken: Spoken, policy: &Policy) -> Cluster {
    let options = spoken.options().map(|options| {
        let mut options = HttpProtocolOptions {
            upstream_protocol_options: Some(options),
            ..HttpProtocolOptions::default()
        };
        traffic_policy::http_options(&mut options, policy);
        (HTTP_OPTIONS.to_owned(), pack(&options))
    });
    let mut data = Metadata::default();
    if let Some(service) = services.first() {
        metadata::set_service(&mut data, &service.reference());
    }
    Cluster {
        connect_timeout: Some(Duration {
            seconds: 10,
            nanos: 0,
        }),
        lb_policy: LbPolicy::LeastRequest as i32,
        typed_extension_protocol_options: options.into_iter().collect(),
        metadata: Some(data),
        ..Cluster::default()
    }
}

fn assignment(
    service: &Service,
    port: &Port,
    labels: Option<&Labels>,
    (client, policy): (&Client, &Policy),
) -> ClusterLoadAssignment {
    let (nowhere, none) = (Locality::default(), Labels::default());
    let own_name = match &service.discovery {
        Discovery::Dns { name, .. } if service.members().next().is_none() => Some(lb_endpoint(
            name,
            port.otherwise.unwrap_or(port.number),
            None,
        )),
        _ => None,
    };
    let own_name = own_name.map(|endpoint| Placed {
        endpoint,
        locality: &nowhere,
        labels: &none,
    });
    let endpoints = service
        .members()
        .filter(|member| labels.is_none_or(|labels| has_labels(&member.labels, labels)))
        .filter_map(|member| {
            Some(Placed {
                endpoint: member_endpoint(service, member, port)?,
                locality: &member.locality,
                labels: &member.labels,
            })
        })
        .chain(own_name)
        .collect();
    ClusterLoadAssignment {
        endpoints: locality::arrange(endpoints, client, policy),
        ..ClusterLoadAssignment::default()
    }
}

/// `None` if the workload's application does not have the port.
fn member_endpoint(service: &Service, member: &Member, port: &Port) -> Option<LbEndpoint> {
    let app_port = member.app_port(port)?;
    let mut data = Metadata::default();
    // Endpoints outside the mesh are no workloads.
    if *member.workload != mesh_xds::Workload::default() {
        metadata::set_workload(&mut data, &member.workload);
    }
    let (address, port) = match &member.reach {
        Reach::Agent { address, .. } if service.is_external => (address, app_port),
        Reach::Agent { address, port, .. } => {
            metadata::set_tls_mode(&mut data);
            (address, *port)
        }
        Reach::Plain { address } => (address, app_port),
    };
    Some(LbEndpoint {
        // What all have needs no words.
        load_balancing_weight: (member.weight != 1).then_some(UInt32Value {
            value: member.weight,
        }),
        ..lb_endpoint(address, port, Some(data))
    })
}

/// Where requests go whose host a sidecar does not know: to that host.
pub(crate) fn passthrough(mesh: &Mesh) -> Cluster {
    let mut message = Cluster {
        name: PASSTHROUGH.to_owned(),
        connect_timeout: Some(traffic_policy::duration(mesh.settings.mesh.connect_timeout)),
        ..base(&[], Spoken::Http1, &Policy::default())
    };
    let service = ServiceRef {
        name: PASSTHROUGH.to_owned(),
        ..ServiceRef::default()
    };
    metadata::set_service(message.metadata.get_or_insert_default(), &service);
    discovery::requested(&mut message);
    message
}

fn lb_endpoint(address: &str, port: u16, data: Option<Metadata>) -> LbEndpoint {
    LbEndpoint {
        metadata: data,
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket_address(address, port)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}
