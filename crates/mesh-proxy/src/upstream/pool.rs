//! One worker's connections to one endpoint.
//!
//! HTTP/1: a stack of idle connections, the one used last on top, so that surplus ones age and
//! close. HTTP/2: connections that requests share, up to [`STREAMS`] each, opened by one dial at a
//! time however many requests wait. Over TLS the protocol is known after the first handshake only,
//! so the first dial is shared there too.
//!
//! A connection that shows an identity which has been renewed meanwhile is not used again; what is
//! under way on it ends in peace.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use tokio::sync::oneshot;

use super::breaker::{self, Overflow, Permit, Resource};
use super::connect::{ConnectError, Fresh, Origin, Sender, connect};
use super::{Active, EndpointState, Outgoing};
use crate::snapshot::{Cluster, Connections, Endpoint};
use crate::worker::Worker;

/// Idle HTTP/1 connections older than this are closed. Application servers close theirs after 5
/// seconds (Node.js, Apache, uvicorn) or later; being first spares us the race in which a request
/// meets the server's close on the wire, where a POST could not be sent again.
pub(crate) const HTTP1_IDLE: Duration = Duration::from_secs(4);

/// Idle HTTP/2 connections older than this are closed; GOAWAY makes that race harmless, and a
/// handshake costs more than an idle connection.
const HTTP2_IDLE: Duration = Duration::from_secs(300);

/// Requests on one HTTP/2 connection before another is opened: what servers usually allow.
const STREAMS: u32 = 100;

/// How often a request waits for a shared dial in vain before it gives up: connections that break as
/// soon as they are made must not hold a request forever. A dial whose streams others took is not in vain.
const DIALS: u32 = 3;

/// Connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// HTTP/1, the one used last at the end.
    idle: Vec<Idle>,
    /// HTTP/2.
    shared: Vec<Shared>,
    /// Who waits for the dial under way.
    waiting: Vec<oneshot::Sender<Dialed>>,
    /// A shared dial is under way.
    dialing: bool,
    /// What the last handshake with the endpoint settled.
    speaks: Option<Protocol>,
}

type Dialed = Result<Made, Arc<ConnectError>>;

/// What a shared dial made.
#[derive(Clone, Debug)]
enum Made {
    /// A connection for one of those who wait; the others dial for themselves.
    Http1,
    Http2(http2::SendRequest<Outgoing>, Arc<Origin>),
}

impl Made {
    /// Is it of use to nobody? If not, others have taken what it offers. Where HTTP/1 is spoken nobody
    /// has to wait twice.
    fn is_lost(&self, generation: u64) -> bool {
        match self {
            Self::Http1 => true,
            Self::Http2(sender, origin) => sender.is_closed() || origin.generation != generation,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Outgoing>,
    origin: Arc<Origin>,
    since: Instant,
    /// Requests that it has carried.
    carried: u32,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Outgoing>,
    origin: Arc<Origin>,
    streams: Arc<AtomicU32>,
    /// Requests that it has carried.
    carried: u32,
    /// When the sweep first found it without requests.
    idle_since: Option<Instant>,
}

/// What a request finds in the pool.
enum Found {
    Ready {
        link: Link,
        origin: Arc<Origin>,
        /// Requests that the connection has carried before.
        carried: u32,
    },
    /// The request opens a connection of its own.
    Dial(Permit),
    /// The request waits for a shared dial, which it has to start if it has the permit for it.
    Wait {
        dialed: oneshot::Receiver<Dialed>,
        lead: Option<Permit>,
    },
    /// There may be no more connections: the request waits until one of those there are is free.
    Full,
}

impl Pool {
    pub(super) fn len(&self) -> usize {
        self.idle.len() + self.shared.len()
    }

    /// Closes what is closed anyway, too old, idle for too long, or shows an identity that is not
    /// the current one.
    pub(super) fn sweep(&mut self, terms: &Connections, now: Instant, generation: u64) {
        let age = |since: Instant| now.saturating_duration_since(since);
        let (http1_idle, http2_idle) =
            (idle_limit(terms, HTTP1_IDLE), idle_limit(terms, HTTP2_IDLE));
        let outdated =
            |origin: &Origin| origin.principal.is_some() && origin.generation != generation;
        self.idle.retain(|idle| {
            !idle.sender.is_closed()
                && age(idle.since) < http1_idle
                && !outdated(&idle.origin)
                && !idle.origin.is_older_than(terms.age, now)
        });
        self.shared.retain_mut(|shared| {
            if shared.streams.load(Relaxed) > 0 {
                shared.idle_since = None;
            } else {
                shared.idle_since.get_or_insert(now);
            }
            let idle = shared.idle_since.map_or(Duration::ZERO, age);
            !shared.sender.is_closed()
                && idle < http2_idle
                && !outdated(&shared.origin)
                && !shared.origin.is_older_than(terms.age, now)
        });
    }

    /// `in_use` is how many other requests have a connection or are about to.
    fn find(
        &mut self,
        cluster: &Cluster,
        in_use: u32,
        plain: Option<Protocol>,
        generation: u64,
    ) -> Found {
        let (terms, now) = (&cluster.connections, Instant::now());
        let speaks = plain.or(self.speaks);
        if speaks != Some(Protocol::Http2)
            && let Some(idle) = self.take_idle(terms, generation, now)
        {
            return Found::Ready {
                link: Link::Http1(Some(idle.sender)),
                origin: idle.origin,
                carried: idle.carried,
            };
        }
        // As in Envoy, an endpoint without any connection may have one in any case.
        let has_one = in_use > 0 || self.len() > 0;
        let permit = || match breaker::permit(cluster, Resource::Connection) {
            Ok(permit) => Some(permit),
            Err(_) if has_one => None,
            Err(_) => Some(Permit::FREE),
        };
        if speaks == Some(Protocol::Http1) {
            return permit().map_or(Found::Full, Found::Dial);
        }
        if let Some(found) = self.share(terms, generation, now) {
            return found;
        }
        let lead = match self.dialing {
            true => None,
            false => match permit() {
                Some(permit) => Some(permit),
                None => return Found::Full,
            },
        };
        let (waiting, dialed) = oneshot::channel();
        self.waiting.push(waiting);
        self.dialing = true;
        Found::Wait { dialed, lead }
    }

    /// The youngest idle connection; closed and outdated ones on the way to it are dropped.
    fn take_idle(&mut self, terms: &Connections, generation: u64, now: Instant) -> Option<Idle> {
        let limit = idle_limit(terms, HTTP1_IDLE);
        let mut busy = Vec::new();
        let found = loop {
            let Some(idle) = self.idle.pop() else {
                break None;
            };
            let age = now.saturating_duration_since(idle.since);
            if idle.sender.is_closed()
                || idle.origin.generation != generation
                || age >= limit
                || idle.origin.is_older_than(terms.age, now)
            {
                continue;
            }
            if idle.sender.is_ready() {
                break Some(idle);
            }
            // Still sends the rest of a request that was answered early.
            busy.push(idle);
        };
        self.idle.append(&mut busy);
        found
    }

    fn share(&mut self, terms: &Connections, generation: u64, now: Instant) -> Option<Found> {
        // Those that leave end with the last request on them.
        self.shared.retain(|shared| {
            !shared.sender.is_closed()
                && shared.origin.generation == generation
                && !is_used_up(terms, shared.carried)
                && !shared.origin.is_older_than(terms.age, now)
        });
        let streams = match terms.streams {
            0 => STREAMS,
            limit => limit.min(STREAMS),
        };
        let free = |shared: &&mut Shared| shared.streams.load(Relaxed) < streams;
        let shared = self.shared.iter_mut().find(free)?;
        shared.carried = shared.carried.saturating_add(1);
        Some(Found::Ready {
            link: Link::http2(shared.sender.clone(), &shared.streams),
            origin: shared.origin.clone(),
            carried: shared.carried - 1,
        })
    }

    /// The shared dial is over.
    fn dialed(&mut self, result: Result<Fresh, ConnectError>) {
        self.dialing = false;
        let result = match result {
            Ok(fresh) => {
                let made = match &fresh.sender {
                    Sender::Http1(_) => Made::Http1,
                    Sender::Http2(sender) => Made::Http2(sender.clone(), fresh.origin.clone()),
                };
                self.add(fresh);
                Ok(made)
            }
            Err(error) => Err(Arc::new(error)),
        };
        for waiting in self.waiting.drain(..) {
            // One that has stopped waiting does not care.
            drop(waiting.send(result.clone()));
        }
    }

    fn add(&mut self, fresh: Fresh) {
        match fresh.sender {
            Sender::Http1(sender) => {
                self.speaks = Some(Protocol::Http1);
                self.idle.push(Idle {
                    sender,
                    origin: fresh.origin,
                    since: Instant::now(),
                    carried: 0,
                });
            }
            Sender::Http2(sender) => {
                self.speaks = Some(Protocol::Http2);
                self.shared.push(Shared {
                    sender,
                    origin: fresh.origin,
                    streams: Arc::default(),
                    carried: 0,
                    idle_since: None,
                });
            }
        }
    }
}

/// How long a connection may be idle.
fn idle_limit(terms: &Connections, usual: Duration) -> Duration {
    match terms.idle {
        None => usual,
        Some(Duration::ZERO) => Duration::MAX,
        Some(limit) => limit,
    }
}

/// Has a connection carried all the requests that it may?
fn is_used_up(terms: &Connections, carried: u32) -> bool {
    terms.requests > 0 && carried >= terms.requests
}

/// The right to send one request over a connection.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) link: Link,
    pub(crate) origin: Arc<Origin>,
    /// The connection was there before, so its peer may just be closing it.
    pub(super) reused: bool,
    /// It carries no request after this one.
    last: bool,
    /// Requests that it will have carried with this one.
    carried: u32,
    /// What the request takes of the cluster's limits.
    pub(super) request: Permit,
    active: Active,
}

impl Lease {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.link, Link::Http2 { .. })
    }

    /// The response has come to its end, so the connection can carry the next request.
    pub(crate) fn give_back(mut self, now: Instant) {
        if !self.last
            && let Link::Http1(sender) = &mut self.link
            && let Some(sender) = sender.take()
            && !sender.is_closed()
        {
            self.active.state.pool(self.active.worker).idle.push(Idle {
                sender,
                origin: self.origin.clone(),
                since: now,
                carried: self.carried,
            });
        }
    }
}

/// The connection that a lease is for.
#[derive(Debug)]
pub(super) enum Link {
    /// All of it; taken out when it goes back to the pool.
    Http1(Option<http1::SendRequest<Outgoing>>),
    /// One stream of it.
    Http2 {
        sender: http2::SendRequest<Outgoing>,
        streams: Arc<AtomicU32>,
    },
}

impl Link {
    fn http2(sender: http2::SendRequest<Outgoing>, streams: &Arc<AtomicU32>) -> Self {
        streams.fetch_add(1, Relaxed);
        Self::Http2 {
            sender,
            streams: streams.clone(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Self::Http2 { streams, .. } = self {
            streams.fetch_sub(1, Relaxed);
        }
    }
}

/// A connection for one request: an idle or shared one, else a new one.
pub(super) async fn checkout(
    worker: &Arc<Worker>,
    cluster: &Arc<Cluster>,
    endpoint: &Arc<Endpoint>,
) -> Result<Lease, Arc<ConnectError>> {
    let active = Active::begin(&endpoint.state, worker.id);
    let plain = match (&endpoint.tls, cluster.http2) {
        (Some(_), _) => None,
        (None, true) => Some(Protocol::Http2),
        (None, false) => Some(Protocol::Http1),
    };
    // Asked each time: the identity may be renewed while this waits.
    let generation = || match plain {
        None => worker.identity.generation(),
        Some(_) => 0,
    };
    let mut in_vain = 0;
    // Taken when the request has to wait for a connection.
    let mut pending = None;
    let mut wait = || match &pending {
        Some(_) => Ok(()),
        None => {
            pending = Some(breaker::permit(cluster, Resource::Pending)?);
            Ok(())
        }
    };
    let lane = &endpoint.state.lanes[worker.id];
    let queued = Queued::new(&lane.queued);
    loop {
        let freed = lane.freed.notified();
        // Those that wait here have no connection that could become free.
        let without = queued.others() + 1;
        let in_use = endpoint.state.load(worker.id).saturating_sub(without);
        let found = endpoint
            .state
            .pool(worker.id)
            .find(cluster, in_use, plain, generation());
        match found {
            Found::Ready {
                link,
                origin,
                carried,
            } => {
                let carried = carried.saturating_add(1);
                return Ok(Lease {
                    link,
                    origin,
                    reused: true,
                    last: is_used_up(&cluster.connections, carried),
                    carried,
                    request: Permit::FREE,
                    active,
                });
            }
            Found::Full => {
                wait().map_err(overflowed)?;
                queued.begin();
                freed.await;
            }
            Found::Dial(permit) => {
                wait().map_err(overflowed)?;
                let fresh = connect(worker, cluster, endpoint, permit).await?;
                return Ok(own(fresh, &endpoint.state, active, &cluster.connections));
            }
            Found::Wait { dialed, lead } => {
                if let Err(overflow) = wait() {
                    if lead.is_some() {
                        // Nobody else waits for the dial that this one was to start.
                        let over = Err(overflow.clone().into());
                        endpoint.state.pool(worker.id).dialed(over);
                    }
                    return Err(overflowed(overflow));
                }
                if let Some(permit) = lead {
                    dial(worker, cluster, endpoint, permit);
                }
                let dialed = dialed.await;
                if let Ok(Ok(made)) = &dialed {
                    in_vain += u32::from(made.is_lost(generation()));
                }
                match dialed {
                    Ok(Ok(_)) if in_vain < DIALS => {}
                    Ok(Err(error)) => return Err(error),
                    // Made and lost again, or the worker is ending.
                    Ok(Ok(_)) | Err(_) => {
                        return Err(Arc::new(ConnectError::Connect {
                            address: endpoint.address.clone(),
                            source: std::io::ErrorKind::ConnectionReset.into(),
                        }));
                    }
                }
            }
        }
    }
}

/// Dials for all who wait, in a task of its own: the request that began it may be given up.
fn dial(worker: &Arc<Worker>, cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>, permit: Permit) {
    let (worker, endpoint, cluster) = (worker.clone(), endpoint.clone(), cluster.clone());
    tokio::spawn(async move {
        let result = connect(&worker, &cluster, &endpoint, permit).await;
        endpoint.state.pool(worker.id).dialed(result);
    });
}

/// A connection that was opened for one request.
fn own(fresh: Fresh, state: &Arc<EndpointState>, active: Active, terms: &Connections) -> Lease {
    let link = match fresh.sender {
        Sender::Http1(sender) => Link::Http1(Some(sender)),
        Sender::Http2(sender) => {
            // The endpoint speaks HTTP/2 since its last start: share it.
            let streams = Arc::default();
            let link = Link::http2(sender.clone(), &streams);
            let mut pool = state.pool(active.worker);
            pool.speaks = Some(Protocol::Http2);
            pool.shared.push(Shared {
                sender,
                origin: fresh.origin.clone(),
                streams,
                carried: 1,
                idle_since: None,
            });
            link
        }
    };
    Lease {
        link,
        origin: fresh.origin,
        reused: false,
        last: is_used_up(terms, 1),
        carried: 1,
        request: Permit::FREE,
        active,
    }
}

fn overflowed(overflow: Overflow) -> Arc<ConnectError> {
    Arc::new(overflow.into())
}

/// Counts a request as queued from when it begins to wait until it is dropped.
struct Queued<'l> {
    count: &'l AtomicU32,
    counted: Cell<bool>,
}

impl<'l> Queued<'l> {
    fn new(count: &'l AtomicU32) -> Self {
        Self {
            count,
            counted: Cell::new(false),
        }
    }

    /// How many more wait.
    fn others(&self) -> u32 {
        self.count.load(Relaxed) - u32::from(self.counted.get())
    }

    fn begin(&self) {
        if !self.counted.replace(true) {
            self.count.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.counted.get() {
            self.count.fetch_sub(1, Relaxed);
        }
    }
}
