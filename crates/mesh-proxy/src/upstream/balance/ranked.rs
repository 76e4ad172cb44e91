//! Choosing among endpoints that are not all alike: first the priority, then the place, then the endpoint.
//!
//! As Envoy does: a priority is worth 1.4 times the share of its endpoints that are fit, so that the next one
//! gets requests only when more than 28 % are unfit; what it cannot take spills over. A place's share sinks
//! likewise. One draw decides all: each step uses what the one before has left of it, and the draws of a worker
//! are spread so evenly that shares come true in each hundred requests.

use std::sync::Arc;
use std::time::Instant;

use super::is_fresh;
use crate::snapshot::{Balance, Cluster, Endpoint, Place, Tier, Warmup};

/// Envoy's overprovisioning factor, in percent.
const OVERPROVISION: u64 = 140;

struct Choice<'c> {
    cluster: &'c Cluster,
    worker: usize,
    /// Read only where something warms up.
    now: Option<Instant>,
}

pub(super) fn pick<'c>(
    cluster: &'c Cluster,
    worker: usize,
    tried: &[Arc<Endpoint>],
    hash: Option<u64>,
) -> Option<&'c Arc<Endpoint>> {
    let choice = Choice {
        cluster,
        worker,
        now: cluster.warmup.map(|_| Instant::now()),
    };
    let draw = match hash {
        Some(hash) => fraction(hash),
        None => choice.draw(),
    };
    let (first, panic, draw) = choice.tier(draw)?;
    let fit = |endpoint: &Endpoint| panic || choice.is_fit(endpoint);
    if !tried.is_empty() {
        // Others come first, even those of another priority.
        let chosen = std::iter::once(first);
        let others = cluster
            .tiers
            .iter()
            .filter(|tier| !std::ptr::eq(*tier, first));
        for tier in chosen.chain(others) {
            let fresh = |endpoint: &Endpoint| fit(endpoint) && is_fresh(endpoint, tried);
            if let Some(found) = choice.within(tier, draw, hash, fresh) {
                return Some(found);
            }
        }
    }
    choice.within(first, draw, hash, fit)
}

/// From 0 to 1, without 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

impl<'c> Choice<'c> {
    /// The next of a row of numbers that fills the range from 0 to 1 evenly: multiples of the golden ratio.
    fn draw(&self) -> f64 {
        match self.cluster.balance {
            Balance::Random => fastrand::f64(),
            _ => {
                let turn = u64::from(self.cluster.state.next_turn(self.worker));
                fraction(turn.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            }
        }
    }

    fn is_fit(&self, endpoint: &Endpoint) -> bool {
        self.cluster.outlier.is_none() || !endpoint.health.is_ejected()
    }

    fn count_fit(&self, endpoints: &[Arc<Endpoint>]) -> u64 {
        endpoints.iter().filter(|e| self.is_fit(e)).count() as u64
    }

    /// The tier for a draw, whether it takes the unfit too, and what is left of the draw.
    #[expect(clippy::cast_precision_loss, reason = "these are percentages")]
    fn tier(&self, draw: f64) -> Option<(&'c Tier, bool, f64)> {
        let tiers = &self.cluster.tiers;
        let of = |tier: &Tier| &self.cluster.endpoints[tier.endpoints.clone()];
        let health = |tier: &Tier| {
            let all = of(tier).len().max(1) as u64;
            (OVERPROVISION * self.count_fit(of(tier)) / all).min(100)
        };
        let total = tiers.iter().map(health).sum::<u64>().min(100);
        let threshold = u64::from(self.cluster.panic_percent);
        if total == 0 {
            // Nobody is fit: as the cluster wants it, nobody gets requests, or everybody.
            return tiers
                .first()
                .filter(|_| threshold > 0)
                .map(|tier| (tier, true, draw));
        }
        let mut left = 100;
        let mut point = draw * 100.0;
        let mut last = None;
        for tier in tiers {
            let load = (health(tier) * 100 / total).min(left);
            if load == 0 {
                continue;
            }
            let all = of(tier).len() as u64;
            let panic = total < 100 && self.count_fit(of(tier)) * 100 < threshold * all;
            if point < load as f64 {
                return Some((tier, panic, point / load as f64));
            }
            point -= load as f64;
            left -= load;
            last = Some((tier, panic));
        }
        // Rounding may leave a little over.
        last.map(|(tier, panic)| (tier, panic, draw))
    }

    fn within(
        &self,
        tier: &'c Tier,
        draw: f64,
        hash: Option<u64>,
        fit: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'c Arc<Endpoint>> {
        let endpoints = &self.cluster.endpoints[tier.endpoints.clone()];
        if let (Some(table), Some(hash)) = (&tier.table, hash) {
            let seat = table.find(hash, |seat| endpoints.get(seat).is_some_and(|e| fit(e)))?;
            return endpoints.get(seat);
        }
        let (place, draw) = self.place(tier, draw, &fit)?;
        self.endpoint(&self.cluster.endpoints[place.endpoints.clone()], draw, &fit)
    }

    /// The place for a draw, and what is left of the draw.
    #[expect(
        clippy::cast_precision_loss,
        reason = "there are not that many endpoints"
    )]
    fn place(
        &self,
        tier: &'c Tier,
        draw: f64,
        fit: &impl Fn(&Endpoint) -> bool,
    ) -> Option<(&'c Place, f64)> {
        let share = |place: &Place| {
            let all = &self.cluster.endpoints[place.endpoints.clone()];
            let fit = all.iter().filter(|e| fit(e)).count() as f64;
            let worth = OVERPROVISION as f64 / 100.0 * fit / all.len().max(1) as f64;
            f64::from(place.share) * worth.min(1.0)
        };
        choose(&tier.places, draw, share)
    }

    fn endpoint(
        &self,
        endpoints: &'c [Arc<Endpoint>],
        draw: f64,
        fit: &impl Fn(&Endpoint) -> bool,
    ) -> Option<&'c Arc<Endpoint>> {
        let weight = |endpoint: &Arc<Endpoint>| match fit(endpoint) {
            true => f64::from(endpoint.weight) * self.warmth(endpoint),
            false => 0.0,
        };
        let any = |draw| choose(endpoints, draw, weight).map(|(endpoint, _)| endpoint);
        match self.cluster.balance {
            Balance::RoundRobin => any(draw),
            Balance::Random | Balance::Hash(_) => any(fastrand::f64()),
            Balance::LeastRequest => {
                let (a, b) = (any(fastrand::f64())?, any(fastrand::f64())?);
                // Shares count twice, so that a heavy one that is busy still gets its own.
                let load = |e: &Arc<Endpoint>| f64::from(e.state.load(self.worker)) / weight(e);
                Some(if load(b) < load(a) { b } else { a })
            }
        }
    }

    /// How much of its share an endpoint gets that has not been there for long.
    fn warmth(&self, endpoint: &Endpoint) -> f64 {
        let (Some(warmup), Some(now)) = (&self.cluster.warmup, self.now) else {
            return 1.0;
        };
        let Warmup {
            window,
            least,
            aggression,
        } = warmup;
        let age = now.saturating_duration_since(endpoint.health.since);
        if age >= *window {
            return 1.0;
        }
        let part = age.as_secs_f64() / window.as_secs_f64();
        part.powf(1.0 / aggression).max(*least).max(f64::EPSILON)
    }
}

/// The item at a point of the row of all weights, and how far into the item's own weight the point is.
fn choose<T>(items: &[T], draw: f64, weight: impl Fn(&T) -> f64) -> Option<(&T, f64)> {
    if let [only] = items {
        return (weight(only) > 0.0).then_some((only, draw));
    }
    let sum: f64 = items.iter().map(&weight).sum();
    let mut point = draw * sum;
    let mut last = None;
    for item in items {
        let weight = weight(item);
        if weight <= 0.0 {
            continue;
        }
        if point < weight {
            return Some((item, point / weight));
        }
        point -= weight;
        last = Some((item, draw));
    }
    last
}

#[cfg(test)]
mod tests;
