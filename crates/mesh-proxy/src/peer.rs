//! One client connection: who is at its other end, where it stands in the current configuration, and
//! whether it may go on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::SystemTime;

use http::HeaderMap;
use http::header::HeaderValue;
use mesh_xds::Workload;

use crate::http::limits;
use crate::snapshot::{Clients, Direction, Filter, Listener, Namesakes, Snapshot};
use crate::steps::headers::{MESH_WORKLOAD, address};

/// What is known of a client when its connection begins.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The listener that it came to.
    pub(crate) listener: Arc<str>,
    /// The server name that it asked for.
    pub(crate) server_name: Option<String>,
    /// The workload that it says it is, if that is how its session began. Proves nothing.
    pub(crate) caller: Option<String>,
    pub(crate) address: SocketAddr,
    /// It speaks TLS with us.
    pub(crate) tls: bool,
    /// What it had to prove to the user's own authorities, if anything.
    pub(crate) clients: Option<Arc<Clients>>,
    /// Its certificate, as `x-forwarded-client-cert` tells it, where that is wanted.
    pub(crate) certificate: Option<HeaderValue>,
    /// The SPIFFE id of its verified certificate.
    pub(crate) principal: Option<Arc<str>>,
    /// When that certificate ends. The handshake has checked it once; the connection may outlast it.
    pub(crate) proven_until: Option<SystemTime>,
    pub(crate) protocol: Protocol,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// Bytes that nobody looks into: the connection is one session.
    Tcp,
}

impl Protocol {
    /// Is it what this filter takes?
    pub(crate) fn fits(self, filter: &Filter) -> bool {
        (self == Self::Tcp) == matches!(filter, Filter::Tcp(_))
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) hello: Hello,
    /// Its address as headers name it.
    pub(crate) client: HeaderValue,
    standing: Mutex<Arc<Standing>>,
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// The requests of a stranger that are under way.
    watched: Mutex<Vec<Arc<Progress>>>,
    /// Requests under way.
    in_flight: AtomicU32,
    /// Requests called off since the clock last ticked.
    cancelled: AtomicU32,
    /// The worker's clock in seconds, which ticks once a second.
    clock: Arc<AtomicU64>,
    /// When the last request ended, the last bytes of a session moved, or the connection began.
    idle_since: AtomicU64,
    /// How long it may be idle, in seconds.
    idle_limit: u64,
    /// When the first bytes of a request came whose head is not complete yet; 0 if none did.
    heard_at: AtomicU64,
}

/// What a connection is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Go on.
    None,
    /// End when what is under way has ended; a session is.
    Drain,
    /// End now.
    Close,
}

impl Peer {
    pub(crate) fn new(hello: Hello, standing: Standing, clock: Arc<AtomicU64>) -> Self {
        let now = clock.load(Relaxed);
        let idle_limit = match &standing.filter {
            Filter::Http(_) => limits::IDLE_SECONDS,
            Filter::Tcp(proxy) => proxy.idle_timeout.map_or(u64::MAX, |t| t.as_secs().max(1)),
        };
        Self {
            client: address(hello.address.ip()),
            hello,
            standing: Mutex::new(Arc::new(standing)),
            order: AtomicU8::new(Order::None as u8),
            waker: Mutex::default(),
            watched: Mutex::default(),
            in_flight: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            clock,
            idle_since: AtomicU64::new(now),
            idle_limit,
            heard_at: AtomicU64::new(0),
        }
    }

    /// Where the connection stood when this was last asked; see [`crate::worker::Worker::standing`].
    pub(crate) fn standing(&self) -> Arc<Standing> {
        let standing = self.standing.lock();
        standing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stand(&self, standing: Arc<Standing>) {
        let mut slot = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = standing;
    }

    /// Tells the connection to end; a sharper order replaces a milder one.
    pub(crate) fn order(&self, order: Order) {
        if self.order.fetch_max(order as u8, Relaxed) < order as u8 {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = waker.as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// What the connection has been told.
    pub(crate) fn orders(&self) -> Order {
        match self.order.load(Relaxed) {
            0 => Order::None,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }

    /// Whom to wake after an order. Asked before [`Self::orders`] is read, so that none is missed.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(cx.waker().clone());
    }

    /// Bytes came.
    pub(crate) fn heard(&self) {
        if self.heard_at.load(Relaxed) == 0 && self.in_flight.load(Relaxed) == 0 {
            self.heard_at.store(self.clock.load(Relaxed), Relaxed);
        }
    }

    /// Bytes of a session moved.
    pub(crate) fn moved(&self) {
        self.idle_since.store(self.clock.load(Relaxed), Relaxed);
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.heard_at.store(0, Relaxed);
    }

    /// A request's stream has ended, or the client has called it off.
    pub(crate) fn end(&self, cancelled: bool) {
        self.idle_since.store(self.clock.load(Relaxed), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
        if !cancelled {
            return;
        }
        let (limit, order) = if self.is_mesh() {
            (limits::MESH_CANCELS_PER_SECOND, Order::Drain)
        } else {
            (limits::CANCELS_PER_SECOND, Order::Close)
        };
        if self.cancelled.fetch_add(1, Relaxed) == limit {
            self.order(order);
        }
    }

    /// Watches whether a request's client goes on. Nobody but strangers is watched.
    pub(crate) fn watch(&self, listener: &Listener) -> Option<Arc<Progress>> {
        let progress = listener.edge.then(|| {
            Arc::new(Progress {
                clock: self.clock.clone(),
                awaits_body: AtomicU64::new(0),
                answering: AtomicBool::new(false),
                awaits_taking: AtomicU64::new(0),
            })
        })?;
        self.watched().push(progress.clone());
        Some(progress)
    }

    /// The request has ended.
    pub(crate) fn unwatch(&self, progress: &Arc<Progress>) {
        self.watched()
            .retain(|watched| !Arc::ptr_eq(watched, progress));
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is it a proxy of the mesh, which has proven who it is? Its connection carries what many clients
    /// ask for, who must not have to pay for one of them.
    pub(crate) fn is_mesh(&self) -> bool {
        self.hello.principal.is_some() && !self.standing().listener.edge
    }

    /// Once a second.
    pub(crate) fn tick(&self) {
        self.cancelled.store(0, Relaxed);
        self.order(self.overdue());
        if self.has_expired() {
            // The client comes back with a certificate that is valid, or not at all.
            self.order(match self.hello.protocol {
                Protocol::Http1 | Protocol::Http2 => Order::Drain,
                // A session has no end to wait for.
                Protocol::Tcp => Order::Close,
            });
        }
    }

    /// Is the certificate over that the client has shown?
    pub(crate) fn has_expired(&self) -> bool {
        let over = |until: SystemTime| SystemTime::now() >= until;
        self.hello.proven_until.is_some_and(over)
    }

    /// What a connection deserves that keeps others waiting or has nothing to say.
    fn overdue(&self) -> Order {
        let now = self.clock.load(Relaxed);
        let idle = now - self.idle_since.load(Relaxed);
        if self.hello.protocol == Protocol::Tcp {
            return if idle > self.idle_limit {
                Order::Close
            } else {
                Order::None
            };
        }
        if self.in_flight.load(Relaxed) > 0 {
            // One stream cannot be cut without its connection: it is its client's as well.
            let stalled = self.watched().iter().any(|p| p.stands_still(now));
            return if stalled { Order::Close } else { Order::None };
        }
        let heard = self.heard_at.load(Relaxed);
        if self.hello.protocol == Protocol::Http1
            && heard != 0
            && now - heard > limits::HEADER_SECONDS
        {
            return Order::Close;
        }
        match idle {
            idle if idle > self.idle_limit + limits::HEADER_SECONDS => Order::Close,
            idle if idle > self.idle_limit => Order::Drain,
            _ => Order::None,
        }
    }
}

/// Since when a request waits for its client, in seconds of the worker's clock; 0 if it does not.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Arc<AtomicU64>,
    /// For more of its body.
    awaits_body: AtomicU64,
    /// There is an answer: from now on it is what counts, since the body may be a stream that says
    /// something when there is something to say.
    answering: AtomicBool,
    /// Until what there is of the answer has been taken.
    awaits_taking: AtomicU64,
}

impl Progress {
    /// The body was asked for more; `came` says whether there was any.
    pub(crate) fn read(&self, came: bool) {
        let now = self.clock.load(Relaxed);
        if came {
            self.awaits_body.store(0, Relaxed);
        } else if self.awaits_body.load(Relaxed) == 0 {
            self.awaits_body.store(now, Relaxed);
        }
    }

    /// There is something of the answer to take, or nothing yet.
    pub(crate) fn offered(&self, something: bool) {
        let since = if something {
            self.clock.load(Relaxed)
        } else {
            0
        };
        self.awaits_taking.store(since, Relaxed);
        self.answering.store(true, Relaxed);
    }

    fn stands_still(&self, now: u64) -> bool {
        let since = if self.answering.load(Relaxed) {
            self.awaits_taking.load(Relaxed)
        } else {
            self.awaits_body.load(Relaxed)
        };
        since != 0 && now.saturating_sub(since) > limits::STALL_SECONDS
    }
}

/// A connection's place in one snapshot. Shared by its requests, so that each costs one reference
/// count that no other worker touches.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The worker's number of the snapshot.
    pub(crate) version: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) filter: Filter,
    /// Who this proxy is.
    pub(crate) own_principal: Arc<str>,
    /// What our workload is called towards other proxies.
    pub(crate) caller: Option<HeaderValue>,
    /// Who may be calling; nobody on outbound listeners.
    pub(crate) candidates: Option<Arc<Namesakes>>,
    /// Who is calling if it is none of them: a namespace at most.
    pub(crate) unknown: Arc<Workload>,
}

impl Standing {
    /// The calling workload: the only one that the verified principal may be, else the one among
    /// them that the client's proxy names. The header alone proves nothing.
    pub(crate) fn source(&self, headers: &HeaderMap) -> &Arc<Workload> {
        if self.listener.direction == Direction::Outbound {
            return &self.listener.workload;
        }
        let named = headers.get(MESH_WORKLOAD).map(HeaderValue::as_bytes);
        self.candidate(named).unwrap_or(&self.unknown)
    }

    /// The workload behind a session: as with requests, but the name comes with the handshake, and if it
    /// is none of them, the caller is what all of them have in common.
    pub(crate) fn session_source(&self, hello: &Hello) -> &Arc<Workload> {
        if self.listener.direction == Direction::Outbound {
            return &self.listener.workload;
        }
        let named = hello.caller.as_ref().map(String::as_bytes);
        let common = || Some(&self.candidates.as_ref()?.common);
        let source = self.candidate(named).or_else(common);
        source.unwrap_or(&self.unknown)
    }

    /// Which workload the verified principal is: the only one that it may be, else the one of this name.
    fn candidate(&self, named: Option<&[u8]>) -> Option<&Arc<Workload>> {
        match self.candidates.as_ref()?.workloads.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|w| Some(w.name.as_bytes()) == named),
        }
    }
}

#[cfg(test)]
mod tests;
