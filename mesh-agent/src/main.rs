//! The sidecar: stands beside one workload and carries its traffic into and out of the mesh.
//!
//! A thin program: what was typed becomes [`mesh_proxy::Settings`], the rest is `crates/mesh-proxy`. The app has a
//! process or container of its own ([`namespace`] is about that), or is the agent's child ([`run`]).

mod app;
mod args;
mod namespace;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use mesh_process::args::ArgsError;
use mesh_process::{Process, run_parsed};
use mesh_proxy::Settings;

use self::args::Args;
use self::run::RunArgs;

const NAME: &str = "mesh-agent";

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "run") {
        words.remove(1);
        return match load(words, |args: &RunArgs| args.agent.settings()) {
            Ok((args, settings)) => run_parsed(NAME, args, |args, process| {
                run::run(args, settings, process)
            }),
            Err(error) => mesh_process::run::refuse(NAME, &error),
        };
    }
    match load(words, Args::settings) {
        Ok((args, settings)) => {
            run_parsed(NAME, args, |args, process| serve(args, settings, process))
        }
        Err(error) => mesh_process::run::refuse(NAME, &error),
    }
}

fn load<A: Parser>(
    words: Vec<OsString>,
    meaning: impl FnOnce(&A) -> Result<Settings, clap::Error>,
) -> Result<(A, Settings), ArgsError> {
    let args = mesh_process::args::load::<A>(words)?;
    let settings = meaning(&args).map_err(ArgsError::Clap)?;
    Ok((args, settings))
}

async fn serve(args: Args, settings: Settings, process: Process) -> anyhow::Result<()> {
    let addresses_file = args.common.addresses_file.clone();
    let proxy = mesh_proxy::serve(
        args.identity.settings(),
        settings,
        addresses_file.as_deref(),
        process,
    );
    tokio::select! {
        result = proxy => result,
        replaced = namespace::replaced() => Err(replaced.into()),
    }
}
