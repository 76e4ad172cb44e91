//! Sending one request to one endpoint, and telling what may be tried again.
//!
//! A request that was provably not processed goes back to the caller: no connection came about, the
//! connection's codec gave the request back unsent, or the endpoint refused its stream. Everything
//! else might have had its effect; it goes back only if the caller wants to keep it, because the user said so.

use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::breaker::{self, Overflow, Permit, Resource};
use super::connect::ConnectError;
use super::pool::{Lease, Link, checkout};
use super::{Meter, Outgoing};
use crate::fail::{Fail, Flag};
use crate::snapshot::{Cluster, Endpoint};
use crate::steps::timeout::Deadline;
use crate::steps::translate::{self, Target};
use crate::worker::Worker;

/// How often a request is moved from a connection that closed under it to the next one. Each time a
/// dead connection leaves the pool, so this only guards against a peer that kills fresh ones.
const MOVES: u32 = 5;

/// To whom a request is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) cluster: &'a Arc<Cluster>,
    pub(crate) endpoint: &'a Arc<Endpoint>,
    pub(crate) target: &'a Target,
    /// What a copy of the request is worth.
    pub(crate) keep: Keep,
}

/// When a request is copied before it is sent, so that it can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Never: there is no try left.
    Nothing,
    /// If it has no body and the endpoint can refuse a stream, which it does without looking at it.
    Refusable,
    /// Always: the user wants it sent again even if it may have had its effect.
    All,
}

/// What went wrong with a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No connection came about, or it gave the request back unsent.
    Unsent,
    /// The endpoint refused the stream.
    Refused,
    /// There is no response, or not in time: the request may have had its effect.
    Reset,
    /// There is too much under way already.
    Overflow,
    /// The client's request is broken; no endpoint can mend it.
    BadRequest,
}

/// A response's head, its connection, and the request if it is kept.
pub(crate) type Sent = (Response<Incoming>, Lease, Option<Request<Outgoing>>);

/// Why there is no response.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) kind: Kind,
    /// The request, if it can be sent again.
    pub(crate) request: Option<Request<Outgoing>>,
    pub(crate) fail: Fail,
}

/// Sends; the lease belongs to the response until its end. The deadline is for the way to a connection and the
/// response's head.
pub(crate) async fn send(
    call: Call<'_>,
    mut request: Request<Outgoing>,
    mut deadline: Option<Deadline>,
) -> Result<Sent, Box<Failed>> {
    let mut moves = 0;
    let mut permit = match breaker::permit(call.cluster, Resource::Request) {
        Ok(permit) => permit,
        Err(overflow) => return Err(overflowed(&overflow)),
    };
    loop {
        let checkout = checkout(call.worker, call.cluster, call.endpoint);
        let mut lease = match in_time(&mut deadline, checkout).await {
            None => return Err(late(Some(request), call.endpoint)),
            Some(Ok(lease)) => lease,
            Some(Err(error)) => match &*error {
                ConnectError::Overflow(overflow) => return Err(overflowed(overflow)),
                error => return Err(unsent(request, error.to_string())),
            },
        };
        // The response keeps it until its end.
        lease.request = std::mem::replace(&mut permit, Permit::FREE);
        translate::request(
            &mut request,
            call.target,
            lease.is_http2(),
            lease.origin.principal.is_some(),
        );
        let kept = match call.keep {
            Keep::All => copy(&request),
            Keep::Refusable if lease.is_http2() && request.body().is_end_stream() => copy(&request),
            Keep::Refusable | Keep::Nothing => None,
        };
        let meter = request.body().meter();
        let response = try_send(&mut lease, request);
        let mut error = match in_time(&mut deadline, response).await {
            None => return Err(late(kept, call.endpoint)),
            Some(Ok(response)) => return Ok((response, lease, kept)),
            Some(Err(error)) => error,
        };
        if let Some(unsent_request) = error.take_message() {
            request = unsent_request;
            permit = std::mem::replace(&mut lease.request, Permit::FREE);
            moves += 1;
            if lease.reused && moves < MOVES {
                continue;
            }
            let cause = format!("{} closed the connection at once", call.endpoint.address);
            return Err(unsent(request, cause));
        }
        let error = error.into_error();
        let (kind, fail) = classify(&error, call.endpoint, meter.as_deref());
        return Err(Box::new(Failed {
            kind,
            request: kept,
            fail,
        }));
    }
}

/// What comes of it before the deadline.
async fn in_time<T>(deadline: &mut Option<Deadline>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => tokio::select! {
            made = work => Some(made),
            () = deadline => None,
        },
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

/// What is too much is not tried again: that would be even more.
fn overflowed(overflow: &Overflow) -> Box<Failed> {
    Box::new(Failed {
        kind: Kind::Overflow,
        request: None,
        fail: Fail::new(Flag::Overflow, overflow.to_string()),
    })
}

fn unsent(request: Request<Outgoing>, cause: String) -> Box<Failed> {
    Box::new(Failed {
        kind: Kind::Unsent,
        request: Some(request),
        fail: Fail::new(Flag::ConnectFailure, cause),
    })
}

fn late(kept: Option<Request<Outgoing>>, endpoint: &Endpoint) -> Box<Failed> {
    let cause = format!(
        "{} did not answer within the time of a try",
        endpoint.address
    );
    Box::new(Failed {
        kind: Kind::Reset,
        request: kept,
        fail: Fail::new(Flag::Timeout, cause),
    })
}

/// A copy to be sent again, if its body can be.
fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let mut copy = Request::new(request.body().again()?);
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

fn classify(error: &hyper::Error, endpoint: &Endpoint, meter: Option<&Meter>) -> (Kind, Fail) {
    let address = &endpoint.address;
    if meter.is_some_and(Meter::is_broken) {
        let fail = Fail::refused(
            http::StatusCode::BAD_REQUEST,
            "the request's body is broken: it ended early or its framing is wrong",
        );
        return (Kind::BadRequest, fail);
    }
    let kind = if was_refused(error) {
        Kind::Refused
    } else {
        Kind::Reset
    };
    let reason = std::error::Error::source(error).map(|source| format!(": {source}"));
    let reason = reason.unwrap_or_default();
    let unacceptable =
        error.is_parse() || http2_error(error).is_some_and(|e| e.is_library() && !e.is_io());
    let fail = if unacceptable {
        let cause = format!("{address} sent an invalid response ({error}{reason})");
        Fail::new(Flag::BadResponse, cause)
    } else {
        let cause = format!("{address} closed before its response ({error}{reason})");
        Fail::new(Flag::UpstreamClosed, cause)
    };
    (kind, fail)
}
