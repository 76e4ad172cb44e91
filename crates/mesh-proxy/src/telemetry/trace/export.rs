//! From the facts of requests to spans at the collector, on the thread that has the control plane.
//!
//! Names and attributes are those of Envoy's OpenTelemetry tracer as Istio sets it up: its users' queries and boards find
//! them. The sizes are those of the metrics, heads included.

use std::time::Duration;

use mesh_process::Shutdown;
use mesh_xds::Workload;
use mesh_xds::names::ClusterName;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Counts, Finished, QUEUE};
use crate::snapshot::Direction;

/// How many spans go in one message at most.
const BATCH: usize = 512;
/// How long a span waits for others to go with it.
const GATHER: Duration = Duration::from_secs(1);
/// How long the last spans may take once the proxy ends.
const LAST: Duration = Duration::from_secs(2);

/// The spans that wait.
#[derive(Debug)]
pub(crate) struct Spans {
    pub(super) waiting: mpsc::Receiver<Finished>,
    pub(super) counts: Counts,
}

impl Spans {
    /// Sends what comes until `stop`, and then what is left. `node` is how the proxy introduces itself to the control
    /// plane.
    pub(crate) async fn export(self, exporter: impl SpanExporter, node: String, stop: Shutdown) {
        let mut sender = Sender {
            exporter,
            node,
            workload: None,
            fails: false,
            counts: self.counts,
        };
        let end = stop.clone();
        let too_late = async move {
            end.wait().await;
            sleep(LAST).await;
        };
        tokio::select! {
            () = sender.run(self.waiting, stop) => {}
            () = too_late => tracing::warn!("the last spans could not be exported in time"),
        }
    }
}

struct Sender<E> {
    exporter: E,
    node: String,
    /// Whose spans the exporter now sends.
    workload: Option<Workload>,
    fails: bool,
    counts: Counts,
}

impl<E: SpanExporter> Sender<E> {
    async fn run(&mut self, mut waiting: mpsc::Receiver<Finished>, stop: Shutdown) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.wait() => break,
                count = waiting.recv_many(&mut batch, BATCH) => if count == 0 { break },
            }
            let fill = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    if waiting.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! {
                () = stop.wait() => {}
                _ = timeout(GATHER, fill) => {}
            }
            self.send(&mut batch).await;
        }
        // The workers have ended, or may lose what they say from now on.
        waiting.close();
        let mut rest = Vec::new();
        waiting.recv_many(&mut rest, QUEUE).await;
        self.send(&mut rest).await;
    }

    /// Sends a batch, in as many messages as workloads are in it: one, unless its labels have just changed.
    async fn send(&mut self, batch: &mut Vec<Finished>) {
        let mut spans = std::mem::take(batch).into_iter().peekable();
        while let Some(first) = spans.next() {
            let workload = first.span.workload.clone();
            let mut same = vec![self.data(&first)];
            while let Some(next) = spans.next_if(|next| next.span.workload == workload) {
                same.push(self.data(&next));
            }
            if self.workload.as_ref() != Some(&*workload) {
                self.exporter.set_resource(&resource(&workload));
                self.workload = Some((*workload).clone());
            }
            let count = same.len() as u64;
            let sent = self.exporter.export(same).await;
            let counter = match &sent {
                Ok(()) => &self.counts.exported,
                Err(_) => &self.counts.dropped,
            };
            counter.inc_by(count);
            // Once when it begins and once when it ends: a collector may be away for long.
            match sent {
                Ok(()) if self.fails => tracing::info!("spans are exported again"),
                Err(error) if !self.fails => tracing::warn!(
                    %error,
                    "spans are dropped: the collector does not take them; check --otlp-endpoint"
                ),
                _ => continue,
            }
            self.fails = !self.fails;
        }
    }

    fn data(&self, finished: &Finished) -> SpanData {
        let Finished { span, end, .. } = finished;
        let flags = TraceFlags::SAMPLED;
        let id = SpanId::from(span.own.span);
        let trace = TraceId::from(span.own.trace);
        SpanData {
            span_context: SpanContext::new(trace, id, flags, false, TraceState::NONE),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: span.parent.is_some(),
            span_kind: match span.direction {
                Direction::Inbound => SpanKind::Server,
                Direction::Outbound => SpanKind::Client,
            },
            name: operation(finished).into(),
            start_time: end.checked_sub(finished.duration).unwrap_or(*end),
            end_time: *end,
            attributes: attributes(finished, &self.node),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            // As with Envoy, no answer at all is an error too.
            status: if finished.code == 0 || finished.code >= 500 {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: InstrumentationScope::builder("mesh-proxy")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}

/// Istio's name of a workload for tracers: `reviews.default`.
fn resource(workload: &Workload) -> Resource {
    let names = [&workload.canonical_service, &workload.app, &workload.name];
    let name = names.into_iter().find(|name| !name.is_empty());
    let name = name.map_or("unknown", |name| name);
    Resource::builder_empty()
        .with_service_name(format!("{name}.{}", workload.namespace))
        .build()
}

/// `HOST:PORT/*` of the service that is called; without one, what the client has asked for.
fn operation(finished: &Finished) -> String {
    let (span, service) = (&finished.span, &finished.service.host);
    let named = span.server_name.as_deref().and_then(called);
    let cluster = finished.cluster.as_ref();
    let cluster = cluster.and_then(|name| name.parse::<ClusterName>().ok());
    match (named, cluster) {
        (Some((port, host)), _) => format!("{host}:{port}/*"),
        (None, Some(cluster)) if !service.is_empty() => {
            format!("{service}:{}/*", cluster.port)
        }
        _ => format!("{}/*", span.authority),
    }
}

/// Port and host of the server name by which a proxy of the mesh calls another: `outbound_.PORT_.SUBSET_.HOST`.
fn called(server_name: &str) -> Option<(u16, &str)> {
    let mut parts = server_name.strip_prefix("outbound_.")?.splitn(3, "_.");
    let port = parts.next()?.parse().ok()?;
    let _subset = parts.next()?;
    Some((port, parts.next()?))
}

fn attributes(finished: &Finished, node: &str) -> Vec<KeyValue> {
    let span = &finished.span;
    let workload = &span.workload;
    let cluster = finished.cluster.as_deref();
    let mut all = vec![
        KeyValue::new("component", "proxy"),
        KeyValue::new("node_id", node.to_owned()),
        KeyValue::new("guid:x-request-id", span.request_id.clone()),
        KeyValue::new(
            "http.url",
            format!("{}://{}{}", span.scheme, span.authority, span.path),
        ),
        KeyValue::new("http.method", span.method.clone()),
        KeyValue::new("http.protocol", span.protocol),
        KeyValue::new("user_agent", span.user_agent.clone()),
        KeyValue::new("downstream_cluster", "-"),
        KeyValue::new("peer.address", span.client.to_string()),
        KeyValue::new("request_size", finished.measures.request_bytes.to_string()),
        KeyValue::new(
            "response_size",
            finished.measures.response_bytes.to_string(),
        ),
        KeyValue::new("http.status_code", finished.code.to_string()),
        KeyValue::new("response_flags", finished.flags.label().into_owned()),
    ];
    let mut add = |name: &'static str, value: &str| {
        if !value.is_empty() {
            all.push(KeyValue::new(name, value.to_owned()));
        }
    };
    if let Some(cluster) = cluster {
        add("upstream_cluster", cluster);
        // Envoy's has semicolons: a bar separates other things in statistics.
        add("upstream_cluster.name", &cluster.replace('|', ";"));
    }
    add(
        "upstream_address",
        finished.endpoint.as_deref().unwrap_or_default(),
    );
    if let Some(status) = finished.grpc_status {
        add("grpc.status_code", &status.to_string());
    }
    add("istio.canonical_service", &workload.canonical_service);
    add("istio.canonical_revision", &workload.canonical_revision);
    add("istio.namespace", &workload.namespace);
    add("istio.cluster_id", &workload.cluster);
    all
}
