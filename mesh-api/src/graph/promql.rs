//! The few shapes of PromQL that Kiali's graph sends, as types.
//!
//! A [`Query`] is evaluated over our own store (`window`), and prints as the text that a Prometheus
//! would be sent, so that the same engine can be fed by either.

use std::fmt;

use super::labels::{Label, Labels};

/// A metric family that a graph is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// HTTP and gRPC requests.
    Requests,
    /// gRPC messages from the client.
    RequestMessages,
    /// gRPC messages from the server.
    ResponseMessages,
    /// Bytes sent to the downstream of a TCP connection, that is *received* by its client.
    TcpSentBytes,
    /// Bytes received from the downstream of a TCP connection, that is *sent* by its client.
    TcpReceivedBytes,
    /// Sum of the request sizes in bytes.
    RequestBytes,
    /// Sum of the response sizes in bytes.
    ResponseBytes,
    /// Sum of the request durations in milliseconds.
    DurationSum,
    /// Number of measured durations.
    DurationCount,
    /// Histogram of the request durations in milliseconds.
    DurationBucket,
}

impl Metric {
    /// The name of its series.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Requests => "istio_requests_total",
            Metric::RequestMessages => "istio_request_messages_total",
            Metric::ResponseMessages => "istio_response_messages_total",
            Metric::TcpSentBytes => "istio_tcp_sent_bytes_total",
            Metric::TcpReceivedBytes => "istio_tcp_received_bytes_total",
            Metric::RequestBytes => "istio_request_bytes_sum",
            Metric::ResponseBytes => "istio_response_bytes_sum",
            Metric::DurationSum => "istio_request_duration_milliseconds_sum",
            Metric::DurationCount => "istio_request_duration_milliseconds_count",
            Metric::DurationBucket => "istio_request_duration_milliseconds_bucket",
        }
    }
}

/// A condition on one label. Unanchored names are literal: the text form quotes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// `label="value"`
    Is(Label, String),
    /// `label!="value"`
    IsNot(Label, String),
    /// `label=~"a|b"`
    OneOf(Label, Vec<String>),
    /// `destination_service` is a host with that namespace in it: `^.+\.NS\..+$`
    HostInNamespace(String),
    /// `destination_service` is that service's host: `^SERVICE\.NS\..*$`
    HostOfService(String, String),
}

impl Matcher {
    /// `label="value"`
    pub fn is(label: Label, value: impl Into<String>) -> Matcher {
        Matcher::Is(label, value.into())
    }

    /// `label!="value"`
    pub fn is_not(label: Label, value: impl Into<String>) -> Matcher {
        Matcher::IsNot(label, value.into())
    }

    /// Whether a series with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Matcher::Is(label, value) => labels.matched(*label) == value,
            Matcher::IsNot(label, value) => labels.matched(*label) != value,
            Matcher::OneOf(label, values) => {
                values.iter().any(|value| labels.matched(*label) == value)
            }
            Matcher::HostInNamespace(namespace) => {
                host_has(labels.matched(Label::DestinationService), namespace)
            }
            Matcher::HostOfService(service, namespace) => labels
                .matched(Label::DestinationService)
                .strip_prefix(service.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.strip_prefix(namespace.as_str()))
                .is_some_and(|rest| rest.starts_with('.')),
        }
    }
}

/// Whether `.NAMESPACE.` is in the host with something before and after it.
fn host_has(host: &str, namespace: &str) -> bool {
    let infix = format!(".{namespace}.");
    host.match_indices(&infix)
        .any(|(at, _)| at > 0 && at + infix.len() < host.len())
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Is(label, value) => write!(f, "{}=\"{}\"", label.as_str(), quoted(value)),
            Matcher::IsNot(label, value) => write!(f, "{}!=\"{}\"", label.as_str(), quoted(value)),
            Matcher::OneOf(label, values) => {
                write!(f, "{}=~\"{}\"", label.as_str(), values.join("|"))
            }
            Matcher::HostInNamespace(namespace) => write!(
                f,
                "destination_service=~\"^.+\\\\.{}\\\\..+$\"",
                quoted(namespace)
            ),
            Matcher::HostOfService(service, namespace) => write!(
                f,
                "destination_service=~\"^{}\\\\.{}\\\\..*$\"",
                quoted(service),
                quoted(namespace)
            ),
        }
    }
}

/// A value inside a PromQL string.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// What is computed per group of series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// `sum(rate(METRIC))`
    Rate(Metric),
    /// `sum(rate(SUM)) / sum(rate(COUNT))`
    Average(Metric, Metric),
    /// `histogram_quantile(Q, sum(rate(BUCKETS)))`
    Quantile(f64, Metric),
}

/// One instant query. Its answer leaves out what is not above zero, unless `idle`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is computed. Several are joined by `OR`: a label set is answered by the first that has it.
    pub measures: Vec<Measure>,
    /// Which series take part.
    pub select: Vec<Matcher>,
    /// The range of the rates, in seconds.
    pub range: u64,
    /// The labels that the answer keeps.
    pub by: Vec<Label>,
    /// Whether series without traffic are answered too.
    pub idle: bool,
}

impl Query {
    /// Whether a series takes part.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.select.iter().all(|matcher| matcher.matches(labels))
    }

    /// `M{selectors} [Rs]` inside `sum(rate(…))`, grouped.
    fn sum(&self, metric: Metric) -> String {
        let select: Vec<String> = self.select.iter().map(ToString::to_string).collect();
        let by: Vec<&str> = self.by.iter().map(|label| label.as_str()).collect();
        let le = if metric == Metric::DurationBucket {
            "le,"
        } else {
            ""
        };
        format!(
            "sum(rate({}{{{}}} [{}s])) by ({le}{})",
            metric.as_str(),
            select.join(","),
            self.range,
            by.join(",")
        )
    }
}

/// The text that a Prometheus is sent.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above = if self.idle { "" } else { " > 0" };
        let parts: Vec<String> = self
            .measures
            .iter()
            .map(|measure| match *measure {
                Measure::Rate(metric) => format!("{}{above}", self.sum(metric)),
                Measure::Average(sum, count) => {
                    format!("{} / {}{above}", self.sum(sum), self.sum(count))
                }
                Measure::Quantile(q, metric) => {
                    format!("histogram_quantile({q:.2}, {}){above}", self.sum(metric))
                }
            })
            .collect();
        match parts.as_slice() {
            [one] => write!(f, "round({one},0.001)"),
            many => write!(f, "round(({}),0.001)", many.join(") OR (")),
        }
    }
}

/// `round(value, 0.001)` as Prometheus rounds: halves go up.
#[must_use]
pub fn round(value: f64) -> f64 {
    (value * 1000.0 + 0.5).floor() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::{Matcher, Measure, Metric, Query, round};
    use crate::graph::labels::{Label, Labels};

    fn host(host: &str) -> Labels {
        Labels::from_iter([(Label::DestinationService, host)])
    }

    #[test]
    fn a_query_prints_as_kiali_sends_it() {
        let query = Query {
            measures: vec![Measure::Rate(Metric::Requests)],
            select: vec![
                Matcher::is(Label::Reporter, "source"),
                Matcher::HostInNamespace("shop".into()),
            ],
            range: 60,
            by: vec![Label::SourceWorkload, Label::ResponseCode],
            idle: false,
        };
        assert_eq!(
            query.to_string(),
            r#"round(sum(rate(istio_requests_total{reporter="source",destination_service=~"^.+\\.shop\\..+$"} [60s])) by (source_workload,response_code) > 0,0.001)"#
        );
    }

    #[test]
    fn a_host_needs_something_on_both_sides_of_its_namespace() {
        let matcher = Matcher::HostInNamespace("shop".into());
        assert!(matcher.matches(&host("web.shop.svc.cluster.local")));
        assert!(matcher.matches(&host("a.b.shop.svc")));
        assert!(!matcher.matches(&host(".shop.svc")));
        assert!(!matcher.matches(&host("web.shop.")));
        assert!(!matcher.matches(&host("web.shopping.svc")));
        assert!(!matcher.matches(&host("unknown")));
    }

    #[test]
    fn the_host_of_a_service_is_anchored() {
        let matcher = Matcher::HostOfService("web".into(), "shop".into());
        assert!(matcher.matches(&host("web.shop.svc.cluster.local")));
        assert!(!matcher.matches(&host("web.shop")));
        assert!(!matcher.matches(&host("webx.shop.svc")));
        assert!(!matcher.matches(&host("my.web.shop.svc")));
    }

    #[test]
    fn an_absent_label_is_an_empty_one_to_a_matcher() {
        let nothing = Labels::default();
        assert!(Matcher::is_not(Label::App, "ztunnel").matches(&nothing));
        assert!(Matcher::is(Label::App, "").matches(&nothing));
        let reporters = Matcher::OneOf(Label::Reporter, vec!["waypoint".into(), "source".into()]);
        assert!(!reporters.matches(&nothing));
        assert!(reporters.matches(&Labels::from_iter([(Label::Reporter, "source")])));
    }

    #[test]
    fn rounds_halves_up() {
        assert_eq!(round(1.0005), 1.001);
        assert_eq!(round(0.0004), 0.0);
        assert_eq!(round(16.7), 16.7);
    }
}
