//! Cleans up behind a demo that was killed and could not do so itself.
//!
//! The demo starts this very program once more, as a janitor, and holds the other end of its standard
//! input. What runs and where it lives is written there line by line; when the pipe ends without `done`, the
//! demo is gone: the janitor kills what is left and removes the directory. The system closes the pipe
//! whatever the demo died of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// The word that makes this program a janitor.
pub(crate) const WORD: &str = "janitor";

/// The demo's end of the pipe.
#[derive(Debug)]
pub(crate) struct Janitor {
    child: Child,
    pipe: ChildStdin,
}

impl Janitor {
    /// Starts a janitor for a directory.
    pub(crate) fn start(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut child = Command::new(program)
            .arg(WORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the janitor")?;
        let pipe = child.stdin.take().context("the janitor has a pipe")?;
        let mut janitor = Self { child, pipe };
        janitor.tell(&format!("directory {}", directory.display()));
        Ok(janitor)
    }

    /// A process has started, as the leader of its own group.
    pub(crate) fn started(&mut self, pid: u32) {
        self.tell(&format!("started {pid}"));
    }

    /// A process has ended: its id may become somebody else's.
    pub(crate) fn ended(&mut self, pid: u32) {
        self.tell(&format!("ended {pid}"));
    }

    /// A file outside the directory speaks of the fleet, and must not outlive it.
    pub(crate) fn wrote(&mut self, file: &Path) {
        self.tell(&format!("file {}", file.display()));
    }

    /// Something runs that a command stops.
    pub(crate) fn stopped_by(&mut self, stop: &Stop) {
        // A map of texts can always be written.
        self.tell(&format!("stop {}", serde_json::json!(stop)));
    }

    /// Everything is cleaned up; the janitor may go home.
    pub(crate) fn done(mut self) {
        self.tell("done");
        drop(self.pipe);
        // It only reads one more line.
        let _ = self.child.wait();
    }

    fn tell(&mut self, line: &str) {
        // Without a janitor the fleet is still cleaned up by the demo itself.
        let _ = writeln!(self.pipe, "{line}");
    }
}

/// A command that stops what is no process of the demo's: containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// Variables on top of the inherited ones.
    pub(crate) env: BTreeMap<String, String>,
}

/// What a janitor has been told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    directory: Option<PathBuf>,
    file: Option<PathBuf>,
    running: BTreeSet<u32>,
    stop: Option<Stop>,
    done: bool,
}

/// The janitor's whole life: listens until the pipe ends, then cleans up unless all is done.
pub(crate) fn run() {
    let told = listen(io::stdin().lock());
    if told.done {
        return;
    }
    for pid in told.running {
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    if let Some(Stop { argv, env }) = told.stop
        && let Some((program, arguments)) = argv.split_first()
    {
        // What it says has no reader any more.
        let _ = Command::new(program)
            .args(arguments)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    if let Some(file) = told.file {
        let _ = std::fs::remove_file(file);
    }
    if let Some(directory) = told.directory {
        // A process that is just dying may write once more; the second round gets that.
        for _ in 0..2 {
            let _ = std::fs::remove_dir_all(&directory);
        }
    }
}

fn listen(lines: impl BufRead) -> Told {
    let mut told = Told::default();
    for line in lines.lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("directory", directory)) => told.directory = Some(directory.into()),
            Some(("file", file)) => told.file = Some(file.into()),
            Some(("stop", stop)) => told.stop = serde_json::from_str(stop).ok(),
            Some(("started", pid)) => told.running.extend(pid.parse::<u32>()),
            Some(("ended", pid)) => {
                if let Ok(pid) = pid.parse() {
                    told.running.remove(&pid);
                }
            }
            _ => told.done |= line == "done",
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_left() {
        let told =
            listen("directory /tmp/a b\nstarted 7\nstarted 8\nfile /tmp/f\nended 7\n".as_bytes());
        assert_eq!(told.directory, Some(PathBuf::from("/tmp/a b")));
        assert_eq!(told.file, Some(PathBuf::from("/tmp/f")));
        assert_eq!(told.running, BTreeSet::from([8]));
        assert_eq!(told.stop, None);
        assert!(!told.done);
        let stop = Stop {
            argv: vec!["docker-compose".to_owned(), "down".to_owned()],
            env: BTreeMap::from([("PORT".to_owned(), "1 2".to_owned())]),
        };
        let line = format!("stop {}\n", serde_json::json!(stop));
        assert_eq!(listen(line.as_bytes()).stop, Some(stop));
        assert!(listen("started 7\ndone\n".as_bytes()).done);
    }
}
