//! Live state of clusters and endpoints, and the way to them.
//!
//! A snapshot is immutable; what changes with each request lives here, one [`Lane`] a worker, so that
//! workers never write to the same cache line. The compiler carries these states over from snapshot to
//! snapshot while the cluster or endpoint that they belong to survives; when the last snapshot lets an
//! endpoint go, its idle connections close with it.

use std::sync::atomic::{AtomicU32, Ordering};

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
    #[must_use]
    pub fn next_turn(&self, worker: usize) -> u32 {
        self.lanes
            .get(worker)
            .map_or(0, |lane| lane.turn.fetch_add(1, Ordering::Relaxed))
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
    /// Requests under way.
    active: AtomicU32,
}

impl EndpointState {
    /// State for a proxy with this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: (0..workers).map(|_| Lane::default()).collect(),
        }
    }

    /// Requests under way at all workers.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.lanes
            .iter()
            .map(|lane| lane.active.load(Ordering::Relaxed))
            .sum()
    }
}
