//! `mesh.v1.Telemetry` over gRPC: what proxies report goes into the graph's window.
//!
//! A proxy may speak for itself only: the side of an edge on which it stands must be its own workload. The
//! other side is taken on trust; the other proxy reports its own view of the same request.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mesh_config::Config;
use mesh_identity::SpiffeId;
use mesh_process::Shutdown;
use mesh_xds::mesh::edge_delta::Reporter;
use mesh_xds::mesh::telemetry_server::Telemetry as TelemetryApi;
use mesh_xds::mesh::{EdgeDelta, EdgeReport, EdgeReportAck, Workload};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ads::gateway_service_account;
use crate::graph::Window;
use crate::metrics::Metrics;
use crate::peer::verified_peer;
use crate::store::Store;

/// Acknowledgements that a proxy may leave unread.
const UNREAD: usize = 8;

/// How long a process that fell silent is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Processes that are remembered at most.
const MOST_PROCESSES: usize = 100_000;

/// Longest text of a label.
const LONGEST_LABEL: usize = 1024;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    window: Arc<Window>,
    store: Arc<Store>,
    processes: Arc<Mutex<Processes>>,
    metrics: Metrics,
    shutdown: Shutdown,
}

/// The last report of each process, so that one that is sent again is not counted again; and the streams of each.
#[derive(Debug, Default)]
struct Processes {
    last: HashMap<Process, (Option<u64>, Instant)>,
    swept: Option<Instant>,
    streams: HashMap<Process, Streams>,
    /// How many numbers were given.
    numbers: u64,
}

/// The identity of a proxy, and its word for its life.
type Process = (SpiffeId, String);

/// The streams of one process: one, or a moment long two, when its certificate was renewed.
#[derive(Debug)]
struct Streams {
    /// For the window: what the process has open ends with the last of them.
    number: u64,
    count: usize,
}

impl Telemetry {
    /// Fills `window` until the stop.
    pub(crate) fn new(
        window: Arc<Window>,
        store: Arc<Store>,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            window,
            store,
            processes: Arc::default(),
            metrics,
            shutdown,
        }
    }

    /// Takes a report in, of the streams of a number. Answers why an edge of it was refused, if one was.
    fn take(&self, peer: &SpiffeId, number: u64, report: &EdgeReport) -> Option<String> {
        if report.process_id.len() > LONGEST_LABEL {
            let edges = u64::try_from(report.edges.len()).unwrap_or(u64::MAX);
            self.metrics.edges_refused.inc_by(edges);
            return Some(format!("a process id has more than {LONGEST_LABEL} bytes"));
        }
        if !self.processes().is_new(peer, report, Instant::now()) {
            self.metrics.reports_repeated.inc();
            return None;
        }
        self.metrics.reports_received.inc();
        let config = self.store.view().config.clone();
        let now = SystemTime::now();
        let mut refused = None;
        for edge in &report.edges {
            match check(&config, peer, edge) {
                Ok(()) => self.window.record(now, number, edge),
                Err(reason) => {
                    self.metrics.edges_refused.inc();
                    refused = Some(reason);
                }
            }
        }
        refused
    }

    async fn follow(
        self,
        peer: SpiffeId,
        reports: Streaming<EdgeReport>,
        acks: mpsc::Sender<Result<EdgeReportAck, Status>>,
    ) {
        let mut process = None;
        self.take_all(&peer, reports, acks, &mut process).await;
        let number = process.and_then(|process| self.processes().closed(&process));
        if let Some(number) = number {
            self.window.ended(number);
        }
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes reports until either end has enough. `process` becomes whose they are.
    async fn take_all(
        &self,
        peer: &SpiffeId,
        mut reports: Streaming<EdgeReport>,
        acks: mpsc::Sender<Result<EdgeReportAck, Status>>,
        process: &mut Option<Process>,
    ) {
        let (mut number, mut complained) = (None, false);
        loop {
            let report = tokio::select! {
                report = reports.message() => report,
                () = self.shutdown.wait() => {
                    // The proxy may be gone.
                    let _ = acks.try_send(Err(Status::unavailable("mesh-api is stopping; report again")));
                    return;
                }
            };
            // Either end is the end: what was not acknowledged is reported again.
            let Ok(Some(report)) = report else { return };
            let process = process.get_or_insert_with(|| process_of(peer, &report));
            let number = *number.get_or_insert_with(|| self.processes().opened(process));
            if let Some(reason) = self.take(peer, number, &report)
                && !complained
            {
                tracing::warn!(%peer, reason, "edges that a proxy reported were refused");
                complained = true;
            }
            let ack = EdgeReportAck {
                sequence: report.sequence,
            };
            if acks.send(Ok(ack)).await.is_err() {
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl TelemetryApi for Telemetry {
    type ReportStream = ReceiverStream<Result<EdgeReportAck, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<EdgeReport>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let peer = verified_peer(&request)?;
        let (acks, acked) = mpsc::channel(UNREAD);
        tokio::spawn(self.clone().follow(peer, request.into_inner(), acks));
        Ok(Response::new(ReceiverStream::new(acked)))
    }
}

impl Processes {
    /// A process has opened a stream. Answers the number of its streams.
    fn opened(&mut self, process: &Process) -> u64 {
        let streams = self.streams.entry(process.clone()).or_insert_with(|| {
            self.numbers += 1;
            Streams {
                number: self.numbers,
                count: 0,
            }
        });
        streams.count += 1;
        streams.number
    }

    /// A stream of a process has ended. Answers their number if it was the last one.
    fn closed(&mut self, process: &Process) -> Option<u64> {
        let streams = self.streams.get_mut(process)?;
        streams.count -= 1;
        if streams.count > 0 {
            return None;
        }
        self.streams.remove(process).map(|streams| streams.number)
    }

    fn is_new(&mut self, peer: &SpiffeId, report: &EdgeReport, now: Instant) -> bool {
        let due = self.swept.is_none_or(|swept| now - swept > REMEMBERED / 10);
        if due || self.last.len() >= MOST_PROCESSES {
            self.last.retain(|_, (_, heard)| now - *heard < REMEMBERED);
            self.swept = Some(now);
        }
        if self.last.len() >= MOST_PROCESSES {
            // Better to count a repeated report once more than to fill the memory.
            self.last.clear();
        }
        let process = process_of(peer, report);
        let (last, heard) = self.last.entry(process).or_insert((None, now));
        *heard = now;
        let new = last.is_none_or(|last| report.sequence > last);
        if new {
            *last = Some(report.sequence);
        }
        new
    }
}

/// Whose report it is. What has too long a word for itself has none.
fn process_of(peer: &SpiffeId, report: &EdgeReport) -> Process {
    let word = Some(&report.process_id).filter(|word| word.len() <= LONGEST_LABEL);
    (peer.clone(), word.cloned().unwrap_or_default())
}

/// Whether the reporter stands on its own side of the edge.
fn check(config: &Config, peer: &SpiffeId, edge: &EdgeDelta) -> Result<(), String> {
    let own = match edge.reporter() {
        Reporter::Source => edge.source.as_ref(),
        Reporter::Destination => edge.destination.as_ref(),
        Reporter::Unspecified => return Err("an edge does not say who reports it".to_owned()),
    };
    let own = own.ok_or_else(|| "an edge does not name its reporter's workload".to_owned())?;
    let labels = [
        &edge.service_host,
        &edge.service_name,
        &edge.service_namespace,
        &edge.protocol,
    ]
    .into_iter()
    .chain([
        &edge.grpc_status,
        &edge.response_flags,
        &edge.security_policy,
    ])
    .chain(
        edge.source
            .iter()
            .chain(&edge.destination)
            .flat_map(labels_of),
    );
    if labels.into_iter().any(|label| label.len() > LONGEST_LABEL) {
        return Err(format!(
            "a label of an edge has more than {LONGEST_LABEL} bytes"
        ));
    }
    if own.namespace != peer.namespace() {
        return Err(format!(
            "an edge is reported for a workload of namespace {:?}, the certificate is for {peer}",
            own.namespace
        ));
    }
    if !own.principal.is_empty() && own.principal != peer.as_str() {
        return Err(format!(
            "an edge is reported for {:?}, the certificate is for {peer}",
            own.principal
        ));
    }
    // A workload has the name of its group; whoever has no group is a gateway.
    match config.workload_group(&own.namespace, &own.name) {
        Some((_, group)) if group.service_account == peer.service_account() => Ok(()),
        None if gateway_service_account(&own.name) == peer.service_account() => Ok(()),
        Some((_, group)) => Err(format!(
            "an edge is reported for WorkloadGroup {:?} with service account {}, the certificate is for {peer}",
            own.name, group.service_account
        )),
        None => Err(format!(
            "an edge is reported for {:?}, which is neither a WorkloadGroup nor the gateway of {peer}",
            own.name
        )),
    }
}

fn labels_of(workload: &Workload) -> [&String; 8] {
    [
        &workload.name,
        &workload.namespace,
        &workload.app,
        &workload.version,
        &workload.canonical_service,
        &workload.canonical_revision,
        &workload.cluster,
        &workload.principal,
    ]
}
