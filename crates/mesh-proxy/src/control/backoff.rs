//! Pauses between tries: growing, bounded, and spread so that a fleet does not come back in step.

use std::time::Duration;

/// The pauses of one thing that is tried again and again.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    tries: u32,
}

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(3);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { tries: 0 }
    }

    /// It worked: the next pause is a short one.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next pause: between a half and the whole of twice the one before.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = (FIRST * 2_u32.saturating_pow(self.tries.min(16))).min(LAST);
        self.tries += 1;
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_anew() {
        let mut backoff = Backoff::new();
        let mut whole = FIRST;
        for _ in 0..40 {
            let pause = backoff.pause();
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{pause:?} of {whole:?}"
            );
            whole = (whole * 2).min(LAST);
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
