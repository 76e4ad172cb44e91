//! `main` of every daemon: arguments, logs, runtime, signals, and one line when it fails.

use std::fmt::Debug;
use std::future::Future;
use std::process::{ExitCode, Termination};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{self, ArgsError, CommonArgs};
use crate::healthcheck::Healthcheck;
use crate::{Process, exit, logs};

/// An error that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One of [`exit`]'s, or of what the program's users know from elsewhere.
    pub code: u8,
    /// One sentence, with the way out.
    pub message: String,
}

/// Reads the arguments and runs `main` until it returns.
///
/// `main` gets the arguments and the [`Process`]; it returns after its `shutdown` was triggered and its work
/// is drained. An error is printed as one line, with its causes, and makes the exit code
/// [`exit::FAILED`], or what a [`Failure`] says; wrong arguments make it [`exit::USAGE`].
pub fn run<A, F, T>(name: &'static str, main: impl FnOnce(A, Process) -> F) -> ExitCode
where
    A: Parser + AsRef<CommonArgs> + Debug,
    F: Future<Output = anyhow::Result<T>>,
    T: Termination,
{
    match args::load::<A>(std::env::args_os()) {
        Ok(args) => run_parsed(name, args, main),
        Err(error) => refuse(name, &error),
    }
}

/// [`run`] for a program that has read its arguments already.
pub fn run_parsed<A, F, T>(
    name: &'static str,
    args: A,
    main: impl FnOnce(A, Process) -> F,
) -> ExitCode
where
    A: AsRef<CommonArgs> + Debug,
    F: Future<Output = anyhow::Result<T>>,
    T: Termination,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, &anyhow::anyhow!("cannot start: {error}")),
    };
    let result = runtime.block_on(async {
        let _logs = match logs::init(name, args.as_ref()) {
            Ok(logs) => logs,
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = raise_file_limit() {
            tracing::warn!(%error, "cannot raise the limit of open files; connections may be refused for want of them");
        }
        let process = Process::new(name);
        process.shutdown.on_signals()?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), ?args, "starting");
        main(args, process).await
    });
    // Tasks that never end (a blocking name look-up, say) must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(done) => done.report(),
        Err(error) => fail(name, &error),
    }
}

/// Every connection is an open file, and the soft limit of 1024, which is there for programs that use
/// `select`, is too few for a proxy. The bound is for children that inherit it: some close every file up to the
/// limit when they start, and the hard limit may be a billion.
fn raise_file_limit() -> Result<(), rustix::io::Errno> {
    const ENOUGH: u64 = 65_536;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH));
    // No current limit means that there is none.
    if current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, raised)
}

/// Says why the arguments were refused. `--help`, `--version` and `healthcheck` come this way too, and are
/// no failure.
#[expect(clippy::print_stderr, reason = "logging is not set up yet")]
pub fn refuse(name: &str, error: &ArgsError) -> ExitCode {
    match error {
        ArgsError::Clap(clap) => {
            let code = if clap.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
            // A closed pipe is no reason to fail.
            let _ = clap.print();
            ExitCode::from(code)
        }
        ArgsError::Healthcheck(healthcheck) => match ask(*healthcheck) {
            Ok(()) => ExitCode::from(exit::DONE),
            Err(error) => fail(name, &error),
        },
        other => {
            eprintln!("{name}: {other}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn ask(healthcheck: Healthcheck) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    Ok(runtime.enable_all().build()?.block_on(healthcheck.run())?)
}

/// Prints an error as one line: what failed, and why, outermost first.
#[expect(
    clippy::print_stderr,
    reason = "the one line that a user must see, whatever the log level is"
)]
fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{name}: {error:#}");
    let own = error.downcast_ref::<Failure>();
    ExitCode::from(own.map_or(exit::FAILED, |failure| failure.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_files_for_many_connections() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let low = Rlimit {
            current: Some(512),
            maximum: hard,
        };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_file_limit().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, Some(hard.map_or(65_536, |hard| hard.min(65_536))));
        assert_eq!(maximum, hard, "the hard limit is not ours to change");
    }
}
