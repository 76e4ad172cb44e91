//! Circuit breakers: how many connections and requests a cluster may have at once, over all workers.
//!
//! Only a cluster with limits counts; to all others a permit is nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::ClusterState;
use crate::snapshot::Cluster;

/// The most that a cluster may have at once; `u32::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to its endpoints.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests under way.
    pub requests: u32,
    /// Retries under way.
    pub retries: u32,
}

impl Limits {
    /// No limits at all.
    pub const NONE: Self = Self {
        connections: u32::MAX,
        pending: u32::MAX,
        requests: u32::MAX,
        retries: u32::MAX,
    };
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Connection,
    Pending,
    Request,
    Retry,
}

/// What a cluster has at the moment.
#[derive(Debug, Default)]
pub(super) struct Usage([AtomicU32; 4]);

/// A cluster has as much as it may have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cluster} has all the {what} that its connectionPool allows ({limit})")]
pub(crate) struct Overflow {
    cluster: Arc<str>,
    what: &'static str,
    limit: u32,
}

/// Counts as one as long as it lives.
#[derive(Debug)]
pub(crate) struct Permit(Option<(Arc<ClusterState>, Resource)>);

impl Permit {
    /// What there is no limit for.
    pub(crate) const FREE: Self = Self(None);
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((state, kind)) = &self.0 {
            state.usage.0[*kind as usize].fetch_sub(1, Relaxed);
        }
    }
}

/// One more of a kind, if the cluster may have it.
pub(crate) fn permit(cluster: &Cluster, kind: Resource) -> Result<Permit, Overflow> {
    let Some(limits) = &cluster.limits else {
        return Ok(Permit::FREE);
    };
    let (limit, what) = match kind {
        Resource::Connection => (limits.connections, "connections"),
        Resource::Pending => (limits.pending, "waiting requests"),
        Resource::Request => (limits.requests, "requests"),
        Resource::Retry => (limits.retries, "retries"),
    };
    if limit == u32::MAX {
        return Ok(Permit::FREE);
    }
    let count = &cluster.state.usage.0[kind as usize];
    if count.fetch_add(1, Relaxed) >= limit {
        count.fetch_sub(1, Relaxed);
        return Err(Overflow {
            cluster: cluster.name.clone(),
            what,
            limit,
        });
    }
    Ok(Permit(Some((cluster.state.clone(), kind))))
}
