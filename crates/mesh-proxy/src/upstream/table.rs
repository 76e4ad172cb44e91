//! Tables that lead requests which are alike to the same endpoint: a ring, or Google's Maglev.
//!
//! They are Envoy's, place by place, so that an Envoy beside us sends the same request to the same endpoint. An
//! endpoint that is unfit for a while keeps its places; its requests go to whoever comes next, and return with
//! it. Built when a snapshot is made, and carried over while endpoints and weights stay.

use std::sync::Arc;

use twox_hash::XxHash64;

/// How hashes are spread over endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A ring, on which each endpoint has places by its weight.
    Ring {
        /// At least so many places.
        minimum: u64,
        /// At most so many.
        maximum: u64,
    },
    /// A Maglev table.
    Maglev {
        /// Its places, a prime number.
        size: u64,
    },
}

/// An endpoint as a table sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// `host:port`.
    pub address: Arc<str>,
    /// Its share; it has no place without one.
    pub weight: f64,
}

/// A table over some endpoints.
#[derive(Debug)]
pub struct Table {
    spread: Spread,
    seats: Vec<Seat>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// Hash and seat, by hash.
    Ring(Vec<(u64, u32)>),
    /// The seat of each place.
    Maglev(Vec<u32>),
}

impl Table {
    /// The table for these endpoints; `previous` if it is the same.
    pub(crate) fn new(spread: Spread, seats: Vec<Seat>, previous: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(previous) = previous
            && previous.spread == spread
            && previous.seats == seats
        {
            return Arc::clone(previous);
        }
        let places = match spread {
            Spread::Ring { minimum, maximum } => Places::Ring(ring(&seats, minimum, maximum)),
            Spread::Maglev { size } => Places::Maglev(maglev(&seats, size)),
        };
        Arc::new(Self {
            spread,
            seats,
            places,
        })
    }

    /// The seat for a hash, of those that are fit.
    pub(crate) fn find(&self, hash: u64, is_fit: impl Fn(usize) -> bool) -> Option<usize> {
        let fit = |seat: u32| Some(seat as usize).filter(|seat| is_fit(*seat));
        match &self.places {
            Places::Ring(places) => {
                let first = places.partition_point(|(place, _)| *place < hash);
                let around = places[first..].iter().chain(&places[..first]);
                around.map(|(_, seat)| *seat).find_map(fit)
            }
            Places::Maglev(places) if places.is_empty() => None,
            Places::Maglev(places) => {
                let size = places.len() as u64;
                let first = usize::try_from(hash % size).unwrap_or_default();
                let around = places[first..].iter().chain(&places[..first]);
                around.copied().find_map(fit)
            }
        }
    }
}

fn hash(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rings are far smaller than what floats can count"
)]
fn ring(seats: &[Seat], minimum: u64, maximum: u64) -> Vec<(u64, u32)> {
    let total: f64 = seats.iter().map(|seat| seat.weight).sum();
    let share = |seat: &Seat| seat.weight / total;
    let shares = seats.iter().map(share).filter(|share| *share > 0.0);
    let Some(smallest) = shares.min_by(f64::total_cmp) else {
        return Vec::new();
    };
    // So many places that the smallest share is a whole number of them.
    let size = ((smallest * minimum as f64).ceil() / smallest).min(maximum as f64);
    let mut places = Vec::new();
    let (mut target, mut count) = (0.0, 0.0);
    for (index, seat) in (0_u32..).zip(seats) {
        target += size * share(seat);
        let mut turn = 0;
        while count < target {
            let key = format!("{}_{turn}", seat.address);
            places.push((hash(key.as_bytes(), 0), index));
            turn += 1;
            count += 1.0;
        }
    }
    places.sort_unstable();
    places
}

struct Candidate {
    seat: u32,
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    target: f64,
}

fn maglev(seats: &[Seat], size: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let largest = seats.iter().map(|seat| seat.weight).fold(0.0, f64::max);
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    if largest <= 0.0 {
        return Vec::new();
    }
    let candidate = |(seat, of): (u32, &Seat)| Candidate {
        seat,
        offset: hash(of.address.as_bytes(), 0) % size,
        skip: hash(of.address.as_bytes(), 1) % (size - 1) + 1,
        next: 0,
        weight: of.weight,
        target: 0.0,
    };
    let seated = (0_u32..).zip(seats).filter(|(_, seat)| seat.weight > 0.0);
    let mut candidates: Vec<_> = seated.map(candidate).collect();
    // The order in which endpoints are told must not matter.
    candidates.sort_by(|a, b| {
        let address = |c: &Candidate| &seats[c.seat as usize].address;
        address(a).cmp(address(b))
    });
    let mut places = vec![FREE; length];
    let mut left = length;
    let mut round = 0.0;
    while left > 0 {
        round += 1.0;
        for candidate in &mut candidates {
            if round * candidate.weight < candidate.target {
                continue;
            }
            candidate.target += largest;
            let place = loop {
                let place = (candidate.offset + candidate.skip * candidate.next) % size;
                candidate.next += 1;
                let place = usize::try_from(place).unwrap_or_default();
                if places[place] == FREE {
                    break place;
                }
            };
            places[place] = candidate.seat;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREADS: [Spread; 2] = [
        Spread::Ring {
            minimum: 1024,
            maximum: 8 << 20,
        },
        Spread::Maglev { size: 65_537 },
    ];

    #[test]
    fn who_has_no_share_has_no_place() {
        for spread in SPREADS {
            let table = table(spread, &[1.0, 0.0, 2.0]);
            let places: Vec<u32> = match &table.places {
                Places::Ring(places) => places.iter().map(|(_, seat)| *seat).collect(),
                Places::Maglev(places) => places.clone(),
            };
            assert!(places.contains(&0) && places.contains(&2) && !places.contains(&1));
            assert!(places.len() < 70_000, "{}", places.len());
        }
    }

    fn table(spread: Spread, weights: &[f64]) -> Arc<Table> {
        let seats = weights.iter().enumerate().map(|(i, weight)| Seat {
            address: format!("10.0.0.{i}:80").into(),
            weight: *weight,
        });
        Table::new(spread, seats.collect(), None)
    }

    fn hashes() -> impl Iterator<Item = u64> {
        (0..10_000_u64).map(|n| hash(&n.to_le_bytes(), 0))
    }

    fn counts(table: &Table, seats: usize) -> Vec<usize> {
        let mut counts = vec![0; seats];
        for hash in hashes() {
            counts[table.find(hash, |_| true).expect("there are seats")] += 1;
        }
        counts
    }

    #[test]
    fn shares_follow_weights() {
        for spread in SPREADS {
            let counts = counts(&table(spread, &[1.0, 1.0, 2.0]), 3);
            assert!((4000..6000).contains(&counts[2]), "{spread:?} {counts:?}");
            assert!((1800..3200).contains(&counts[0]), "{spread:?} {counts:?}");
        }
    }

    #[test]
    fn what_is_unfit_leaves_others_where_they_are_and_comes_back_to_its_place() {
        for spread in SPREADS {
            let table = table(spread, &[1.0; 4]);
            for hash in hashes() {
                let all = table.find(hash, |_| true).expect("there are seats");
                let without = table.find(hash, |seat| seat != 1).expect("others are fit");
                assert_ne!(without, 1);
                assert!(all == 1 || all == without, "{spread:?}: {hash} moved");
            }
            assert_eq!(table.find(7, |_| false), None);
        }
    }

    #[test]
    fn one_endpoint_more_moves_few_requests() {
        for (spread, most) in SPREADS.into_iter().zip([3500, 2800]) {
            let (four, five) = (table(spread, &[1.0; 4]), table(spread, &[1.0; 5]));
            let moved = hashes()
                .filter(|hash| four.find(*hash, |_| true) != five.find(*hash, |_| true))
                .count();
            assert!((1000..most).contains(&moved), "{spread:?}: {moved}");
        }
    }

    #[test]
    fn the_same_endpoints_keep_their_table() {
        let seats = |weight| {
            vec![Seat {
                address: "a:1".into(),
                weight,
            }]
        };
        let first = Table::new(SPREADS[0], seats(1.0), None);
        let again = Table::new(SPREADS[0], seats(1.0), Some(&first));
        assert!(Arc::ptr_eq(&first, &again));
        let other = Table::new(SPREADS[1], seats(1.0), Some(&first));
        assert!(!Arc::ptr_eq(&first, &other));
        let nobody = Table::new(SPREADS[1], Vec::new(), None);
        assert_eq!(nobody.find(1, |_| true), None);
    }
}
