//! What mesh-api is told: flags, and what they mean.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::ensure;
use mesh_identity::client::IdentityArgs;
use mesh_process::CommonArgs;

/// The mesh's control plane: config API, workload registry, xDS server and service graph
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "mesh-api", version, mut_arg("state_dir", |arg| arg.default_value("/var/lib/mesh/api")))]
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

    /// Config API, service graph and web page; a loopback address, since it has no authentication yet
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
    /// The config API's address; must be a loopback one.
    pub listen_http: SocketAddr,
    /// Where metrics and health are served.
    pub listen_metrics: SocketAddr,
    /// Objects and registrations are kept here.
    pub state_dir: PathBuf,
    /// A directory that is part of the configuration.
    pub config_dir: Option<PathBuf>,
}

impl Settings {
    /// Whether they can be served at all.
    ///
    /// # Errors
    ///
    /// A config API beyond loopback, which strangers could write to.
    pub fn check(&self) -> anyhow::Result<()> {
        let http = self.listen_http;
        ensure!(
            http.ip().is_loopback(),
            "the config API has no authentication yet, so it is served on loopback only: --listen-http {http} is not a loopback address; use 127.0.0.1:{} and, for others, a proxy that authenticates them",
            http.port()
        );
        Ok(())
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
        }
    }
}
