//! Which queries a graph needs: Kiali's, per requested namespace, in Kiali's order.
//!
//! The order matters: the first report of an edge counts, a later one is taken for the same traffic
//! seen from its other end.

use crate::graph::labels::Label;
use crate::graph::params::{GraphQuery, NodeScope, Rate, ResponseTime, Scope, Throughput};
use crate::graph::promql::{Matcher, Measure, Metric, Query};

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Nodes and edges.
    Traffic(Metric),
    /// The padlocks.
    Security,
    /// Response times of edges.
    ResponseTime,
    /// Bytes per second of edges.
    Throughput,
}

/// A query, and what it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What to evaluate at the graph's query time.
    pub query: Query,
    /// The requested namespace that it is about.
    pub namespace: String,
    pub(super) purpose: Purpose,
}

/// The labels that tell source and destination.
const ENDS: [Label; 13] = [
    Label::SourceCluster,
    Label::SourceWorkloadNamespace,
    Label::SourceWorkload,
    Label::SourceCanonicalService,
    Label::SourceCanonicalRevision,
    Label::DestinationCluster,
    Label::DestinationServiceNamespace,
    Label::DestinationService,
    Label::DestinationServiceName,
    Label::DestinationWorkloadNamespace,
    Label::DestinationWorkload,
    Label::DestinationCanonicalService,
    Label::DestinationCanonicalRevision,
];

/// All queries that the graph needs.
#[must_use]
pub fn questions(query: &GraphQuery) -> Vec<Question> {
    let mut asked = Vec::new();
    for namespace in query.requested_namespaces() {
        let mut ask = Asking {
            graph: query,
            namespace,
            asked: &mut asked,
        };
        match &query.scope {
            Scope::Namespaces(_) => ask.namespace_traffic(),
            Scope::Node { node, .. } => ask.node_traffic(node),
        }
        ask.decorations();
    }
    asked
}

struct Asking<'a> {
    graph: &'a GraphQuery,
    namespace: &'a str,
    asked: &'a mut Vec<Question>,
}

impl Asking<'_> {
    fn namespace_traffic(&mut self) {
        let ns = self.namespace;
        for (metric, by) in self.traffic_metrics() {
            // Requests from elsewhere to a service of the namespace that reached none of its workloads.
            let mut unserved = self.selector(metric, "source");
            unserved.extend([
                Matcher::is_not(Label::SourceWorkloadNamespace, ns),
                Matcher::is(Label::DestinationWorkloadNamespace, "unknown"),
                Matcher::is(Label::DestinationWorkload, "unknown"),
                Matcher::HostInNamespace(ns.to_owned()),
            ]);
            self.traffic(metric, unserved, &by);
            let mut incoming = self.selector(metric, "destination");
            incoming.push(Matcher::is(Label::DestinationWorkloadNamespace, ns));
            self.traffic(metric, incoming, &by);
            let mut outgoing = self.selector(metric, "source");
            outgoing.push(Matcher::is(Label::SourceWorkloadNamespace, ns));
            self.traffic(metric, outgoing, &by);
        }
    }

    fn node_traffic(&mut self, node: &NodeScope) {
        for (metric, by) in self.traffic_metrics() {
            if let (NodeScope::Service(service), Metric::Requests) = (node, metric) {
                let mut unserved = self.selector(metric, "source");
                unserved.push(Matcher::is(Label::DestinationWorkload, "unknown"));
                unserved.push(Matcher::HostOfService(
                    service.clone(),
                    self.namespace.to_owned(),
                ));
                self.push_cluster(&mut unserved, Label::DestinationCluster);
                self.traffic(metric, unserved, &by);
            }
            let mut incoming = self.selector(metric, "destination");
            incoming.extend(self.node_as_destination(node));
            self.push_cluster(&mut incoming, Label::DestinationCluster);
            self.traffic(metric, incoming, &by);
            if let Some(select) = self.node_as_source(node) {
                let mut outgoing = self.selector(metric, "source");
                outgoing.extend(select);
                self.push_cluster(&mut outgoing, Label::SourceCluster);
                self.traffic(metric, outgoing, &by);
            }
        }
    }

    fn node_as_destination(&self, node: &NodeScope) -> Vec<Matcher> {
        let ns = self.namespace;
        match node {
            NodeScope::Workload(name) => vec![
                Matcher::is(Label::DestinationWorkloadNamespace, ns),
                Matcher::is(Label::DestinationWorkload, name),
            ],
            NodeScope::App(app, version) => {
                let mut select = vec![
                    Matcher::is(Label::DestinationServiceNamespace, ns),
                    Matcher::is(Label::DestinationCanonicalService, app),
                ];
                if let Some(version) = version {
                    select.push(Matcher::is(Label::DestinationCanonicalRevision, version));
                }
                select
            }
            NodeScope::Service(service) => vec![
                Matcher::is(Label::DestinationServiceNamespace, ns),
                Matcher::HostOfService(service.clone(), ns.to_owned()),
            ],
        }
    }

    /// A service calls nobody.
    fn node_as_source(&self, node: &NodeScope) -> Option<Vec<Matcher>> {
        let mut select = vec![Matcher::is(Label::SourceWorkloadNamespace, self.namespace)];
        match node {
            NodeScope::Workload(name) => select.push(Matcher::is(Label::SourceWorkload, name)),
            NodeScope::App(app, version) => {
                select.push(Matcher::is(Label::SourceCanonicalService, app));
                if let Some(version) = version {
                    select.push(Matcher::is(Label::SourceCanonicalRevision, version));
                }
            }
            NodeScope::Service(_) => return None,
        }
        Some(select)
    }

    fn push_cluster(&self, select: &mut Vec<Matcher>, label: Label) {
        if let Some(cluster) = &self.graph.cluster {
            select.push(Matcher::is(label, cluster));
        }
    }

    /// The metrics that carry the rates asked for, with the labels to keep.
    fn traffic_metrics(&self) -> Vec<(Metric, Vec<Label>)> {
        let mut metrics = Vec::new();
        if self.graph.rate_http || self.graph.rate_grpc == Rate::Requests {
            let mut by = ENDS.to_vec();
            by.extend([
                Label::RequestProtocol,
                Label::ResponseCode,
                Label::GrpcResponseStatus,
                Label::ResponseFlags,
            ]);
            metrics.push((Metric::Requests, by));
        }
        for metric in self.messages() {
            metrics.push((metric, ENDS.to_vec()));
        }
        for metric in self.bytes() {
            let mut by = vec![Label::App];
            by.extend(ENDS);
            by.push(Label::ResponseFlags);
            metrics.push((metric, by));
        }
        metrics
    }

    fn messages(&self) -> Vec<Metric> {
        match self.graph.rate_grpc {
            Rate::None | Rate::Requests => vec![],
            Rate::Sent => vec![Metric::RequestMessages],
            Rate::Received => vec![Metric::ResponseMessages],
            Rate::Total => vec![Metric::RequestMessages, Metric::ResponseMessages],
        }
    }

    /// A proxy counts what it receives from its downstream, which is what the client sends.
    fn bytes(&self) -> Vec<Metric> {
        match self.graph.rate_tcp {
            Rate::None | Rate::Requests => vec![],
            Rate::Sent => vec![Metric::TcpReceivedBytes],
            Rate::Received => vec![Metric::TcpSentBytes],
            Rate::Total => vec![Metric::TcpReceivedBytes, Metric::TcpSentBytes],
        }
    }

    /// The start of a selector: whose reports count.
    fn selector(&self, metric: Metric, reporter: &str) -> Vec<Matcher> {
        let tcp = matches!(metric, Metric::TcpReceivedBytes | Metric::TcpSentBytes);
        let mut select = Vec::new();
        if tcp && !self.graph.ambient.has_ztunnels() {
            select.push(Matcher::is_not(Label::App, "ztunnel"));
        }
        // Kiali's node graphs never ask waypoints for TCP.
        let node = matches!(self.graph.scope, Scope::Node { .. });
        if tcp && node {
            select.push(Matcher::is(Label::Reporter, reporter));
        } else {
            select.push(self.reporter(reporter));
        }
        select
    }

    fn reporter(&self, reporter: &str) -> Matcher {
        if self.graph.ambient.has_waypoints() {
            Matcher::OneOf(
                Label::Reporter,
                vec!["waypoint".to_owned(), reporter.to_owned()],
            )
        } else {
            Matcher::is(Label::Reporter, reporter)
        }
    }

    fn decorations(&mut self) {
        let ns = self.namespace;
        let appenders = self.graph.appenders;
        // As the destination saw it first, then as the source did.
        let destination = vec![
            self.reporter("destination"),
            Matcher::is(Label::DestinationServiceNamespace, ns),
        ];
        let source = vec![
            self.reporter("source"),
            Matcher::is(Label::SourceWorkloadNamespace, ns),
        ];
        if appenders.response_time {
            let mut by = ENDS.to_vec();
            by.push(Label::RequestProtocol);
            let measure = match self.graph.response_time {
                ResponseTime::Average => {
                    Measure::Average(Metric::DurationSum, Metric::DurationCount)
                }
                ResponseTime::Quantile(q) => Measure::Quantile(q, Metric::DurationBucket),
            };
            for select in [destination, source] {
                self.ask(Purpose::ResponseTime, vec![measure], select, &by);
            }
        }
        if appenders.security_policy {
            self.security();
        }
        if appenders.throughput {
            let (metric, reporter) = match self.graph.throughput {
                Throughput::Request => (Metric::RequestBytes, "source"),
                Throughput::Response => (Metric::ResponseBytes, "destination"),
            };
            for select in self.both_directions(reporter) {
                let measures = vec![Measure::Rate(metric)];
                self.ask(Purpose::Throughput, measures, select, &ENDS);
            }
        }
    }

    /// Only the server's side knows how a connection was secured.
    fn security(&mut self) {
        let mut metrics = Vec::new();
        if self.graph.rate_http || self.graph.rate_grpc == Rate::Requests {
            metrics.push(Metric::Requests);
        }
        metrics.extend(self.messages());
        metrics.extend(self.bytes());
        let measures: Vec<Measure> = metrics.into_iter().map(Measure::Rate).collect();
        if measures.is_empty() {
            return;
        }
        let mut by: Vec<Label> = ENDS
            .into_iter()
            .filter(|label| *label != Label::DestinationService)
            .collect();
        by.extend([
            Label::SourcePrincipal,
            Label::DestinationPrincipal,
            Label::ConnectionSecurityPolicy,
        ]);
        for select in self.both_directions("destination") {
            self.ask(Purpose::Security, measures.clone(), select, &by);
        }
    }

    /// From elsewhere into the namespace, and out of its workloads, as one side reports it.
    fn both_directions(&self, reporter: &str) -> [Vec<Matcher>; 2] {
        let ns = self.namespace;
        [
            vec![
                self.reporter(reporter),
                Matcher::is_not(Label::SourceWorkloadNamespace, ns),
                Matcher::is(Label::DestinationServiceNamespace, ns),
            ],
            vec![
                self.reporter(reporter),
                Matcher::is(Label::SourceWorkloadNamespace, ns),
            ],
        ]
    }

    fn traffic(&mut self, metric: Metric, select: Vec<Matcher>, by: &[Label]) {
        let measures = vec![Measure::Rate(metric)];
        self.ask(Purpose::Traffic(metric), measures, select, by);
    }

    fn ask(
        &mut self,
        purpose: Purpose,
        measures: Vec<Measure>,
        select: Vec<Matcher>,
        by: &[Label],
    ) {
        let idle = self.graph.include_idle_edges && matches!(purpose, Purpose::Traffic(_));
        self.asked.push(Question {
            query: Query {
                measures,
                select,
                range: self.graph.duration,
                by: by.to_vec(),
                idle,
            },
            namespace: self.namespace.to_owned(),
            purpose,
        });
    }
}
