//! Renewal: a new key and certificate long before the old one expires, and no hurry in between.
//!
//! Between half and two thirds of a certificate's life it is replaced, at a moment of each
//! process's own. If that fails, the old one goes on serving and the attempts go on; in the last
//! quarter they are warnings. The certificate itself authenticates the request, so once it has
//! expired only a new token helps. Who is asked is in `authority.rs`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::authority::Authority;
use super::request::{AnswerError, Request};
use super::store::{Store, Stored};
use crate::Backoff;
use crate::identity::Identity;

/// When in a certificate's life it is renewed: its share that has passed, and how much that varies.
const RENEW_AT: f64 = 0.50;
const RENEW_JITTER: f64 = 0.16;
/// The share of its life that is left when failures become warnings.
const WARN_BELOW: f64 = 0.25;
/// Waits between attempts, as a share of the life, within these limits.
const FIRST_WAIT: (f64, Duration) = (0.01, Duration::from_secs(5));
const LONGEST_WAIT: (f64, Duration) = (0.05, Duration::from_secs(60));
/// What is shorter is treated as this long, lest a strange clock or authority make us busy.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
/// No sleep is longer, since a machine that was suspended wakes with its timers late.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The task that keeps an identity fresh.
pub(super) struct Rotation<A, C> {
    identity: Arc<Identity>,
    store: Arc<Store>,
    authority: A,
    obtained: SystemTime,
    clock: C,
}

impl<A: Authority, C: Fn() -> SystemTime> Rotation<A, C> {
    pub(super) fn new(
        identity: Arc<Identity>,
        store: Arc<Store>,
        authority: A,
        obtained: SystemTime,
        clock: C,
    ) -> Self {
        Self {
            identity,
            store,
            authority,
            obtained,
            clock,
        }
    }

    /// Renews again and again; ends only by being dropped.
    pub(super) async fn run(mut self) {
        loop {
            let life = self.life();
            let due = self.obtained + life.mul_f64(RENEW_AT + RENEW_JITTER * fastrand::f64());
            self.sleep_until(due).await;
            let wait = |(share, limit)| life.mul_f64(share).min(limit);
            let mut backoff = Backoff::new(wait(FIRST_WAIT), wait(LONGEST_WAIT));
            while let Err(reason) = self.renew().await {
                let wait = backoff.wait();
                self.complain(&reason, life, wait);
                tokio::time::sleep(wait).await;
            }
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let request = Request::new().map_err(|error| error.to_string())?;
        let answer = self.authority.renew(request.csr.clone()).await?;
        let stored = request
            .accept(answer, (self.clock)())
            .map_err(|error| error.to_string())?;
        if stored.svid.id != self.identity.id() {
            return Err(AnswerError::Identity(stored.svid.id.clone()).to_string());
        }
        let stored = self.save(stored).await;
        let Stored {
            svid,
            bundle,
            obtained,
        } = stored;
        tracing::info!(
            id = %svid.id,
            expires = %humantime::format_rfc3339_seconds(svid.not_after),
            "renewed the certificate"
        );
        self.obtained = obtained;
        self.identity.replace(svid, bundle);
        Ok(())
    }

    /// A full disk is no reason to let the certificate of a running process expire.
    async fn save(&self, stored: Stored) -> Stored {
        let store = self.store.clone();
        let saving = tokio::task::spawn_blocking(move || {
            if let Err(error) = store.save(&stored) {
                tracing::error!(%error, "the renewed identity is in use, but not on disk");
            }
            stored
        });
        saving
            .await
            .expect("saving does not panic and is not cancelled")
    }

    fn complain(&self, reason: &str, life: Duration, retry_in: Duration) {
        let not_after = self.identity.not_after();
        let expires = humantime::format_rfc3339_seconds(not_after);
        match not_after.duration_since((self.clock)()) {
            Ok(left) if left > life.mul_f64(WARN_BELOW) => {
                tracing::info!(reason, ?retry_in, %expires, "cannot renew the certificate yet");
            }
            Ok(left) => {
                let left = Duration::from_secs(left.as_secs());
                tracing::warn!(reason, ?retry_in, %expires, ?left, "cannot renew the certificate");
            }
            Err(_) => tracing::error!(
                reason,
                %expires,
                ?retry_in,
                "the certificate has expired and peers refuse it: put a new join token \
                 (`mesh-ca token create`) into the file of --join-token-file, or restart with one"
            ),
        }
    }

    /// From when we got it to its end.
    fn life(&self) -> Duration {
        let life = self.identity.not_after().duration_since(self.obtained);
        life.unwrap_or_default().max(SHORTEST_LIFE)
    }

    async fn sleep_until(&self, due: SystemTime) {
        while let Ok(left) = due.duration_since((self.clock)()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }
}

#[cfg(test)]
mod tests;
