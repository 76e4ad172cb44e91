//! One process of the fleet: its command, its log, its life and its end.
//!
//! Each runs in a process group of its own, so that Ctrl-C reaches the demo alone, which then stops the
//! others in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::fleet::deaths::{Death, Deaths};

/// How a process is started, and started again.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Invocation {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// The working directory.
    pub(crate) cwd: PathBuf,
}

/// A process as planned.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Unique in the fleet, for example `webapp-original-agent`.
    pub(crate) name: String,
    /// How it is started.
    pub(crate) invocation: Invocation,
    /// What it writes once it listens.
    pub(crate) addresses_file: PathBuf,
    /// Answers 200 once it can do its work.
    pub(crate) ready_url: String,
    /// Its metrics.
    pub(crate) metrics_url: String,
    /// What it says.
    pub(crate) log: PathBuf,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    /// As planned.
    pub(crate) spec: Spec,
    /// Its id, also after it has ended.
    pub(crate) pid: u32,
    wanted: watch::Sender<Option<Signal>>,
    ended: watch::Receiver<bool>,
}

/// Starts a process; its end is watched from now on.
pub(crate) fn start(spec: Spec, deaths: &Deaths) -> anyhow::Result<Running> {
    let name = &spec.name;
    let log = File::options()
        .create(true)
        .append(true)
        .open(&spec.log)
        .with_context(|| format!("cannot write the log {}", spec.log.display()))?;
    let (program, arguments) = spec
        .invocation
        .argv
        .split_first()
        .with_context(|| format!("{name} has no command"))?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&spec.invocation.env)
        .current_dir(&spec.invocation.cwd)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {name} ({program})"))?;
    let pid = child
        .id()
        .context("a process that was just started has an id")?;
    let (wanted, wanted_seen) = watch::channel(None);
    let (ended_told, ended) = watch::channel(false);
    let death = Death {
        name: spec.name.clone(),
        pid: Some(pid),
        how: String::new(),
    };
    tokio::spawn(watch_over(
        child,
        death,
        wanted_seen,
        ended_told,
        deaths.clone(),
    ));
    Ok(Running {
        spec,
        pid,
        wanted,
        ended,
    })
}

/// Owns the child: passes signals on while it lives, and tells when it has ended.
async fn watch_over(
    mut child: Child,
    mut death: Death,
    mut wanted: watch::Receiver<Option<Signal>>,
    ended: watch::Sender<bool>,
    deaths: Deaths,
) {
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            changed = wanted.changed() => {
                if changed.is_err() {
                    // Nobody holds the process any more: dropping the child kills it.
                    return;
                }
                let signal = *wanted.borrow_and_update();
                // The child is not reaped before `wait` has returned, so its id is still its own.
                let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                if let (Some(signal), Some(pid)) = (signal, pid) {
                    // It may have ended meanwhile, which is what was wanted.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    };
    let asked = wanted.borrow().is_some();
    if !asked {
        death.how = match status {
            Ok(status) => ending(status),
            Err(error) => format!("cannot be watched: {error}"),
        };
        deaths.send_modify(|deaths| deaths.push(death));
    }
    ended.send_replace(true);
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Asks processes to stop, waits until `patience` is over, and kills those that are still there. Returns
/// the names of the killed.
pub(crate) async fn stop(processes: Vec<Running>, patience: Duration) -> Vec<String> {
    for process in &processes {
        process.wanted.send_replace(Some(Signal::TERM));
    }
    let deadline = Instant::now() + patience;
    let mut killed = Vec::new();
    for mut process in processes {
        if timeout_at(deadline, process.ended.wait_for(|ended| *ended))
            .await
            .is_err()
        {
            killed.push(process.spec.name.clone());
            process.wanted.send_replace(Some(Signal::KILL));
            // Nothing survives SIGKILL; an error says that the watcher is gone, and the child with it.
            let _ = process.ended.wait_for(|ended| *ended).await;
        }
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn spec(directory: &Path, name: &str, argv: &[&str]) -> Spec {
        Spec {
            name: name.to_owned(),
            invocation: Invocation {
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
                cwd: directory.to_owned(),
            },
            addresses_file: directory.join("addresses.json"),
            ready_url: String::new(),
            metrics_url: String::new(),
            log: directory.join(format!("{name}.log")),
        }
    }

    #[tokio::test]
    async fn an_unasked_end_is_told_with_name_and_log() {
        let directory = tempfile::tempdir().unwrap();
        let deaths = Deaths::default();
        let script = ["/bin/sh", "-c", "echo \"$GREETING\"; exit 3"];
        let running = start(spec(directory.path(), "short", &script), &deaths).unwrap();
        let mut seen = deaths.subscribe();
        let death = seen.wait_for(|deaths| !deaths.is_empty()).await.unwrap()[0].clone();
        assert_eq!(
            death.to_string(),
            format!("short (pid {}) ended with exit code 3", running.pid)
        );
        assert_eq!(
            std::fs::read_to_string(&running.spec.log).unwrap(),
            "hello\n"
        );
    }

    #[tokio::test]
    async fn stops_at_once_what_listens_to_the_signal() {
        let directory = tempfile::tempdir().unwrap();
        let deaths = Deaths::default();
        let running = start(
            spec(directory.path(), "sleeper", &["/bin/sleep", "600"]),
            &deaths,
        )
        .unwrap();
        let killed = stop(vec![running], Duration::from_secs(60)).await;
        assert!(killed.is_empty());
        assert!(deaths.borrow().is_empty());
    }

    #[tokio::test]
    async fn kills_what_does_not_listen() {
        let directory = tempfile::tempdir().unwrap();
        let deaths = Deaths::default();
        let script = [
            "/bin/sh",
            "-c",
            "trap '' TERM; echo > deaf; while :; do sleep 1; done",
        ];
        let running = start(spec(directory.path(), "deaf", &script), &deaths).unwrap();
        let log = directory.path().join("deaf");
        let deaf = async {
            while !log.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), deaf)
            .await
            .expect("the shell starts");
        let killed = stop(vec![running], Duration::from_millis(50)).await;
        assert_eq!(killed, ["deaf"]);
    }
}
