//! What one worker knows: the current snapshot, its clients' connections, and the shared copies of
//! what requests point to.
//!
//! Its locks are never contended: only the worker's own thread takes them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mesh_identity::{Identity, SpiffeId};
use mesh_xds::Workload;
use mesh_xds::names::ClusterName;
use tokio::sync::Notify;

use crate::http::limits;
use crate::peer::{Hello, Order, Peer, Protocol, Standing};
use crate::snapshot::{Direction, Listener, ServiceName, Snapshot};
use crate::telemetry::{Recorder, Telemetry};
use crate::upstream::outlier;

/// How many idle connections a sweep brings to the current snapshot.
const MOVES_A_SWEEP: usize = 1_000;

/// How many copies for mirrors may be under way at a worker.
const MIRRORED: usize = 256;

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
    /// Connections of which it is not known yet what they want, and the listeners that they came to.
    greetings: Mutex<HashMap<u64, Arc<Listener>>>,
    /// Rings when a connection ends, or has said what it wants.
    ended: Notify,
    /// Seconds since the worker began, ticking once a second, from 1.
    clock: Arc<AtomicU64>,
    began: Instant,
    principals: Mutex<HashSet<Arc<str>>>,
    strangers: Mutex<HashMap<Arc<str>, Arc<Workload>>>,
    missing: Mutex<HashMap<Arc<str>, Arc<ServiceName>>>,
    /// Copies for mirrors under way.
    mirrored: Arc<AtomicUsize>,
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
    pub(crate) fn new(id: usize, identity: Arc<Identity>, telemetry: Arc<Telemetry>) -> Arc<Self> {
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
            greetings: Mutex::default(),
            ended: Notify::new(),
            clock: Arc::new(AtomicU64::new(1)),
            began: Instant::now(),
            principals: Mutex::default(),
            strangers: Mutex::default(),
            missing: Mutex::default(),
            mirrored: Arc::default(),
        })
    }

    /// Room for one more copy for a mirror, if there is any.
    pub(crate) fn mirror_slot(&self) -> Option<MirrorSlot> {
        if self.mirrored.fetch_add(1, Relaxed) >= MIRRORED {
            self.mirrored.fetch_sub(1, Relaxed);
            return None;
        }
        Some(MirrorSlot(self.mirrored.clone()))
    }

    /// The listener as the current snapshot has it.
    pub(crate) fn listener(&self, name: &str) -> Option<Arc<Listener>> {
        lock(&self.view).snapshot.listeners.get(name).cloned()
    }

    /// Where a connection stands now. One whose place is gone keeps the old one until it has drained, but a session
    /// without what it does not need.
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
                if peer.hello.protocol == Protocol::Tcp {
                    // A session needs no snapshot any more, and may keep this one for days.
                    peer.stand(Arc::new(Standing {
                        version: self.version.load(Relaxed),
                        snapshot: Arc::default(),
                        ..Standing::clone(&standing)
                    }));
                }
                standing
            }
        }
    }

    /// A connection's place in the current snapshot, if there is one for it.
    fn place(&self, hello: &Hello) -> Option<Standing> {
        let view = lock(&self.view).clone();
        let listener = view.snapshot.listeners.get(&*hello.listener)?.clone();
        let chain = listener.chain_for(hello.server_name.as_deref())?;
        if chain.tls.is_some() != hello.tls || !hello.protocol.fits(&chain.filter) {
            return None;
        }
        // Whoever came in under other terms has not proven what these ask for; it comes again, and proves it.
        if chain.mesh != hello.principal.is_some() || chain.clients != hello.clients {
            return None;
        }
        let filter = chain.filter.clone();
        let (candidates, unknown) = match (&hello.principal, listener.direction) {
            (Some(principal), Direction::Inbound) => (
                listener.peers.namesakes(principal).cloned(),
                self.stranger(principal),
            ),
            _ => (None, self.blanks.workload.clone()),
        };
        Some(Standing {
            version: self.version.load(Relaxed),
            caller: listener.workload.name.parse().ok(),
            own_principal: view.own_principal,
            snapshot: view.snapshot,
            listener,
            filter,
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

    /// A connection has come whose client has yet to say what it wants.
    pub(crate) fn greet(self: &Arc<Self>, listener: &Arc<Listener>) -> Greeting {
        let id = self.peers_seen.fetch_add(1, Relaxed);
        lock(&self.greetings).insert(id, listener.clone());
        Greeting {
            worker: self.clone(),
            id,
        }
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

    /// The service that a cluster is named after, which no snapshot has.
    pub(crate) fn missing(&self, cluster: &Arc<str>) -> Arc<ServiceName> {
        let service = || {
            let host = cluster
                .parse::<ClusterName>()
                .map(|name| name.host)
                .unwrap_or_default();
            let mut labels = host.split('.').map(str::to_owned);
            Arc::new(ServiceName {
                name: labels.next().unwrap_or_default(),
                namespace: labels.next().unwrap_or_default(),
                host,
            })
        };
        let mut missing = lock(&self.missing);
        missing
            .entry(cluster.clone())
            .or_insert_with(service)
            .clone()
    }

    /// Serves this snapshot from the next request on. Costs the same however many connections there
    /// are, unless their listeners have changed.
    pub(crate) fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let view = View {
            snapshot: snapshot.clone(),
            own_principal: self.intern(&self.identity.id().to_string()),
        };
        let before = std::mem::replace(&mut *lock(&self.view), view);
        self.version.fetch_add(1, Relaxed);
        self.recorder.forget();
        lock(&self.strangers).clear();
        lock(&self.missing).clear();
        lock(&self.principals).retain(|principal| Arc::strong_count(principal) > 1);
        let mut changed = before.snapshot.listeners.iter().filter(|(name, listener)| {
            let now = snapshot.listeners.get(*name);
            now.is_none_or(|now| !Arc::ptr_eq(now, listener))
        });
        if changed.next().is_some() {
            for peer in self.peers() {
                // Drains those whose place is gone.
                self.standing(&peer);
            }
        }
    }

    /// Once a second: ends connections that are silent for too long, on both sides, and lets idle
    /// ones go of old snapshots, so many at a time that no request has to wait.
    pub(crate) fn sweep(&self) {
        self.clock
            .store(self.began.elapsed().as_secs() + 1, Relaxed);
        let version = self.version.load(Relaxed);
        let mut moves = MOVES_A_SWEEP;
        for peer in self.peers() {
            peer.tick();
            if moves > 0 && peer.standing().version != version {
                self.standing(&peer);
                moves -= 1;
            }
        }
        let (now, generation) = (Instant::now(), self.identity.generation());
        let snapshot = lock(&self.view).snapshot.clone();
        for cluster in snapshot.clusters.values() {
            if self.id == 0 {
                outlier::sweep(cluster, now);
            }
            for endpoint in &cluster.endpoints {
                endpoint
                    .state
                    .sweep(self.id, &cluster.connections, now, generation);
            }
            if let Some(dynamic) = &cluster.dynamic {
                dynamic.sweep(self.id, now, generation);
            }
        }
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).values().cloned().collect()
    }

    /// Tells the connections of these listeners to end in peace.
    pub(crate) fn order_drain(&self, of: impl Fn(&Listener) -> bool) {
        let peers = self.peers();
        let peers = peers.iter().filter(|p| of(&p.standing().listener));
        peers.for_each(|peer| peer.order(Order::Drain));
    }

    /// Ends the connections of these listeners in peace. Those that have just come may still say what
    /// they want.
    pub(crate) async fn drain(&self, of: impl Fn(&Listener) -> bool) {
        let patience = tokio::time::sleep(limits::LAST_GREETING);
        tokio::pin!(patience);
        let mut patient = true;
        loop {
            let ended = self.ended.notified();
            let peers = self.peers();
            let mut peers = peers
                .iter()
                .filter(|p| of(&p.standing().listener))
                .peekable();
            let greeting = patient && lock(&self.greetings).values().any(|l| of(l));
            if peers.peek().is_none() && !greeting {
                return;
            }
            peers.for_each(|peer| peer.order(Order::Drain));
            tokio::select! {
                () = ended => {}
                () = &mut patience, if patient => patient = false,
            }
        }
    }
}

/// Room for a copy for a mirror, until this is dropped.
#[derive(Debug)]
pub(crate) struct MirrorSlot(Arc<AtomicUsize>);

impl Drop for MirrorSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
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

/// A connection whose client has yet to say what it wants; a drain waits for it.
#[derive(Debug)]
pub(crate) struct Greeting {
    worker: Arc<Worker>,
    id: u64,
}

impl Drop for Greeting {
    fn drop(&mut self) {
        lock(&self.worker.greetings).remove(&self.id);
        self.worker.ended.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
