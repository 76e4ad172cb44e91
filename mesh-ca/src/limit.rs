//! How often a stranger may fail to join.
//!
//! Tokens are too long to be guessed; this bounds the work and the log lines that somebody who
//! tries all the same can cause, without letting them lock out others: each network has its own
//! allowance, and only failures use it up.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Failures in a row, and how many come back a second.
const BURST: f64 = 20.0;
const REFILL: f64 = 1.0;
/// Networks that are told apart; all others share one allowance.
const MAX_NETWORKS: usize = 4096;

/// The allowances.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    networks: Mutex<HashMap<Option<IpAddr>, Allowance>>,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: f64,
    since: Instant,
}

/// A part of an allowance, taken before it is known how the attempt ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken(Option<IpAddr>);

impl Failures {
    /// Takes from the allowance of this address, as if the attempt had failed already: of many at once, no
    /// more than the allowance get through. Nothing if nothing is left.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Option<Taken> {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&mut networks, address, now);
        let allowance = networks.entry(key).or_insert(Allowance {
            left: BURST,
            since: now,
        });
        let left = allowance.at(now);
        if left < 1.0 {
            return None;
        }
        *allowance = Allowance {
            left: left - 1.0,
            since: now,
        };
        Some(Taken(key))
    }

    /// It did not fail, or not by the fault of who tried.
    pub(crate) fn give_back(&self, taken: &Taken, now: Instant) {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is no longer remembered has the whole allowance.
        if let Some(allowance) = networks.get_mut(&taken.0) {
            *allowance = Allowance {
                left: (allowance.at(now) + 1.0).min(BURST),
                since: now,
            };
        }
    }
}

impl Allowance {
    fn at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        (self.left + passed * REFILL).min(BURST)
    }
}

/// The network of an address: itself, or its /64, which one subscriber has at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Under which key an address counts: its network's, while there is room; else the one for all.
fn key(
    networks: &mut HashMap<Option<IpAddr>, Allowance>,
    address: IpAddr,
    now: Instant,
) -> Option<IpAddr> {
    let network = Some(network(address));
    if networks.contains_key(&network) || networks.len() < MAX_NETWORKS {
        return network;
    }
    // Who has the whole allowance again need not be remembered.
    networks.retain(|_, allowance| allowance.at(now) < BURST);
    if networks.len() < MAX_NETWORKS {
        network
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(n))
    }

    fn allows(failures: &Failures, address: IpAddr, now: Instant) -> bool {
        let taken = failures.take(address, now);
        if let Some(taken) = &taken {
            failures.give_back(taken, now);
        }
        taken.is_some()
    }

    fn fail(failures: &Failures, address: IpAddr, now: Instant) {
        _ = failures.take(address, now);
    }

    #[test]
    fn failures_use_the_allowance_up_and_time_gives_it_back() {
        let (failures, start) = (Failures::default(), Instant::now());
        for n in 0..20 {
            assert!(failures.take(v4(1), start).is_some(), "failure {n}");
        }
        let allowed = |n, now| allows(&failures, v4(n), now);
        assert!(!allowed(1, start));
        assert!(allowed(2, start), "others are not affected");
        assert!(!allowed(1, start + Duration::from_millis(900)));
        assert!(allowed(1, start + Duration::from_secs(1)));
        let much_later = start + Duration::from_secs(3600);
        for _ in 0..20 {
            fail(&failures, v4(1), much_later);
        }
        assert!(!allowed(1, much_later), "the allowance is not saved up");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_is_never_more_than_the_whole() {
        let (failures, start) = (Failures::default(), Instant::now());
        let under_way: Vec<Taken> = (0..20)
            .filter_map(|_| failures.take(v4(1), start))
            .collect();
        assert_eq!(under_way.len(), 20);
        assert!(failures.take(v4(1), start).is_none(), "all are under way");
        for taken in under_way.iter().chain(&under_way) {
            failures.give_back(taken, start);
        }
        let again = (0..40).filter_map(|_| failures.take(v4(1), start));
        assert_eq!(again.count(), 20);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_ipv4() {
        let (failures, start) = (Failures::default(), Instant::now());
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for n in 0..20 {
            fail(&failures, address(&format!("2001:db8::{n:x}")), start);
            fail(&failures, address("::ffff:10.0.0.1"), start);
        }
        assert!(!allows(&failures, address("2001:db8::ffff"), start));
        assert!(allows(&failures, address("2001:db8:0:1::1"), start));
        assert!(!allows(&failures, address("10.0.0.1"), start));
    }

    #[test]
    fn memory_is_bounded_and_many_networks_share_what_is_left() {
        let (failures, start) = (Failures::default(), Instant::now());
        for n in 0..2 * MAX_NETWORKS {
            fail(&failures, v4(u32::try_from(n).expect("small")), start);
        }
        let held = failures.networks.lock().expect("no panic").len();
        assert!(held <= MAX_NETWORKS + 1, "{held}");
        assert!(
            !allows(&failures, v4(u32::MAX), start),
            "the shared allowance is used up"
        );
        assert!(allows(
            &failures,
            v4(u32::MAX),
            start + Duration::from_secs(60)
        ));
    }
}
