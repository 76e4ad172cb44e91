//! Which of a route's weighted clusters a request goes to.
//!
//! Smooth weighted round robin instead of dice: each target's current weight grows by its weight, the
//! largest is taken and pays the total. So 90/10 is exactly that in every hundred requests, with the
//! ten spread out evenly. Each worker has its own round, so that workers never wait for each other;
//! over N workers the totals are off by less than N.

use std::sync::{Arc, PoisonError};

use crate::snapshot::Split;

/// The cluster for the next request of this worker; `None` if no target has a weight.
pub(crate) fn pick(split: &Split, worker: usize) -> Option<&Arc<str>> {
    Some(&split.targets.get(place(split, worker)?)?.0)
}

/// The same as its place among the targets.
pub(crate) fn place(split: &Split, worker: usize) -> Option<usize> {
    if split.targets.len() == 1 {
        // A single destination takes all, whatever its weight.
        return Some(0);
    }
    let state = split.state.get(worker)?;
    let mut current = state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut total = 0;
    let mut best: Option<usize> = None;
    for (i, (_, weight)) in split.targets.iter().enumerate() {
        if *weight == 0 {
            continue;
        }
        let weight = i64::from(*weight);
        total += weight;
        current[i] += weight;
        if best.is_none_or(|best| current[i] > current[best]) {
            best = Some(i);
        }
    }
    let best = best?;
    current[best] -= total;
    Some(best)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn split(weights: &[u32], workers: usize) -> Split {
        let name = |i: usize| Arc::from(i.to_string());
        let targets = weights.iter().enumerate().map(|(i, w)| (name(i), *w));
        Split::new(targets.collect(), workers)
    }

    fn counts(split: &Split, requests: impl Iterator<Item = usize>) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        for worker in requests {
            let target = pick(split, worker).expect("a target has a weight");
            *counts.entry(target.to_string()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn ninety_to_ten_holds_in_every_hundred_and_is_spread_out() {
        let split = split(&[90, 10], 1);
        for _ in 0..5 {
            let taken: Vec<_> = (0..100).map(|_| pick(&split, 0).cloned()).collect();
            let tens: Vec<_> = (0..100).filter(|i| taken[*i] == Some("1".into())).collect();
            assert_eq!(tens.len(), 10);
            assert!(tens.windows(2).all(|pair| pair[1] - pair[0] == 10));
        }
    }

    #[test]
    fn a_single_target_takes_all_even_without_a_weight() {
        assert!(pick(&split(&[0], 1), 0).is_some());
    }

    #[test]
    fn without_any_weight_nothing_is_taken() {
        assert!(pick(&split(&[0, 0], 1), 0).is_none());
    }

    proptest! {
        #[test]
        fn every_full_round_is_exact(weights in prop::collection::vec(0u32..50, 2..6), rounds in 1u64..4) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let split = split(&weights, 1);
            let counts = counts(&split, (0..u64::from(total) * rounds).map(|_| 0));
            for (i, weight) in weights.iter().enumerate() {
                let got = counts.get(&i.to_string()).copied().unwrap_or(0);
                prop_assert_eq!(got, u64::from(*weight) * rounds);
            }
        }

        #[test]
        fn however_workers_share_the_requests_the_totals_are_off_by_one_a_worker(
            requests in prop::collection::vec(0usize..2, 1..400), weight in 1u32..100,
        ) {
            let split = split(&[weight, 100 - weight], 2);
            let total = requests.len() as f64;
            let counts = counts(&split, requests.into_iter());
            for (i, weight) in [weight, 100 - weight].into_iter().enumerate() {
                let got = counts.get(&i.to_string()).copied().unwrap_or(0) as f64;
                prop_assert!((got - total * f64::from(weight) / 100.0).abs() <= 2.0);
            }
        }
    }
}
