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
mod connect;
mod dynamic;
mod keep;
mod pool;
mod send;
mod tap;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use body::{Inflow, Meter, Outgoing};
pub(crate) use connect::connect_session;
pub use dynamic::Dynamic;
pub(crate) use pool::Lease;
pub(crate) use send::{Call, Keep, Kind, send};

use pool::Pool;

/// Live state of a cluster.
#[derive(Debug)]
pub struct ClusterState {
    lanes: Box<[ClusterLane]>,
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
        }
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
    pub(crate) fn sweep(&self, worker: usize, now: Instant, generation: u64) {
        self.pool(worker).sweep(now, generation);
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
}

impl Active {
    pub(crate) fn begin(state: &Arc<EndpointState>, worker: usize) -> Self {
        state.lanes[worker].active.fetch_add(1, Relaxed);
        Self {
            state: state.clone(),
            worker,
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.state.lanes[self.worker].active.fetch_sub(1, Relaxed);
    }
}
