//! One window's sums, and Kiali's queries answered from them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::delta::{BOUNDS, Totals};
use crate::graph::labels::{Label, Labels, Sample};
use crate::graph::promql::{Measure, Metric, Query, round};

/// What was reported within a window: every series with its sums. A copy, free of locks.
#[derive(Debug)]
pub struct View {
    pub(super) series: Vec<(Arc<Labels>, Totals)>,
}

impl View {
    /// Whether nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The instant vector that answers the query, as a Prometheus would give it, with the window as
    /// its range. Its order does not change while the same series last.
    #[must_use]
    pub fn answer(&self, query: &Query) -> Vec<Sample> {
        let selected: Vec<&(Arc<Labels>, Totals)> = self
            .series
            .iter()
            .filter(|(labels, _)| query.selects(labels))
            .collect();
        let range = query.range.max(1) as f64;
        let mut samples: Vec<Sample> = Vec::new();
        let mut told: HashSet<Labels> = HashSet::new();
        for (place, measure) in query.measures.iter().enumerate() {
            if place > 0 {
                told.extend(samples.iter().map(|sample| sample.labels.clone()));
            }
            for (labels, value) in measured(&selected, *measure, &query.by, range) {
                // NaN is not above zero either.
                if !(value > 0.0 || query.idle && value == 0.0) {
                    continue;
                }
                if !told.contains(&labels) {
                    let value = round(value);
                    samples.push(Sample { labels, value });
                }
            }
        }
        samples
    }
}

/// Groups the series by the labels kept, and computes one value a group.
fn measured(
    selected: &[&(Arc<Labels>, Totals)],
    measure: Measure,
    by: &[Label],
    range: f64,
) -> Vec<(Labels, f64)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, [f64; 2], [f64; BOUNDS.len() + 1])> = Vec::new();
    for (labels, totals) in selected {
        let Some(values) = values(measure, labels, totals) else {
            continue;
        };
        let kept = labels.project(by);
        let place = *places.entry(kept.clone()).or_insert_with(|| {
            groups.push((kept, [0.0; 2], [0.0; BOUNDS.len() + 1]));
            groups.len() - 1
        });
        let (_, sums, buckets) = &mut groups[place];
        sums[0] += values[0];
        sums[1] += values[1];
        if let Measure::Quantile(..) = measure {
            for (sum, count) in buckets.iter_mut().zip(totals.buckets) {
                *sum += count;
            }
        }
    }
    groups
        .into_iter()
        .map(|(labels, sums, buckets)| {
            let value = match measure {
                Measure::Rate(_) => sums[0] / range,
                Measure::Average(..) => sums[0] / sums[1],
                Measure::Quantile(q, _) => quantile(q, &buckets),
            };
            (labels, value)
        })
        .collect()
}

/// What a series adds to numerator and denominator; `None` if it is not of the metric.
fn values(measure: Measure, labels: &Labels, totals: &Totals) -> Option<[f64; 2]> {
    let one = |metric| value(metric, labels, totals);
    match measure {
        Measure::Rate(metric) => Some([one(metric)?, 0.0]),
        Measure::Average(sum, count) => Some([one(sum)?, one(count)?]),
        Measure::Quantile(_, metric) => one(metric).map(|_| [0.0; 2]),
    }
}

/// An HTTP request never touches the TCP families, nor a connection the HTTP ones. Messages of gRPC
/// are not reported.
fn value(metric: Metric, labels: &Labels, totals: &Totals) -> Option<f64> {
    let tcp = labels.matched(Label::RequestProtocol) == "tcp";
    let (of_tcp, value) = match metric {
        Metric::Requests | Metric::DurationCount => (false, totals.requests),
        Metric::DurationSum => (false, totals.duration_ms),
        Metric::DurationBucket => (false, 0.0),
        Metric::RequestBytes => (false, totals.request_bytes),
        Metric::ResponseBytes => (false, totals.response_bytes),
        Metric::TcpReceivedBytes => (true, totals.request_bytes),
        Metric::TcpSentBytes => (true, totals.response_bytes),
        Metric::RequestMessages | Metric::ResponseMessages => return None,
    };
    (tcp == of_tcp).then_some(value)
}

/// Prometheus' `histogram_quantile`: linear within a bucket, from zero in the first, and the highest
/// bound for what lies above it. Nothing measured is not a number.
fn quantile(q: f64, counts: &[f64; BOUNDS.len() + 1]) -> f64 {
    let total: f64 = counts.iter().sum();
    if total <= 0.0 {
        return f64::NAN;
    }
    let rank = q * total;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (count, upper) in counts.iter().zip(BOUNDS) {
        if *count > 0.0 && below + count >= rank {
            return lower + (upper - lower) * ((rank - below) / count);
        }
        below += count;
        lower = upper;
    }
    BOUNDS[BOUNDS.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::quantile;
    use crate::graph::window::delta::BUCKETS;

    fn counts(filled: &[(usize, f64)]) -> [f64; BUCKETS] {
        let mut counts = [0.0; BUCKETS];
        for (index, count) in filled {
            counts[*index] = *count;
        }
        counts
    }

    #[test]
    fn quantiles_are_prometheus_quantiles() {
        // 10 between 5 and 10 ms: the median is half way.
        assert_eq!(quantile(0.5, &counts(&[(3, 10.0)])), 7.5);
        // The first bucket starts at zero.
        assert_eq!(quantile(0.5, &counts(&[(0, 2.0)])), 0.25);
        // 90 up to 1 ms, 10 between 50 and 100: the 95th is half way into the latter.
        assert_eq!(quantile(0.95, &counts(&[(1, 90.0), (6, 10.0)])), 75.0);
        // Above the highest bound there is nothing to interpolate to.
        assert_eq!(quantile(0.99, &counts(&[(19, 1.0)])), 3_600_000.0);
        assert!(quantile(0.5, &counts(&[])).is_nan());
    }
}
