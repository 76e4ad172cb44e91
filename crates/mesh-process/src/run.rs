//! `main` of every daemon: arguments, logs, runtime, signals, and one line when it fails.

use std::fmt::Debug;
use std::future::Future;
use std::process::{ExitCode, Termination};

use clap::Parser;

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
