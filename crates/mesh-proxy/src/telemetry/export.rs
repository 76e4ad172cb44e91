//! The families as Prometheus scrapes them. Formatting labels happens here, at scrape time.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::Telemetry;
use super::series::{ANSWERS, BOUNDS, Carried, Distribution, Labels, NAMES, Totals};

const REQUESTS: (&str, &str) = (
    "istio_requests_total",
    "Requests, counted when their stream ends.",
);
const DURATION: (&str, &str) = (
    "istio_request_duration_milliseconds",
    "Time from a request's start to the end of its stream, in whole milliseconds.",
);
const REQUEST_BYTES: (&str, &str) = (
    "istio_request_bytes",
    "Bytes received from the client per request, headers included.",
);
const RESPONSE_BYTES: (&str, &str) = (
    "istio_response_bytes",
    "Bytes sent to the client per request, headers included.",
);
/// The families of sessions, in the order of [`session_numbers`].
const SESSIONS: [(&str, &str); 4] = [
    (
        "istio_tcp_connections_opened_total",
        "Sessions that have begun, or came to nothing.",
    ),
    (
        "istio_tcp_connections_closed_total",
        "Sessions that have ended, or came to nothing.",
    ),
    (
        "istio_tcp_received_bytes_total",
        "Bytes of sessions that came from the client, as they flow.",
    ),
    (
        "istio_tcp_sent_bytes_total",
        "Bytes of sessions that went to the client, as they flow.",
    ),
];

fn session_numbers(totals: &Totals) -> [u64; 4] {
    [totals.opened, totals.closed, totals.received, totals.sent]
}

const BUILD: (&str, &str) = ("istio_build", "The version of this component; always 1.");

/// Istio's standard metrics of one proxy.
pub(super) struct Families {
    telemetry: Arc<Telemetry>,
    descs: Vec<Desc>,
}

impl Families {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Result<Self, prometheus::Error> {
        let desc = |(name, help): (&str, &str), labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned());
            Desc::new(name.into(), help.into(), labels.collect(), HashMap::new())
        };
        let mut descs = vec![
            desc(REQUESTS, &NAMES)?,
            desc(DURATION, &NAMES)?,
            desc(REQUEST_BYTES, &NAMES)?,
            desc(RESPONSE_BYTES, &NAMES)?,
            desc(BUILD, &["component", "tag"])?,
        ];
        let names = NAMES.into_iter().filter(|name| !ANSWERS.contains(name));
        let names: Vec<_> = names.collect();
        for family in SESSIONS {
            descs.push(desc(family, &names)?);
        }
        Ok(Self { telemetry, descs })
    }
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut requests = Vec::new();
        let mut duration = Vec::new();
        let mut request_bytes = Vec::new();
        let mut response_bytes = Vec::new();
        let mut sessions = SESSIONS.map(|_| Vec::new());
        for series in self.telemetry.all() {
            let totals = series.totals();
            let labels = pairs(&series.labels);
            if series.labels.carried == Carried::Tcp {
                for (metrics, number) in sessions.iter_mut().zip(session_numbers(&totals)) {
                    metrics.push(count(labels.clone(), number));
                }
                continue;
            }
            requests.push(count(labels.clone(), totals.duration.count()));
            duration.push(histogram(labels.clone(), &totals.duration));
            request_bytes.push(histogram(labels.clone(), &totals.request_bytes));
            response_bytes.push(histogram(labels, &totals.response_bytes));
        }
        let mut families = vec![build()];
        if !requests.is_empty() {
            families.extend([
                family(REQUESTS, MetricType::COUNTER, requests),
                family(DURATION, MetricType::HISTOGRAM, duration),
                family(REQUEST_BYTES, MetricType::HISTOGRAM, request_bytes),
                family(RESPONSE_BYTES, MetricType::HISTOGRAM, response_bytes),
            ]);
        }
        for (metrics, name) in sessions.into_iter().zip(SESSIONS) {
            if !metrics.is_empty() {
                families.push(family(name, MetricType::COUNTER, metrics));
            }
        }
        families
    }
}

fn pairs(labels: &Labels) -> Vec<LabelPair> {
    let all = NAMES.into_iter().zip(labels.values());
    let some = all.filter(|(name, _)| labels.carried != Carried::Tcp || !ANSWERS.contains(name));
    some.map(|(name, value)| pair(name, value)).collect()
}

fn build() -> MetricFamily {
    let labels = vec![
        pair("component", "proxy".into()),
        pair("tag", env!("CARGO_PKG_VERSION").into()),
    ];
    let mut gauge = Gauge::default();
    gauge.set_value(1.0);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    family(BUILD, MetricType::GAUGE, vec![metric])
}

fn family((name, help): (&str, &str), kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn pair(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value);
    pair
}

fn count(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn histogram(labels: Vec<LabelPair>, distribution: &Distribution) -> Metric {
    let mut below = 0;
    let buckets = BOUNDS
        .iter()
        .zip(distribution.buckets)
        .map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            bucket
        });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count());
    histogram.set_sample_sum(distribution.sum as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}
