//! THE request path, the same for inbound, outbound and gateway: they differ in listeners and routes.
//!
//! Each step is a plain function in [`crate::steps`]; what a request's log line and metrics need is
//! collected in its [`Exchange`], which reports when it is dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::header::SET_COOKIE;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::exchange::{Exchange, Reply};
use crate::fail::{Fail, Flag};
use crate::grpc;
use crate::peer::Peer;
use crate::snapshot::{Action, Cluster, Filter, Forward, Normalization};
use crate::steps::headers::ATTEMPT_COUNT;
use crate::steps::route::Question;
use crate::steps::translate::Target;
use crate::steps::{
    cors, edit, fault, hash, headers, intake, mirror, path, retry, rewrite, route, split, timeout,
};
use crate::upstream::breaker::{self, Permit, Resource};
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::{self, Call, Keep, Outgoing, balance};
use crate::worker::Worker;

/// Answers a request, whatever happens.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let mut x = Exchange::begin(worker, peer, &request);
    Ok(match handle(&mut x, request).await {
        Ok(reply) => x.stream(reply),
        Err(fail) => x.refuse(&fail),
    })
}

async fn handle(x: &mut Exchange, request: Request<Incoming>) -> Result<Reply, Fail> {
    let at = x.standing.clone();
    let (mut head, body) = request.into_parts();
    let body = x.receive(body);
    let Filter::Http(http) = &at.filter else {
        // Connections are placed by what they speak.
        return Err(Fail::no_route());
    };
    let mut authority = intake::check(&mut head)?;
    if http.path != Normalization::default() {
        path::normalize(&mut head.uri, http.path)?;
    }
    x.asked_for(&authority);
    // Before routing: what a client may not say must not steer either.
    headers::request(&mut head, x.origin());
    x.identified(&head.headers);
    x.traced(&mut head, &authority);

    let question = Question {
        authority: authority.to_str().unwrap_or_default(),
        method: &head.method,
        uri: &head.uri,
        scheme: if x.peer.hello.tls { "https" } else { "http" },
        headers: &head.headers,
    };
    let (host, route) = route::find(&http.router, &question).ok_or_else(Fail::no_route)?;
    x.routed(host, route);
    let forward = match &route.action {
        Action::Forward(forward) => forward,
        Action::Direct { status, body } => {
            let mut response = Response::new(body.clone());
            *response.status_mut() = *status;
            edit::own(x, route, &head, &authority, &mut response);
            return Ok(Reply::Own(response));
        }
        Action::Redirect(redirect) => {
            let mut response = rewrite::redirect(redirect, question.scheme, &authority, &head.uri)?;
            edit::own(x, route, &head, &authority, &mut response);
            return Ok(Reply::Own(response));
        }
    };
    if let Some(fault) = &forward.fault {
        fault::inject(x, fault, |below| fastrand::u32(..below)).await?;
    }
    if let Some(policy) = &forward.cors {
        let verdict = cors::check(policy, &head);
        x.grant(verdict.grant);
        if let Some(answer) = verdict.answer {
            return Ok(Reply::Own(answer));
        }
    }

    let place = split::place(&forward.split, x.worker.id).ok_or_else(Fail::no_target)?;
    let (name, _) = &forward.split.targets[place];
    let clusters = &at.snapshot.clusters;
    let cluster = clusters
        .get(name)
        .ok_or_else(|| x.missing(name).answered_with(forward.missing))?;
    let asked_for;
    let cluster = match &cluster.dynamic {
        None => cluster,
        Some(dynamic) => {
            let host = authority.to_str().unwrap_or_default();
            asked_for = dynamic.cluster(cluster, x.worker.id, host, &at.listener)?;
            &asked_for
        }
    };
    x.chosen(cluster);
    let alike = hash::of(&forward.hash, cluster, &question, &x.peer.hello);
    let later = edit::Later::bind(route, forward, place, &head, &authority);
    if let Some(changes) = &forward.changes {
        edit::request(changes, place, x, route, &mut head, &authority);
        rewrite::request(changes, place, &mut head, &mut authority)?;
    }

    let target = Target {
        authority,
        caller: at.caller.clone(),
    };
    let time = timeout::of(&forward.timeout, x.is_grpc(), &mut head.headers);
    let body = if forward.retry.repeats(x.is_grpc()) {
        body.keep()
    } else {
        body
    };
    let body = if forward.mirrors.is_empty() {
        body
    } else {
        mirror::copy(x, forward, clusters, &target, &head, body, time)
    };
    let request = Request::from_parts(head, body);
    let deadline = time.map(|time| Box::new(x.limit(time)));
    let attempts = attempts(x, cluster, forward, alike.hash, &target, request);
    let mut response = match deadline {
        None => attempts.await?,
        Some(mut deadline) => {
            let response = tokio::select! {
                response = attempts => response?,
                () = &mut deadline => {
                    if let (_, Some(endpoint)) = x.upstream() {
                        outlier::record(cluster, endpoint, Outcome::Late);
                    }
                    return Err(Fail::timeout());
                }
            };
            x.must_end_by(deadline);
            response
        }
    };
    headers::response(&mut response)?;
    for cookie in alike.cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    if let Some(later) = later {
        later.response(x, route, &mut response);
    }
    Ok(Reply::Upstream(response))
}

/// Asks one endpoint after the other, for as long as the route's policy has it.
async fn attempts(
    x: &mut Exchange,
    cluster: &Arc<Cluster>,
    forward: &Forward,
    hash: Option<u64>,
    target: &Target,
    mut request: Request<Outgoing>,
) -> Result<Response<Incoming>, Fail> {
    let worker = x.worker.clone();
    let policy = &forward.retry;
    let repeats = policy.repeats(x.is_grpc());
    let mut tried = Vec::new();
    // What the attempt takes of the cluster's limit of retries.
    let mut retry_permit = None;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let avoid = if policy.avoid_tried { &tried[..] } else { &[] };
        let endpoint = balance::pick(cluster, worker.id, avoid, hash)
            .ok_or_else(|| Fail::no_endpoint(&cluster.name))?;
        x.attempt(endpoint);
        if forward.count_attempts {
            let count = retry::count(attempt);
            request.headers_mut().insert(ATTEMPT_COUNT, count);
        }
        let is_last = attempt > policy.attempts;
        let call = Call {
            worker: &worker,
            cluster,
            endpoint,
            target,
            keep: match (is_last, repeats) {
                (true, _) => Keep::Nothing,
                (false, true) => Keep::All,
                (false, false) => Keep::Refusable,
            },
        };
        let deadline = policy.per_try_timeout.map(|time| x.limit(time));
        let kept = match upstream::send(call, request, deadline).await {
            Ok((response, lease, kept)) => {
                let grpc = x.is_grpc().then(|| grpc::status(response.headers()));
                let outcome = Outcome::of(response.status(), grpc.flatten());
                outlier::record(cluster, endpoint, outcome);
                if !repeats || !retry::after_response(policy, x.is_grpc(), &response) {
                    x.answered_by(lease);
                    return Ok(response);
                }
                if is_last {
                    x.note(Flag::RetriesUsedUp);
                }
                let Some(kept) = kept.filter(|kept| kept.body().is_whole()) else {
                    x.answered_by(lease);
                    return Ok(response);
                };
                if over_retries(&mut retry_permit, cluster) {
                    x.note(Flag::Overflow);
                    x.answered_by(lease);
                    return Ok(response);
                }
                if response.body().is_end_stream() {
                    lease.give_back(Instant::now());
                }
                kept
            }
            Err(failed) => {
                if let Some(outcome) = failed.fail.outcome() {
                    outlier::record(cluster, endpoint, outcome);
                }
                if !retry::after_failure(policy, failed.kind) {
                    return Err(failed.fail);
                }
                if is_last {
                    return Err(failed.fail.after_retries(policy.attempts));
                }
                let kept = failed.request.filter(|kept| kept.body().is_whole());
                let Some(kept) = kept else {
                    return Err(failed.fail);
                };
                if over_retries(&mut retry_permit, cluster) {
                    return Err(failed.fail.with(Flag::Overflow));
                }
                kept
            }
        };
        request = kept;
        tried.push(endpoint.clone());
        let pause = retry::pause(&policy.backoff, attempt, |below| fastrand::u64(..below));
        tokio::time::sleep(pause).await;
    }
}

/// Takes one more retry of the cluster's limit, instead of the one before; is it one too many?
fn over_retries(held: &mut Option<Permit>, cluster: &Cluster) -> bool {
    drop(held.take());
    match breaker::permit(cluster, Resource::Retry) {
        Ok(permit) => held.insert(permit),
        Err(_) => return true,
    };
    false
}
