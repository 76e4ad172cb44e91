//! One signal, heard everywhere, that it is time to stop.

use tokio::sync::watch;

/// Tells every part of a process to stop. Clones share one state; once triggered it stays so.
#[derive(Clone, Debug)]
pub struct Shutdown {
    state: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A stop that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: watch::Sender::new(false),
        }
    }

    /// Asks everybody to stop.
    pub fn trigger(&self) {
        self.state.send_replace(true);
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.state.borrow()
    }

    /// Returns when a stop is asked for, at once if it already was.
    pub async fn wait(&self) {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = state.wait_for(|stop| *stop).await;
    }

    /// Triggers on SIGTERM or SIGINT, and says so in the log. A second signal changes nothing: every stop is
    /// bounded, and SIGKILL remains.
    ///
    /// # Errors
    ///
    /// If the system refuses the signal handlers.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            shutdown.trigger();
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_it_whenever_it_listens() {
        let shutdown = Shutdown::new();
        let early = shutdown.clone();
        let waiting = tokio::spawn(async move { early.wait().await });
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        waiting.await.unwrap();
        shutdown.clone().wait().await;
        assert!(shutdown.is_triggered());
    }
}
