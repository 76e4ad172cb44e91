//! The window against a naive sum, and against clocks and reporters that misbehave.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mesh_xds::mesh::edge_delta::Reporter;
use mesh_xds::mesh::{EdgeDelta, Workload};
use proptest::prelude::*;

use super::{Limits, Window};
use crate::graph::labels::Label;
use crate::graph::promql::{Matcher, Measure, Metric, Query, round};

const NOON: u64 = 1_764_000_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn delta(workload: &str, requests: u64) -> EdgeDelta {
    EdgeDelta {
        reporter: Reporter::Source.into(),
        source: Some(Workload {
            name: workload.into(),
            ..Workload::default()
        }),
        protocol: "http".into(),
        response_code: 200,
        requests,
        ..EdgeDelta::default()
    }
}

fn query(range: u64) -> Query {
    Query {
        measures: vec![Measure::Rate(Metric::Requests)],
        select: vec![Matcher::is(Label::Reporter, "source")],
        range,
        by: vec![Label::SourceWorkload],
        idle: false,
    }
}

/// Rates by source workload over a window.
fn rates(window: &Window, duration: u64, end: u64) -> BTreeMap<String, f64> {
    window
        .view(duration, end)
        .answer(&query(duration))
        .into_iter()
        .map(|sample| {
            let name = sample.labels.matched(Label::SourceWorkload).to_owned();
            (name, sample.value)
        })
        .collect()
}

fn rate(window: &Window, duration: u64, end: u64) -> f64 {
    rates(window, duration, end).values().sum()
}

proptest! {
    #[test]
    fn rates_are_what_a_naive_sum_says(
        // Reports in any order within the hour, some in the same second.
        reports in prop::collection::vec((0_u64..3600, 0_usize..4, 0_u64..1000), 1..200),
        windows in prop::collection::vec((1_u64..3600, 0_u64..4000), 1..20),
    ) {
        let names = ["a", "b", "c", "d"];
        let window = Window::new();
        for (second, name, requests) in &reports {
            window.record(at(NOON + second), 1, &delta(names[*name], *requests));
        }
        for (duration, end) in windows {
            let mut naive = BTreeMap::new();
            for (second, name, requests) in &reports {
                if *second <= end && *second + duration > end && *requests > 0 {
                    *naive.entry(names[*name].to_owned()).or_insert(0) += requests;
                }
            }
            let expected: BTreeMap<String, f64> = naive
                .into_iter()
                .map(|(name, sum)| (name, round(sum as f64 / duration as f64)))
                .collect();
            prop_assert_eq!(rates(&window, duration, NOON + end), expected);
        }
    }

    #[test]
    fn no_clock_breaks_the_window(
        reports in prop::collection::vec((any::<u64>(), any::<u64>()), 1..50),
        duration in any::<u64>(),
        end in any::<u64>(),
    ) {
        let window = Window::new();
        for (second, requests) in &reports {
            if let Some(now) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*second)) {
                window.record(now, 1, &delta("a", *requests));
            }
        }
        let rate = rate(&window, duration, end);
        prop_assert!(rate.is_finite() && rate >= 0.0);
        // Whatever came before, a sane clock is believed.
        for second in 0..10 {
            window.record(at(NOON + second), 1, &delta("sane", 6));
        }
        prop_assert_eq!(rates(&window, 60, NOON + 9)["sane"], 1.0);
    }
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let window = Window::new();
    for second in 0..8000 {
        window.record(at(NOON + second), 1, &delta("a", 1));
    }
    assert_eq!(rate(&window, 3600, NOON + 7999), 1.0);
    assert_eq!(rate(&window, 60, NOON + 7999), 1.0);
    // The minute that the hour begins in is kept whole.
    let held = rate(&window, 8000, NOON + 7999) * 8000.0;
    assert!((3600.0..3720.0).contains(&held), "{held}");
}

#[test]
fn what_adds_nothing_leaves_no_trace() {
    let window = Window::new();
    window.record(at(NOON), 1, &delta("a", 0));
    assert_eq!(window.stats(), super::Stats::default());
}

#[test]
fn a_report_without_reporter_is_counted_and_dropped() {
    let window = Window::new();
    let mut nobody = delta("a", 1);
    nobody.reporter = 0;
    window.record(at(NOON), 1, &nobody);
    assert_eq!(window.stats().dropped_deltas, 1);
    assert_eq!(window.stats().series, 0);
}

#[test]
fn a_clock_set_back_a_little_keeps_history() {
    let window = Window::new();
    window.record(at(NOON), 1, &delta("a", 60));
    window.record(at(NOON - 30), 1, &delta("a", 60));
    assert_eq!(rate(&window, 60, NOON), 2.0);
    assert_eq!(rate(&window, 60, NOON - 30), 1.0);
    assert_eq!(window.stats().clock_resets, 0);
}

#[test]
fn a_clock_set_back_far_starts_anew() {
    let window = Window::new();
    window.record(at(NOON + 400_000_000), 1, &delta("a", 60));
    window.record(at(NOON), 1, &delta("a", 60));
    assert_eq!(rate(&window, 60, NOON), 1.0);
    assert_eq!(window.stats().clock_resets, 1);
}

#[test]
fn too_many_series_evict_the_longest_idle() {
    let limits = Limits {
        series: 100,
        ..Limits::default()
    };
    let window = Window::with_limits(limits);
    for number in 0..150 {
        window.record(at(NOON + number), 1, &delta("busy", 1));
        window.record(at(NOON + number), 1, &delta(&format!("w{number}"), 60));
    }
    let stats = window.stats();
    assert!(stats.series <= 100, "{stats:?}");
    assert!(stats.evicted_series >= 51, "{stats:?}");
    let rates = rates(&window, 600, NOON + 149);
    assert!(rates.contains_key("busy") && rates.contains_key("w149"));
    assert!(!rates.contains_key("w0"));
    // A name that comes back is a new series: nothing of the old one is counted.
    window.record(at(NOON + 150), 1, &delta("w0", 6));
    assert_eq!(self::rates(&window, 600, NOON + 150)["w0"], 0.01);
}

#[test]
fn memory_is_bounded_by_coarser_history() {
    let limits = Limits {
        bytes: 40_000,
        ..Limits::default()
    };
    let window = Window::with_limits(limits);
    for second in 0..3600 {
        for name in ["a", "b", "c"] {
            window.record(at(NOON + second), 1, &delta(name, 5));
        }
    }
    let stats = window.stats();
    assert!(stats.bytes < 41_000, "{stats:?}");
    assert!(
        stats.coarsened_minutes > 0 && stats.dropped_deltas == 0,
        "{stats:?}"
    );
    assert_eq!(rate(&window, 3600, NOON + 3599), 15.0);
    assert_eq!(rate(&window, 60, NOON + 3599), 15.0);
}

#[test]
fn memory_is_bounded_within_a_minute() {
    let limits = Limits {
        bytes: 10_000,
        ..Limits::default()
    };
    let window = Window::with_limits(limits);
    for number in 0..5000 {
        window.record(at(NOON), 1, &delta(&format!("w{}", number % 7), 1));
    }
    let stats = window.stats();
    assert!(
        stats.dropped_deltas > 0 && stats.bytes < 20_001,
        "{stats:?}"
    );
}

#[test]
fn bytes_belong_to_the_protocol_that_carried_them() {
    let window = Window::new();
    let mut http = delta("a", 10);
    http.request_bytes = 60;
    let tcp = EdgeDelta {
        protocol: "tcp".into(),
        request_bytes: 120,
        response_bytes: 240,
        ..delta("a", 0)
    };
    window.record(at(NOON), 1, &http);
    window.record(at(NOON), 1, &tcp);
    let view = window.view(60, NOON);
    let ask = |metric| {
        let mut query = query(60);
        query.measures = vec![Measure::Rate(metric)];
        view.answer(&query)
            .iter()
            .map(|sample| sample.value)
            .sum::<f64>()
    };
    assert_eq!(ask(Metric::RequestBytes), 1.0);
    assert_eq!(ask(Metric::ResponseBytes), 0.0);
    assert_eq!(ask(Metric::TcpReceivedBytes), 2.0);
    assert_eq!(ask(Metric::TcpSentBytes), 4.0);
    assert_eq!(ask(Metric::RequestMessages), 0.0);
}

#[test]
fn response_times_come_from_the_buckets() {
    let window = Window::new();
    let mut slow = delta("a", 10);
    slow.duration_ms_sum = 75;
    slow.duration_buckets = vec![0, 0, 0, 10];
    window.record(at(NOON), 1, &slow);
    let view = window.view(60, NOON);
    let ask = |measure| {
        let mut query = query(60);
        query.measures = vec![measure];
        view.answer(&query).first().map(|sample| sample.value)
    };
    let buckets = Metric::DurationBucket;
    assert_eq!(ask(Measure::Quantile(0.5, buckets)), Some(7.5));
    let mean = Measure::Average(Metric::DurationSum, Metric::DurationCount);
    assert_eq!(ask(mean), Some(7.5));
}

#[test]
fn measures_joined_by_or_answer_each_label_set_once() {
    let window = Window::new();
    window.record(at(NOON), 1, &delta("a", 60));
    let tcp = EdgeDelta {
        protocol: "tcp".into(),
        request_bytes: 600,
        ..delta("a", 0)
    };
    window.record(at(NOON), 1, &tcp);
    let only_tcp = EdgeDelta {
        protocol: "tcp".into(),
        request_bytes: 300,
        ..delta("b", 0)
    };
    window.record(at(NOON), 1, &only_tcp);
    let mut query = query(60);
    query.measures.push(Measure::Rate(Metric::TcpReceivedBytes));
    let values: Vec<f64> = window
        .view(60, NOON)
        .answer(&query)
        .iter()
        .map(|sample| sample.value)
        .collect();
    assert_eq!(values, [1.0, 5.0]);
}

#[test]
fn an_open_connection_is_there_in_silence_while_its_proxy_lives() {
    let window = Window::new();
    let session = |opened, closed| EdgeDelta {
        protocol: "tcp".into(),
        connections_opened: opened,
        connections_closed: closed,
        ..delta("a", 0)
    };
    let ask = |end, idle| {
        let mut query = query(60);
        query.measures = vec![Measure::Rate(Metric::TcpSentBytes)];
        query.idle = idle;
        let samples = window.view(60, end).answer(&query);
        samples
            .iter()
            .map(|sample| sample.value)
            .collect::<Vec<_>>()
    };
    window.record(at(NOON), 1, &session(2, 0));
    assert_eq!(ask(NOON, true), [0.0]);
    assert_eq!(
        ask(NOON, false),
        [] as [f64; 0],
        "Kiali asks for idle edges"
    );
    window.record(at(NOON), 1, &session(0, 1));
    // Longer than the window, while others talk.
    for hour in 1..5 {
        window.record(at(NOON + hour * 3000), 2, &delta("b", 1));
    }
    assert_eq!(ask(NOON + 12_000, true), [0.0]);
    assert_eq!(
        ask(NOON + 100, true),
        [] as [f64; 0],
        "of the past nothing is known"
    );
    window.record(at(NOON + 12_000), 1, &session(0, 1));
    assert_eq!(ask(NOON + 12_000, true), [] as [f64; 0]);

    window.record(at(NOON + 12_000), 1, &session(1, 0));
    assert_eq!(ask(NOON + 12_000, true), [0.0]);
    window.ended(1);
    assert_eq!(ask(NOON + 12_000, true), [] as [f64; 0]);
}
