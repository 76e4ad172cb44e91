//! `meshctl`: the command line beside the daemons.
//!
//! Each command is a module: [`apply`] hands configuration to `mesh-api`, [`analyze`] says what is wrong with it,
//! [`compose`] brings a Compose file into the mesh. Here stand only the arguments'
//! way to them and a failure's way to the exit code.

mod analyze;
mod api;
mod apply;
mod compose;
mod exit;
#[cfg(test)]
mod fake_api;
mod texts;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The mesh's command line
#[derive(Debug, Parser)]
#[command(name = "meshctl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what contradicts what, what does not exist, and what goes past the mesh
    Analyze(analyze::Arguments),
    /// Creates and updates objects: all that is named at once, or nothing
    Apply(apply::Arguments),
    /// Brings a Compose file into the mesh, and out of it again
    #[command(subcommand)]
    Compose(compose::Command),
}

/// Why a command failed: one or more lines for the user, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed pipe is no reason to fail.
            let _ = error.print();
            let is_failure = error.use_stderr();
            return ExitCode::from(if is_failure { exit::USAGE } else { exit::DONE });
        }
    };
    let done = match arguments.command {
        Command::Analyze(arguments) => analyze::run(&arguments),
        Command::Apply(arguments) => apply::run(&arguments),
        Command::Compose(command) => compose::run(&command),
    };
    match done {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(failure) => {
            say(&format!("meshctl: {}", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

/// A line for the user beside the output proper, such as a warning.
fn say(line: &str) {
    // Nothing is left to do if even that fails.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes the output proper.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough: `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure {
            code: exit::FAILED,
            message: format!("cannot write the output: {error}"),
        }),
        Ok(()) => Ok(()),
    }
}
