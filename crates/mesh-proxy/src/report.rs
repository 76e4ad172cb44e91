//! Telling mesh-api which edges carried traffic, once a second.
//!
//! A report that was not acknowledged is sent again under the same number, which mesh-api counts once. When the
//! certificate was renewed, the next report goes over a new stream, and the old one ends once that is acknowledged:
//! what is open counts as open while its proxy has a stream.
//! While mesh-api is away at most one second's edges wait here; what happens meanwhile adds up in the
//! series themselves, so that an outage costs no memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mesh_process::Shutdown;
use mesh_xds::mesh::telemetry_client::TelemetryClient;
use mesh_xds::mesh::{EdgeDelta, EdgeReport, EdgeReportAck};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::control::stream::{backoff, in_words};
use crate::telemetry::Telemetry;

const PERIOD: Duration = Duration::from_secs(1);
/// How long mesh-api may take to acknowledge a report.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last report may hold up the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// Edges in one report, so that none is too big a message.
const MOST_EDGES: usize = 1000;

/// Reports until `finish`, then what is left. `process_id` tells this life of the proxy from others.
pub(crate) async fn keep(
    channels: watch::Receiver<Channel>,
    telemetry: Arc<Telemetry>,
    process_id: String,
    finish: Shutdown,
) {
    let mut reporter = Reporter::new(channels, telemetry, process_id);
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = backoff();
    let mut told = String::new();
    loop {
        tokio::select! {
            _ = period.tick() => {}
            () = finish.wait() => break,
        }
        let reported = tokio::select! {
            reported = reporter.report() => reported,
            () = finish.wait() => break,
        };
        match reported {
            Ok(()) => {
                backoff.reset();
                told.clear();
            }
            Err(reason) => {
                if reason != told {
                    tracing::warn!(reason, "cannot report edges to mesh-api; they are kept");
                    told = reason;
                }
                tokio::select! {
                    () = tokio::time::sleep(backoff.wait()) => {}
                    () = finish.wait() => break,
                }
            }
        }
    }
    let rest = async {
        // What was under way first, then what came since.
        reporter.report().await?;
        reporter.report().await
    };
    match tokio::time::timeout(FAREWELL, rest).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => tracing::warn!(reason, "the last edges could not be reported"),
        Err(_) => tracing::warn!("the last edges could not be reported in time"),
    }
}

struct Reporter {
    /// A new one is one that proves a renewed certificate.
    channels: watch::Receiver<Channel>,
    telemetry: Arc<Telemetry>,
    stream: Option<Stream>,
    /// The stream before a renewal, until a report over the next one is acknowledged.
    earlier: Option<Stream>,
    process_id: String,
    sequence: u64,
    /// Reports that are not acknowledged yet, oldest first.
    pending: VecDeque<EdgeReport>,
}

struct Stream {
    reports: mpsc::Sender<EdgeReport>,
    acks: Streaming<EdgeReportAck>,
}

impl Reporter {
    fn new(
        channels: watch::Receiver<Channel>,
        telemetry: Arc<Telemetry>,
        process_id: String,
    ) -> Self {
        Self {
            channels,
            telemetry,
            stream: None,
            earlier: None,
            process_id,
            sequence: 0,
            pending: VecDeque::new(),
        }
    }

    /// Reports what is pending and what came since. What fails stays pending.
    async fn report(&mut self) -> Result<(), String> {
        if self.channels.has_changed().unwrap_or_default() {
            self.channels.mark_unchanged();
            self.earlier = self.stream.take().or(self.earlier.take());
        }
        if self.pending.is_empty() {
            let edges = self.telemetry.take_edges();
            for edges in edges.chunks(MOST_EDGES) {
                self.queue(edges.to_vec());
            }
        }
        if self.pending.is_empty() && self.earlier.is_some() {
            // There is nothing to tell, but that from now on it is told here.
            self.queue(Vec::new());
        }
        while let Some(report) = self.pending.front().cloned() {
            let channel = self.channels.borrow().clone();
            // A stream that failed, or whose answer we stopped waiting for, is not used again.
            let mut stream = self.stream.take();
            let sent = tokio::time::timeout(PATIENCE, send(channel, &mut stream, report)).await;
            sent.unwrap_or_else(|_| Err("no acknowledgement in time".to_owned()))?;
            self.stream = stream;
            self.earlier = None;
            self.pending.pop_front();
        }
        Ok(())
    }

    fn queue(&mut self, edges: Vec<EdgeDelta>) {
        self.sequence += 1;
        self.pending.push_back(EdgeReport {
            sequence: self.sequence,
            process_id: self.process_id.clone(),
            edges,
        });
    }
}

/// Sends a report, over a new stream if there is none, and waits for its acknowledgement.
async fn send(
    channel: Channel,
    stream: &mut Option<Stream>,
    report: EdgeReport,
) -> Result<(), String> {
    let sequence = report.sequence;
    let closed = || "mesh-api closed the stream of reports".to_owned();
    let stream = match stream {
        Some(open) => {
            open.reports.send(report).await.map_err(|_| closed())?;
            open
        }
        None => {
            let (reports, outgoing) = mpsc::channel(1);
            reports.send(report).await.map_err(|_| closed())?;
            let mut client = TelemetryClient::new(channel);
            let opened = client.report(ReceiverStream::new(outgoing)).await;
            let acks = opened.map_err(|status| in_words(&status))?.into_inner();
            stream.insert(Stream { reports, acks })
        }
    };
    while let Some(ack) = stream
        .acks
        .message()
        .await
        .map_err(|status| in_words(&status))?
    {
        if ack.sequence >= sequence {
            return Ok(());
        }
    }
    Err(closed())
}
