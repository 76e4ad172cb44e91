//! Waiting for what is really there. Nothing here sleeps a guess; a poll ends by the event or by a deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long anything of the fleet may take to get ready, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks `probe` until it is content; `Err` is what is missing still. Gives up at the deadline with the last
/// answer.
pub(crate) async fn poll<T, F>(
    patience: Duration,
    every: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + patience;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probe().await {
            Ok(found) => return Ok(found),
            Err(missing) if Instant::now() >= deadline => return Err(missing),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL_EVERY: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn polls_until_the_event() {
        let mut left = 5;
        let found = poll(Duration::from_secs(10), POLL_EVERY, || {
            left -= 1;
            let answer = if left == 0 {
                Ok("there")
            } else {
                Err(String::new())
            };
            async move { answer }
        });
        assert_eq!(found.await, Ok("there"));
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_at_the_deadline_with_the_last_word() {
        let begun = Instant::now();
        let missing = poll::<(), _>(Duration::from_secs(10), POLL_EVERY, || async {
            Err("waiting for a certificate".to_owned())
        });
        assert_eq!(missing.await, Err("waiting for a certificate".to_owned()));
        assert!(begun.elapsed() >= Duration::from_secs(10));
        assert!(begun.elapsed() < Duration::from_secs(11));
    }
}
