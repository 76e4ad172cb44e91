//! Parts of a fleet that have ended although nobody had asked them to.

use std::sync::Arc;

use tokio::sync::watch;

use super::logs::Logs;

/// How many lines of its log an error shows.
const TAIL_LINES: usize = 15;

/// The end of a part that was not asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    /// The part.
    pub(crate) name: String,
    /// Its process id while it lived, if it was a process of this machine.
    pub(crate) pid: Option<u32>,
    /// How it ended, in words.
    pub(crate) how: String,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(pid) = self.pid {
            write!(f, " (pid {pid})")?;
        }
        write!(f, " {}", self.how)
    }
}

/// All unasked ends so far. Clones of the sender share them.
pub(crate) type Deaths = Arc<watch::Sender<Vec<Death>>>;

/// Returns when a part has ended that nobody had asked to, as an error that says so.
pub(crate) async fn first_death(deaths: &Deaths, logs: &Logs) -> anyhow::Error {
    let mut seen = deaths.subscribe();
    let death = match seen.wait_for(|deaths| !deaths.is_empty()).await {
        Ok(deaths) => deaths[0].clone(),
        // The sender is borrowed by the caller, so the channel cannot close.
        Err(error) => return error.into(),
    };
    anyhow::anyhow!(
        "{death}; the end of {}:\n{}",
        logs.of(&death.name),
        logs.tail(&death.name, TAIL_LINES).await
    )
}
