//! What is asked of the graph: Kiali's query parameters, parsed once, with errors that name the
//! parameter and what it takes.
//!
//! Two levels: what was typed (name/value pairs of the URL, read by `parse`) and what it means
//! ([`GraphQuery`]). [`super::engine`] turns the latter into queries.

mod parse;

use std::collections::BTreeSet;

pub(crate) use self::parse::seconds;

/// What the nodes of a graph are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GraphType {
    /// One node per app, its versions added up.
    App,
    /// One node per app and version, boxed by app.
    VersionedApp,
    /// One node per workload.
    Workload,
    /// One node per service.
    Service,
}

impl GraphType {
    /// As it is written in URLs and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GraphType::App => "app",
            GraphType::VersionedApp => "versionedApp",
            GraphType::Workload => "workload",
            GraphType::Service => "service",
        }
    }
}

/// What the graph is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that goes into, out of and through these namespaces.
    Namespaces(BTreeSet<String>),
    /// One node and its neighbours.
    Node {
        /// The node's namespace.
        namespace: String,
        /// Which node of it.
        node: NodeScope,
    },
}

/// The node of a node graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeScope {
    /// A workload by name.
    Workload(String),
    /// An app, or one version of it.
    App(String, Option<String>),
    /// A service by its short name.
    Service(String),
}

/// Which rate of gRPC or TCP is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// The protocol is left out.
    None,
    /// Requests (gRPC and HTTP).
    Requests,
    /// Messages or bytes from client to server.
    Sent,
    /// Messages or bytes from server to client.
    Received,
    /// Both directions.
    Total,
}

/// Whether reports of ambient proxies count; only the text of the queries depends on it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambient {
    /// Neither kind.
    None,
    /// Both kinds.
    Total,
    /// Only waypoints.
    Waypoint,
    /// Only ztunnels.
    Ztunnel,
}

impl Ambient {
    pub(super) fn has_waypoints(self) -> bool {
        matches!(self, Ambient::Total | Ambient::Waypoint)
    }

    pub(super) fn has_ztunnels(self) -> bool {
        matches!(self, Ambient::Total | Ambient::Ztunnel)
    }
}

/// How an edge's response time is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResponseTime {
    /// The mean.
    Average,
    /// A quantile between 0 and 1.
    Quantile(f64),
}

/// Which direction an edge's throughput counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throughput {
    /// Bytes of requests, as the source reports them.
    Request,
    /// Bytes of responses, as the destination reports them.
    Response,
}

/// What decorates nodes and edges beyond their traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appenders {
    /// mTLS share and principals per edge.
    pub security_policy: bool,
    /// Response time per edge.
    pub response_time: bool,
    /// Bytes per second per edge.
    pub throughput: bool,
    /// Health of nodes and edges.
    pub health: bool,
    /// Badges from the configuration: gateways, virtual services.
    pub istio: bool,
}

impl Appenders {
    /// Everything.
    pub const ALL: Appenders = Appenders {
        security_policy: true,
        response_time: true,
        throughput: true,
        health: true,
        istio: true,
    };
    /// Only what is always run.
    pub const NONE: Appenders = Appenders {
        security_policy: false,
        response_time: false,
        throughput: false,
        health: false,
        istio: false,
    };
}

/// Which boxes are drawn around nodes; app graphs always box their apps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoxBy {
    /// Nodes of one app.
    pub app: bool,
    /// Nodes of one namespace.
    pub namespace: bool,
    /// Nodes of one cluster.
    pub cluster: bool,
}

/// A graph that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphQuery {
    /// Namespaces or one node.
    pub scope: Scope,
    /// What the nodes are.
    pub graph_type: GraphType,
    /// The window in seconds, at least 1.
    pub duration: u64,
    /// The window's end, in seconds since 1970.
    pub query_time: u64,
    /// Whether HTTP requests are shown.
    pub rate_http: bool,
    /// What is shown of gRPC.
    pub rate_grpc: Rate,
    /// What is shown of TCP.
    pub rate_tcp: Rate,
    /// Whose reports count.
    pub ambient: Ambient,
    /// Whether a service node is put between client and workload.
    pub inject_service_nodes: bool,
    /// Whether edges without traffic are shown.
    pub include_idle_edges: bool,
    /// Additional boxes.
    pub box_by: BoxBy,
    /// Decorations.
    pub appenders: Appenders,
    /// How response times are computed.
    pub response_time: ResponseTime,
    /// Which throughput is shown.
    pub throughput: Throughput,
    /// The cluster of the node of a node graph, if it is named.
    pub cluster: Option<String>,
}

/// A parameter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// It is needed and was not given.
    #[error("the parameter `{0}` is missing: {1}")]
    Missing(&'static str, &'static str),
    /// It has a value that means nothing.
    #[error("the parameter `{name}` cannot be `{value}`: {takes}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// What was given, shortened.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

#[cfg(test)]
mod tests;
