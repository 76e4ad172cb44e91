//! The workers: one thread each, with its own scheduler, sockets, connections and upstream pools.
//!
//! Nothing that a request touches is shared between workers but the snapshot, which never changes.
//! Futures are `Send` all the same, so that one scheduler for all would be a small change.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mesh_identity::Identity;
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::accept::{self, Accept};
use crate::snapshot::{Direction, Listener, Snapshot};
use crate::telemetry::Telemetry;
use crate::worker::Worker;

/// How often connections are looked at that are silent for too long.
const SWEEP: Duration = Duration::from_secs(1);

/// All workers of a proxy.
#[derive(Debug)]
pub struct Workers {
    phase: watch::Sender<Phase>,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    /// Resolves when its callers have gone elsewhere.
    callers_gone: oneshot::Receiver<()>,
    /// Resolves when the worker has drained.
    drained: oneshot::Receiver<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serve,
    /// Others are led elsewhere; the workload itself is served.
    Leave,
    Drain,
    Stop,
}

impl Workers {
    /// Starts `count` workers, which serve whatever the newest snapshot says.
    ///
    /// # Errors
    ///
    /// If a thread or its scheduler cannot be created, or if nobody would serve.
    pub fn start(
        count: usize,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        identity: Arc<Identity>,
        telemetry: Arc<Telemetry>,
    ) -> io::Result<Self> {
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a proxy without workers serves nobody; set --workers to 1 or more",
            ));
        }
        let phase = watch::Sender::new(Phase::Serve);
        let phases = phase.subscribe();
        let thread = move |id: usize| {
            let worker = Worker::new(id, identity.clone(), telemetry.clone());
            let (snapshots, phase) = (snapshots.clone(), phases.clone());
            let (gone, callers_gone) = oneshot::channel();
            let (done, drained) = oneshot::channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let handle = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || runtime.block_on(run(worker, snapshots, phase, gone, done)))?;
            Ok(Thread {
                handle,
                callers_gone,
                drained,
            })
        };
        let threads = (0..count).map(thread).collect::<io::Result<_>>()?;
        Ok(Self { phase, threads })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Leads callers elsewhere: takes no new connections from others, and waits for their requests and sessions, at most
    /// for `deadline`. The workload itself is served as before, until [`Self::drain`].
    pub async fn drain_callers(&mut self, deadline: Duration) {
        self.phase.send_replace(Phase::Leave);
        let gone = async {
            for thread in &mut self.threads {
                // A worker that has ended has no callers.
                (&mut thread.callers_gone).await.unwrap_or_default();
            }
        };
        if tokio::time::timeout(deadline, gone).await.is_err() {
            info!(
                ?deadline,
                "requests or sessions of others are still under way"
            );
        }
    }

    /// Takes no new connections, tells clients to go elsewhere, waits for requests and sessions, at most
    /// for `deadline`, and ends the threads. What the workload itself asks for is served until its
    /// own callers have been answered.
    pub async fn drain(mut self, deadline: Duration) {
        self.phase.send_replace(Phase::Drain);
        let drained = async {
            for thread in &mut self.threads {
                // A worker that has ended has drained.
                (&mut thread.drained).await.unwrap_or_default();
            }
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            warn!(
                ?deadline,
                "requests or sessions are still under way at the end of the drain timeout; they are cut off"
            );
        }
        self.phase.send_replace(Phase::Stop);
        let join = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                if thread.handle.join().is_err() {
                    warn!("a worker panicked");
                }
            }
        });
        join.await.unwrap_or_default();
    }
}

/// A listener that is being served.
#[derive(Debug)]
struct Serving {
    listener: Arc<Listener>,
    accept: Accept,
}

/// A worker's life.
async fn run(
    worker: Arc<Worker>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut phase: watch::Receiver<Phase>,
    callers_gone: oneshot::Sender<()>,
    done: oneshot::Sender<()>,
) {
    let mut serving = BTreeMap::new();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connected = true;
    snapshots.mark_changed();
    loop {
        tokio::select! {
            changed = snapshots.changed(), if connected => match changed {
                Ok(()) => {
                    let snapshot = snapshots.borrow_and_update().clone();
                    worker.adopt(&snapshot);
                    keep_in_step(&worker, &snapshot, &mut serving);
                }
                // The control side has ended; what it said last stays.
                Err(_) => connected = false,
            },
            _ = sweep.tick() => worker.sweep(),
            told = phase.wait_for(|phase| *phase != Phase::Serve) => {
                if told.is_ok_and(|phase| *phase < Phase::Stop) {
                    break;
                }
                return;
            }
        }
    }
    if snapshots.has_changed().unwrap_or_default() {
        // Listeners that nobody has served yet have sockets too, which are closed by serving them.
        let snapshot = snapshots.borrow_and_update().clone();
        worker.adopt(&snapshot);
        keep_in_step(&worker, &snapshot, &mut serving);
    }
    let mut workload_too = phase.clone();
    let drained = async {
        // What the workload itself asks for goes on until its callers have their answers.
        let first = |listener: &Listener| listener.direction == Direction::Inbound || listener.edge;
        let all = std::mem::take(&mut serving).into_values();
        let (callers, workload): (Vec<Serving>, Vec<_>) = all.partition(|s| first(&s.listener));
        // Told first: who sees that new connections are refused sees his own ending too.
        worker.order_drain(first);
        stop(callers).await;
        worker.drain(first).await;
        // Nobody waits any more if the deadline has passed.
        callers_gone.send(()).unwrap_or_default();
        // If nobody is there to say it, all is over anyway.
        _ = workload_too.wait_for(|phase| *phase >= Phase::Drain).await;
        worker.order_drain(|_| true);
        stop(workload).await;
        worker.drain(|_| true).await;
    };
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => break,
            _ = sweep.tick() => worker.sweep(),
            _ = phase.wait_for(|phase| *phase == Phase::Stop) => return,
        }
    }
    debug!(worker = worker.id, "drained");
    // Nobody waits any more if the deadline has passed.
    done.send(()).unwrap_or_default();
}

/// Takes no more connections. Waiting matters: a loop that is only told would not run any more at a
/// worker that has nothing else to do, and leave the kernel collecting connections for it.
async fn stop(serving: Vec<Serving>) {
    for serving in serving {
        serving.accept.stop().await;
    }
}

/// Starts and stops accept loops, so that they are the snapshot's listeners.
fn keep_in_step(
    worker: &Arc<Worker>,
    snapshot: &Snapshot,
    serving: &mut BTreeMap<Arc<str>, Serving>,
) {
    serving.retain(|name, serving| {
        let listener = snapshot.listeners.get(&**name);
        listener.is_some_and(|l| Arc::ptr_eq(&l.sockets, &serving.listener.sockets))
    });
    for listener in snapshot.listeners.values() {
        if let Some(serving) = serving.get_mut(&listener.name) {
            serving.listener = listener.clone();
            continue;
        }
        match accept::start(worker, listener) {
            Ok(accept) => {
                let serving_now = Serving {
                    listener: listener.clone(),
                    accept,
                };
                serving.insert(listener.name.clone(), serving_now);
            }
            Err(error) => {
                warn!(listener = %listener.name, worker = worker.id, %error, "cannot serve a listener");
            }
        }
    }
}
