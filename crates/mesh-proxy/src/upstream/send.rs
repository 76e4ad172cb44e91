//! Sending one request to one endpoint, and telling what may be tried again.
//!
//! Only what provably was not processed goes back to the caller: no connection came about, the
//! connection's codec gave the request back unsent, or the endpoint refused its stream. Everything
//! else might have had its effect, so it is never sent twice.

use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::pool::{Lease, Link, checkout};
use super::{Meter, Outgoing};
use crate::fail::{Fail, Flag};
use crate::snapshot::{Cluster, Endpoint};
use crate::steps::translate::{self, Target};
use crate::worker::Worker;

/// How often a request is moved from a connection that closed under it to the next one. Each time a
/// dead connection leaves the pool, so this only guards against a peer that kills fresh ones.
const MOVES: u32 = 5;

/// To whom a request is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) endpoint: &'a Arc<Endpoint>,
    pub(crate) target: &'a Target,
    /// There is a retry left, so a refused request is worth keeping.
    pub(crate) may_retry: bool,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The request, if it was not processed.
    pub(crate) unsent: Option<Request<Outgoing>>,
    pub(crate) fail: Fail,
}

/// Sends; the lease belongs to the response until its end.
pub(crate) async fn send(
    call: Call<'_>,
    mut request: Request<Outgoing>,
) -> Result<(Response<Incoming>, Lease), Box<Failed>> {
    let mut moves = 0;
    loop {
        let mut lease = match checkout(call.worker, call.cluster, call.endpoint).await {
            Ok(lease) => lease,
            Err(error) => return Err(unsent(request, error.to_string())),
        };
        translate::request(
            &mut request,
            call.target,
            lease.is_http2(),
            lease.origin.principal.is_some(),
        );
        let copy = (call.may_retry && lease.is_http2()).then(|| copy(&request));
        let meter = match request.body() {
            Outgoing::Stream { meter, .. } => Some(meter.clone()),
            Outgoing::Empty => None,
        };
        let error = match try_send(&mut lease, request).await {
            Ok(response) => return Ok((response, lease)),
            Err(error) => error,
        };
        let mut error = error;
        if let Some(unsent_request) = error.take_message() {
            request = unsent_request;
            moves += 1;
            if lease.reused && moves < MOVES {
                continue;
            }
            let cause = format!("{} closed the connection at once", call.endpoint.address);
            return Err(unsent(request, cause));
        }
        let error = error.into_error();
        let unsent = copy.flatten().filter(|_| was_refused(&error));
        let fail = classify(&error, call.endpoint, meter.as_deref());
        return Err(Box::new(Failed { unsent, fail }));
    }
}

async fn try_send(
    lease: &mut Lease,
    request: Request<Outgoing>,
) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
    match &mut lease.link {
        Link::Http1(sender) => {
            let sender = sender
                .as_mut()
                .expect("a lease keeps its sender until it goes back");
            sender.try_send_request(request).await
        }
        Link::Http2 { sender, .. } => sender.try_send_request(request).await,
    }
}

fn unsent(request: Request<Outgoing>, cause: String) -> Box<Failed> {
    Box::new(Failed {
        unsent: Some(request),
        fail: Fail::new(Flag::ConnectFailure, cause),
    })
}

/// A copy to be sent again if the endpoint refuses the stream; only of requests without a body.
fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    if !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Outgoing::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    Some(copy)
}

/// REFUSED_STREAM, or GOAWAY with a last stream before this one: not processed.
fn was_refused(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away()
                || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

fn classify(error: &hyper::Error, endpoint: &Endpoint, meter: Option<&Meter>) -> Fail {
    let address = &endpoint.address;
    if meter.is_some_and(Meter::is_broken) {
        return Fail::refused(
            http::StatusCode::BAD_REQUEST,
            "the request's body is broken: it ended early or its framing is wrong",
        );
    }
    let reason = std::error::Error::source(error).map(|source| format!(": {source}"));
    let reason = reason.unwrap_or_default();
    let unacceptable =
        error.is_parse() || http2_error(error).is_some_and(|e| e.is_library() && !e.is_io());
    if unacceptable {
        let cause = format!("{address} sent an invalid response ({error}{reason})");
        Fail::new(Flag::BadResponse, cause)
    } else {
        let cause = format!("{address} closed before its response ({error}{reason})");
        Fail::new(Flag::UpstreamClosed, cause)
    }
}
