//! Outlier detection: an endpoint that fails several times in a row is left alone for a while.
//!
//! Each attempt's outcome is recorded; only clusters with outlier detection pay for it. An ejection lasts the
//! base time, multiplied by how often the endpoint has been ejected; a quiet interval takes one off again. A
//! worker looks once a second for ejections that are over, and no oftener than the interval says. What an
//! endpoint has on its account stays with its address from snapshot to snapshot.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use tracing::info;

use crate::grpc;
use crate::snapshot::{Cluster, Endpoint};

/// When an endpoint is ejected, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Errors in a row; 0 is never.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 in a row; 0 is never.
    pub consecutive_gateway: u32,
    /// Failures on the way in a row, if they are counted apart; 0 is never.
    pub consecutive_local: u32,
    /// Failures on the way are counted apart from answers.
    pub split_local: bool,
    /// How often ejections are looked at.
    pub interval: Duration,
    /// How long the first ejection lasts.
    pub base: Duration,
    /// How long one lasts at most.
    pub longest: Duration,
    /// How many of a hundred endpoints may be ejected.
    pub most_percent: u32,
    /// One may be ejected in any case.
    pub always_one: bool,
}

/// An endpoint's account.
#[derive(Debug)]
pub struct Health {
    /// Since when the endpoint is known.
    pub(crate) since: Instant,
    ejected: AtomicBool,
    errors: AtomicU32,
    gateway: AtomicU32,
    local: AtomicU32,
    ejection: Mutex<Ejection>,
}

#[derive(Debug, Default)]
struct Ejection {
    /// What the next one's length is multiplied by, less one.
    times: u32,
    since: Option<Instant>,
}

/// How one attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The endpoint answered with this status.
    Status(u16),
    /// It took a session's connection.
    Connected,
    /// No connection came about, or it broke before the answer.
    Unreachable,
    /// There was no answer in time.
    Late,
}

impl Outcome {
    /// Of an answer: gRPC's own status, if it is in the headers, counts as the HTTP status that it stands for.
    pub(crate) fn of(status: StatusCode, grpc: Option<u8>) -> Self {
        Self::Status(match grpc {
            None => status.as_u16(),
            Some(code) => grpc::http_status(code),
        })
    }
}

impl Health {
    /// A fresh account.
    #[must_use]
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            ejected: AtomicBool::new(false),
            errors: AtomicU32::new(0),
            gateway: AtomicU32::new(0),
            local: AtomicU32::new(0),
            ejection: Mutex::default(),
        }
    }

    /// Whether it is left alone.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    /// An answer, its own or what stands for one.
    fn answered(&self, status: u16, terms: &Terms) -> bool {
        if status < 500 {
            // Mostly there is nothing to forget, and what is not written stays in every core's cache.
            for count in [&self.errors, &self.gateway] {
                if count.load(Relaxed) != 0 {
                    count.store(0, Relaxed);
                }
            }
            return false;
        }
        let gateway = matches!(status, 502..=504);
        if !gateway {
            self.gateway.store(0, Relaxed);
        }
        let too_many = reached(&self.errors, terms.consecutive_5xx);
        let too_many_at_gateway = gateway && reached(&self.gateway, terms.consecutive_gateway);
        too_many || too_many_at_gateway
    }

    fn forget(&self) {
        for count in [&self.errors, &self.gateway, &self.local] {
            count.store(0, Relaxed);
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

fn reached(count: &AtomicU32, limit: u32) -> bool {
    let now = count.fetch_add(1, Relaxed) + 1;
    limit > 0 && now >= limit
}

/// Takes note of how an attempt went.
pub(crate) fn record(cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome) {
    let Some(terms) = &cluster.outlier else {
        return;
    };
    let health = &endpoint.health;
    let is_bad = match (outcome, terms.split_local) {
        (Outcome::Status(status), split) => {
            if split && health.local.load(Relaxed) != 0 {
                health.local.store(0, Relaxed);
            }
            health.answered(status, terms)
        }
        (Outcome::Connected, true) => {
            health.local.store(0, Relaxed);
            false
        }
        (Outcome::Connected, false) => health.answered(200, terms),
        (Outcome::Unreachable | Outcome::Late, true) => {
            reached(&health.local, terms.consecutive_local)
        }
        (Outcome::Unreachable, false) => health.answered(503, terms),
        (Outcome::Late, false) => health.answered(504, terms),
    };
    if is_bad && !health.is_ejected() {
        eject(cluster, terms, endpoint);
    }
}

fn eject(cluster: &Cluster, terms: &Terms, endpoint: &Endpoint) {
    let state = &cluster.state;
    // One decision at a time: two must not both be the last one that is allowed.
    let _deciding = state
        .ejecting
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let ejected = cluster.endpoints.iter().filter(|e| e.health.is_ejected());
    let ejected = ejected.count();
    let after = (ejected + 1) * 100;
    let allowed = after <= terms.most_percent as usize * cluster.endpoints.len();
    if endpoint.health.is_ejected() || !(allowed || terms.always_one && ejected == 0) {
        return;
    }
    let mut ejection = endpoint.health.lock();
    ejection.times += 1;
    ejection.since = Some(Instant::now());
    let lasts = terms.lasts(ejection.times);
    endpoint.health.ejected.store(true, Relaxed);
    state.ejected.fetch_add(1, Relaxed);
    state.ejections.fetch_add(1, Relaxed);
    info!(
        cluster = %cluster.name, endpoint = %endpoint.address, ?lasts,
        "an endpoint failed several times in a row; it is left alone for a while"
    );
}

impl Terms {
    /// How long the ejection lasts that is the `times`-th in a row.
    fn lasts(&self, times: u32) -> Duration {
        self.base
            .saturating_mul(times)
            .min(self.longest.max(self.base))
    }
}

impl Health {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the ejections that are over. One worker does this, once a second.
pub(crate) fn sweep(cluster: &Cluster, now: Instant) {
    let Some(terms) = &cluster.outlier else {
        return;
    };
    let mut last = cluster
        .state
        .swept
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // Seconds are as fine as it gets; half of one keeps ticks that come a little early.
    let tolerance = Duration::from_millis(500);
    if last.is_some_and(|last| now.saturating_duration_since(last) + tolerance < terms.interval) {
        return;
    }
    *last = Some(now);
    for endpoint in &cluster.endpoints {
        let health = &endpoint.health;
        let mut ejection = health.lock();
        match ejection.since {
            Some(since) => {
                if now.saturating_duration_since(since) >= terms.lasts(ejection.times) {
                    ejection.since = None;
                    health.forget();
                    health.ejected.store(false, Relaxed);
                    info!(cluster = %cluster.name, endpoint = %endpoint.address, "an endpoint gets requests again");
                }
            }
            None => ejection.times = ejection.times.saturating_sub(1),
        }
    }
    recount(cluster);
}

/// Counts the ejected endpoints anew: some may have left with an older snapshot.
pub(crate) fn recount(cluster: &Cluster) {
    let ejected = cluster.endpoints.iter().filter(|e| e.health.is_ejected());
    let count = u32::try_from(ejected.count()).unwrap_or(u32::MAX);
    cluster.state.ejected.store(count, Relaxed);
}
