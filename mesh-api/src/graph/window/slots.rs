//! Deltas by time: one slot per second, and their sums per minute.
//!
//! An hour of seconds is too much for fixed-size numbers, and most of them are small or zero: a slot is
//! a run of variable-length integers, around 15 bytes per series and second. Sums per minute make
//! long windows cheap, and stay when memory is short and the seconds must go.

use std::collections::{BTreeMap, HashMap};

use super::delta::{Delta, Id, Slot, Totals};

/// All slots, by time in seconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Slots {
    seconds: BTreeMap<u64, Slot>,
    /// Sums of whole minutes, by number of the minute.
    minutes: BTreeMap<u64, Slot>,
    /// Minutes before this one have only their sums.
    coarse_before: u64,
    bytes: usize,
}

impl Slots {
    /// Memory held by the slots, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a delta to its second, and to its minute if that has been summed up.
    pub(super) fn push(&mut self, second: u64, id: Id, delta: &Delta) {
        let minute = second / 60;
        let coarse = minute < self.coarse_before;
        let fine = (!coarse).then(|| self.seconds.entry(second).or_default());
        let sum = if coarse {
            Some(self.minutes.entry(minute).or_default())
        } else {
            self.minutes.get_mut(&minute)
        };
        for slot in fine.into_iter().chain(sum) {
            let before = slot.capacity();
            slot.push(id, delta);
            self.bytes += slot.capacity() - before;
        }
    }

    /// Sums up every minute before the given second's that has not been yet.
    pub(super) fn seal_before(&mut self, second: u64) {
        let current = second / 60;
        let sealed = self
            .minutes
            .last_key_value()
            .map_or(0, |(last, _)| last + 1);
        let mut open: Vec<u64> = self
            .seconds
            .range(sealed * 60..current * 60)
            .map(|(second, _)| second / 60)
            .collect();
        open.dedup();
        for minute in open {
            self.seal(minute);
        }
    }

    fn seal(&mut self, minute: u64) {
        let mut sums: BTreeMap<Id, Delta> = BTreeMap::new();
        for (_, slot) in self.seconds.range_mut(minute * 60..(minute + 1) * 60) {
            let before = slot.capacity();
            slot.shrink();
            self.bytes -= before - slot.capacity();
            for (id, delta) in slot.iter() {
                sums.entry(id).or_default().add(&delta);
            }
        }
        let mut slot = Slot::default();
        for (id, delta) in &sums {
            slot.push(*id, delta);
        }
        slot.shrink();
        self.bytes += slot.capacity();
        self.minutes.insert(minute, slot);
    }

    /// Forgets everything before a second.
    pub(super) fn forget_before(&mut self, second: u64) {
        let kept = self.seconds.split_off(&second);
        let old_seconds = std::mem::replace(&mut self.seconds, kept);
        // A minute that is still partly wanted stays.
        let kept = self.minutes.split_off(&(second / 60));
        let old_minutes = std::mem::replace(&mut self.minutes, kept);
        for slot in old_seconds.values().chain(old_minutes.values()) {
            self.bytes -= slot.capacity();
        }
    }

    /// Forgets the seconds of the oldest minute whose sum is kept, or else the oldest sum. False if
    /// there is nothing left to forget.
    pub(super) fn coarsen(&mut self) -> bool {
        let first = self.seconds.keys().next().map(|second| second / 60);
        if let Some(minute) = first.filter(|minute| self.minutes.contains_key(minute)) {
            let kept = self.seconds.split_off(&((minute + 1) * 60));
            let old = std::mem::replace(&mut self.seconds, kept);
            self.bytes -= old.values().map(Slot::capacity).sum::<usize>();
            self.coarse_before = minute + 1;
            return true;
        }
        match self.minutes.pop_first() {
            Some((_, slot)) => {
                self.bytes -= slot.capacity();
                true
            }
            None => false,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Slots::default();
    }

    /// The slots from `first` to `last`, both included, each with the share of it that counts.
    pub(super) fn between(&self, first: u64, last: u64) -> Vec<(Slot, f64)> {
        let mut found = Vec::new();
        let mut at = first;
        while at <= last {
            let minute = at / 60;
            let end = (minute * 60 + 59).min(last);
            let covered = end - at + 1;
            match self.minutes.get(&minute) {
                Some(slot) if covered == 60 || minute < self.coarse_before => {
                    found.push((slot.clone(), covered as f64 / 60.0));
                }
                _ => {
                    let seconds = self.seconds.range(at..=end);
                    found.extend(seconds.map(|(_, slot)| (slot.clone(), 1.0)));
                }
            }
            // Skips what nothing was recorded in, however long.
            let next = self.seconds.range(end + 1..).next().map(|(at, _)| *at);
            let next_sum = self.minutes.range(minute + 1..).next();
            let next_sum = next_sum.map(|(minute, _)| minute * 60);
            let Some(next) = next.into_iter().chain(next_sum).min() else {
                break;
            };
            at = next.max(end + 1);
        }
        found
    }
}

/// What was added in the slots, by series.
pub(super) fn sum(slots: &[(Slot, f64)]) -> HashMap<Id, Totals> {
    let mut totals: HashMap<Id, Totals> = HashMap::new();
    for (slot, share) in slots {
        for (id, delta) in slot.iter() {
            totals.entry(id).or_default().add(&delta, *share);
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::{Delta, Slots};

    fn requests(requests: u64) -> Delta {
        Delta {
            requests,
            ..Delta::default()
        }
    }

    fn sum(slots: &Slots, first: u64, last: u64) -> f64 {
        super::sum(&slots.between(first, last))
            .values()
            .map(|t| t.requests)
            .sum()
    }

    #[test]
    fn minutes_and_seconds_tell_the_same() {
        let mut slots = Slots::default();
        for second in 1000..1400 {
            slots.push(second, second % 3, &requests(second));
        }
        let before = sum(&slots, 1003, 1390);
        slots.seal_before(1400);
        assert_eq!(sum(&slots, 1003, 1390), before);
        let naive: u64 = (1003..=1390).sum();
        assert_eq!(before, naive as f64);
        // Late: its minute is summed up already.
        slots.push(1100, 1, &requests(5));
        assert_eq!(sum(&slots, 1003, 1390), before + 5.0);
        assert_eq!(sum(&slots, 1100, 1100), 1105.0);
    }

    #[test]
    fn a_coarse_minute_is_shared_out_evenly() {
        let mut slots = Slots::default();
        for second in 600..720 {
            slots.push(second, 1, &requests(2));
        }
        slots.seal_before(720);
        let fine = slots.bytes();
        assert!(slots.coarsen());
        assert!(slots.bytes() < fine);
        assert_eq!(sum(&slots, 600, 719), 240.0);
        assert_eq!(sum(&slots, 630, 719), 180.0);
        // Late: its second is gone, its minute is not.
        slots.push(610, 1, &requests(60));
        assert_eq!(sum(&slots, 600, 719), 300.0);
        assert_eq!(sum(&slots, 630, 719), 210.0);
    }

    #[test]
    fn coarsening_ends_with_nothing() {
        let mut slots = Slots::default();
        for second in 600..900 {
            slots.push(second, 1, &requests(2));
        }
        slots.seal_before(1000);
        while slots.coarsen() {}
        assert_eq!(slots.bytes(), 0);
        assert_eq!(sum(&slots, 0, 1000), 0.0);
    }

    #[test]
    fn forgetting_frees_memory() {
        let mut slots = Slots::default();
        for second in 600..900 {
            slots.push(second, 1, &requests(2));
        }
        slots.seal_before(840);
        slots.forget_before(850);
        assert_eq!(sum(&slots, 850, 10_000), 100.0);
        slots.forget_before(10_000);
        assert_eq!(slots.bytes(), 0);
    }

    #[test]
    fn a_sum_over_all_of_time_is_quick() {
        let mut slots = Slots::default();
        slots.push(5, 1, &requests(1));
        slots.push(4_000_000_000, 1, &requests(2));
        assert_eq!(sum(&slots, 0, u64::MAX / 2), 3.0);
    }
}
