//! Tracing of requests, if somebody collects spans: each exchange is one span, a child of the caller's.
//!
//! A worker reads and writes headers ([`context`]) and, for the requests that are kept, moves the facts into a
//! bounded queue; `export.rs` makes spans of them and sends them, elsewhere. An app holds a trace together by
//! handing on the headers of the request that it serves.
//!
//! Whether a trace is kept is decided once, where it begins. A caller's decision is respected, a stranger's at the edge
//! too, as Envoy's and Istio's proxies do by default: that is how a browser's or a partner's trace goes on in the mesh.
//! All that a stranger gains is spans, which the queue bounds.

mod context;
mod export;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use mesh_xds::Workload;
use prometheus::{IntCounter, Registry};
use tokio::sync::mpsc;

use self::context::{Ids, Incoming};
use super::{Facts, Measures};
use crate::fail::Flags;
use crate::peer::Peer;
use crate::snapshot::{Cluster, Direction, Endpoint, Listener, ServiceName};
use crate::steps::headers::{FORWARDED_PROTO, REQUEST_ID};

pub(crate) use export::Spans;

/// How many spans may wait: as many as the OpenTelemetry SDK's own queue takes.
const QUEUE: usize = 2048;
/// How much of a client's text a span has, in bytes: what Envoy keeps of a path.
const MOST_TEXT: usize = 256;

/// Decides which requests are kept, and takes their spans.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// The share of the traces begun here that are kept, from 0 to 1.
    sampling: f64,
    queue: mpsc::Sender<Finished>,
    counts: Counts,
}

/// What became of spans.
#[derive(Clone, Debug)]
struct Counts {
    exported: IntCounter,
    dropped: IntCounter,
}

impl Counts {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counts = Self {
            exported: IntCounter::new(
                "mesh_proxy_spans_exported_total",
                "Spans that the OTLP collector has taken.",
            )?,
            dropped: IntCounter::new(
                "mesh_proxy_spans_dropped_total",
                "Spans that were dropped because the OTLP collector was slow, away or refused them.",
            )?,
        };
        registry.register(Box::new(counts.exported.clone()))?;
        registry.register(Box::new(counts.dropped.clone()))?;
        Ok(counts)
    }
}

/// The facts of one request that is kept. It keeps no part of a snapshot but names, and no more of a client's text than
/// it shows.
#[derive(Debug)]
pub(crate) struct Span {
    own: Ids,
    parent: Option<u64>,
    direction: Direction,
    workload: Arc<Workload>,
    /// The service and port that the client's proxy has named in its handshake.
    server_name: Option<String>,
    client: IpAddr,
    method: String,
    protocol: &'static str,
    scheme: &'static str,
    authority: String,
    path: String,
    user_agent: String,
    request_id: String,
}

/// A request that has ended.
#[derive(Debug)]
struct Finished {
    span: Box<Span>,
    end: SystemTime,
    duration: Duration,
    service: Arc<ServiceName>,
    cluster: Option<Arc<str>>,
    endpoint: Option<Arc<str>>,
    code: u16,
    grpc_status: Option<u8>,
    flags: Flags,
    measures: Measures,
}

impl Tracer {
    /// `percent` of the traces begun here are kept.
    pub(crate) fn new(
        percent: f64,
        registry: &Registry,
    ) -> Result<(Self, Spans), prometheus::Error> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let counts = Counts::register(registry)?;
        let tracer = Self {
            sampling: percent / 100.0,
            queue,
            counts: counts.clone(),
        };
        Ok((tracer, Spans { waiting, counts }))
    }

    /// Takes a request into its trace: whatever the next hop does is this exchange's child. Returns the span if the
    /// trace is kept.
    pub(crate) fn begin(
        &self,
        head: &mut Parts,
        authority: &HeaderValue,
        peer: &Peer,
        listener: &Listener,
    ) -> Option<Box<Span>> {
        let incoming = Incoming::read(&head.headers);
        let own = Ids {
            trace: incoming
                .caller
                .map_or_else(|| fastrand::u128(1..), |caller| caller.trace),
            span: fastrand::u64(1..),
        };
        let sampled = incoming
            .sampled
            .unwrap_or_else(|| fastrand::f64() < self.sampling);
        incoming.write(&mut head.headers, own, sampled);
        sampled.then(|| {
            let hello = &peer.hello;
            let path = head.uri.path_and_query();
            Box::new(Span {
                own,
                parent: incoming.caller.map(|caller| caller.span),
                direction: listener.direction,
                workload: listener.workload.clone(),
                server_name: hello.server_name.clone(),
                client: hello.address.ip().to_canonical(),
                method: text(head.method.as_str().as_bytes()),
                protocol: protocol(head.version),
                scheme: scheme(&head.headers),
                authority: text(authority.as_bytes()),
                path: text(path.map_or("", |path| path.as_str()).as_bytes()),
                user_agent: field(&head.headers, &header::USER_AGENT),
                request_id: field(&head.headers, &REQUEST_ID),
            })
        })
    }

    /// The request has ended. Never waits: if there is no room, the span is dropped and counted.
    pub(crate) fn end(
        &self,
        span: Box<Span>,
        facts: &Facts<'_>,
        measures: Measures,
        duration: Duration,
        cluster: Option<&Cluster>,
        endpoint: Option<&Endpoint>,
    ) {
        let finished = Finished {
            span,
            end: SystemTime::now(),
            duration,
            service: facts.service.clone(),
            cluster: cluster.map(|cluster| cluster.name.clone()),
            endpoint: endpoint.map(|endpoint| endpoint.address.clone()),
            code: facts.code,
            grpc_status: facts.grpc_status,
            flags: facts.flags,
            measures,
        };
        if self.queue.try_send(finished).is_err() {
            self.counts.dropped.inc();
        }
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// That of the URL that was asked for at first: mTLS between proxies is not part of it.
fn scheme(headers: &HeaderMap) -> &'static str {
    let is_https = |proto: &HeaderValue| proto.as_bytes().eq_ignore_ascii_case(b"https");
    if headers.get(FORWARDED_PROTO).is_some_and(is_https) {
        "https"
    } else {
        "http"
    }
}

/// `-` stands for what is not there, as with Envoy.
fn field(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers
        .get(name)
        .map_or_else(|| "-".to_owned(), |value| text(value.as_bytes()))
}

/// As much of it as a span has.
fn text(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(MOST_TEXT)];
    String::from_utf8_lossy(kept).into_owned()
}

#[cfg(test)]
mod tests;
