//! Whether a process can do its work, and what it still waits for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Named conditions, all of which must hold. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness {
    conditions: Arc<watch::Sender<BTreeMap<&'static str, bool>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// No conditions yet: ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            conditions: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    /// Adds a condition that does not hold yet, in words that complete "waiting for …".
    pub fn expect(&self, condition: &'static str) {
        self.set(condition, false);
    }

    /// Says whether a condition holds.
    pub fn set(&self, condition: &'static str, holds: bool) {
        self.conditions
            .send_if_modified(|conditions| conditions.insert(condition, holds) != Some(holds));
    }

    /// The conditions that do not hold.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.conditions
            .borrow()
            .iter()
            .filter(|(_, holds)| !**holds)
            .map(|(condition, _)| *condition)
            .collect()
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions.borrow().values().all(|holds| *holds)
    }

    /// Returns when every condition holds.
    pub async fn wait(&self) {
        self.wait_for(|_| true).await;
    }

    /// Returns when every condition but this one holds.
    pub async fn wait_for_others_than(&self, condition: &str) {
        self.wait_for(|name| name != condition).await;
    }

    /// Returns when every condition holds that is of interest.
    async fn wait_for(&self, interest: impl Fn(&str) -> bool) {
        let mut conditions = self.conditions.subscribe();
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = conditions
            .wait_for(|conditions| {
                let mut all = conditions.iter();
                all.all(|(name, holds)| *holds || !interest(name))
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_the_last_condition_holds() {
        let readiness = Readiness::new();
        readiness.expect("a certificate");
        readiness.expect("listeners");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        readiness.set("listeners", true);
        assert_eq!(readiness.pending(), ["a certificate"]);
        assert!(!readiness.is_ready());
        readiness.set("a certificate", true);
        waiting.await.unwrap();
        assert!(readiness.is_ready());
        readiness.expect("its app");
        readiness.wait_for_others_than("its app").await;
        assert!(!readiness.is_ready());
    }
}
