//! A cluster's endpoints in the order in which they are to get requests: by priority, then by place.

use std::ops::Range;
use std::sync::Arc;

use super::Endpoint;
use crate::upstream::table::{Seat, Spread, Table};

/// The endpoints of one priority. The next priority gets what this one cannot take.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Those of a tier follow one another in the cluster's endpoints.
    pub endpoints: Range<usize>,
    /// Localities with shares of their own; one place with everything where there are no such shares.
    pub places: Vec<Place>,
    /// Leads requests that are alike to the same endpoint; seats are counted from the tier's first endpoint.
    pub table: Option<Arc<Table>>,
}

/// The endpoints of one locality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the cluster's endpoints.
    pub endpoints: Range<usize>,
    /// Its share among the places of its tier.
    pub share: u32,
}

/// Forms tiers of endpoints that are sorted by priority and place; `keys` has both for each endpoint, and the
/// share of its place.
pub(super) fn build(
    endpoints: &[Arc<Endpoint>],
    keys: &[(u32, usize, u32)],
    by_place: bool,
    spread: Option<Spread>,
    previous: &[Tier],
) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = Vec::new();
    let mut start = 0;
    for tier in keys.chunk_by(|a, b| a.0 == b.0) {
        let range = start..start + tier.len();
        let mut places = Vec::new();
        let mut first = start;
        for place in tier.chunk_by(|a, b| !by_place || a.1 == b.1) {
            let share = place.first().map_or(1, |(_, _, share)| *share);
            // As in Envoy, a place without a share gets nothing.
            places.push(Place {
                endpoints: first..first + place.len(),
                share: if by_place { share } else { 1 },
            });
            first += place.len();
        }
        let table = spread.map(|spread| {
            let seats = seats(endpoints, &places);
            let before = previous
                .get(tiers.len())
                .and_then(|tier| tier.table.as_ref());
            Table::new(spread, seats, before)
        });
        start = range.end;
        tiers.push(Tier {
            endpoints: range,
            places,
            table,
        });
    }
    tiers
}

/// An endpoint's share of its tier is its share of its place, times the place's.
fn seats(endpoints: &[Arc<Endpoint>], places: &[Place]) -> Vec<Seat> {
    let of_place = |place: &Place| {
        let endpoints = &endpoints[place.endpoints.clone()];
        let sum: f64 = endpoints.iter().map(|e| f64::from(e.weight)).sum();
        let share = if places.len() > 1 {
            f64::from(place.share) / sum
        } else {
            1.0
        };
        endpoints
            .iter()
            .map(|endpoint| Seat {
                address: Arc::clone(&endpoint.address),
                weight: f64::from(endpoint.weight) * share,
            })
            .collect::<Vec<_>>()
    };
    places.iter().flat_map(of_place).collect()
}

/// Tiers of endpoints with these keys.
#[cfg(test)]
pub(crate) fn for_tests(
    endpoints: &[Arc<Endpoint>],
    keys: &[(u32, usize, u32)],
    balance: super::Balance,
) -> Vec<Tier> {
    let spread = match balance {
        super::Balance::Hash(spread) => Some(spread),
        _ => None,
    };
    build(endpoints, keys, true, spread, &[])
}
