//! From the name/value pairs of a URL to a [`GraphQuery`].

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::{
    Ambient, Appenders, BoxBy, GraphQuery, GraphType, NodeScope, ParamError, Rate, ResponseTime,
    Scope, Throughput,
};

/// Longest name of a namespace, workload, app, version or service.
const LONGEST_NAME: usize = 253;
/// Most namespaces of one graph.
const MOST_NAMESPACES: usize = 200;
/// The window when none is asked for, as Kiali's.
const DEFAULT_DURATION: u64 = 600;

fn invalid(name: &'static str, value: &str, takes: &'static str) -> ParamError {
    ParamError::Invalid {
        name,
        value: value.chars().take(80).collect(),
        takes,
    }
}

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
pub(crate) fn seconds(time: SystemTime) -> u64 {
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
