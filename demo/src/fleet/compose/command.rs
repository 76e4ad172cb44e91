//! Running the programs of Docker to their end.

use std::collections::BTreeMap;
use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How many lines of what a program said are worth showing.
const SHOWN_LINES: usize = 6;

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// It could not be run.
    #[error("cannot run {program}: {reason}")]
    NotRun {
        /// The program.
        program: String,
        /// The system's reason.
        reason: io::Error,
    },
    /// It says that it has failed.
    #[error("`{command}` {status}: {said}")]
    Status {
        /// As typed.
        command: String,
        /// Its end.
        status: ExitStatus,
        /// The end of what it said.
        said: String,
    },
}

impl Failed {
    /// Whether there is no such program.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::NotRun { reason, .. } if reason.kind() == io::ErrorKind::NotFound)
    }
}

/// Runs a program to its end. Returns its standard output.
pub(crate) async fn output(
    argv: &[String],
    env: &BTreeMap<String, String>,
) -> Result<String, Failed> {
    Run::start(argv, env)?.output().await
}

/// A program that runs, in a process group of its own, so that Ctrl-C does not reach it. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Run {
    argv: Vec<String>,
    child: Child,
    group: Group,
}

impl Run {
    /// Starts it, with these variables on top of the inherited ones.
    pub(crate) fn start(argv: &[String], env: &BTreeMap<String, String>) -> Result<Self, Failed> {
        let (program, arguments) = argv.split_first().expect("every command has a program");
        let child = Command::new(program)
            .args(arguments)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|reason| not_run(argv, reason))?;
        Ok(Self {
            argv: argv.to_vec(),
            group: Group(child.id()),
            child,
        })
    }

    /// The id of the process, which is its group's.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.group.0
    }

    /// Waits for its end. Returns its standard output.
    pub(crate) async fn output(self) -> Result<String, Failed> {
        let Self {
            argv,
            child,
            mut group,
        } = self;
        let output = child.wait_with_output().await;
        let output = output.map_err(|reason| not_run(&argv, reason))?;
        group.0 = None;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failed::Status {
            command: argv.join(" "),
            status: output.status,
            said: said(&output.stderr, &output.stdout),
        })
    }
}

fn not_run(argv: &[String], reason: io::Error) -> Failed {
    Failed::NotRun {
        program: argv.first().cloned().unwrap_or_default(),
        reason,
    }
}

/// A process group that lives. Dropping it kills it: a plugin of Docker is a child of the program that was started.
#[derive(Debug)]
pub(super) struct Group(pub(super) Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self
            .0
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(leader) = leader {
            // It may have ended meanwhile.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// What a program said last: its errors, or else its output.
fn said(errors: &[u8], output: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let output = String::from_utf8_lossy(output);
    let text = if errors.trim().is_empty() {
        output
    } else {
        errors
    };
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<String, Failed> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        output(&argv, &env).await
    }

    #[tokio::test]
    async fn a_program_gets_its_variables_and_its_output_comes_back() {
        assert_eq!(shell("echo $GREETING").await.unwrap(), "hello\n");
    }

    #[tokio::test]
    async fn a_failure_has_the_programs_own_words() {
        let error = shell("echo progress; echo no such network >&2; exit 3").await;
        let error = error.unwrap_err();
        assert!(!error.is_missing());
        let words = error.to_string();
        assert!(words.contains("no such network"), "{words}");
        assert!(!words.contains(": progress"), "{words}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_apart() {
        let argv = ["/nonexistent/docker".to_owned()];
        let error = output(&argv, &BTreeMap::new()).await.unwrap_err();
        assert!(error.is_missing());
        assert!(error.to_string().contains("/nonexistent/docker"), "{error}");
    }
}
