//! `mesh-ca`: the certificate authority, and the commands beside it that hand out join tokens.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh_ca::provision::{self, Owner, Workload};
use mesh_ca::root::Root;
use mesh_ca::{Settings, token};
use mesh_identity::TrustDomain;
use mesh_process::args::{self, CommonArgs, parse_duration};
use mesh_process::{Process, exit, run};

/// The certificate authority of the mesh
///
/// Without a command it serves. A workload joins with a one-time token that `mesh-ca token create`
/// puts into the same state directory.
#[derive(Debug, Parser)]
#[command(name = "mesh-ca", version, args_conflicts_with_subcommands = false)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,

    /// Where the root and the join tokens are kept
    #[arg(
        long,
        env = "MESH_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/mesh/ca",
        global = true
    )]
    state_dir: PathBuf,

    /// Trust domain of a new root: cluster.local, unless said; an existing root keeps its own
    #[arg(long, env = "MESH_TRUST_DOMAIN", value_name = "NAME", global = true)]
    trust_domain: Option<TrustDomain>,

    /// Where workloads join and renew, by gRPC over TLS
    #[arg(
        long,
        env = "MESH_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15011"
    )]
    listen: SocketAddr,

    /// Where metrics and health are served
    #[arg(
        long,
        env = "MESH_LISTEN_METRICS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15013"
    )]
    listen_metrics: SocketAddr,

    /// How long the certificates of workloads are valid, from 10s
    #[arg(long, env = "MESH_LEAF_LIFETIME", value_name = "DURATION", value_parser = parse_duration, default_value = "24h")]
    leaf_lifetime: Duration,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Hands out one-time tokens, with which workloads join the mesh
    #[command(subcommand)]
    Token(TokenCommand),
    /// Prints the root's fingerprint, by which a workload knows the authority
    Fingerprint,
}

#[derive(Debug, Clone, Subcommand)]
enum TokenCommand {
    /// Makes a token and prints it, or leaves one where it is needed; works beside a running authority, and before its first start
    Create(Create),
}

#[derive(Debug, Clone, Args)]
struct Create {
    /// Service account of the workload that will join
    #[arg(long, value_name = "NAME", required_unless_present = "to")]
    service_account: Option<String>,

    /// Namespace of the service account
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// Instead leaves a token in the file join-token of a workload's state directory, unless it has an identity
    /// that is good, or such a token; repeatable
    #[arg(
        long,
        value_name = "NAMESPACE/SERVICE_ACCOUNT=DIR",
        conflicts_with_all = ["service_account", "namespace", "output"]
    )]
    to: Vec<Workload>,

    /// Who gets the directories of --to, which needs root
    #[arg(long, value_name = "UID[:GID]", requires = "to")]
    owner: Option<Owner>,

    /// How long the token can be used [default: 10m, with --to 1h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,

    /// What to print: the token alone, or all about it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

impl AsRef<CommonArgs> for Arguments {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

fn main() -> ExitCode {
    let arguments = match args::load::<Arguments>(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return run::refuse("mesh-ca", &error),
    };
    match arguments.command.clone() {
        None => mesh_process::run_parsed("mesh-ca", arguments, serve),
        Some(command) => finish(execute(&command, &arguments)),
    }
}

async fn serve(arguments: Arguments, process: Process) -> anyhow::Result<()> {
    let settings = Settings {
        state_dir: arguments.state_dir,
        listen: arguments.listen,
        listen_metrics: arguments.listen_metrics,
        trust_domain: arguments.trust_domain,
        leaf_lifetime: arguments.leaf_lifetime,
        drain_timeout: arguments.common.drain_timeout,
        addresses_file: arguments.common.addresses_file,
    };
    mesh_ca::start(settings, process).await?.stopped().await
}

fn execute(command: &Command, arguments: &Arguments) -> anyhow::Result<()> {
    match command {
        Command::Fingerprint => {
            let root = Root::open(&arguments.state_dir, arguments.trust_domain.as_ref())?;
            print(root.fingerprint())
        }
        Command::Token(TokenCommand::Create(create)) => match &create.service_account {
            Some(account) => make_token(account, create, arguments),
            None => leave_tokens(create, arguments),
        },
    }
}

fn make_token(account: &str, create: &Create, arguments: &Arguments) -> anyhow::Result<()> {
    let created = token::create(
        &arguments.state_dir,
        arguments.trust_domain.as_ref(),
        &create.namespace,
        account,
        create.ttl.unwrap_or(token::DEFAULT_TTL),
    )?;
    match create.output {
        Output::Text => print(created.token.as_str()),
        Output::Json => print(created.to_json().as_str()),
    }
}

fn leave_tokens(create: &Create, arguments: &Arguments) -> anyhow::Result<()> {
    let mut directories = BTreeSet::new();
    for workload in &create.to {
        let directory = workload.state_dir();
        ensure!(
            directories.insert(directory),
            "--to names {} twice; give each workload a state directory of its own",
            directory.display()
        );
    }
    for workload in &create.to {
        let done = provision::leave_token(
            &arguments.state_dir,
            arguments.trust_domain.as_ref(),
            workload,
            create.owner,
            create.ttl.unwrap_or(provision::DEFAULT_TTL),
        )
        .with_context(|| format!("no token for {workload}"))?;
        print(format_args!("{workload}: {done}"))?;
    }
    Ok(())
}

fn print(line: impl Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => {
            // Nothing is left to do if even that fails.
            let _ = writeln!(io::stderr(), "mesh-ca: {error:#}");
            ExitCode::from(exit::FAILED)
        }
    }
}
