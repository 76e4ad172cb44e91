//! One request and its response, from the first line to the last byte.
//!
//! An [`Exchange`] is the one home of a request's facts. When it is dropped, also because the client
//! vanished, it updates the metrics once and writes one access-log line; nobody else does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use mesh_xds::Workload;

use crate::fail::{Fail, Flag, Flags};
use crate::peer::{Peer, Standing};
use crate::runtime::Worker;
use crate::snapshot::{Cluster, Direction, Endpoint, Route, ServiceName, VirtualHost};
use crate::steps::headers::{self, MESH_ERROR, is_grpc};
use crate::telemetry::{AccessLog, Facts, Measures, Security};
use crate::upstream::{Lease, Meter, Outgoing};

/// A virtual host or route of this name is where requests go that the mesh does not let out.
const BLOCK_ALL: &str = "block_all";

/// The facts of one request.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) worker: Arc<Worker>,
    pub(crate) peer: Arc<Peer>,
    /// The configuration that this request sees from its start to its end.
    pub(crate) standing: Arc<Standing>,
    started: Instant,
    /// The client speaks HTTP/1.
    http1: bool,
    grpc: bool,
    /// A response to HEAD has no body.
    head: bool,
    source: Arc<Workload>,
    request_head_bytes: u64,
    request_body: Option<Arc<Meter>>,
    cluster: Option<Arc<Cluster>>,
    black_hole: bool,
    endpoint: Option<Arc<Endpoint>>,
    lease: Option<Lease>,
    code: u16,
    grpc_status: Option<u8>,
    flags: Flags,
    response_bytes: u64,
    log: Option<Box<AccessLog>>,
}

/// What answers a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An endpoint.
    Upstream(Response<Incoming>),
    /// The route itself.
    Direct(StatusCode, Bytes),
}

impl Exchange {
    /// Begins with what the request's head says.
    pub(crate) fn begin(
        worker: Arc<Worker>,
        peer: Arc<Peer>,
        request: &Request<Incoming>,
    ) -> Box<Self> {
        peer.begin();
        let standing = worker.standing(&peer);
        Box::new(Self {
            started: Instant::now(),
            http1: request.version() < Version::HTTP_2,
            grpc: is_grpc(request.headers()),
            head: request.method() == Method::HEAD,
            source: standing.source(request.headers()).clone(),
            request_head_bytes: request_head_bytes(request),
            request_body: None,
            cluster: None,
            black_hole: false,
            endpoint: None,
            lease: None,
            // Until there is an answer: if the exchange ends here, the client went away.
            code: 0,
            grpc_status: None,
            flags: Flag::ClientGone.into(),
            response_bytes: 0,
            log: AccessLog::begin(request, &peer),
            worker,
            peer,
            standing,
        })
    }

    /// Takes the request's body in.
    pub(crate) fn receive(&mut self, body: Incoming) -> Outgoing {
        if body.is_end_stream() {
            return Outgoing::Empty;
        }
        let meter = Arc::<Meter>::default();
        self.request_body = Some(meter.clone());
        Outgoing::Stream { body, meter }
    }

    pub(crate) fn origin(&self) -> headers::Origin {
        headers::Origin {
            direction: self.standing.listener.direction,
            edge: self.standing.listener.edge,
            tls: self.peer.hello.tls,
            client: self.peer.hello.address.ip(),
        }
    }

    pub(crate) fn asked_for(&mut self, authority: &HeaderValue) {
        if let Some(log) = &mut self.log {
            log.authority = Some(authority.clone());
        }
    }

    pub(crate) fn routed(&mut self, host: &VirtualHost, route: &Route) {
        self.black_hole = *host.name == *BLOCK_ALL || *route.name == *BLOCK_ALL;
        if let Some(log) = &mut self.log {
            log.route_name = Some(route.name.clone());
        }
    }

    pub(crate) fn identified(&mut self, id: &HeaderValue) {
        if let Some(log) = &mut self.log {
            log.request_id = Some(id.clone());
        }
    }

    pub(crate) fn chosen(&mut self, cluster: &Arc<Cluster>) {
        self.cluster = Some(cluster.clone());
    }

    pub(crate) fn attempt(&mut self, endpoint: &Arc<Endpoint>) {
        self.endpoint = Some(endpoint.clone());
        if let Some(log) = &mut self.log {
            log.attempts += 1;
        }
    }

    pub(crate) fn answered_by(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Answers with the reply; its body's end is the exchange's.
    pub(crate) fn stream(mut self: Box<Self>, reply: Reply) -> Response<Answer> {
        self.flags = Flags::default();
        let (head, kind) = match reply {
            Reply::Upstream(response) => {
                let (head, body) = response.into_parts();
                (head, Kind::Stream(Remaining::of(&body), body))
            }
            Reply::Direct(status, body) => {
                let mut response = Response::new(());
                *response.status_mut() = status;
                if !body.is_empty() {
                    let text = HeaderValue::from_static("text/plain; charset=utf-8");
                    response.headers_mut().insert(header::CONTENT_TYPE, text);
                }
                (response.into_parts().0, Kind::Full(Some(body)))
            }
        };
        self.answer(Response::from_parts(head, ()), kind)
    }

    /// Answers with a failure: flag, one sentence, and what to do.
    pub(crate) fn refuse(mut self: Box<Self>, fail: &Fail) -> Response<Answer> {
        self.flags = fail.flags;
        if let Some(log) = &mut self.log {
            log.cause = Some(fail.cause.to_string());
        }
        let flags = fail.flags.label();
        // Strangers are not told about addresses inside.
        let sentence = if self.standing.listener.edge || fail.cause == fail.advice {
            format!("{flags}: {}", fail.advice)
        } else {
            format!("{flags}: {} ({})", fail.advice, fail.cause)
        };
        let mut response = Response::new(());
        let headers = response.headers_mut();
        if let Ok(flags) = HeaderValue::from_str(&flags) {
            headers.insert(MESH_ERROR, flags);
        }
        if fail.flags.contains(Flag::BadRequest) && self.http1 {
            // What follows such a request cannot be trusted to be a request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.grpc {
            // gRPC clients read their own status.
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            headers.insert("grpc-status", HeaderValue::from(grpc_status(fail.status)));
            if let Ok(message) = HeaderValue::from_str(&percent_encoded(&sentence)) {
                headers.insert("grpc-message", message);
            }
            return self.answer(response, Kind::Full(None));
        }
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, text);
        *response.status_mut() = fail.status;
        self.answer(response, Kind::Full(Some((sentence + "\n").into())))
    }

    fn answer(mut self: Box<Self>, response: Response<()>, kind: Kind) -> Response<Answer> {
        self.code = response.status().as_u16();
        self.grpc_status = self
            .grpc
            .then(|| trailer_status(response.headers()))
            .flatten();
        self.response_bytes = response_head_bytes(response.headers());
        let bodiless = self.head
            || matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        response.map(|()| Answer {
            kind,
            complete: bodiless,
            exchange: self,
        })
    }

    fn facts(&self) -> Facts<'_> {
        let standing = &self.standing;
        let blanks = &self.worker.blanks;
        let service: &Arc<ServiceName> = match &self.cluster {
            Some(cluster) => &cluster.service,
            None if self.black_hole => &blanks.black_hole,
            None => &blanks.service,
        };
        let common = Facts {
            direction: standing.listener.direction,
            source: &self.source,
            source_principal: None,
            destination: &blanks.workload,
            destination_principal: None,
            service,
            grpc: self.grpc,
            code: self.code,
            grpc_status: self.grpc_status,
            flags: self.flags,
            security: Security::Unknown,
        };
        match standing.listener.direction {
            Direction::Outbound => {
                let answered = self
                    .lease
                    .as_ref()
                    .and_then(|l| l.origin.principal.as_ref());
                Facts {
                    source_principal: answered.map(|_| &standing.own_principal),
                    destination: self
                        .endpoint
                        .as_ref()
                        .map_or(&blanks.workload, |e| &e.workload),
                    destination_principal: answered,
                    ..common
                }
            }
            Direction::Inbound => {
                let verified = self.peer.hello.principal.as_ref();
                Facts {
                    source_principal: verified,
                    destination: &standing.listener.workload,
                    destination_principal: verified.map(|_| &standing.own_principal),
                    security: if verified.is_some() {
                        Security::MutualTls
                    } else {
                        Security::None
                    },
                    ..common
                }
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        let body = self.request_body.as_deref().map_or(0, Meter::bytes);
        let measures = Measures {
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            request_bytes: self.request_head_bytes + body,
            response_bytes: self.response_bytes,
        };
        let facts = self.facts();
        self.worker.recorder.record(&facts, measures);
        if let Some(log) = &self.log {
            log.write(
                &facts,
                measures,
                self.cluster.as_deref(),
                self.endpoint.as_deref(),
            );
        }
        // A response that came to its end leaves its connection fit for the next request.
        let spoilt =
            self.flags.contains(Flag::ClientGone) || self.flags.contains(Flag::UpstreamClosed);
        if let Some(lease) = self.lease.take()
            && !spoilt
        {
            lease.give_back(now);
        }
        self.peer.end();
    }
}

/// A response's body on its way to the client. Its end is the end of its exchange.
#[derive(Debug)]
pub(crate) struct Answer {
    kind: Kind,
    /// It has come to its end, or needs none.
    complete: bool,
    exchange: Box<Exchange>,
}

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    Stream(Remaining, Incoming),
}

/// How much of a body with a known length is to come. A client that has all bytes of it is content,
/// whether or not the stream's formal end was still read.
#[derive(Clone, Copy, Debug)]
struct Remaining(Option<u64>);

impl Remaining {
    fn of(body: &Incoming) -> Self {
        Self(body.size_hint().exact())
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let (remaining, body) = match &mut this.kind {
            Kind::Full(body) => {
                let body = body.take().filter(|body| !body.is_empty());
                this.exchange.response_bytes += body.as_ref().map_or(0, |b| b.len() as u64);
                return Poll::Ready(body.map(|body| Ok(Frame::data(body))));
            }
            Kind::Stream(remaining, body) => (remaining, body),
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let len = data.len() as u64;
                    this.exchange.response_bytes += len;
                    remaining.0 = remaining.0.map(|left| left.saturating_sub(len));
                    this.complete |= remaining.0 == Some(0);
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.complete = true;
                    if this.exchange.grpc {
                        this.exchange.grpc_status = trailer_status(trailers);
                    }
                }
            }
            // Passed on as an error, so that the client never takes the rest for the whole.
            Some(Err(error)) => {
                this.complete = true;
                let exchange = &mut this.exchange;
                exchange.flags = exchange.flags.with(Flag::UpstreamClosed);
                if let Some(log) = &mut exchange.log {
                    log.cause = Some(format!("the response broke off: {error}"));
                }
            }
            None => this.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Kind::Stream(_, body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(body) => SizeHint::with_exact(body.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Stream(_, body) => body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let ended = match &self.kind {
            Kind::Full(_) => true,
            Kind::Stream(_, body) => self.complete || body.is_end_stream(),
        };
        if !ended {
            self.exchange.flags = self.exchange.flags.with(Flag::ClientGone);
        }
    }
}

/// gRPC's status in trailers, or in the headers of a response without a body.
fn trailer_status(headers: &HeaderMap) -> Option<u8> {
    let status = headers.get("grpc-status")?.to_str().ok()?;
    // Anything else counts as UNKNOWN, as gRPC's own clients do.
    Some(status.parse().ok().filter(|code| *code <= 16).unwrap_or(2))
}

/// The gRPC status for an HTTP status, as gRPC's specification maps them.
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 501 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// As `grpc-message` has to be.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if matches!(byte, b' '..=b'~') && byte != b'%' {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
            encoded
        })
}

/// The request's line and fields as HTTP/1 writes them. HTTP/2's compressed size is not known here.
fn request_head_bytes(request: &Request<Incoming>) -> u64 {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(1, |p| p.as_str().len());
    let authority = uri.authority().map_or(0, |a| a.as_str().len());
    let line = request.method().as_str().len() + target + authority + " HTTP/1.1\r\n ".len();
    line as u64 + field_bytes(request.headers())
}

fn response_head_bytes(headers: &HeaderMap) -> u64 {
    "HTTP/1.1 200 OK\r\n".len() as u64 + field_bytes(headers)
}

fn field_bytes(headers: &HeaderMap) -> u64 {
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    (fields.sum::<usize>() + 2) as u64
}
