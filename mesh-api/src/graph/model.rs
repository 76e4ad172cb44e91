//! A finished graph: what the engine builds and the renderers draw.
//!
//! Numbers stay numbers here; how they are written is the business of each output.

use std::collections::{BTreeMap, BTreeSet};

use super::params::GraphType;
use super::traffic::{EdgeTraffic, NodeTraffic, Protocol};

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeType {
    /// An app or one version of it.
    App,
    /// A box around other nodes.
    Box,
    /// A service that was called.
    Service,
    /// A client without a proxy: traffic from outside the mesh.
    Unknown,
    /// A workload.
    Workload,
}

impl NodeType {
    /// As Kiali names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeType::App => "app",
            NodeType::Box => "box",
            NodeType::Service => "service",
            NodeType::Unknown => "unknown",
            NodeType::Workload => "workload",
        }
    }
}

/// What a box holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BoxKind {
    /// Everything of one cluster.
    Cluster,
    /// Everything of one namespace.
    Namespace,
    /// The versions of one app.
    App,
}

impl BoxKind {
    /// As Kiali names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BoxKind::Cluster => "cluster",
            BoxKind::Namespace => "namespace",
            BoxKind::App => "app",
        }
    }
}

/// A service that a node was called by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName {
    /// Its cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its short name.
    pub name: String,
}

/// How well something does, from bad to unknown; the order is the order of concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Nothing to judge by.
    NotAvailable,
    /// All is well.
    Healthy,
    /// Meant to have no instance.
    NotReady,
    /// Some errors.
    Degraded,
    /// Too many errors.
    Failure,
}

impl Status {
    /// As Kiali names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::NotAvailable => "NA",
            Status::Healthy => "Healthy",
            Status::NotReady => "Not Ready",
            Status::Degraded => "Degraded",
            Status::Failure => "Failure",
        }
    }
}

/// Rates by protocol and response code.
pub type Codes = BTreeMap<Protocol, BTreeMap<String, f64>>;

/// The instances of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// The workload.
    pub name: String,
    /// Instances that are registered with the mesh, all of them with a proxy.
    pub instances: u32,
}

/// Why a node is as well as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The worst of requests and instances.
    pub status: Status,
    /// The ratio, in percent, of the errors that decided; 0 if none did.
    pub error_ratio: f64,
    /// HTTP and gRPC requests in and out, per second.
    pub request_rate: f64,
    /// What came in.
    pub inbound: Codes,
    /// What went out.
    pub outbound: Codes,
    /// The workloads behind the node; none for a service.
    pub workloads: Vec<WorkloadStatus>,
}

/// What the configuration says about a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceNotes {
    /// Hosts of the VirtualServices that route it; `None` without one.
    pub virtual_service: Option<Vec<String>>,
    /// A VirtualService divides its traffic by weights.
    pub traffic_shifting: bool,
    /// A VirtualService routes it by matches.
    pub request_routing: bool,
    /// A VirtualService injects faults.
    pub fault_injection: bool,
    /// A VirtualService mirrors its traffic.
    pub mirroring: bool,
    /// A VirtualService limits the time of its requests.
    pub request_timeout: bool,
    /// A DestinationRule limits connections or ejects outliers.
    pub circuit_breaker: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The identity string, from which the id is hashed.
    pub key: String,
    /// What it stands for.
    pub node_type: NodeType,
    /// `unknown` if it was not reported.
    pub cluster: String,
    /// `unknown` if it was not reported.
    pub namespace: String,
    /// Empty where the graph type adds workloads up.
    pub workload: String,
    /// Empty for services and nameless workloads.
    pub app: String,
    /// Empty where the graph type adds versions up.
    pub version: String,
    /// Only for service nodes.
    pub service: String,
    /// The services through which it was called.
    pub dest_services: BTreeSet<ServiceName>,
    /// Names of the workloads that it adds up.
    pub workloads: BTreeSet<String>,
    /// Traffic in and out.
    pub traffic: NodeTraffic,
    /// The box that it is in, by index into [`Graph::nodes`].
    pub parent: Option<usize>,
    /// Set on boxes.
    pub box_kind: Option<BoxKind>,
    /// Absent when health was not asked for, or cannot be told.
    pub health: Option<Health>,
    /// From the configuration.
    pub notes: ServiceNotes,
    /// Hostnames that it serves, for a gateway.
    pub gateway: Option<Vec<String>>,
    /// Not to be looked into: unknown, or of a namespace out of reach.
    pub is_inaccessible: bool,
    /// A service node between a client and a workload.
    pub is_injected: bool,
    /// In a namespace that was not asked for.
    pub is_outside: bool,
    /// Sends and does not receive.
    pub is_root: bool,
}

/// What is known about the security of an edge, from the server side's reports, per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    /// Under mutual TLS.
    pub mutual: f64,
    /// In plain text.
    pub plain: f64,
    /// Whose policy was not reported.
    pub unreported: f64,
    /// The client's SPIFFE id, if it was verified.
    pub source_principal: Option<String>,
    /// The server's SPIFFE id.
    pub destination_principal: Option<String>,
}

impl Security {
    /// The share under mutual TLS, in percent; `None` when there is none.
    #[must_use]
    pub fn percent_mutual(&self) -> Option<f64> {
        let all = self.mutual + self.plain + self.unreported;
        (self.mutual > 0.0).then(|| self.mutual / all * 100.0)
    }
}

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Index of the calling node in [`Graph::nodes`].
    pub source: usize,
    /// Index of the called node in [`Graph::nodes`].
    pub target: usize,
    /// What is spoken.
    pub protocol: Protocol,
    /// What is carried.
    pub traffic: EdgeTraffic,
    /// The edge's share of what its source sends under this protocol, in percent.
    pub percent_of_source: f64,
    /// Default: nothing reported.
    pub security: Security,
    /// Milliseconds.
    pub response_time: Option<f64>,
    /// Bytes per second.
    pub throughput: Option<f64>,
    /// Absent when health was not asked for, or there is nothing to judge by.
    pub health: Option<Status>,
}

/// Who reported traffic last, whatever the graph is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReport {
    /// When it came in, in seconds since 1970.
    pub at: u64,
    /// The namespace of the workload whose proxy reported.
    pub namespace: String,
    /// The workload's name.
    pub workload: String,
}

/// A graph, sorted: boxes first, edges by the ids of their ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The window's end, in seconds since 1970.
    pub timestamp: u64,
    /// The window in seconds.
    pub duration: u64,
    /// What the nodes are.
    pub graph_type: GraphType,
    /// The namespaces that were asked for.
    pub namespaces: Vec<String>,
    /// Which quantile the response times are, or the mean.
    pub response_time: super::params::ResponseTime,
    /// The latest report of all, if the graph was made from what proxies report here.
    pub last_report: Option<LastReport>,
    /// Nodes and boxes.
    pub nodes: Vec<Node>,
    /// Edges.
    pub edges: Vec<Edge>,
}

/// What the graph cannot know from traffic: filled in from configuration and registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// Gateways by namespace and workload name, with the hosts that they serve.
    pub gateways: BTreeMap<(String, String), Vec<String>>,
    /// Services by namespace and short name.
    pub services: BTreeMap<(String, String), ServiceNotes>,
    /// Live instances by namespace and workload name. A workload that is not named is taken to have
    /// one, since something reported its traffic.
    pub instances: BTreeMap<(String, String), u32>,
    /// The namespaces that may be looked into; `None` for all.
    pub accessible: Option<BTreeSet<String>>,
}
