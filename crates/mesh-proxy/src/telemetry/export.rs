//! The families as Prometheus scrapes them. Formatting labels happens here, at scrape time.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::Telemetry;
use super::series::{BOUNDS, Distribution, NAMES};

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
        Ok(Self {
            telemetry,
            descs: vec![
                desc(REQUESTS, &NAMES)?,
                desc(DURATION, &NAMES)?,
                desc(REQUEST_BYTES, &NAMES)?,
                desc(RESPONSE_BYTES, &NAMES)?,
                desc(BUILD, &["component", "tag"])?,
            ],
        })
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
        for series in self.telemetry.all() {
            let totals = series.totals();
            let values = series.labels.values();
            let labels: Vec<_> = NAMES.iter().zip(values).map(|(n, v)| pair(n, v)).collect();
            let mut counter = Counter::default();
            counter.set_value(totals.duration.count() as f64);
            let mut metric = Metric::from_label(labels.clone());
            metric.set_counter(counter);
            requests.push(metric);
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
        families
    }
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
