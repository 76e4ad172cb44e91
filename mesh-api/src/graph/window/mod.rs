//! What the proxies reported during the last hour, in bounded memory.
//!
//! Reports are deltas: they are filed under the second in which they arrive, so a rate is a sum over
//! some seconds, and no counter reset can spoil it. Bounds: [`Limits`]. Past them history gets coarser,
//! then shorter, and the longest idle series go; each is counted in [`Stats`], nothing fails.
//!
//! A connection that is open and silent reports nothing, and is there all the same: `open` counts those.
//!
//! Read `delta` and `slots` for how deltas are kept, `series` for their labels, `view` for how queries are
//! answered.

mod delta;
mod open;
mod series;
mod slots;
mod view;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mesh_xds::mesh::EdgeDelta;

use self::delta::{BUCKETS, Delta};
use self::open::Open;
use self::series::Table;
use self::slots::Slots;
pub use self::view::View;
use super::labels::{Label, Labels};
use super::model::LastReport;
use super::params::seconds;

/// How far back the window reaches, in seconds, and a little more, so that a report that was late or
/// a clock that was set does not fall off the edge.
const SPAN: u64 = 3600 + 60;
/// No clock is believed beyond this, the year 36812, so that no sum of times overflows.
const END_OF_TIME: u64 = 1 << 40;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series, that is combinations of labels.
    pub series: usize,
    /// Memory of the deltas, in bytes.
    pub bytes: usize,
}

impl Default for Limits {
    /// Some thousand edges, each busy every second.
    fn default() -> Self {
        Limits {
            series: 20_000,
            bytes: 256 << 20,
        }
    }
}

/// What the window holds, and what it had to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series that are known.
    pub series: usize,
    /// Memory of the deltas, in bytes.
    pub bytes: usize,
    /// Series that were forgotten, since there were too many.
    pub evicted_series: u64,
    /// Minutes whose seconds were given up for want of memory.
    pub coarsened_minutes: u64,
    /// Deltas that were not kept: without reporter, or without memory for them.
    pub dropped_deltas: u64,
    /// Times that the clock was set back by more than the window, which empties it.
    pub clock_resets: u64,
}

/// The store. Its methods take a lock for as long as it takes to copy some numbers.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    table: Table,
    slots: Slots,
    open: Open,
    /// The latest second that was told.
    newest: u64,
    last_report: Option<LastReport>,
    stats: Stats,
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// An empty window with the default limits.
    #[must_use]
    pub fn new() -> Window {
        Window::with_limits(Limits::default())
    }

    /// An empty window.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Window {
        Window {
            limits,
            store: Mutex::default(),
        }
    }

    /// Files a delta under the second of `now`. One that adds nothing leaves no trace. `stream` is
    /// the number of the stream of reports, or of those that one process has at a time: connections that it says were opened are open until it says that
    /// they are closed, or [`Window::ended`] says that it is gone.
    pub fn record(&self, now: SystemTime, stream: u64, delta: &EdgeDelta) {
        let added = added(delta);
        let connections = (delta.connections_opened, delta.connections_closed);
        if added.is_zero() && connections == (0, 0) {
            return;
        }
        let second = seconds(now).min(END_OF_TIME);
        let mut store = self.store();
        let store = &mut *store;
        store.advance(second);
        let Some(labels) = series::labels(delta, &mut store.table.strings) else {
            store.stats.dropped_deltas += 1;
            return;
        };
        store.last_report = reporter(&labels, second);
        while store.slots.bytes() >= self.limits.bytes {
            if store.slots.coarsen() {
                store.stats.coarsened_minutes += 1;
            } else {
                store.stats.dropped_deltas += 1;
                return;
            }
        }
        let id = store.table.id(labels, second);
        if !added.is_zero() {
            store.slots.push(second, id, &added);
        }
        store.open.count(stream, id, connections);
        if store.table.len() > self.limits.series {
            // Several at once, since finding the oldest takes a look at all.
            let most = self.limits.series - self.limits.series / 100;
            store.stats.evicted_series += store.table.evict(most) as u64;
        }
    }

    /// A stream of reports is gone: what it had open is not known to be open any more.
    pub fn ended(&self, stream: u64) {
        self.store().open.forget(stream);
    }

    /// The latest report, however long ago.
    #[must_use]
    pub fn last_report(&self) -> Option<LastReport> {
        self.store().last_report.clone()
    }

    /// What was reported in the `duration` seconds that end with `query_time`, in seconds since 1970.
    #[must_use]
    pub fn view(&self, duration: u64, query_time: u64) -> View {
        let last = query_time.min(END_OF_TIME);
        let first = last.saturating_sub(duration.max(1) - 1);
        let (slots, open) = {
            let mut store = self.store();
            store.seal();
            // What was open at an earlier time is not known.
            let open = (last >= store.newest).then(|| store.open.series());
            (store.slots.between(first, last), open)
        };
        let mut sums = slots::sum(&slots);
        for id in open.into_iter().flatten() {
            sums.entry(id).or_default();
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_unstable_by_key(|(id, _)| *id);
        let store = self.store();
        let series = sums
            .into_iter()
            .filter_map(|(id, totals)| Some((store.table.labels(id)?.clone(), totals)))
            .collect();
        View { series }
    }

    /// What is held, and what was given up.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let store = self.store();
        Stats {
            series: store.table.len(),
            bytes: store.slots.bytes(),
            ..store.stats
        }
    }

    /// A panic elsewhere cannot leave the numbers worse than a lost delta.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Moves on to a second, forgetting what has become too old. A clock that was set back by less
    /// than the window files reports between the older ones; one that was set back further makes all
    /// that is held lie in the future, where no query would find it.
    fn advance(&mut self, second: u64) {
        if second.saturating_add(SPAN) < self.newest {
            self.slots.clear();
            self.open = Open::default();
            self.table.clear();
            self.stats.clock_resets += 1;
            self.newest = second;
        }
        if second <= self.newest {
            return;
        }
        let minute_is_new = second / 60 != self.newest / 60;
        self.newest = second;
        self.slots.forget_before(second.saturating_sub(SPAN));
        if minute_is_new {
            self.open.retain(|id| self.table.touch(id, second));
            self.table.forget_before(second.saturating_sub(SPAN));
            self.seal();
        }
    }

    fn seal(&mut self) {
        self.slots.seal_before(self.newest);
    }
}

/// Whose report it is: the workload on the reporter's side of the edge.
fn reporter(labels: &Labels, at: u64) -> Option<LastReport> {
    let (namespace, workload) = match labels.get(Label::Reporter)? {
        "source" => (Label::SourceWorkloadNamespace, Label::SourceWorkload),
        _ => (
            Label::DestinationWorkloadNamespace,
            Label::DestinationWorkload,
        ),
    };
    Some(LastReport {
        at,
        namespace: labels.get(namespace)?.to_owned(),
        workload: labels.get(workload)?.to_owned(),
    })
}

/// The numbers of a delta. Buckets that a newer proxy may have more of count as the last one.
fn added(delta: &EdgeDelta) -> Delta {
    let mut buckets = [0_u64; BUCKETS];
    for (index, count) in delta.duration_buckets.iter().enumerate() {
        let bucket = &mut buckets[index.min(BUCKETS - 1)];
        *bucket = bucket.saturating_add(*count);
    }
    Delta {
        requests: delta.requests,
        duration_ms: delta.duration_ms_sum,
        request_bytes: delta.request_bytes,
        response_bytes: delta.response_bytes,
        buckets,
    }
}

#[cfg(test)]
mod tests;
