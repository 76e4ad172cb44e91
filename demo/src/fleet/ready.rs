//! Waiting for what is really there: a process has bound its addresses, says that it is ready, and has
//! not ended meanwhile. Nothing here sleeps a guess; a poll ends by the event or by a deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::process::{Deaths, Spec, tail};
use crate::client::Client;

/// How long anything of the fleet may take to get ready, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const POLL_EVERY: Duration = Duration::from_millis(50);

/// How many lines of a log a report shows.
const TAIL_LINES: usize = 15;

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

/// Returns when all of these processes are ready; fails when one has ended or takes too long, with the
/// end of its log.
pub(crate) async fn all_ready(
    client: &Client,
    specs: &[Spec],
    deaths: &Deaths,
) -> anyhow::Result<()> {
    let waiting = specs.iter().map(|spec| one_ready(client, spec));
    tokio::select! {
        all = futures_util::future::try_join_all(waiting) => all.map(drop),
        death = first_death(deaths) => Err(death),
    }
}

async fn one_ready(client: &Client, spec: &Spec) -> anyhow::Result<()> {
    let probe = || async {
        // The file is this very process's; a listener alone could be a stranger's.
        if !spec.addresses_file.exists() {
            return Err("it has not bound its addresses".to_owned());
        }
        match client.get(&spec.ready_url).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(answer.body.trim().to_owned()),
            Err(lost) => Err(format!("{}: {lost}", spec.ready_url)),
        }
    };
    match poll(PATIENCE, POLL_EVERY, probe).await {
        Ok(()) => Ok(()),
        Err(missing) => bail!(
            "{} was not ready after {} s: {missing}; the end of {}:\n{}",
            spec.name,
            PATIENCE.as_secs(),
            spec.log.display(),
            tail(&spec.log, TAIL_LINES)
        ),
    }
}

/// Returns when a process has ended that nobody had asked to, as an error that says so.
pub(crate) async fn first_death(deaths: &Deaths) -> anyhow::Error {
    let mut seen = deaths.subscribe();
    match seen.wait_for(|deaths| !deaths.is_empty()).await {
        Ok(deaths) => {
            let death = &deaths[0];
            anyhow::anyhow!(
                "{death}; the end of {}:\n{}",
                death.log.display(),
                tail(&death.log, TAIL_LINES)
            )
        }
        // The sender is borrowed by the caller, so the channel cannot close.
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
