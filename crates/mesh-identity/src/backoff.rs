//! Waiting between attempts: twice as long each time, up to a limit, and never two processes in
//! step, so that a server that comes back is not met by all of them at once.

use std::time::Duration;

/// The waits of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    limit: Duration,
}

impl Backoff {
    /// Waits that begin with `first` and grow to `limit`.
    #[must_use]
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            next: first,
            limit,
        }
    }

    /// It worked: the next wait is a short one.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now: between half and the whole of the step.
    pub fn wait(&mut self) -> Duration {
        let step = self.next.min(self.limit);
        self.next = step.saturating_mul(2).min(self.limit);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_with_jitter() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for step in [1.0, 2.0, 4.0, 5.0, 5.0] {
            let wait = backoff.wait().as_secs_f64();
            assert!(
                (step / 2.0..=step).contains(&wait),
                "{wait} for a step of {step}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }
}
