//! The command line of `cargo demo`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The vehicle fleet in a real service mesh, on this machine
///
/// Without a command: builds and starts everything, plays the four acts, and stays up until Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    name = "demo",
    bin_name = "cargo demo --",
    args_conflicts_with_subcommands = true,
    after_help = "The parts of the fleet are this same program: see `app --help` and `loadbalancer --help`."
)]
pub(crate) struct Cli {
    /// What to do, if not everything
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plays the four acts and stops: exit code 0 if each showed what it must
    Play {
        #[command(flatten)]
        fleet: FleetArgs,

        /// How the play is told
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Starts the fleet with its workloads and Services only, and stays up until Ctrl-C
    Up {
        #[command(flatten)]
        fleet: FleetArgs,

        /// Where to write the addresses, process ids and command lines once the fleet is ready; removed at
        /// the end
        #[arg(long, value_name = "FILE")]
        state: PathBuf,
    },
}

/// Where the fleet runs and what it is made of.
#[derive(Clone, Debug, Args)]
pub(crate) struct FleetArgs {
    /// What the fleet runs on
    #[arg(long, value_enum, default_value_t)]
    pub(crate) fleet: On,

    /// Port of the gateway; the load balancer and the config API take the next two, and in containers
    /// Prometheus the tenth
    #[arg(long, value_name = "N", default_value_t = 18080, value_parser = clap::value_parser!(u16).range(1..=65533))]
    pub(crate) base_port: u16,

    /// Takes the programs from this directory instead of building them
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,

    /// Writes the logs to this directory and leaves them there; otherwise they go with the fleet
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,

    /// How long certificates live, from 10s on; half of it passes before they are renewed
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(crate) leaf_lifetime: String,

    /// OTLP/gRPC collector to which the proxies send a span for each request, for example http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,

    /// In containers: the name of the Compose project, by which its containers, networks and volumes are known
    #[arg(long, value_name = "NAME", value_parser = project, default_value = "mesh-demo")]
    pub(crate) project: String,

    /// In containers: fails if an image is missing instead of building it
    #[arg(long, conflicts_with = "bin_dir")]
    pub(crate) no_build: bool,
}

/// What a fleet runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    /// Processes of this machine, on its loopback interface.
    #[default]
    Loopback,
    /// Containers, by Docker Compose.
    Compose,
}

/// Compose's own rule for the names of projects.
fn project(name: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && name.chars().all(known) {
        Ok(name.to_owned())
    } else {
        Err("a project's name has lower-case letters, digits, - and _, and begins with a letter or digit".to_owned())
    }
}

/// How the play is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people, act by act.
    #[default]
    Text,
    /// One JSON object at the end.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_a_command_stand_behind_it() {
        let cli = Cli::try_parse_from(["demo", "up", "--state", "f", "--base-port", "19000"]);
        let Some(Command::Up { fleet, state }) = cli.unwrap().command else {
            panic!("another command was understood");
        };
        assert_eq!(fleet.base_port, 19000);
        assert_eq!(state, PathBuf::from("f"));
        // In front of it they would be read and then ignored.
        assert!(Cli::try_parse_from(["demo", "--base-port", "19000", "play"]).is_err());
        assert!(Cli::try_parse_from(["demo", "up"]).is_err());
        assert!(Cli::try_parse_from(["demo", "--base-port", "65534"]).is_err());
    }

    #[test]
    fn containers_are_asked_for_and_have_a_name() {
        let fleet = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["demo"], words].concat());
            cli.map(|cli| cli.fleet)
        };
        let default = fleet(&[]).unwrap();
        assert_eq!(default.fleet, On::Loopback);
        assert_eq!(default.project, "mesh-demo");
        let compose = fleet(&["--fleet", "compose", "--project", "mine_2"]).unwrap();
        assert_eq!(compose.fleet, On::Compose);
        assert_eq!(compose.project, "mine_2");
        for bad in ["", "Mine", "_x", "a b"] {
            let error = fleet(&["--project", bad]).unwrap_err().to_string();
            assert!(error.contains("lower-case"), "{error}");
        }
    }
}
