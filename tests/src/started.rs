//! Programs that a test starts and has to stop, also when it fails.

use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};

use crate::eventually;

/// How long a program may take to stop. A fleet of containers takes up to two minutes on a busy machine.
const STOP: Duration = Duration::from_secs(150);

/// A program that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Started(Child);

impl Started {
    /// Starts a program.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{command:?} cannot be started: {error}"),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Returns when it has ended by itself.
    ///
    /// # Panics
    ///
    /// When it has not within `limit`.
    pub async fn end(&mut self, limit: Duration) -> ExitStatus {
        eventually("the program ends", limit, || {
            let ended = self.0.try_wait();
            async move {
                match ended? {
                    Some(status) => Ok(status),
                    None => bail!("it runs"),
                }
            }
        })
        .await
    }

    /// Ctrl-C, and the end of it.
    ///
    /// # Errors
    ///
    /// When it has to be killed.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        let pid = self.0.id().to_string();
        let signal = |name: &str| Command::new("kill").args([name, pid.as_str()]).status();
        signal("-INT")?;
        let (tell, told) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let status = self.0.wait();
                // Whoever is told knows when nobody tells any more.
                drop(tell);
                status
            });
            let is_late = told.recv_timeout(STOP) == Err(RecvTimeoutError::Timeout);
            if is_late {
                signal("-KILL")?;
            }
            let status = waiting.join().expect("waiting does not panic")?;
            ensure!(
                !is_late,
                "process {pid} did not stop within {STOP:?} and was killed"
            );
            Ok(status)
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nobody is left who would want to know.
        let _ = self.stop();
    }
}
