//! One request and its response, from the first line to the last byte.
//!
//! An [`Exchange`] is the one home of a request's facts. When it is dropped, also because the client
//! vanished, it updates the metrics once and writes one access-log line; nobody else does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use mesh_xds::Workload;

use crate::answer::{Answer, Content};
use crate::fail::{Fail, Flag, Flags};
use crate::grpc;
use crate::peer::{Peer, Progress, Standing};
use crate::snapshot::{
    ClientCertificate, Cluster, Direction, Endpoint, Filter, Route, ServiceName, VirtualHost,
};
use crate::steps::cors::Grant;
use crate::steps::headers::{self, MESH_ERROR, REQUEST_ID};
use crate::steps::timeout::Deadline;
use crate::telemetry::{AccessLog, Carried, Ends, Facts, Measures, Span};
use crate::upstream::{Inflow, Lease, Meter, Outgoing};
use crate::worker::Worker;

/// A virtual host or route of this name is where requests go that the mesh does not let out.
const BLOCK_ALL: &str = "block_all";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

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
    progress: Option<Arc<Progress>>,
    cluster: Option<Arc<Cluster>>,
    /// What was asked for, if no cluster says so.
    service: Option<Arc<ServiceName>>,
    endpoint: Option<Arc<Endpoint>>,
    lease: Option<Lease>,
    /// The page of another origin that may read the answer.
    grant: Option<Box<Grant>>,
    code: u16,
    grpc_status: Option<u8>,
    flags: Flags,
    /// What has happened on the way to an answer, whatever it is.
    on_the_way: Flags,
    /// When the response must have come to its end, if that is limited.
    deadline: Option<Box<Deadline>>,
    response_bytes: u64,
    log: Option<Box<AccessLog>>,
    /// If its trace is kept.
    span: Option<Box<Span>>,
}

/// What answers a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An endpoint.
    Upstream(Response<Incoming>),
    /// The route itself.
    Own(Response<Bytes>),
}

impl Exchange {
    /// Begins with what the request's head says.
    pub(crate) fn begin<B>(
        worker: Arc<Worker>,
        peer: Arc<Peer>,
        request: &Request<B>,
    ) -> Box<Self> {
        peer.begin();
        let standing = worker.standing(&peer);
        Box::new(Self {
            started: Instant::now(),
            http1: request.version() < Version::HTTP_2,
            grpc: grpc::is_grpc(request.headers()),
            head: request.method() == Method::HEAD,
            source: standing.source(request.headers()).clone(),
            request_head_bytes: request_head_bytes(request),
            request_body: None,
            progress: peer.watch(&standing.listener),
            cluster: None,
            service: None,
            endpoint: None,
            lease: None,
            grant: None,
            // Until there is an answer: if the exchange ends here, the client went away.
            code: 0,
            grpc_status: None,
            flags: Flag::ClientGone.into(),
            on_the_way: Flags::default(),
            deadline: None,
            response_bytes: 0,
            log: AccessLog::begin(request, &peer),
            span: None,
            worker,
            peer,
            standing,
        })
    }

    /// What could not be read as a request. Its answer has been sent when this begins.
    pub(crate) fn malformed(worker: Arc<Worker>, peer: Arc<Peer>, answer: StatusCode) -> Box<Self> {
        let request = Request::new(());
        let mut x = Self::begin(worker, peer, &request);
        x.code = answer.as_u16();
        x.flags = Flag::BadRequest.into();
        x.request_head_bytes = 0;
        x
    }

    /// Takes the request's body in.
    pub(crate) fn receive(&mut self, body: Incoming) -> Outgoing {
        if body.is_end_stream() {
            return Outgoing::Empty;
        }
        let meter = Arc::new(Meter::new(self.progress.clone()));
        self.request_body = Some(meter.clone());
        Outgoing::Stream(Inflow::new(body, meter))
    }

    pub(crate) fn origin(&self) -> headers::Origin<'_> {
        headers::Origin {
            edge: self.standing.listener.edge,
            tls: self.peer.hello.tls,
            client: &self.peer.client,
            keeps_certificate: self.peer.is_mesh()
                && matches!(&self.standing.filter, Filter::Http(http)
                    if http.client_certificate == ClientCertificate::Forward),
            certificate: self.peer.hello.certificate.as_ref(),
        }
    }

    pub(crate) fn asked_for(&mut self, authority: &HeaderValue) {
        if let Some(log) = &mut self.log {
            log.authority = Some(authority.clone());
        }
    }

    pub(crate) fn routed(&mut self, host: &VirtualHost, route: &Route) {
        if *host.name == *BLOCK_ALL || *route.name == *BLOCK_ALL {
            self.service = Some(self.worker.blanks.black_hole.clone());
        }
        if let Some(log) = &mut self.log {
            log.route_name = Some(route.name.clone());
        }
    }

    pub(crate) fn identified(&mut self, headers: &HeaderMap) {
        if let Some(log) = &mut self.log {
            log.request_id = headers.get(REQUEST_ID).cloned();
        }
    }

    /// Takes the request into its trace, if anybody collects spans; otherwise what it says of one goes on as it is.
    pub(crate) fn traced(&mut self, head: &mut Parts, authority: &HeaderValue) {
        if let Some(tracer) = self.worker.recorder.tracer() {
            self.span = tracer.begin(head, authority, &self.peer, &self.standing.listener);
        }
    }

    /// The route's cluster does not exist.
    pub(crate) fn missing(&mut self, cluster: &Arc<str>) -> Fail {
        self.service = Some(self.worker.missing(cluster));
        Fail::no_cluster(cluster)
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

    /// Lets the page of another origin read the answer, whatever it is.
    pub(crate) fn grant(&mut self, grant: Option<Box<Grant>>) {
        self.grant = grant;
    }

    /// Who is asked, as far as that has been decided.
    pub(crate) fn upstream(&self) -> (Option<&Cluster>, Option<&Endpoint>) {
        (self.cluster.as_deref(), self.endpoint.as_deref())
    }

    /// How long ago the request began.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes what will be said with the answer, whatever it is.
    pub(crate) fn note(&mut self, flag: Flag) {
        self.on_the_way = self.on_the_way.with(flag);
    }

    /// A limit of time that begins with the end of the request.
    pub(crate) fn limit(&self, time: Duration) -> Deadline {
        Deadline::new(time, self.request_body.clone())
    }

    /// The response's end must come in time, too.
    pub(crate) fn must_end_by(&mut self, deadline: Box<Deadline>) {
        self.deadline = Some(deadline);
    }

    /// Whether the time for the response is up.
    pub(crate) fn poll_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = &mut self.deadline else {
            return false;
        };
        let late = Pin::new(deadline).poll(cx).is_ready();
        if late {
            self.deadline = None;
            self.flags = self.flags.with(Flag::Timeout);
            if let Some(log) = &mut self.log {
                log.cause = Some("the response did not end in time".to_owned());
            }
        }
        late
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc
    }

    pub(crate) fn answered_by(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Answers with the reply; its body's end is the exchange's.
    pub(crate) fn stream(mut self: Box<Self>, reply: Reply) -> Response<Answer> {
        self.flags = self.on_the_way;
        match reply {
            Reply::Upstream(response) => {
                let (head, body) = response.into_parts();
                self.answer(Response::from_parts(head, ()), Content::upstream(body))
            }
            Reply::Own(response) => self.own(response),
        }
    }

    /// A body that nobody has named the type of is text.
    fn own(self: Box<Self>, response: Response<Bytes>) -> Response<Answer> {
        let (mut head, body) = response.into_parts();
        if !body.is_empty() {
            head.headers.entry(header::CONTENT_TYPE).or_insert(TEXT);
        }
        self.answer(Response::from_parts(head, ()), Content::Own(body))
    }

    /// Answers with a failure: flag, one sentence, and what to do.
    pub(crate) fn refuse(mut self: Box<Self>, fail: &Fail) -> Response<Answer> {
        self.flags = self.on_the_way.and(fail.flags);
        if let Some(log) = &mut self.log {
            log.cause = Some(fail.cause.to_string());
        }
        let flags = self.flags.label();
        // Only the workload itself is told about addresses inside: what an inbound listener answers
        // may be passed on to strangers by a gateway.
        let listener = &self.standing.listener;
        let own_workload = listener.direction == Direction::Outbound && !listener.edge;
        let sentence = if let Some(body) = fail.body {
            body.to_owned()
        } else if !own_workload || fail.cause == fail.advice {
            format!("{flags}: {}", fail.advice)
        } else {
            format!("{flags}: {} ({})", fail.advice, fail.cause)
        };
        let mut response = Response::new(());
        if let Ok(flags) = HeaderValue::from_str(&flags) {
            response.headers_mut().insert(MESH_ERROR, flags);
        }
        if fail.flags.contains(Flag::Overflow) {
            let overloaded = HeaderName::from_static("x-envoy-overloaded");
            let headers = response.headers_mut();
            headers.insert(overloaded, HeaderValue::from_static("true"));
        }
        if fail.flags.contains(Flag::BadRequest) && self.http1 {
            // What follows such a request cannot be trusted to be a request.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if self.grpc {
            let code = fail.grpc.unwrap_or_else(|| grpc::code(fail.status));
            grpc::refuse(&mut response, code, &sentence);
            return self.answer(response, Content::Own(Bytes::new()));
        }
        *response.status_mut() = fail.status;
        response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
        let end = if fail.body.is_some() { "" } else { "\n" };
        self.answer(response, Content::Own((sentence + end).into()))
    }

    fn answer(
        mut self: Box<Self>,
        mut response: Response<()>,
        content: Content,
    ) -> Response<Answer> {
        if let Some(grant) = self.grant.take() {
            grant.tell(response.headers_mut());
        }
        let status = response.status();
        self.code = status.as_u16();
        if self.grpc {
            self.grpc_status = grpc::status(response.headers());
        }
        self.response_bytes = response_head_bytes(response.headers());
        self.offered(true);
        let bodiless =
            self.head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        response.map(|()| Answer::new(content, bodiless, self))
    }

    /// There is more of the response for the client to take, or none yet.
    pub(crate) fn offered(&self, something: bool) {
        if let Some(progress) = &self.progress {
            progress.offered(something);
        }
    }

    /// Bytes of the response's body are on their way.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// The response ended with these.
    pub(crate) fn trailed(&mut self, trailers: &HeaderMap) {
        if self.grpc {
            self.grpc_status = grpc::status(trailers);
        }
    }

    /// The endpoint went away in the middle of its response.
    pub(crate) fn broke_off(&mut self, error: &hyper::Error) {
        self.flags = self.flags.with(Flag::UpstreamClosed);
        if let Some(log) = &mut self.log {
            log.cause = Some(format!("the response broke off: {error}"));
        }
    }

    /// The client went away in the middle of its response.
    pub(crate) fn abandoned(&mut self) {
        self.flags = self.flags.with(Flag::ClientGone);
    }

    fn facts(&self) -> Facts<'_> {
        let standing = &self.standing;
        let blanks = &self.worker.blanks;
        let service = match &self.cluster {
            Some(cluster) => &cluster.service,
            None => self.service.as_ref().unwrap_or(&blanks.service),
        };
        let (source, own) = (&self.source, &standing.own_principal);
        let ends = match standing.listener.direction {
            Direction::Outbound => {
                let endpoint = self.endpoint.as_ref();
                let destination = endpoint.map_or(&blanks.workload, |e| &e.workload);
                let lease = self.lease.as_ref();
                let answered = lease.and_then(|l| l.origin.principal.as_ref());
                Ends::outbound(source, own, destination, answered)
            }
            Direction::Inbound => {
                let verified = self.peer.hello.principal.as_ref();
                Ends::inbound(source, verified, &standing.listener.workload, own)
            }
        };
        Facts {
            ends,
            service,
            carried: if self.grpc {
                Carried::Grpc
            } else {
                Carried::Http
            },
            code: self.code,
            grpc_status: self.grpc_status,
            flags: self.flags,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        let span = self.span.take();
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
        if let Some(span) = span
            && let Some(tracer) = self.worker.recorder.tracer()
        {
            let (cluster, endpoint) = (self.cluster.as_deref(), self.endpoint.as_deref());
            tracer.end(span, &facts, measures, elapsed, cluster, endpoint);
        }
        // A response that came to its end in peace leaves its connection fit for the next request.
        if let Some(lease) = self.lease.take()
            && self.flags == self.on_the_way
        {
            lease.give_back(now);
        }
        if let Some(progress) = &self.progress {
            self.peer.unwatch(progress);
        }
        self.peer.end(self.code == 0);
    }
}

/// The request's line and fields as HTTP/1 writes them. HTTP/2's compressed size is not known here.
fn request_head_bytes<B>(request: &Request<B>) -> u64 {
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
