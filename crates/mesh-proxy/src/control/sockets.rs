//! The sockets of listeners: bound on the control thread, before a snapshot that serves them.
//!
//! Each worker has a socket of its own on the same address (`SO_REUSEPORT`), and the kernel spreads
//! connections over them. That option would also let two processes share a port unnoticed, each getting
//! half of the other's traffic, so the address is first tried without it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mesh_xds::client::Rejection;
use socket2::{Domain, Protocol, Socket, Type};

use crate::settings::PortMap;
use crate::snapshot::link::Bound;
use crate::snapshot::listener::ListenerSpec;

/// Connections that the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4096;
/// Pauses between two tries for an address.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Binds one socket for each worker.
///
/// # Errors
///
/// If another process has the address, or the system refuses it.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    if address.port() != 0 {
        let alone = socket(address)?;
        alone.bind(&address.into())?;
    }
    share(address, workers)
}

/// Binds beside sockets that may be our own.
fn share(mut address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        // Port 0 is chosen by the first socket; the others join it.
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(Bound {
        address,
        sockets: Arc::new(sockets),
    })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier life that linger in TIME_WAIT are no reason not to start.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Where listeners are bound, which differs from what they ask for.
#[derive(Debug)]
pub(crate) enum Places {
    /// A sidecar's own: by the address that the listener asks for, bound before the control plane was asked. Its
    /// other listeners are where they ask to be.
    Fixed(BTreeMap<SocketAddr, Bound>),
    /// A gateway's.
    Mapped(PortMap),
}

/// The sockets that listeners have, by name and the address that they ask for.
#[derive(Debug)]
pub(crate) struct Sockets {
    places: Places,
    workers: usize,
    bound: HashMap<Key, Bound>,
    /// Fixed places whose sockets are taken: a listener that leaves takes them with it.
    taken: BTreeSet<SocketAddr>,
    /// What we had: an address is ours while anybody still uses its sockets.
    ours: Vec<(SocketAddr, Weak<Vec<TcpListener>>)>,
    failed: HashMap<Key, Failed>,
}

type Key = (Arc<str>, SocketAddr);

#[derive(Debug)]
struct Failed {
    reason: String,
    tries: u32,
    again: Instant,
}

impl Sockets {
    pub(crate) fn new(places: Places, workers: usize) -> Self {
        Self {
            places,
            workers,
            bound: HashMap::new(),
            taken: BTreeSet::new(),
            ours: Vec::new(),
            failed: HashMap::new(),
        }
    }

    /// What is bound for a listener.
    pub(crate) fn get(&self, spec: &ListenerSpec) -> Option<Bound> {
        self.bound.get(&key(spec)).cloned()
    }

    /// When to call [`Self::keep_in_step`] again for the sake of those that failed.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.failed.values().map(|failed| failed.again).min()
    }

    /// Binds what listeners ask for and are due, and lets go of what nobody asks for. Returns those that
    /// could not be bound now.
    pub(crate) fn keep_in_step<'a>(
        &mut self,
        listeners: impl Iterator<Item = &'a ListenerSpec> + Clone,
        now: Instant,
    ) -> Vec<Rejection> {
        let wanted: BTreeSet<Key> = listeners.clone().map(key).collect();
        self.bound.retain(|key, _| wanted.contains(key));
        self.failed.retain(|key, _| wanted.contains(key));
        self.ours.retain(|(_, sockets)| sockets.strong_count() > 0);
        let mut rejections = Vec::new();
        for spec in listeners {
            let key = key(spec);
            let is_due = self
                .failed
                .get(&key)
                .is_none_or(|failed| failed.again <= now);
            if self.bound.contains_key(&key) || !is_due {
                continue;
            }
            match self.bind_for(spec, &wanted) {
                Ok(bound) => {
                    tracing::info!(listener = %spec.name, address = %bound.address, "listening");
                    self.failed.remove(&key);
                    self.ours
                        .push((bound.address, Arc::downgrade(&bound.sockets)));
                    self.bound.insert(key, bound);
                }
                Err(reason) => {
                    let before = self.failed.get(&key);
                    let tries = before.map_or(0, |failed| failed.tries);
                    let pause = FIRST_RETRY * 2_u32.saturating_pow(tries.min(16));
                    let again = now + pause.min(LAST_RETRY);
                    if before.is_some_and(|failed| failed.reason == reason) {
                        tracing::debug!(listener = %spec.name, %reason, "still cannot listen");
                    } else {
                        tracing::warn!(listener = %spec.name, %reason, "cannot listen; trying again");
                    }
                    rejections.push(Rejection {
                        name: spec.name.to_string(),
                        reason: reason.clone(),
                    });
                    self.failed.insert(
                        key,
                        Failed {
                            reason,
                            tries: tries + 1,
                            again,
                        },
                    );
                }
            }
        }
        rejections
    }

    /// Why a listener has no sockets.
    pub(crate) fn failure(&self, spec: &ListenerSpec) -> Option<&str> {
        self.failed
            .get(&key(spec))
            .map(|failed| failed.reason.as_str())
    }

    /// Whether the listener cannot be bound, which is no reason for the proxy not to be ready: a sidecar's own
    /// listeners are bound from the start, and a service's address whose port the application has itself would
    /// keep the workload away from all its callers.
    pub(crate) fn can_do_without(&self, spec: &ListenerSpec) -> bool {
        matches!(self.places, Places::Fixed(_)) && self.failed.contains_key(&key(spec))
    }

    fn bind_for(&mut self, spec: &ListenerSpec, wanted: &BTreeSet<Key>) -> Result<Bound, String> {
        let address = match &mut self.places {
            Places::Fixed(places) => match places.iter().find(|(at, _)| is_for(spec, **at)) {
                Some((at, bound)) if self.taken.insert(*at) => return Ok(bound.clone()),
                Some((_, bound)) => bound.address,
                None => spec.address,
            },
            Places::Mapped(map) => map.place(spec.address),
        };
        let other = self.bound.iter().find(|((name, _), bound)| {
            *name != spec.name && bound.address == address && address.port() != 0
        });
        if let Some((key, _)) = other.filter(|(key, _)| wanted.contains(key)) {
            return Err(format!(
                "address: {address} is already that of the listener {:?}; give each its own",
                key.0
            ));
        }
        let is_ours = self
            .ours
            .iter()
            .any(|(ours, sockets)| overlap(*ours, address) && sockets.strong_count() > 0);
        let bound = if is_ours {
            share(address, self.workers)
        } else {
            bind(address, self.workers)
        };
        bound.map_err(|error| self.explain(spec, address, &error))
    }

    fn explain(&self, spec: &ListenerSpec, address: SocketAddr, error: &io::Error) -> String {
        let port = spec.address.port();
        let elsewhere = match &self.places {
            Places::Mapped(_) => format!("move it with --port-map {port}=OTHER"),
            Places::Fixed(_) => "choose another port for it".to_owned(),
        };
        let way_out = match error.kind() {
            io::ErrorKind::AddrInUse => format!("stop the process that has it, or {elsewhere}"),
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need privileges: {elsewhere}")
            }
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
            _ => elsewhere,
        };
        format!("address: cannot listen on {address}: {error}; {way_out}")
    }
}

/// Whether the listener asks for this place, or for its port at every address of this machine. That of a service
/// at its own loopback address may have the same port.
fn is_for(spec: &ListenerSpec, place: SocketAddr) -> bool {
    let asked = spec.address;
    asked == place || (asked.ip().is_unspecified() && asked.port() == place.port())
}

/// Whether the system takes one for the other when they are bound.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && same_ip
}

fn key(spec: &ListenerSpec) -> Key {
    (Arc::clone(&spec.name), spec.address)
}

/// An address of one of our own listeners, as others reach it: a wildcard stands for `advertised`.
pub(crate) fn reachable(address: SocketAddr, advertised: &str) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    match advertised.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", address.port()),
        _ => format!("{advertised}:{}", address.port()),
    }
}

#[cfg(test)]
mod tests;
