//! `mesh-ca`: the certificate authority, and the commands beside it that hand out join tokens.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
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
    /// Makes a token and prints it; works beside a running authority, and before its first start
    Create(Create),
}

#[derive(Debug, Clone, Args)]
struct Create {
    /// Service account of the workload that will join
    #[arg(long, value_name = "NAME")]
    service_account: String,

    /// Namespace of the service account
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// How long the token can be used
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m")]
    ttl: Duration,

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

/// What a command prints.
fn execute(command: &Command, arguments: &Arguments) -> anyhow::Result<String> {
    let trust_domain = arguments.trust_domain.as_ref();
    match command {
        Command::Fingerprint => Ok(Root::open(&arguments.state_dir, trust_domain)?
            .fingerprint()
            .to_string()),
        Command::Token(TokenCommand::Create(create)) => {
            let created = token::create(
                &arguments.state_dir,
                trust_domain,
                &create.namespace,
                &create.service_account,
                create.ttl,
            )?;
            Ok(match create.output {
                Output::Text => created.token.as_str().to_owned(),
                Output::Json => serde_json::to_string_pretty(&serde_json::json!({
                    "token": created.token.as_str(),
                    "identity": created.identity,
                    "caFingerprint": created.fingerprint,
                    "expiresAt": humantime::format_rfc3339_seconds(created.expires_at).to_string(),
                }))?,
            })
        }
    }
}

fn finish(result: anyhow::Result<String>) -> ExitCode {
    let printed = result.and_then(|text| Ok(writeln!(io::stdout(), "{text}")?));
    match printed {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => {
            // Nothing is left to do if even that fails.
            let _ = writeln!(io::stderr(), "mesh-ca: {error:#}");
            ExitCode::from(exit::FAILED)
        }
    }
}
