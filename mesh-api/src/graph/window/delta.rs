//! What is added to a series, and how it is packed.

use std::sync::Arc;

/// Upper bounds of the duration histogram in milliseconds; one more bucket holds what is above.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// The buckets of [`BOUNDS`] and `+Inf`.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// A series in the slots. Never used twice, so that a slot cannot speak of another series.
pub(super) type Id = u64;

/// What was added to a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) requests: u64,
    pub(super) duration_ms: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) buckets: [u64; BUCKETS],
}

impl Delta {
    pub(super) fn is_zero(&self) -> bool {
        *self == Delta::default()
    }

    pub(super) fn add(&mut self, other: &Delta) {
        self.requests = self.requests.saturating_add(other.requests);
        self.duration_ms = self.duration_ms.saturating_add(other.duration_ms);
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        for (ours, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *ours = ours.saturating_add(theirs);
        }
    }
}

/// What was added to a series within a window. Not whole numbers, where a window cuts a minute of
/// which only the sum is left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) requests: f64,
    pub(super) duration_ms: f64,
    pub(super) request_bytes: f64,
    pub(super) response_bytes: f64,
    pub(super) buckets: [f64; BUCKETS],
}

impl Totals {
    pub(super) fn add(&mut self, delta: &Delta, share: f64) {
        self.requests += delta.requests as f64 * share;
        self.duration_ms += delta.duration_ms as f64 * share;
        self.request_bytes += delta.request_bytes as f64 * share;
        self.response_bytes += delta.response_bytes as f64 * share;
        for (ours, theirs) in self.buckets.iter_mut().zip(delta.buckets) {
            *ours += theirs as f64 * share;
        }
    }
}

/// A run of encoded deltas; a series may be in it several times. Cheap to clone, so that readers need
/// no lock while they decode.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Vec<u8>>);

impl Slot {
    /// Memory that it holds, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Gives back the memory that it does not need.
    pub(super) fn shrink(&mut self) {
        Arc::make_mut(&mut self.0).shrink_to_fit();
    }

    pub(super) fn push(&mut self, id: Id, delta: &Delta) {
        let bytes = Arc::make_mut(&mut self.0);
        for number in [
            id,
            delta.requests,
            delta.duration_ms,
            delta.request_bytes,
            delta.response_bytes,
        ] {
            push_number(bytes, number);
        }
        let filled = delta.buckets.iter().filter(|count| **count > 0).count();
        bytes.push(filled as u8);
        for (index, count) in delta.buckets.iter().enumerate() {
            if *count > 0 {
                bytes.push(index as u8);
                push_number(bytes, *count);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, Delta)> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || read(&mut rest))
    }
}

/// Seven bits a byte, the lowest first.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(rest: &mut &[u8]) -> Option<(Id, Delta)> {
    let id = read_number(rest)?;
    let mut delta = Delta {
        requests: read_number(rest)?,
        duration_ms: read_number(rest)?,
        request_bytes: read_number(rest)?,
        response_bytes: read_number(rest)?,
        buckets: [0; BUCKETS],
    };
    for _ in 0..read_byte(rest)? {
        let index = usize::from(read_byte(rest)?);
        *delta.buckets.get_mut(index)? = read_number(rest)?;
    }
    Some((id, delta))
}

fn read_byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let byte = read_byte(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Delta, Slot};

    #[test]
    fn any_delta_survives_encoding() {
        let mut full = Delta {
            requests: u64::MAX,
            duration_ms: 128,
            request_bytes: 0,
            response_bytes: 1 << 62,
            buckets: [0; BUCKETS],
        };
        full.buckets[0] = 1;
        full.buckets[BUCKETS - 1] = u64::MAX;
        let mut slot = Slot::default();
        slot.push(7, &full);
        slot.push(u64::MAX, &Delta::default());
        let read: Vec<_> = slot.iter().collect();
        assert_eq!(read, [(7, full), (u64::MAX, Delta::default())]);
    }

    #[test]
    fn a_broken_slot_ends_instead_of_looping() {
        let slot = Slot(vec![0xff; 40].into());
        assert_eq!(slot.iter().count(), 0);
    }
}
