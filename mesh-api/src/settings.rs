//! What mesh-api is told: flags, and what they mean.

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_identity::client::IdentityArgs;
use mesh_process::CommonArgs;

use crate::token::{Token, TokenError};

/// The mesh's control plane: config API, workload registry, xDS server and service graph
///
/// Without a command it serves.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "mesh-api", version, mut_arg("state_dir", |arg| arg.default_value("/var/lib/mesh/api").global(true)))]
pub struct Args {
    /// Flags of every daemon.
    #[command(flatten)]
    pub common: CommonArgs,

    /// How it gets its own certificate.
    #[command(flatten)]
    pub identity: IdentityArgs,

    /// Where proxies connect, by mutual TLS: configuration, registration, reports
    #[arg(
        long,
        env = "MESH_LISTEN_XDS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15012"
    )]
    pub listen_xds: SocketAddr,

    /// Config API, service graph and web page; beyond loopback it asks for the token that `mesh-api token`
    /// prints
    #[arg(
        long,
        env = "MESH_LISTEN_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15080"
    )]
    pub listen_http: SocketAddr,

    /// Metrics and health of this program
    #[arg(
        long,
        env = "MESH_LISTEN_METRICS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15014"
    )]
    pub listen_metrics: SocketAddr,

    /// Directory of YAML files that are part of the configuration, followed while they change
    #[arg(long, env = "MESH_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// File with Istio's MeshConfig, followed while it changes [default: the ConfigMap istio of the root namespace]
    #[arg(long, env = "MESH_MESH_CONFIG", value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,

    /// File with the token of the config API [default: made in the state directory]
    #[arg(long, env = "MESH_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What mesh-api does besides serving.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Command {
    /// Prints the token that the config API asks for beyond loopback
    Token,
}

impl Args {
    /// The token of the config API that these flags serve.
    ///
    /// # Errors
    ///
    /// If there is none yet, or it cannot be read.
    pub fn token(&self) -> Result<Token, TokenError> {
        match &self.token_file {
            Some(file) => Token::read(file),
            None => Token::in_directory(&self.identity.state_dir),
        }
    }
}

impl AsRef<CommonArgs> for Args {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

/// What the flags mean to [`crate::start`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where proxies connect.
    pub listen_xds: SocketAddr,
    /// The config API's address.
    pub listen_http: SocketAddr,
    /// Where metrics and health are served.
    pub listen_metrics: SocketAddr,
    /// Objects and registrations are kept here.
    pub state_dir: PathBuf,
    /// A directory that is part of the configuration.
    pub config_dir: Option<PathBuf>,
    /// A file with Istio's MeshConfig.
    pub mesh_config: Option<PathBuf>,
    /// Where the config API's token is, if not in the state directory.
    pub token_file: Option<PathBuf>,
}

impl Settings {
    /// Whether they can be served at all.
    ///
    /// # Errors
    ///
    /// A token file that holds no token.
    pub fn check(&self) -> Result<(), TokenError> {
        match &self.token_file {
            Some(file) => Token::read(file).map(|_| ()),
            None => Ok(()),
        }
    }
}

impl From<&Args> for Settings {
    fn from(args: &Args) -> Self {
        Self {
            listen_xds: args.listen_xds,
            listen_http: args.listen_http,
            listen_metrics: args.listen_metrics,
            state_dir: args.identity.state_dir.clone(),
            config_dir: args.config_dir.clone(),
            mesh_config: args.mesh_config.clone(),
            token_file: args.token_file.clone(),
        }
    }
}
