//! The application as the agent's child: started, signalled, waited for.
//!
//! It is the leader of a process group of its own, so that a terminal's Ctrl-C reaches the agent alone, which passes
//! it on when it is time. [`App::reap`] also takes in the orphans that a container's first process inherits.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mesh_process::Failure;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};
use tokio::sync::watch;

/// As shells have it: there is no such program.
const NOT_FOUND: u8 = 127;
/// As shells have it: there is, but it cannot be run.
const NOT_RUNNABLE: u8 = 126;
/// As shells have it: added to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// A child that runs, or has ended.
#[derive(Debug)]
pub(crate) struct App {
    pid: Pid,
    /// Its exit code, as a shell would tell it.
    ended: watch::Sender<Option<u8>>,
}

impl App {
    /// Starts it, with the agent's standard input, output and error.
    pub(crate) fn start(
        words: &[OsString],
        environment: BTreeMap<OsString, OsString>,
    ) -> Result<Self, Failure> {
        let (program, arguments) = words.split_first().ok_or_else(|| Failure {
            code: mesh_process::exit::USAGE,
            message:
                "there is no command after --; write mesh-agent run [OPTIONS] -- CMD [ARGS]..."
                    .to_owned(),
        })?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .process_group(0)
            .spawn()
            .map_err(|reason| cannot_start(program, &reason))?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid =
            id.ok_or_else(|| cannot_start(program, &io::Error::other("it has no process id")))?;
        tracing::info!(program = %program.display(), pid = child.id(), "the app is started");
        Ok(Self {
            pid,
            ended: watch::Sender::new(None),
        })
    }

    /// Sends it a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // It is reaped by nobody else, so that until then its id is its own.
        if self.ended.borrow().is_none() {
            // An error says that it is just ending.
            _ = kill_process(self.pid, signal);
        }
    }

    /// Ends it and what it has started, without asking.
    pub(crate) fn kill(&self) {
        if self.ended.borrow().is_none() {
            _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Collects all children that have ended; to be called at each SIGCHLD.
    pub(crate) fn reap(&self) {
        // Nothing has ended any more, or there are no children at all.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            if pid != self.pid {
                continue;
            }
            if status.stopped() {
                if status.stopping_signal() == Some(Signal::TTIN.as_raw()) {
                    tracing::warn!(
                        "the app stands still because it reads from the terminal, which belongs to the agent; give it \
                         another standard input, for example </dev/null"
                    );
                }
                continue;
            }
            let code = status
                .exit_status()
                .or_else(|| Some(BY_SIGNAL + status.terminating_signal()?));
            let code = code.and_then(|code| u8::try_from(code).ok());
            self.ended
                .send_replace(Some(code.unwrap_or(mesh_process::exit::FAILED)));
        }
    }

    /// Its end, with the exit code, once it comes.
    pub(crate) fn ending(&self) -> impl Future<Output = u8> + use<> {
        let mut ended = self.ended.subscribe();
        async move {
            let code = ended.wait_for(Option::is_some).await.map(|code| *code);
            // The sender lives as long as the app is of any interest.
            code.ok().flatten().unwrap_or(mesh_process::exit::FAILED)
        }
    }
}

fn cannot_start(program: &OsStr, reason: &io::Error) -> Failure {
    let program = program.display();
    let (code, way_out) = match reason.kind() {
        io::ErrorKind::NotFound => (
            NOT_FOUND,
            "give the path of a program, or the name of one in PATH",
        ),
        io::ErrorKind::PermissionDenied => (NOT_RUNNABLE, "make it executable for this user"),
        _ => (NOT_RUNNABLE, "check that it is a program for this machine"),
    };
    Failure {
        code,
        message: format!("cannot start the app {program}: {reason}; {way_out}"),
    }
}

/// The exit code of a program that a signal has ended.
pub(crate) fn code_of(signal: Signal) -> u8 {
    u8::try_from(BY_SIGNAL + signal.as_raw()).unwrap_or(mesh_process::exit::FAILED)
}

/// The app's environment: the agent's, without what is the agent's own, and with the way into the mesh, where the
/// user has not chosen another one.
pub(crate) fn environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    outbound: SocketAddr,
) -> BTreeMap<OsString, OsString> {
    let is_own = |name: &OsStr| name.as_encoded_bytes().starts_with(b"MESH_");
    let mut environment: BTreeMap<OsString, OsString> = inherited
        .into_iter()
        .filter(|(name, _)| !is_own(name))
        .collect();
    let proxy = format!("http://{outbound}");
    for (names, value) in [
        (["HTTP_PROXY", "http_proxy"], proxy.as_str()),
        (["NO_PROXY", "no_proxy"], "localhost,127.0.0.1,::1"),
    ] {
        // Programs differ in which they read, and those that know both in which they prefer.
        if names
            .iter()
            .all(|name| !environment.contains_key(OsStr::new(name)))
        {
            environment.extend(names.map(|name| (name.into(), value.into())));
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_gets_the_way_into_the_mesh_and_none_of_its_secrets() {
        let outbound = SocketAddr::from(([127, 0, 0, 1], 15001));
        let given = |variables: &[(&str, &str)]| {
            let inherited = variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()));
            let all = environment(inherited, outbound).into_iter();
            all.map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            given(&[("MESH_JOIN_TOKEN", "secret"), ("MESHUGGE", "1")]),
            [
                "HTTP_PROXY=http://127.0.0.1:15001",
                "MESHUGGE=1",
                "NO_PROXY=localhost,127.0.0.1,::1",
                "http_proxy=http://127.0.0.1:15001",
                "no_proxy=localhost,127.0.0.1,::1",
            ]
        );
        assert_eq!(
            given(&[("HTTP_PROXY", ""), ("no_proxy", "*")]),
            ["HTTP_PROXY=", "no_proxy=*"]
        );
    }

    #[test]
    fn what_cannot_be_started_is_named_with_the_code_that_shells_have() {
        for (program, code, way_out) in
            [("/no/such/program", 127, "PATH"), ("/", 126, "executable")]
        {
            let failure = App::start(&[program.into()], BTreeMap::new()).unwrap_err();
            assert_eq!(failure.code, code, "{failure}");
            assert!(
                failure.message.contains(program) && failure.message.contains(way_out),
                "{failure}"
            );
        }
    }
}
