//! Which ports the fleet uses: three fixed ones for people, free ones for everything else.
//!
//! Every port is chosen before anything starts and passed as a flag, so that a process that was killed can
//! be started again with the very same command line. The free ones lie below the range from which the
//! system picks ports for outgoing connections, so that none is taken while its owner is away.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where the search for free ports begins at the earliest.
const LOWEST_FREE: u16 = 20_000;

/// Where the system's own range usually begins, on systems that do not say.
const USUAL_EPHEMERAL: u16 = 32_768;

/// Why there are no ports.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortsError {
    /// The three fixed ports do not fit.
    #[error(
        "--base-port {0} is too high: it, and the two ports after it, are used; choose one up to 65533"
    )]
    TooHigh(u16),
    /// Somebody has a fixed port.
    #[error(
        "port {port} of 127.0.0.1, meant for {purpose}, cannot be used: {reason}; stop what has it, or move the fleet with --base-port {}", other_base(*.port)
    )]
    Busy {
        /// The port.
        port: u16,
        /// What it is for.
        purpose: &'static str,
        /// The system's reason.
        reason: io::Error,
    },
    /// There are not enough free ones.
    #[error(
        "there are no {wanted} free ports between {from} and {to} on 127.0.0.1; stop some listeners"
    )]
    Exhausted {
        /// How many were looked for.
        wanted: usize,
        /// From here.
        from: u16,
        /// To here.
        to: u16,
    },
}

/// A free port's owner: the process and what it does there, for example `webapp-original-agent`, `inbound`.
pub(crate) type Purpose = (String, &'static str);

/// The ports of one fleet, all on 127.0.0.1.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    base: u16,
    free: BTreeMap<Purpose, u16>,
}

impl Ports {
    /// Chooses a free port for each purpose and makes sure of the fixed ones.
    pub(crate) fn choose(base: u16, purposes: Vec<Purpose>) -> Result<Self, PortsError> {
        let fixed = fixed(base)?;
        check_fixed(&fixed)?;
        let taken: BTreeSet<u16> = fixed.iter().map(|(port, _)| *port).collect();
        let end = first_ephemeral().max(LOWEST_FREE + 2_000);
        let found = search(LOWEST_FREE, end, start(end), purposes.len(), |port| {
            !taken.contains(&port) && probe(port).is_ok()
        })?;
        Ok(Self {
            base,
            free: purposes.into_iter().zip(found).collect(),
        })
    }

    /// The gateway's, for the Gateway port 80.
    pub(crate) fn gateway(&self) -> SocketAddr {
        local(self.base)
    }

    /// The load balancer's.
    pub(crate) fn loadbalancer(&self) -> SocketAddr {
        local(self.base + 1)
    }

    /// The config API's, which also serves the graph.
    pub(crate) fn api(&self) -> SocketAddr {
        local(self.base + 2)
    }

    /// The one chosen for a process and what it does there.
    ///
    /// # Panics
    ///
    /// If that purpose was not among the planned ones, which a test rules out.
    pub(crate) fn of(&self, process: &str, purpose: &'static str) -> SocketAddr {
        let port = self.free.get(&(process.to_owned(), purpose));
        local(*port.expect("the plan asks for the ports that it has listed itself"))
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port for people, and what it is for.
pub(crate) type Fixed = (u16, &'static str);

/// Makes sure that the fixed ports can be used, now.
pub(crate) fn check_fixed(fixed: &[Fixed]) -> Result<(), PortsError> {
    for &(port, purpose) in fixed {
        probe(port).map_err(|reason| PortsError::Busy {
            port,
            purpose,
            reason,
        })?;
    }
    Ok(())
}

/// The three that every fleet has.
pub(crate) fn fixed(base: u16) -> Result<[Fixed; 3], PortsError> {
    if base > u16::MAX - 2 {
        return Err(PortsError::TooHigh(base));
    }
    Ok([
        (base, "the gateway"),
        (base + 1, "the load balancer"),
        (base + 2, "the config API"),
    ])
}

/// A base port that is not the busy one's, to propose.
fn other_base(busy: u16) -> u16 {
    let next = (busy / 100).saturating_add(1).saturating_mul(100);
    if next.checked_add(2).is_some() {
        next.saturating_add(80).min(u16::MAX - 2)
    } else {
        18_080
    }
}

fn probe(port: u16) -> io::Result<()> {
    TcpListener::bind(local(port)).map(drop)
}

/// `wanted` different usable ports in `from..to`, searched from `begin` and around.
fn search(
    from: u16,
    to: u16,
    begin: u16,
    wanted: usize,
    usable: impl Fn(u16) -> bool,
) -> Result<Vec<u16>, PortsError> {
    let found: Vec<u16> = (begin..to)
        .chain(from..begin)
        .filter(|port| usable(*port))
        .take(wanted)
        .collect();
    if found.len() == wanted {
        Ok(found)
    } else {
        Err(PortsError::Exhausted { wanted, from, to })
    }
}

/// Where to begin: elsewhere for each process, so that two fleets that start at once do not meet.
fn start(end: u16) -> u16 {
    let span = u32::from(end - LOWEST_FREE);
    let spread = std::process::id().wrapping_mul(97) % span;
    LOWEST_FREE + u16::try_from(spread).unwrap_or_default()
}

/// Where the range begins from which the system takes ports for outgoing connections.
fn first_ephemeral() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(USUAL_EPHEMERAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purposes(count: usize) -> Vec<Purpose> {
        (0..count).map(|n| (format!("app-{n}"), "http")).collect()
    }

    #[test]
    fn free_ports_differ_and_wrap_around() {
        let found = search(100, 110, 107, 6, |port| port != 108).unwrap();
        assert_eq!(found, [107, 109, 100, 101, 102, 103]);
        let error = search(100, 110, 100, 11, |_| true).unwrap_err();
        assert!(error.to_string().contains("11 free ports"));
    }

    #[test]
    fn a_busy_fixed_port_is_named_with_its_purpose_and_the_way_out() {
        // Of three consecutive ports the middle one is held, so the base is known to be the one before it.
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let busy = held.local_addr().unwrap().port();
        let error = Ports::choose(busy - 1, Vec::new()).unwrap_err().to_string();
        assert!(error.contains("--base-port"), "{error}");
        assert!(error.contains("127.0.0.1"), "{error}");
        let error = Ports::choose(busy, Vec::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("port {busy} ")), "{error}");
        assert!(error.contains("gateway"), "{error}");
    }

    #[test]
    fn the_last_ports_are_refused_in_words() {
        let error = Ports::choose(65_534, Vec::new()).unwrap_err();
        assert!(error.to_string().contains("65533"));
    }

    #[test]
    fn the_proposed_base_differs_from_the_busy_port() {
        for busy in [1, 80, 18_080, 18_082, 65_535] {
            let proposed = other_base(busy);
            assert!(fixed(proposed).is_ok());
            assert!(proposed.abs_diff(busy) > 2, "{busy} -> {proposed}");
        }
    }

    #[test]
    fn each_purpose_gets_its_own_port() {
        let (base, ports) = (19_000..20_000)
            .step_by(3)
            .find_map(|base| Some((base, Ports::choose(base, purposes(40)).ok()?)))
            .expect("of 333 bases one is free");
        let all: BTreeSet<u16> = (0..40)
            .map(|n| ports.of(&format!("app-{n}"), "http").port())
            .collect();
        assert_eq!(all.len(), 40);
        assert!(!all.contains(&base));
        assert_eq!(ports.gateway().port() + 2, ports.api().port());
    }
}
