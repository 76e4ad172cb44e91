//! `cargo demo`: the vehicle fleet in a real service mesh, on one machine.
//!
//! One program in several parts: [`app`] plays the apps of the fleet, [`loadbalancer`] stands in front of
//! it, [`fleet`] starts all of it together with the mesh's daemons as separate processes, [`acts`] sends
//! the requests that show what the mesh does. Read [`commands`] for what happens in which order.

mod acts;
mod app;
mod cli;
mod client;
mod commands;
mod fleet;
mod loadbalancer;
mod say;
mod scenario;

use std::ffi::OsString;
use std::process::ExitCode;

use mesh_process::args::{self, ArgsError};
use mesh_process::exit;

use self::app::AppArgs;
use self::cli::Cli;
use self::fleet::janitor;
use self::loadbalancer::LoadbalancerArgs;
use self::say::Say;

fn main() -> ExitCode {
    let mut argv: Vec<OsString> = std::env::args_os().collect();
    // `cargo demo -- play` arrives as `-- play`, since the alias ends in `--` already.
    if argv.get(1).is_some_and(|word| word == "--") {
        argv.remove(1);
    }
    let part = argv.get(1).and_then(|word| word.to_str());
    match part {
        Some("app") => {
            argv.remove(1);
            match args::load::<AppArgs>(argv) {
                Ok(args) => mesh_process::run_parsed(args.role.name(), args, app::run),
                Err(error) => mesh_process::run::refuse("demo app", &error),
            }
        }
        Some("loadbalancer") => {
            argv.remove(1);
            match args::load::<LoadbalancerArgs>(argv) {
                Ok(args) => mesh_process::run_parsed("loadbalancer", args, loadbalancer::run),
                Err(error) => mesh_process::run::refuse("demo loadbalancer", &error),
            }
        }
        Some(janitor::WORD) => {
            janitor::run();
            ExitCode::from(exit::DONE)
        }
        _ => direct(argv),
    }
}

/// Plays the director: everything that is no part of the fleet itself.
fn direct(argv: Vec<OsString>) -> ExitCode {
    let cli = match <Cli as clap::Parser>::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => return mesh_process::run::refuse("demo", &ArgsError::Clap(error)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| {
        Say::Aside.line(format!("demo: {error:#}"));
        commands::failed(&error)
    })
}
