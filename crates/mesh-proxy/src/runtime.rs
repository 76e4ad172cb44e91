//! The workers: one thread each, with its own scheduler, sockets, connections and upstream pools.
//!
//! Nothing that a request touches is shared between workers but the snapshot, which never changes.
//! Futures are `Send` all the same, so that one scheduler for all would be a small change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mesh_identity::{Identity, SpiffeId};
use mesh_xds::Workload;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use crate::accept;
use crate::peer::{Hello, Order, Peer, Standing};
use crate::snapshot::{Direction, Listener, ServiceName, Snapshot};
use crate::telemetry::{Recorder, Telemetry};

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
    /// Resolves when the worker has drained.
    drained: oneshot::Receiver<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serve,
    Drain,
    Stop,
}

impl Workers {
    /// Starts `count` workers, which serve whatever the newest snapshot says.
    ///
    /// # Errors
    ///
    /// If a thread or its scheduler cannot be created.
    pub fn start(
        count: usize,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        identity: Arc<Identity>,
        telemetry: Arc<Telemetry>,
    ) -> io::Result<Self> {
        let phase = watch::Sender::new(Phase::Serve);
        let phases = phase.subscribe();
        let thread = move |id: usize| {
            let worker = Worker::new(id, identity.clone(), telemetry.clone());
            let (snapshots, phase) = (snapshots.clone(), phases.clone());
            let (done, drained) = oneshot::channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let handle = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || runtime.block_on(run(worker, snapshots, phase, done)))?;
            Ok(Thread { handle, drained })
        };
        let threads = (0..count).map(thread).collect::<io::Result<_>>()?;
        Ok(Self { phase, threads })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Takes no new connections, tells clients to go elsewhere, waits for requests under way, at most
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
                "requests are still under way at the end of the drain timeout; they are cut off"
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

/// One worker's own things.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) identity: Arc<Identity>,
    pub(crate) recorder: Recorder,
    pub(crate) blanks: Blanks,
    view: Mutex<View>,
    /// The number of the current view, read by each request.
    version: AtomicU64,
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    peers_seen: AtomicU64,
    /// Rings when a connection ends.
    ended: Notify,
    /// Seconds since the worker began, ticking once a second, from 1.
    clock: Arc<AtomicU64>,
    began: Instant,
    principals: Mutex<HashSet<Arc<str>>>,
    strangers: Mutex<HashMap<Arc<str>, Arc<Workload>>>,
}

/// What stands for the unknown.
#[derive(Debug, Default)]
pub(crate) struct Blanks {
    pub(crate) workload: Arc<Workload>,
    pub(crate) service: Arc<ServiceName>,
    pub(crate) black_hole: Arc<ServiceName>,
}

#[derive(Clone, Debug)]
struct View {
    snapshot: Arc<Snapshot>,
    own_principal: Arc<str>,
}

impl Worker {
    fn new(id: usize, identity: Arc<Identity>, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let view = View {
            snapshot: Arc::default(),
            own_principal: identity.id().to_string().into(),
        };
        let black_hole = ServiceName {
            name: "BlackHoleCluster".into(),
            ..ServiceName::default()
        };
        Arc::new(Self {
            id,
            identity,
            recorder: Recorder::new(id, telemetry),
            blanks: Blanks {
                black_hole: Arc::new(black_hole),
                ..Blanks::default()
            },
            view: Mutex::new(view),
            version: AtomicU64::new(0),
            peers: Mutex::default(),
            peers_seen: AtomicU64::new(0),
            ended: Notify::new(),
            clock: Arc::new(AtomicU64::new(1)),
            began: Instant::now(),
            principals: Mutex::default(),
            strangers: Mutex::default(),
        })
    }

    /// The listener as the current snapshot has it.
    pub(crate) fn listener(&self, name: &str) -> Option<Arc<Listener>> {
        lock(&self.view).snapshot.listeners.get(name).cloned()
    }

    /// Where a connection stands now. One whose place is gone keeps the old one until it has drained.
    pub(crate) fn standing(&self, peer: &Peer) -> Arc<Standing> {
        let standing = peer.standing();
        if standing.version == self.version.load(Relaxed) {
            return standing;
        }
        match self.place(&peer.hello) {
            Some(standing) => {
                let standing = Arc::new(standing);
                peer.stand(standing.clone());
                standing
            }
            None => {
                peer.order(Order::Drain);
                standing
            }
        }
    }

    /// A connection's place in the current snapshot, if there is one for it.
    fn place(&self, hello: &Hello) -> Option<Standing> {
        let view = lock(&self.view).clone();
        let listener = view.snapshot.listeners.get(&*hello.listener)?.clone();
        let chain = listener.chain_for(hello.server_name.as_deref())?;
        let chain = chain.clone();
        if chain.tls.is_some() != hello.tls {
            return None;
        }
        let (candidates, unknown) = match (&hello.principal, listener.direction) {
            (Some(principal), Direction::Inbound) => {
                let candidates = listener.peers.by_principal.get(&**principal);
                (
                    candidates.cloned().unwrap_or_default(),
                    self.stranger(principal),
                )
            }
            _ => (Vec::new(), self.blanks.workload.clone()),
        };
        Some(Standing {
            version: self.version.load(Relaxed),
            caller: listener.workload.name.parse().ok(),
            own_principal: view.own_principal,
            snapshot: view.snapshot,
            listener,
            chain,
            candidates,
            unknown,
        })
    }

    /// Takes a connection in, if there is still a place for it.
    pub(crate) fn admit(self: &Arc<Self>, hello: Hello) -> Option<Admitted> {
        let standing = self.place(&hello)?;
        let peer = Arc::new(Peer::new(hello, standing, self.clock.clone()));
        let id = self.peers_seen.fetch_add(1, Relaxed);
        lock(&self.peers).insert(id, peer.clone());
        Some(Admitted {
            worker: self.clone(),
            id,
            peer,
        })
    }

    /// One shared copy of a principal, so that its address stands for it.
    pub(crate) fn intern(&self, principal: &str) -> Arc<str> {
        let mut principals = lock(&self.principals);
        if let Some(known) = principals.get(principal) {
            return known.clone();
        }
        let principal: Arc<str> = principal.into();
        principals.insert(principal.clone());
        principal
    }

    /// A verified principal that no workload has: its namespace is proven, the rest is not known.
    fn stranger(&self, principal: &Arc<str>) -> Arc<Workload> {
        let stranger = || {
            let id = SpiffeId::parse(principal).ok();
            Arc::new(Workload {
                namespace: id.map_or_else(String::new, |id| id.namespace().to_owned()),
                ..Workload::default()
            })
        };
        let mut strangers = lock(&self.strangers);
        strangers
            .entry(principal.clone())
            .or_insert_with(stranger)
            .clone()
    }

    fn adopt(&self, snapshot: Arc<Snapshot>) {
        *lock(&self.view) = View {
            snapshot,
            own_principal: self.intern(&self.identity.id().to_string()),
        };
        self.version.fetch_add(1, Relaxed);
        self.recorder.forget();
        lock(&self.strangers).clear();
        lock(&self.principals).retain(|principal| Arc::strong_count(principal) > 1);
        for peer in self.peers() {
            // Drains those whose place is gone.
            self.standing(&peer);
        }
    }

    /// Once a second: ends connections that are silent for too long, on both sides.
    fn sweep(&self) {
        self.clock
            .store(self.began.elapsed().as_secs() + 1, Relaxed);
        for peer in self.peers() {
            match peer.overdue() {
                Order::None => {}
                order => peer.order(order),
            }
        }
        let now = Instant::now();
        let snapshot = lock(&self.view).snapshot.clone();
        for cluster in snapshot.clusters.values() {
            for endpoint in &cluster.endpoints {
                endpoint.state.sweep(self.id, now);
            }
        }
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).values().cloned().collect()
    }

    /// Ends the connections of these listeners in peace.
    async fn drain(&self, of: impl Fn(&Listener) -> bool) {
        loop {
            let ended = self.ended.notified();
            let peers = self.peers();
            let mut peers = peers
                .iter()
                .filter(|p| of(&p.standing().listener))
                .peekable();
            if peers.peek().is_none() {
                return;
            }
            peers.for_each(|peer| peer.order(Order::Drain));
            ended.await;
        }
    }
}

/// A connection that the worker knows of until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    worker: Arc<Worker>,
    id: u64,
    pub(crate) peer: Arc<Peer>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.worker.peers).remove(&self.id);
        self.worker.ended.notify_one();
    }
}

/// A listener that is being served.
#[derive(Debug)]
struct Serving {
    listener: Arc<Listener>,
    /// Dropping it ends the accept loop.
    _accept: oneshot::Sender<()>,
}

/// A worker's life.
async fn run(
    worker: Arc<Worker>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut phase: watch::Receiver<Phase>,
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
                    worker.adopt(snapshot.clone());
                    keep_in_step(&worker, &snapshot, &mut serving);
                }
                // The control side has ended; what it said last stays.
                Err(_) => connected = false,
            },
            _ = sweep.tick() => worker.sweep(),
            told = phase.wait_for(|phase| *phase != Phase::Serve) => {
                let drain = told.is_ok_and(|phase| *phase == Phase::Drain);
                if !drain {
                    return;
                }
                break;
            }
        }
    }
    let drained = async {
        // What the workload itself asks for goes on until its callers have their answers.
        let first = |listener: &Listener| listener.direction == Direction::Inbound || listener.edge;
        serving.retain(|_, serving: &mut Serving| !first(&serving.listener));
        worker.drain(first).await;
        serving.clear();
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
                    _accept: accept,
                };
                serving.insert(listener.name.clone(), serving_now);
            }
            Err(error) => {
                warn!(listener = %listener.name, worker = worker.id, %error, "cannot serve a listener");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
