//! How long a peer's certificate speaks for it: until it expires, by this machine's clock.
//!
//! There is no grace, as there is none in a handshake. Used by `incoming.rs`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::Sleep;

/// The clock is looked at this often at least: a machine that was suspended wakes with its timers
/// late, and clocks are set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A certificate's remaining life.
#[derive(Debug)]
pub(super) enum Proof {
    /// Nothing was proven, so that nothing can end.
    None,
    /// It holds until then.
    Until(SystemTime, Pin<Box<Sleep>>),
    /// It has expired.
    Over,
}

impl Proof {
    /// Needs a tokio runtime, as [`Self::poll_over`] does.
    pub(super) fn until(not_after: Option<SystemTime>) -> Self {
        match not_after {
            None => Self::None,
            Some(end) => Self::Until(end, Box::pin(tokio::time::sleep(nap(end)))),
        }
    }

    /// As [`Self::poll_over`] was told last.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Ready when it has expired; wakes the task at that time.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Self::None => return Poll::Pending,
                Self::Over => return Poll::Ready(()),
                Self::Until(end, sleep) => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let end = *end;
                    if SystemTime::now() >= end {
                        *self = Self::Over;
                    } else {
                        sleep.set(tokio::time::sleep(nap(end)));
                    }
                }
            }
        }
    }
}

/// Until the end, or until it is time to look at the clock again.
fn nap(end: SystemTime) -> Duration {
    let left = end.duration_since(SystemTime::now());
    left.unwrap_or_default().min(LONGEST_SLEEP)
}
