//! Istio's standard metrics and the edges that the service graph is drawn from.
//!
//! `series.rs` has one label set and its numbers, `recorder.rs` each worker's way to them,
//! `export.rs` the Prometheus families, `edges.rs` the reports, `access_log.rs` the line per request or session.
//! `trace/` has the spans, if somebody collects them. Only `exchange.rs` and `session.rs` record.

mod access_log;
mod edges;
mod export;
mod recorder;
mod series;
mod trace;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_xds::Workload;
use mesh_xds::mesh::EdgeDelta;
use prometheus::{IntCounterVec, Opts};

use crate::settings::Tracing;
use crate::snapshot::{ServiceName, Snapshot};

pub(crate) use access_log::{AccessLog, SessionLine};
pub(crate) use recorder::{Ends, Facts, Recorder};
pub(crate) use series::{Carried, Cells, Labels, Measures, Series};
pub(crate) use trace::{Span, Spans};

/// How long a series outlives the configuration that names it: longer than scrapers look back.
const GRACE: Duration = Duration::from_secs(600);

/// All series of a proxy.
#[derive(Debug)]
pub struct Telemetry {
    /// Connections that came to nothing, by listener and reason.
    refused: IntCounterVec,
    /// Copies for mirrors, by cluster and what has become of them.
    mirrored: IntCounterVec,
    series: Mutex<HashMap<Labels, Arc<Series>>>,
    /// The last edges of series that are gone.
    unsent: Mutex<Vec<EdgeDelta>>,
    /// None if nobody collects spans.
    tracer: Option<trace::Tracer>,
}

impl Telemetry {
    /// Telemetry that is exported through this registry.
    ///
    /// # Errors
    ///
    /// If the registry has these metrics already.
    pub fn new(registry: &prometheus::Registry) -> Result<Arc<Self>, prometheus::Error> {
        Self::with_tracer(registry, None)
    }

    /// [`Self::new`], with the spans that are to be exported if requests are traced.
    pub(crate) fn traced(
        registry: &prometheus::Registry,
        tracing: Option<&Tracing>,
    ) -> Result<(Arc<Self>, Option<Spans>), prometheus::Error> {
        let Some(tracing) = tracing else {
            return Ok((Self::new(registry)?, None));
        };
        let (tracer, spans) = trace::Tracer::new(tracing.sampling, registry)?;
        Ok((Self::with_tracer(registry, Some(tracer))?, Some(spans)))
    }

    fn with_tracer(
        registry: &prometheus::Registry,
        tracer: Option<trace::Tracer>,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let refused = Opts::new(
            "mesh_connections_refused_total",
            "Connections that were closed before their first request, by listener and reason.",
        );
        let mirrored = Opts::new(
            "mesh_mirrored_requests_total",
            "Copies of requests for mirrors, by cluster and result: answered, failed, timeout, no_cluster, or \
             overflow if there were too many under way.",
        );
        let telemetry = Arc::new(Self {
            mirrored: IntCounterVec::new(mirrored, &["cluster", "result"])?,
            refused: IntCounterVec::new(refused, &["listener", "reason"])?,
            series: Mutex::default(),
            unsent: Mutex::default(),
            tracer,
        });
        registry.register(Box::new(telemetry.refused.clone()))?;
        registry.register(Box::new(telemetry.mirrored.clone()))?;
        registry.register(Box::new(export::Families::new(telemetry.clone())?))?;
        Ok(telemetry)
    }

    /// What each edge carried since the last call; edges without traffic are left out.
    #[must_use]
    pub fn take_edges(&self) -> Vec<EdgeDelta> {
        self.prune(Instant::now());
        let mut taken = std::mem::take(&mut *lock(&self.unsent));
        for series in self.all() {
            taken.extend(edges::take(&series));
        }
        edges::merged(taken)
    }

    /// Notes which series the configuration still names; the others go after a grace.
    pub fn retain(&self, snapshot: &Snapshot) {
        self.retain_at(snapshot, Instant::now());
    }

    fn retain_at(&self, snapshot: &Snapshot, now: Instant) {
        let named = Named::of(snapshot);
        for series in self.all() {
            let mut since = lock(&series.unnamed_since);
            *since = if named.has(&series.labels) {
                None
            } else {
                since.or(Some(now))
            };
        }
        self.prune(now);
    }

    /// Forgets series that have been without a name for long enough; their last edges are kept.
    fn prune(&self, now: Instant) {
        let mut gone = Vec::new();
        lock(&self.series).retain(|_, series| {
            let since = *lock(&series.unnamed_since);
            let keep = since.is_none_or(|since| now.saturating_duration_since(since) < GRACE);
            if !keep {
                gone.push(series.clone());
            }
            keep
        });
        for series in gone {
            series.retire();
            lock(&self.unsent).extend(edges::take(&series));
        }
    }

    /// The series with these labels.
    pub(crate) fn series(&self, labels: Labels) -> Arc<Series> {
        let mut all = lock(&self.series);
        if let Some(series) = all.get(&labels) {
            return series.clone();
        }
        let series = Arc::new(Series::new(labels.clone()));
        all.insert(labels, series.clone());
        series
    }

    fn all(&self) -> Vec<Arc<Series>> {
        lock(&self.series).values().cloned().collect()
    }
}

/// What a snapshot names.
struct Named<'a> {
    workloads: HashSet<&'a Workload>,
    services: HashSet<&'a ServiceName>,
}

impl<'a> Named<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut workloads = HashSet::new();
        for listener in snapshot.listeners.values() {
            workloads.insert(listener.workload.as_ref());
            workloads.extend(listener.peers.all().map(Arc::as_ref));
        }
        let mut services = HashSet::new();
        for cluster in snapshot.clusters.values() {
            services.insert(cluster.service.as_ref());
            workloads.extend(cluster.endpoints.iter().map(|e| e.workload.as_ref()));
        }
        Self {
            workloads,
            services,
        }
    }

    /// What is unknown needs no name.
    fn has(&self, labels: &Labels) -> bool {
        let workload = |w: &Workload| w.name.is_empty() || self.workloads.contains(w);
        let service = |s: &ServiceName| s.host.is_empty() || self.services.contains(s);
        workload(&labels.source) && workload(&labels.destination) && service(&labels.service)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
