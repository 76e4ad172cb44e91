//! Copies of requests for others than those who answer them.
//!
//! A copy goes its own way: nobody waits for it, its answer is thrown away, and it can neither slow nor fail the
//! request. As it is no client's request, it is no edge here; its endpoint's proxy counts it as it counts others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use http::request::Parts;
use http::{Request, Uri};
use http_body_util::BodyExt;

use super::translate::Target;
use crate::exchange::Exchange;
use crate::snapshot::{Cluster, Forward};
use crate::upstream::{self, Call, Keep, Outgoing, balance};
use crate::worker::{MirrorSlot, Worker};

/// How long a copy may take if its route has no limit of its own: a slot is not lost forever.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends copies to the route's mirrors; returns the request's body.
pub(crate) fn copy(
    x: &Exchange,
    forward: &Forward,
    clusters: &HashMap<Arc<str>, Arc<Cluster>>,
    target: &Target,
    head: &Parts,
    mut body: Outgoing,
    time: Option<Duration>,
) -> Outgoing {
    for mirror in &forward.mirrors {
        if !mirror.share.takes(&mut |below| fastrand::u32(..below)) {
            continue;
        }
        let worker = &x.worker;
        let count = |result| worker.recorder.mirrored(&mirror.cluster, result);
        let Some(cluster) = clusters.get(&mirror.cluster) else {
            count("no_cluster");
            continue;
        };
        let Some(slot) = worker.mirror_slot() else {
            count("overflow");
            continue;
        };
        let (own, copied) = body.tapped();
        body = own;
        let copy = Copy {
            worker: worker.clone(),
            cluster: cluster.clone(),
            target: Target {
                authority: shadow(&target.authority),
                caller: target.caller.clone(),
            },
            request: request(head, copied),
            _slot: slot,
        };
        tokio::spawn(copy.send(time.unwrap_or(PATIENCE)));
    }
    body
}

/// One copy on its way.
struct Copy {
    worker: Arc<Worker>,
    cluster: Arc<Cluster>,
    target: Target,
    request: Request<Outgoing>,
    _slot: MirrorSlot,
}

impl Copy {
    async fn send(self, time: Duration) {
        let (worker, name) = (self.worker.clone(), self.cluster.name.clone());
        let result = match tokio::time::timeout(time, self.exchange()).await {
            Ok(Some(())) => "answered",
            Ok(None) => "failed",
            Err(_) => "timeout",
        };
        worker.recorder.mirrored(&name, result);
    }

    /// Sends it and reads the answer to its end.
    async fn exchange(self) -> Option<()> {
        let endpoint = balance::pick(&self.cluster, self.worker.id, &[], None)?;
        let call = Call {
            worker: &self.worker,
            cluster: &self.cluster,
            endpoint,
            target: &self.target,
            keep: Keep::Nothing,
        };
        let (response, lease, _) = upstream::send(call, self.request, None).await.ok()?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.ok()?;
        }
        lease.give_back(Instant::now());
        Some(())
    }
}

fn request(head: &Parts, body: Outgoing) -> Request<Outgoing> {
    let mut copy = Request::new(body);
    *copy.method_mut() = head.method.clone();
    // Without the host: the copy's is another one.
    let path = head.uri.path_and_query().cloned();
    *copy.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    *copy.headers_mut() = head.headers.clone();
    copy
}

/// `web:80` becomes `web-shadow:80`, as Envoy has it.
fn shadow(authority: &HeaderValue) -> HeaderValue {
    let bytes = authority.as_bytes();
    let colon = bytes.iter().rposition(|b| *b == b':');
    let colon = colon.filter(|colon| !bytes[*colon..].contains(&b']'));
    let (host, port) = bytes.split_at(colon.unwrap_or(bytes.len()));
    let name = [host, b"-shadow", port].concat();
    HeaderValue::from_bytes(&name).unwrap_or_else(|_| authority.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shadow_stands_before_the_port() {
        for (host, expected) in [
            ("web", "web-shadow"),
            ("web:8080", "web-shadow:8080"),
            ("[::1]", "[::1]-shadow"),
        ] {
            assert_eq!(shadow(&HeaderValue::from_static(host)), expected);
        }
    }
}
