//! One label set of Istio's standard metrics and its numbers.
//!
//! The families of requests share their labels, and so do those of sessions. One [`Series`] holds the numbers
//! of all of them, in one [`Cells`] per worker: an update is a handful of additions to memory that no other
//! worker writes.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mesh_xds::Workload;

use crate::fail::Flags;
use crate::snapshot::{Direction, ServiceName};

/// Upper bounds of the histograms' buckets, of milliseconds and bytes alike: Envoy's defaults.
pub(crate) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The buckets, `+Inf` included.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// The names of the labels, in the order of [`Labels::values`].
pub(crate) const NAMES: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// The labels that sessions do not have: what is said of an answer.
pub(crate) const ANSWERS: [&str; 2] = ["response_code", "grpc_response_status"];

/// What is carried, the label `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Carried {
    /// Requests, of whichever version of HTTP.
    Http,
    /// Requests of gRPC.
    Grpc,
    /// Sessions.
    Tcp,
}

impl Carried {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// How the hop to this proxy is protected, the label `connection_security_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    /// The client side does not say.
    Unknown,
    /// Plain text.
    None,
    /// Both sides verified.
    MutualTls,
}

impl Security {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::MutualTls => "mutual_tls",
        }
    }
}

/// What tells one series from another. Strings of strangers never come here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    /// On whose behalf this proxy reports.
    pub(crate) direction: Direction,
    /// The caller; empty fields if unknown.
    pub(crate) source: Arc<Workload>,
    /// Its verified SPIFFE id.
    pub(crate) source_principal: Option<Arc<str>>,
    /// The called workload; empty fields if unknown.
    pub(crate) destination: Arc<Workload>,
    /// Its verified SPIFFE id.
    pub(crate) destination_principal: Option<Arc<str>>,
    /// The service that was called; empty fields if unknown.
    pub(crate) service: Arc<ServiceName>,
    /// See [`Carried`].
    pub(crate) carried: Carried,
    /// The status; 0 if none was sent, and for sessions.
    pub(crate) code: u16,
    /// Of gRPC responses.
    pub(crate) grpc_status: Option<u8>,
    /// See [`Flags`].
    pub(crate) flags: Flags,
    /// See [`Security`].
    pub(crate) security: Security,
}

impl Labels {
    /// The labels' values as the contract with Kiali and Istio's dashboards has them.
    pub(crate) fn values(&self) -> [String; NAMES.len()] {
        let own_source = self.direction == Direction::Outbound;
        let service = self.service();
        let principal = |id: &Option<Arc<str>>| or_unknown(id.as_deref().unwrap_or_default());
        let [sw, sn, sa, sv, ss, sr, sc] = workload(&self.source, own_source);
        let [dw, dn, da, dv, ds, dr, dc] = workload(&self.destination, !own_source);
        let reporter = if own_source { "source" } else { "destination" };
        [
            reporter.into(),
            sw,
            sn,
            principal(&self.source_principal),
            sa,
            sv,
            ss,
            sr,
            sc,
            dw,
            dn,
            principal(&self.destination_principal),
            da,
            dv,
            ds,
            dr,
            dc,
            or_unknown(&service.host),
            or_unknown(&service.name),
            or_unknown(&service.namespace),
            self.carried.label().into(),
            self.code.to_string(),
            self.grpc_status(),
            self.flags.label().into_owned(),
            self.security.label().into(),
        ]
    }

    /// The service; a server that does not know which of its services was called names itself.
    pub(crate) fn service(&self) -> ServiceName {
        let mut service = ServiceName::clone(&self.service);
        if self.direction == Direction::Inbound {
            let own = &self.destination;
            for field in [&mut service.host, &mut service.name] {
                if field.is_empty() {
                    field.clone_from(&own.canonical_service);
                }
            }
            service.namespace.clone_from(&own.namespace);
        }
        service
    }

    pub(crate) fn grpc_status(&self) -> String {
        self.grpc_status
            .map(|code| code.to_string())
            .unwrap_or_default()
    }
}

/// A proxy's own workload shows missing labels as empty, a remote one as unknown.
fn workload(workload: &Workload, own: bool) -> [String; 7] {
    let label = |value: &str| {
        if own {
            value.to_owned()
        } else {
            or_unknown(value)
        }
    };
    let revision = Some(workload.canonical_revision.as_str()).filter(|r| !r.is_empty());
    [
        or_unknown(&workload.name),
        or_unknown(&workload.namespace),
        label(&workload.app),
        label(&workload.version),
        or_unknown(&workload.canonical_service),
        revision.unwrap_or("latest").to_owned(),
        or_unknown(&workload.cluster),
    ]
}

fn or_unknown(value: &str) -> String {
    if value.is_empty() { "unknown" } else { value }.to_owned()
}

/// What one request adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measures {
    /// From the request's start to the end of its stream, truncated to whole milliseconds.
    pub(crate) duration_ms: u64,
    /// Received from the client, headers included.
    pub(crate) request_bytes: u64,
    /// Sent to the client, headers included.
    pub(crate) response_bytes: u64,
}

/// One worker's numbers.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    /// Sessions that have begun.
    pub(crate) opened: Count,
    /// Sessions that have ended.
    pub(crate) closed: Count,
    /// Bytes of sessions that came from the client.
    pub(crate) received: Count,
    /// Bytes of sessions that went to the client.
    pub(crate) sent: Count,
    /// The series is no longer exported: whoever still holds these cells asks for new ones.
    retired: AtomicBool,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Release);
    }

    /// Whoever reads two counts sees of the second all that was there before what it has seen of the first.
    fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Cells {
    pub(crate) fn add(&self, measures: Measures) {
        self.duration.add(measures.duration_ms);
        self.request_bytes.add(measures.request_bytes);
        self.response_bytes.add(measures.response_bytes);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

impl Histogram {
    fn add(&self, value: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value as f64);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

/// One histogram of all workers; buckets are not cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    pub(crate) buckets: [u64; BUCKETS],
    pub(crate) sum: u64,
}

impl Distribution {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn gather(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Relaxed);
        }
        self.sum += histogram.sum.load(Relaxed);
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut delta = *self;
        for (bucket, before) in delta.buckets.iter_mut().zip(before.buckets) {
            *bucket -= before;
        }
        delta.sum -= before.sum;
        delta
    }
}

/// The numbers of all workers at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) duration: Distribution,
    pub(crate) request_bytes: Distribution,
    pub(crate) response_bytes: Distribution,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// A label set with its numbers.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// By worker.
    cells: Mutex<Vec<Option<Arc<Cells>>>>,
    /// What has been handed out as edges.
    pub(crate) reported: Mutex<Totals>,
    /// Since when no configuration names it.
    pub(crate) unnamed_since: Mutex<Option<Instant>>,
}

impl Series {
    pub(crate) fn new(labels: Labels) -> Self {
        Self {
            labels,
            cells: Mutex::default(),
            reported: Mutex::default(),
            unnamed_since: Mutex::default(),
        }
    }

    /// The cells of one worker.
    pub(crate) fn cells(&self, worker: usize) -> Arc<Cells> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.len() <= worker {
            cells.resize_with(worker + 1, || None);
        }
        cells[worker].get_or_insert_default().clone()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for cells in cells.iter().flatten() {
            totals.duration.gather(&cells.duration);
            totals.request_bytes.gather(&cells.request_bytes);
            totals.response_bytes.gather(&cells.response_bytes);
            // In this order nothing is closed that was not opened; it would stay open for ever to whoever counts.
            totals.closed += cells.closed.get();
            totals.opened += cells.opened.get();
            totals.received += cells.received.get();
            totals.sent += cells.sent.get();
        }
        totals
    }

    /// Tells the workers to ask for new cells.
    pub(crate) fn retire(&self) {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for cells in cells.iter().flatten() {
            cells.retired.store(true, Relaxed);
        }
    }
}
