//! Which endpoint of a cluster a request goes to.
//!
//! Most clusters are flat: their endpoints are all alike, and one step finds one. Where they differ in priority,
//! place, weight or fitness, or requests stick to them, [`ranked`] goes step by step.

mod ranked;

use std::sync::Arc;

use crate::snapshot::{Balance, Cluster, Endpoint};

/// An endpoint for this worker's next request, if there is any: one that has not been tried for this
/// request already, as long as there is such a one. `hash` stands for what requests have in common that are to
/// go to the same endpoint.
pub(crate) fn pick<'c>(
    cluster: &'c Cluster,
    worker: usize,
    tried: &[Arc<Endpoint>],
    hash: Option<u64>,
) -> Option<&'c Arc<Endpoint>> {
    let all_fit = cluster.outlier.is_none() || cluster.state.ejected() == 0;
    if !(cluster.is_flat && all_fit) {
        return ranked::pick(cluster, worker, tried, hash);
    }
    let all = cluster.endpoints.as_slice();
    if tried.is_empty() {
        return one_of(cluster, worker, all.len(), |i| &all[i]);
    }
    let fresh: Vec<_> = all.iter().filter(|e| is_fresh(e, tried)).collect();
    if fresh.is_empty() {
        return one_of(cluster, worker, all.len(), |i| &all[i]);
    }
    one_of(cluster, worker, fresh.len(), |i| fresh[i])
}

/// Has it not been tried yet?
fn is_fresh(endpoint: &Endpoint, tried: &[Arc<Endpoint>]) -> bool {
    !tried.iter().any(|t| t.address == endpoint.address)
}

fn one_of<'c>(
    cluster: &Cluster,
    worker: usize,
    count: usize,
    get: impl Fn(usize) -> &'c Arc<Endpoint>,
) -> Option<&'c Arc<Endpoint>> {
    if count < 2 {
        return (count == 1).then(|| get(0));
    }
    let i = match cluster.balance {
        Balance::RoundRobin => cluster.state.next_turn(worker) as usize % count,
        Balance::Random | Balance::Hash(_) => fastrand::usize(..count),
        Balance::LeastRequest => {
            // Two different ones by chance; the idler of them.
            let a = fastrand::usize(..count);
            let b = (a + fastrand::usize(1..count)) % count;
            let load = |i: usize| get(i).state.load(worker);
            if load(b) < load(a) { b } else { a }
        }
    };
    Some(get(i))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::upstream::{Active, samples};

    fn cluster(balance: Balance, endpoints: usize) -> Cluster {
        samples::cluster(balance, &vec![(0, 0, 1); endpoints])
    }

    fn counts(cluster: &Cluster, picks: usize) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            let endpoint = pick(cluster, 0, &[], None).expect("there are endpoints");
            *counts.entry(endpoint.address.as_ref()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn nothing_comes_from_nothing() {
        for balance in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
            assert!(pick(&cluster(balance, 0), 0, &[], None).is_none());
        }
    }

    #[test]
    fn in_turn_is_exact() {
        let cluster = cluster(Balance::RoundRobin, 3);
        assert!(counts(&cluster, 30).into_values().eq([10, 10, 10]));
    }

    #[test]
    fn chance_reaches_everybody() {
        for balance in [Balance::Random, Balance::LeastRequest] {
            let cluster = cluster(balance, 3);
            let counts = counts(&cluster, 3000);
            assert_eq!(counts.len(), 3);
            assert!(
                counts.values().all(|n| (700..1300).contains(n)),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn the_busier_of_two_is_spared() {
        let cluster = cluster(Balance::LeastRequest, 2);
        let _busy = Active::begin(&cluster.endpoints[0].state, 0);
        assert_eq!(counts(&cluster, 50), BTreeMap::from([("10.0.0.1:80", 50)]));
    }

    #[test]
    fn what_failed_is_tried_again_only_if_nothing_else_is_left() {
        for balance in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
            let cluster = cluster(balance, 2);
            let failed = vec![cluster.endpoints[0].clone()];
            for _ in 0..20 {
                let endpoint = pick(&cluster, 0, &failed, None).expect("there are endpoints");
                assert_eq!(endpoint.address.as_ref(), "10.0.0.1:80");
            }
            assert!(pick(&cluster, 0, &cluster.endpoints, None).is_some());
        }
    }
}
