//! Connections that are open, by the series that they belong to.
//!
//! Proxies report what was opened and closed, so what is open is the difference, as long as the proxy that
//! counts lives. Hence it is kept for each process: when one is gone, so are its connections, though nobody
//! will ever report them closed.

use std::collections::{BTreeSet, HashMap};

use super::delta::Id;

/// What each process has open.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<String, HashMap<Id, u64>>);

impl Open {
    /// Adds what a process (opened, closed). What it closes without having opened it here was open before
    /// its report stream broke and came back.
    pub(super) fn count(&mut self, process: &str, id: Id, (opened, closed): (u64, u64)) {
        if !self.0.contains_key(process) {
            if opened <= closed {
                return;
            }
            self.0.insert(process.to_owned(), HashMap::new());
        }
        let Some(of_process) = self.0.get_mut(process) else {
            return;
        };
        let before = of_process.get(&id).copied().unwrap_or_default();
        let now = before.saturating_add(opened).saturating_sub(closed);
        if now > 0 {
            of_process.insert(id, now);
        } else {
            of_process.remove(&id);
        }
        if of_process.is_empty() {
            self.0.remove(process);
        }
    }

    /// Forgets all that a process had open.
    pub(super) fn forget(&mut self, process: &str) {
        self.0.remove(process);
    }

    /// The series with connections that are open.
    pub(super) fn series(&self) -> BTreeSet<Id> {
        self.0.values().flat_map(HashMap::keys).copied().collect()
    }

    /// Forgets the series that are not wanted.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(Id) -> bool) {
        for of_process in self.0.values_mut() {
            of_process.retain(|id, _| wanted(*id));
        }
        self.0.retain(|_, of_process| !of_process.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::Open;

    fn open(open: &Open) -> Vec<u64> {
        open.series().into_iter().collect()
    }

    #[test]
    fn what_is_opened_is_open_until_it_is_closed() {
        let mut sessions = Open::default();
        sessions.count("a", 1, (2, 0));
        sessions.count("a", 2, (1, 1));
        sessions.count("b", 1, (1, 0));
        assert_eq!(open(&sessions), [1]);
        sessions.count("a", 1, (0, 2));
        assert_eq!(open(&sessions), [1], "b's is open");
        sessions.count("b", 1, (0, 5));
        assert!(sessions.0.is_empty());
        // Of before.
        sessions.count("a", 1, (1, 3));
        assert!(sessions.0.is_empty());
    }

    #[test]
    fn a_process_takes_its_connections_along() {
        let mut sessions = Open::default();
        sessions.count("a", 1, (1, 0));
        sessions.count("b", 2, (1, 0));
        sessions.forget("a");
        assert_eq!(open(&sessions), [2]);
        sessions.retain(|id| id != 2);
        assert!(sessions.0.is_empty());
    }
}
