//! Live state of clusters and endpoints, and the way to them.
//!
//! A snapshot is immutable; what changes with each request lives here, one lane a worker, so that
//! workers never write to the same cache line. The compiler carries these states over from snapshot
//! to snapshot while the cluster or endpoint that they belong to survives; when the last snapshot
//! lets an endpoint go, its idle connections close with it.
//!
//! A request is sent by `send.rs`, over a connection from `pool.rs`, which `connect.rs` opened, to an
//! endpoint that `balance.rs` chose. A session has a connection of its own.

pub(crate) mod balance;
mod body;
pub mod breaker;
mod connect;
mod dynamic;
mod keep;
pub mod outlier;
mod pool;
#[cfg(test)]
pub(crate) mod samples;
mod send;
pub mod table;
mod tap;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use body::{Inflow, Meter, Outgoing};
pub(crate) use connect::{ConnectError, connect_session};
pub use dynamic::Dynamic;
pub(crate) use pool::Lease;
pub(crate) use send::{Call, Keep, Kind, send};

use breaker::Permit;
use pool::Pool;
use tokio::sync::Notify;

use crate::snapshot::Connections;

/// Live state of a cluster.
#[derive(Debug)]
pub struct ClusterState {
    lanes: Box<[ClusterLane]>,
    /// What there is at once, counted only against limits.
    usage: breaker::Usage,
    /// Endpoints that are left alone at the moment.
    ejected: AtomicU32,
    /// How often one was.
    ejections: AtomicU64,
    /// Held while an ejection is decided on.
    ejecting: Mutex<()>,
    /// When ejections were looked at last.
    swept: Mutex<Option<Instant>>,
}

/// One worker's share of a cluster's state.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ClusterLane {
    /// Where the round robin stands.
    turn: AtomicU32,
}

impl ClusterState {
    /// State for a proxy with this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: (0..workers).map(|_| ClusterLane::default()).collect(),
            usage: breaker::Usage::default(),
            ejected: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
            ejecting: Mutex::default(),
            swept: Mutex::default(),
        }
    }

    /// Endpoints that are left alone at the moment for their errors.
    #[must_use]
    pub fn ejected(&self) -> u32 {
        self.ejected.load(Relaxed)
    }

    /// How often an endpoint was ejected for its errors, since the cluster is known.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// The next turn of the round robin at this worker.
    pub(crate) fn next_turn(&self, worker: usize) -> u32 {
        self.lanes[worker].turn.fetch_add(1, Relaxed)
    }
}

/// Live state of an endpoint.
#[derive(Debug)]
pub struct EndpointState {
    lanes: Box<[Lane]>,
}

/// One worker's share of an endpoint's state.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    /// Requests and sessions under way.
    active: AtomicU32,
    /// Connections. The lock is the worker's own and never contended but by the admin page.
    pool: Mutex<Pool>,
    /// Requests that wait because the cluster has as many connections as it may.
    queued: AtomicU32,
    /// Rings when one of them may try again.
    freed: Notify,
}

impl EndpointState {
    /// State for a proxy with this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: (0..workers).map(|_| Lane::default()).collect(),
        }
    }

    /// Requests and sessions under way at all workers.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.lanes
            .iter()
            .map(|lane| lane.active.load(Relaxed))
            .sum()
    }

    /// Connections in the pools of all workers; an HTTP/1 connection in use is not counted.
    #[must_use]
    pub fn pooled(&self) -> usize {
        (0..self.lanes.len()).map(|i| self.pool(i).len()).sum()
    }

    /// Requests and sessions under way at one worker.
    pub(crate) fn load(&self, worker: usize) -> u32 {
        self.lanes[worker].active.load(Relaxed)
    }

    /// Closes what has been idle at this worker for too long, or shows an older identity than this.
    pub(crate) fn sweep(&self, worker: usize, terms: &Connections, now: Instant, generation: u64) {
        self.pool(worker).sweep(terms, now, generation);
    }

    fn pool(&self, worker: usize) -> MutexGuard<'_, Pool> {
        let pool = &self.lanes[worker].pool;
        pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request or session as under way at its endpoint for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active {
    state: Arc<EndpointState>,
    worker: usize,
    /// What it takes of the cluster's limits.
    permit: Permit,
}

impl Active {
    pub(crate) fn begin(state: &Arc<EndpointState>, worker: usize) -> Self {
        state.lanes[worker].active.fetch_add(1, Relaxed);
        Self {
            state: state.clone(),
            worker,
            permit: Permit::FREE,
        }
    }

    /// The same, with what it takes of the cluster's limits.
    pub(crate) fn with(self, permit: Permit) -> Self {
        let mut this = self;
        this.permit = permit;
        this
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let lane = &self.state.lanes[self.worker];
        lane.active.fetch_sub(1, Relaxed);
        if lane.queued.load(Relaxed) > 0 {
            lane.freed.notify_one();
        }
    }
}
