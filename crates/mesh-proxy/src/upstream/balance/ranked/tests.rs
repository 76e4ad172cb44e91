use std::collections::BTreeMap;
use std::time::Duration;

use super::super::pick;
use super::*;
use crate::upstream::outlier::{Outcome, Terms, record};
use crate::upstream::samples::cluster;
use crate::upstream::table::Spread;

fn counts(cluster: &Cluster, picks: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        let endpoint = pick(cluster, 0, &[], None).expect("there are fit endpoints");
        *counts.entry(endpoint.address.to_string()).or_default() += 1;
    }
    counts
}

fn count(counts: &BTreeMap<String, usize>, endpoint: usize) -> usize {
    let address = format!("10.0.0.{endpoint}:80");
    counts.get(&address).copied().unwrap_or_default()
}

/// Errors eject at once, and as many as there are.
fn watched(mut cluster: Cluster) -> Cluster {
    cluster.outlier = Some(Terms {
        consecutive_5xx: 1,
        consecutive_gateway: 0,
        consecutive_local: 0,
        split_local: false,
        interval: Duration::from_secs(1),
        base: Duration::from_secs(30),
        longest: Duration::from_secs(300),
        most_percent: 100,
        always_one: true,
    });
    cluster
}

fn eject(cluster: &Cluster, endpoints: &[usize]) {
    for endpoint in endpoints {
        record(cluster, &cluster.endpoints[*endpoint], Outcome::Status(500));
    }
}

#[test]
fn weights_come_true_in_each_hundred() {
    let cluster = cluster(Balance::RoundRobin, &[(0, 0, 3), (0, 0, 1)]);
    for _ in 0..5 {
        let counts = counts(&cluster, 100);
        assert!((73..=77).contains(&count(&counts, 0)), "{counts:?}");
    }
    let busy =
        super::super::super::samples::cluster(Balance::LeastRequest, &[(0, 0, 9), (0, 0, 1)]);
    assert!(count(&counts(&busy, 1000), 0) > 700);
}

#[test]
fn the_next_priority_gets_what_the_first_cannot_take() {
    let endpoints = [(0, 0, 1), (0, 0, 1), (1, 0, 1), (1, 0, 1)];
    let cluster = watched(cluster(Balance::RoundRobin, &endpoints));
    let all = counts(&cluster, 100);
    assert_eq!(count(&all, 0) + count(&all, 1), 100);
    // One of two is worth 1.4 times its half.
    eject(&cluster, &[0]);
    let half = counts(&cluster, 100);
    assert!((68..=72).contains(&count(&half, 1)), "{half:?}");
    assert!((13..=17).contains(&count(&half, 2)), "{half:?}");
    eject(&cluster, &[1]);
    let none = counts(&cluster, 100);
    assert_eq!(count(&none, 2) + count(&none, 3), 100);
    eject(&cluster, &[2, 3]);
    assert!(pick(&cluster, 0, &[], None).is_none());
}

#[test]
fn if_too_few_are_fit_everybody_is_if_the_cluster_wants_that() {
    let mut cluster = watched(cluster(Balance::RoundRobin, &[(0, 0, 1); 4]));
    eject(&cluster, &[0, 1, 2]);
    assert_eq!(count(&counts(&cluster, 40), 3), 40);
    cluster.panic_percent = 50;
    let counts = counts(&cluster, 40);
    assert!(
        (0..4).all(|i| (8..=12).contains(&count(&counts, i))),
        "{counts:?}"
    );
}

#[test]
fn places_have_their_shares_and_lose_them_with_their_endpoints() {
    // Shares of 1, 2 and 3.
    let endpoints = [(0, 0, 1), (0, 1, 1), (0, 1, 1), (0, 2, 1)];
    let cluster = watched(cluster(Balance::RoundRobin, &endpoints));
    let all = counts(&cluster, 600);
    assert!((98..=102).contains(&count(&all, 0)), "{all:?}");
    assert!(
        (196..=204).contains(&(count(&all, 1) + count(&all, 2))),
        "{all:?}"
    );
    assert!((296..=304).contains(&count(&all, 3)), "{all:?}");
    eject(&cluster, &[3]);
    let left = counts(&cluster, 600);
    assert!((196..=204).contains(&count(&left, 0)), "{left:?}");
}

#[test]
fn what_was_tried_is_avoided_over_priorities() {
    let cluster = cluster(Balance::LeastRequest, &[(0, 0, 1), (1, 0, 1)]);
    let tried = vec![Arc::clone(&cluster.endpoints[0])];
    let other = pick(&cluster, 0, &tried, None).expect("there is another one");
    assert_eq!(&*other.address, "10.0.0.1:80");
    assert!(pick(&cluster, 0, &cluster.endpoints, None).is_some());
}

#[test]
fn requests_that_are_alike_stay_and_come_back() {
    let ring = Spread::Ring {
        minimum: 1024,
        maximum: 8 << 20,
    };
    for spread in [ring, Spread::Maglev { size: 251 }] {
        let cluster = watched(cluster(Balance::Hash(spread), &[(0, 0, 1); 3]));
        let at = |hash| {
            let endpoint = pick(&cluster, 0, &[], Some(hash)).expect("there are endpoints");
            Arc::clone(endpoint)
        };
        let before: Vec<_> = (1..50_u64)
            .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .collect();
        let homes: Vec<_> = before.iter().map(|hash| at(*hash)).collect();
        for (hash, home) in before.iter().zip(&homes) {
            assert!(Arc::ptr_eq(home, &at(*hash)));
        }
        eject(&cluster, &[1]);
        for (hash, home) in before.iter().zip(&homes) {
            let now = at(*hash);
            let was_ejected = &*home.address == "10.0.0.1:80";
            assert_eq!(Arc::ptr_eq(home, &now), !was_ejected);
        }
        // Without a hash it is chance.
        assert!(counts(&cluster, 200).len() == 2);
    }
}

#[test]
fn a_newcomer_begins_with_little() {
    let mut cluster = cluster(Balance::RoundRobin, &[(0, 0, 1); 2]);
    let hour = Duration::from_secs(3600);
    cluster.is_flat = false;
    cluster.warmup = Some(Warmup {
        window: hour,
        least: 0.1,
        aggression: 1.0,
    });
    let old = Arc::get_mut(&mut cluster.endpoints[0]).expect("nobody else has it");
    let health = Arc::get_mut(&mut old.health).expect("nobody else has it");
    health.since -= 2 * hour;
    let counts = counts(&cluster, 110);
    assert!((98..=102).contains(&count(&counts, 0)), "{counts:?}");
}
