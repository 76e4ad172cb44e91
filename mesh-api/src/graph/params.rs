//! What is asked of the graph: Kiali's query parameters, parsed once, with errors that name the
//! parameter and what it takes.
//!
//! Two levels: what was typed (name/value pairs of the URL) and what it means ([`GraphQuery`]).
//! [`super::engine`] turns the latter into queries.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

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

fn invalid(name: &'static str, value: &str, takes: &'static str) -> ParamError {
    ParamError::Invalid {
        name,
        value: value.chars().take(80).collect(),
        takes,
    }
}

/// Longest name of a namespace, workload, app, version or service.
const LONGEST_NAME: usize = 253;
/// Most namespaces of one graph.
const MOST_NAMESPACES: usize = 200;
/// The window when none is asked for, as Kiali's.
const DEFAULT_DURATION: u64 = 600;

impl GraphQuery {
    /// A graph of whole namespaces, with Kiali's defaults.
    #[must_use]
    pub fn new<S: Into<String>>(
        namespaces: impl IntoIterator<Item = S>,
        graph_type: GraphType,
        duration: Duration,
        query_time: SystemTime,
    ) -> GraphQuery {
        GraphQuery {
            scope: Scope::Namespaces(namespaces.into_iter().map(Into::into).collect()),
            graph_type,
            duration: duration.as_secs().max(1),
            query_time: seconds(query_time),
            rate_http: true,
            rate_grpc: Rate::Requests,
            rate_tcp: Rate::Sent,
            ambient: Ambient::Total,
            inject_service_nodes: false,
            include_idle_edges: false,
            box_by: BoxBy::default(),
            appenders: Appenders::ALL,
            response_time: ResponseTime::Quantile(0.95),
            throughput: Throughput::Response,
            cluster: None,
        }
    }

    /// Parses `GET …/namespaces/graph`. Unknown parameters are ignored, as Kiali's clients send
    /// several that concern only its page.
    ///
    /// # Errors
    /// Names the first parameter that cannot be used, and what it takes.
    pub fn namespaces<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: SystemTime,
    ) -> Result<GraphQuery, ParamError> {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        let listed = pairs
            .iter()
            .rev()
            .find(|(name, _)| *name == "namespaces")
            .map_or("", |(_, value)| value);
        let mut namespaces = BTreeSet::new();
        for namespace in csv(listed) {
            namespaces.insert(checked_name("namespaces", namespace)?.to_owned());
        }
        if namespaces.is_empty() {
            return Err(ParamError::Missing(
                "namespaces",
                "name one or several, separated by commas, as in `namespaces=default,shop`",
            ));
        }
        if namespaces.len() > MOST_NAMESPACES {
            return Err(invalid("namespaces", listed, "at most 200 namespaces"));
        }
        Self::parse(Scope::Namespaces(namespaces), &pairs, now)
    }

    /// Parses `GET …/namespaces/{namespace}/(workloads|applications|services)/…/graph`.
    ///
    /// # Errors
    /// As [`GraphQuery::namespaces`].
    pub fn node<'a>(
        namespace: &str,
        node: NodeScope,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: SystemTime,
    ) -> Result<GraphQuery, ParamError> {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        checked_name("namespace", namespace)?;
        match &node {
            NodeScope::Workload(name) => checked_name("workload", name)?,
            NodeScope::Service(name) => checked_name("service", name)?,
            NodeScope::App(app, version) => {
                if let Some(version) = version {
                    checked_name("version", version)?;
                }
                checked_name("app", app)?
            }
        };
        let scope = Scope::Node {
            namespace: namespace.to_owned(),
            node,
        };
        Self::parse(scope, &pairs, now)
    }

    fn parse(
        scope: Scope,
        pairs: &[(&str, &str)],
        now: SystemTime,
    ) -> Result<GraphQuery, ParamError> {
        let mut query = GraphQuery::new(
            [""; 0],
            GraphType::Workload,
            Duration::from_secs(DEFAULT_DURATION),
            now,
        );
        query.scope = scope;
        for &(name, value) in pairs {
            query.apply(name, value)?;
        }
        // A service graph is a workload graph with services injected, then reduced.
        query.inject_service_nodes |= query.graph_type == GraphType::Service;
        Ok(query)
    }

    fn apply(&mut self, name: &str, value: &str) -> Result<(), ParamError> {
        match name {
            "graphType" => {
                self.graph_type = match value {
                    "app" => GraphType::App,
                    "versionedApp" => GraphType::VersionedApp,
                    "workload" => GraphType::Workload,
                    "service" => GraphType::Service,
                    _ => {
                        return Err(invalid(
                            "graphType",
                            value,
                            "it is app, versionedApp, workload or service",
                        ));
                    }
                }
            }
            "duration" => self.duration = parse_duration(value)?,
            "queryTime" => {
                self.query_time = value.parse().map_err(|_| {
                    invalid("queryTime", value, "it is a time in seconds since 1970")
                })?;
            }
            "rateHttp" => {
                self.rate_http = match value {
                    "none" => false,
                    "requests" => true,
                    _ => return Err(invalid("rateHttp", value, "it is none or requests")),
                }
            }
            "rateGrpc" => {
                self.rate_grpc = match value {
                    "none" => Rate::None,
                    "requests" => Rate::Requests,
                    "sent" => Rate::Sent,
                    "received" => Rate::Received,
                    "total" => Rate::Total,
                    _ => {
                        return Err(invalid(
                            "rateGrpc",
                            value,
                            "it is none, received, requests, sent or total",
                        ));
                    }
                }
            }
            "rateTcp" => {
                self.rate_tcp = match value {
                    "none" => Rate::None,
                    "sent" => Rate::Sent,
                    "received" => Rate::Received,
                    "total" => Rate::Total,
                    _ => {
                        return Err(invalid(
                            "rateTcp",
                            value,
                            "it is none, received, sent or total",
                        ));
                    }
                }
            }
            "ambientTraffic" => {
                self.ambient = match value {
                    "none" => Ambient::None,
                    "total" => Ambient::Total,
                    "waypoint" => Ambient::Waypoint,
                    "ztunnel" => Ambient::Ztunnel,
                    _ => {
                        return Err(invalid(
                            "ambientTraffic",
                            value,
                            "it is none, total, waypoint or ztunnel",
                        ));
                    }
                }
            }
            "injectServiceNodes" => {
                self.inject_service_nodes = parse_bool("injectServiceNodes", value)?;
            }
            "includeIdleEdges" => {
                self.include_idle_edges = parse_bool("includeIdleEdges", value)?;
            }
            "boxBy" => self.box_by = parse_boxes(value)?,
            "appenders" => self.appenders = parse_appenders(value)?,
            "responseTime" => self.response_time = parse_response_time(value)?,
            "throughputType" => {
                self.throughput = match value {
                    "request" => Throughput::Request,
                    "response" => Throughput::Response,
                    _ => {
                        return Err(invalid(
                            "throughputType",
                            value,
                            "it is request or response",
                        ));
                    }
                }
            }
            "clusterName" if !value.is_empty() => {
                self.cluster = Some(checked_name("clusterName", value)?.to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    /// The namespaces that are asked for: a node graph has its node's.
    #[must_use]
    pub fn requested_namespaces(&self) -> BTreeSet<&str> {
        match &self.scope {
            Scope::Namespaces(namespaces) => namespaces.iter().map(String::as_str).collect(),
            Scope::Node { namespace, .. } => BTreeSet::from([namespace.as_str()]),
        }
    }
}

/// Whole seconds since 1970; a time before it is 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// `60s`, `10m`, `1h30m`, as Prometheus writes durations.
fn parse_duration(value: &str) -> Result<u64, ParamError> {
    let takes = "it is a duration such as 60s, 10m or 1h, at least 1s and at most 30d";
    let error = || invalid("duration", value, takes);
    let mut total = 0_u64;
    let mut rest = value;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| error())?;
        let unit = rest[digits..].chars().next().ok_or_else(error)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 7 * 86400,
            _ => return Err(error()),
        };
        total = number
            .checked_mul(factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(error)?;
        rest = &rest[digits + 1..];
    }
    if (1..=30 * 86400).contains(&total) {
        Ok(total)
    } else {
        Err(error())
    }
}

fn parse_bool(name: &'static str, value: &str) -> Result<bool, ParamError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid(name, value, "it is true or false")),
    }
}

fn parse_boxes(value: &str) -> Result<BoxBy, ParamError> {
    let mut boxes = BoxBy::default();
    for part in csv(value) {
        match part {
            "app" => boxes.app = true,
            "namespace" => boxes.namespace = true,
            "cluster" => boxes.cluster = true,
            "none" => {}
            _ => {
                return Err(invalid(
                    "boxBy",
                    value,
                    "it is none, or a list of app, cluster and namespace",
                ));
            }
        }
    }
    Ok(boxes)
}

/// The appenders that need no Kubernetes are acted on; Kiali's others are valid names without effect.
fn parse_appenders(value: &str) -> Result<Appenders, ParamError> {
    let mut appenders = Appenders::NONE;
    for part in csv(value) {
        match part {
            "securityPolicy" => appenders.security_policy = true,
            "responseTime" => appenders.response_time = true,
            "throughput" => appenders.throughput = true,
            "health" => appenders.health = true,
            "istio" => appenders.istio = true,
            "aggregateNode" | "ambient" | "deadNode" | "extensions" | "idleNode" | "labeler"
            | "meshCheck" | "outsider" | "serviceEntry" | "sidecarsCheck" | "trafficGenerator"
            | "workloadEntry" => {}
            _ => {
                return Err(invalid(
                    "appenders",
                    part,
                    "it is a list of securityPolicy, responseTime, throughput, health, istio and \
                     Kiali's other appenders",
                ));
            }
        }
    }
    Ok(appenders)
}

fn parse_response_time(value: &str) -> Result<ResponseTime, ParamError> {
    match value {
        "avg" => Ok(ResponseTime::Average),
        "50" => Ok(ResponseTime::Quantile(0.5)),
        "95" => Ok(ResponseTime::Quantile(0.95)),
        "99" => Ok(ResponseTime::Quantile(0.99)),
        _ => Err(invalid("responseTime", value, "it is avg, 50, 95 or 99")),
    }
}

fn csv(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// A name that may stand in a PromQL string and a regular expression without surprises.
fn checked_name<'a>(parameter: &'static str, name: &'a str) -> Result<&'a str, ParamError> {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !name.is_empty() && name.len() <= LONGEST_NAME && plain {
        Ok(name)
    } else {
        Err(invalid(
            parameter,
            name,
            "a name has letters, digits, `-`, `_` and `.`, and at most 253 of them",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{
        Ambient, Appenders, GraphQuery, GraphType, NodeScope, ParamError, Rate, ResponseTime,
        Scope, Throughput,
    };

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000)
    }

    fn parse(pairs: &[(&str, &str)]) -> Result<GraphQuery, ParamError> {
        GraphQuery::namespaces(pairs.iter().copied(), now())
    }

    #[test]
    fn has_kialis_defaults() {
        let query = parse(&[("namespaces", "shop, edge,shop")]).expect("valid");
        assert_eq!(
            query.scope,
            Scope::Namespaces(["edge".to_owned(), "shop".to_owned()].into())
        );
        assert_eq!(query.graph_type, GraphType::Workload);
        assert_eq!((query.duration, query.query_time), (600, 1_764_000_000));
        assert_eq!(query.appenders, Appenders::ALL);
        assert_eq!(query.rate_tcp, Rate::Sent);
        assert_eq!(query.ambient, Ambient::Total);
        assert_eq!(query.response_time, ResponseTime::Quantile(0.95));
        assert_eq!(query.throughput, Throughput::Response);
    }

    #[test]
    fn takes_every_parameter() {
        let query = parse(&[
            ("namespaces", "shop"),
            ("graphType", "service"),
            ("duration", "1h30m"),
            ("queryTime", "1700000000"),
            ("rateHttp", "none"),
            ("rateGrpc", "total"),
            ("rateTcp", "received"),
            ("includeIdleEdges", "true"),
            ("boxBy", "namespace,app"),
            ("appenders", "health,deadNode"),
            ("responseTime", "avg"),
            ("throughputType", "request"),
            ("refreshInterval", "15000"),
        ])
        .expect("valid");
        assert_eq!(query.graph_type, GraphType::Service);
        assert!(query.inject_service_nodes, "a service graph injects them");
        assert_eq!((query.duration, query.query_time), (5400, 1_700_000_000));
        assert!(!query.rate_http);
        assert_eq!(
            (query.rate_grpc, query.rate_tcp),
            (Rate::Total, Rate::Received)
        );
        assert!(query.box_by.namespace && query.box_by.app && !query.box_by.cluster);
        assert_eq!(
            query.appenders,
            Appenders {
                health: true,
                ..Appenders::NONE
            }
        );
        assert_eq!(query.response_time, ResponseTime::Average);
        assert_eq!(query.throughput, Throughput::Request);
    }

    #[test]
    fn present_and_empty_appenders_are_none() {
        let query = parse(&[("namespaces", "shop"), ("appenders", "")]).expect("valid");
        assert_eq!(query.appenders, Appenders::NONE);
    }

    #[test]
    fn an_error_names_the_parameter() {
        let cases = [
            ("graphType", "bubbles"),
            ("duration", "0s"),
            ("duration", "10"),
            ("duration", "s"),
            ("duration", "-5m"),
            ("duration", "999999999999999999w"),
            ("duration", "1µ"),
            ("queryTime", "yesterday"),
            ("rateHttp", "all"),
            ("rateGrpc", "x"),
            ("rateTcp", "requests"),
            ("ambientTraffic", "some"),
            ("injectServiceNodes", "maybe"),
            ("includeIdleEdges", ""),
            ("boxBy", "colour"),
            ("appenders", "securityPolicy,nonsense"),
            ("responseTime", "90"),
            ("throughputType", "both"),
            ("clusterName", "a b"),
        ];
        for (name, value) in cases {
            let error = parse(&[("namespaces", "shop"), (name, value)])
                .expect_err("refused")
                .to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        for value in ["", " , ", "a\"b", "ns/x"] {
            let error = parse(&[("namespaces", value)]).expect_err("refused");
            assert!(error.to_string().contains("`namespaces`"), "{error}");
        }
    }

    #[test]
    fn a_node_graph_checks_its_names() {
        let node = NodeScope::App("web".into(), Some("v1".into()));
        let query = GraphQuery::node("shop", node.clone(), [], now()).expect("valid");
        assert_eq!(query.requested_namespaces(), ["shop"].into());
        let error = GraphQuery::node("shop", NodeScope::Service("a b".into()), [], now())
            .expect_err("refused");
        assert!(error.to_string().contains("`service`"), "{error}");
    }
}
