//! Connections that are open, by the series that they belong to.
//!
//! Proxies report what was opened and closed, so what is open is the difference, as long as the stream of
//! reports lives that told of it. Hence it is kept for each stream: when one is gone, so are its connections,
//! though nobody will ever report them closed.

use std::collections::{BTreeSet, HashMap};

use super::delta::Id;

/// Most series that streams have open, each counted once a stream. What is opened beyond is not known to be
/// open; its traffic is.
const MOST: usize = 100_000;

/// What each stream of reports has open.
#[derive(Debug, Default)]
pub(super) struct Open {
    by_stream: HashMap<u64, HashMap<Id, u64>>,
    /// Series in all streams.
    held: usize,
}

impl Open {
    /// Adds what a stream told (opened, closed). What it closes without having opened it was open before
    /// an earlier stream of the same proxy broke.
    pub(super) fn count(&mut self, stream: u64, id: Id, (opened, closed): (u64, u64)) {
        let of_stream = self.by_stream.get(&stream);
        let before = of_stream.and_then(|of_stream| of_stream.get(&id));
        let before = before.copied().unwrap_or_default();
        let now = before.saturating_add(opened).saturating_sub(closed);
        match (before, now) {
            (0, 0) => {}
            (0, _) if self.held >= MOST => {}
            (_, 0) => {
                if let Some(of_stream) = self.by_stream.get_mut(&stream) {
                    of_stream.remove(&id);
                    self.held -= 1;
                    if of_stream.is_empty() {
                        self.by_stream.remove(&stream);
                    }
                }
            }
            _ => {
                self.held += usize::from(before == 0);
                self.by_stream.entry(stream).or_default().insert(id, now);
            }
        }
    }

    /// Forgets all that a stream had open.
    pub(super) fn forget(&mut self, stream: u64) {
        let forgotten = self.by_stream.remove(&stream);
        self.held -= forgotten.map_or(0, |of_stream| of_stream.len());
    }

    /// The series with connections that are open.
    pub(super) fn series(&self) -> BTreeSet<Id> {
        self.by_stream
            .values()
            .flat_map(HashMap::keys)
            .copied()
            .collect()
    }

    /// Forgets the series that are not wanted.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(Id) -> bool) {
        for of_stream in self.by_stream.values_mut() {
            of_stream.retain(|id, _| wanted(*id));
        }
        self.by_stream.retain(|_, of_stream| !of_stream.is_empty());
        self.held = self.by_stream.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Open};

    fn open(open: &Open) -> Vec<u64> {
        open.series().into_iter().collect()
    }

    fn is_empty(open: &Open) -> bool {
        open.by_stream.is_empty() && open.held == 0
    }

    #[test]
    fn what_is_opened_is_open_until_it_is_closed() {
        let mut sessions = Open::default();
        sessions.count(1, 1, (2, 0));
        sessions.count(1, 2, (1, 1));
        sessions.count(2, 1, (1, 0));
        assert_eq!(open(&sessions), [1]);
        sessions.count(1, 1, (0, 2));
        assert_eq!(open(&sessions), [1], "the other's is open");
        sessions.count(2, 1, (0, 5));
        assert!(is_empty(&sessions));
        // Of before.
        sessions.count(1, 1, (1, 3));
        assert!(is_empty(&sessions));
        sessions.count(1, 1, (u64::MAX, 0));
        sessions.count(1, 1, (u64::MAX, u64::MAX));
        assert!(is_empty(&sessions));
    }

    #[test]
    fn a_stream_takes_its_connections_along() {
        let mut sessions = Open::default();
        sessions.count(1, 1, (1, 0));
        sessions.count(2, 2, (1, 0));
        sessions.forget(1);
        assert_eq!(open(&sessions), [2]);
        sessions.retain(|id| id != 2);
        sessions.forget(2);
        assert!(is_empty(&sessions));
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let mut sessions = Open::default();
        for id in 0..MOST as u64 + 10 {
            sessions.count(id % 7, id, (1, 0));
        }
        assert_eq!(sessions.held, MOST);
        let last = MOST as u64 - 1;
        sessions.count(last % 7, last, (1, 0));
        sessions.count(0, 0, (0, 1));
        sessions.count(9, 0, (1, 0));
        assert_eq!((sessions.held, open(&sessions).len()), (MOST, MOST));
    }
}
