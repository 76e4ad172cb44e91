//! The agent's flags, and what they mean.

use std::net::{IpAddr, SocketAddr};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use mesh_identity::client::IdentityArgs;
use mesh_process::CommonArgs;
use mesh_proxy::Settings;
use mesh_proxy::settings::{AppPort, ProxyArgs, Role, Sidecar, outbound};

/// The other form of the program, which has arguments of its own.
const RUN: &str = "mesh-agent run [OPTIONS] -- CMD [ARGS]...\n  \
    starts an app once the mesh is ready, and stops both in order; see mesh-agent run --help";

/// The mesh's sidecar: mutual TLS, routing, load balancing and telemetry for one workload
#[derive(Debug, Parser)]
#[command(name = "mesh-agent", version, after_help = RUN, mut_arg("state_dir", |arg| arg.default_value("/var/lib/mesh/agent")))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,

    #[command(flatten)]
    proxy: ProxyArgs,

    /// Namespace of the workload
    #[arg(
        long,
        env = "MESH_NAMESPACE",
        value_name = "NAME",
        default_value = "default"
    )]
    namespace: String,

    /// The WorkloadGroup that the workload is a member of
    #[arg(long, env = "MESH_WORKLOAD_GROUP", value_name = "NAME")]
    workload_group: String,

    /// The workload's own name, unique in its namespace [default: the group's]
    #[arg(long, env = "MESH_WORKLOAD_NAME", value_name = "NAME")]
    workload_name: Option<String>,

    /// IP address or name at which others reach this proxy [default: the IP of --listen-inbound, or if that is a
    /// wildcard, this machine's on the route to --xds-address]
    #[arg(long, env = "MESH_ADVERTISE_ADDRESS", value_name = "IP-OR-NAME")]
    advertise_address: Option<String>,

    /// A port of the application on loopback, by the name or number under which services know it, if
    /// that differs from the WorkloadGroup's; repeatable
    #[arg(
        long = "app-port",
        env = "MESH_APP_PORT",
        value_name = "[NAME=]PORT",
        value_delimiter = ','
    )]
    app_ports: Vec<AppPort>,

    /// Where the application's own requests are taken: its HTTP_PROXY; loopback only
    #[arg(
        long,
        env = "MESH_LISTEN_OUTBOUND",
        value_name = "IP:PORT",
        value_parser = outbound,
        default_value = "127.0.0.1:15001"
    )]
    listen_outbound: SocketAddr,

    /// Where requests from the mesh are taken, over mutual TLS
    #[arg(
        long,
        env = "MESH_LISTEN_INBOUND",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:15006"
    )]
    listen_inbound: SocketAddr,

    /// Where requests from outside the mesh are taken, in plain text [default: nowhere]
    #[arg(long, env = "MESH_LISTEN_PLAIN", value_name = "IP:PORT")]
    listen_plain: Option<SocketAddr>,

    /// Listens for each service at its loopback address too, so that the application reaches services by their
    /// names if /etc/hosts has these addresses
    #[arg(long, env = "MESH_LISTEN_SERVICES")]
    listen_services: bool,
}

impl AsRef<CommonArgs> for Args {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

impl Args {
    /// What the arguments mean.
    pub(crate) fn settings(&self) -> Result<Settings, clap::Error> {
        let refuse = |message: String| Self::command().error(ErrorKind::ValueValidation, message);
        let advertise_address = match (&self.advertise_address, self.listen_inbound.ip()) {
            (Some(address), _) if is_host(address) => address.clone(),
            (Some(address), _) => {
                return Err(refuse(format!(
                    "--advertise-address {address:?} is neither an IP address nor a host name (the port \
                     follows from --listen-inbound)"
                )));
            }
            (None, ip) if !ip.is_unspecified() => ip.to_string(),
            (None, _) => String::new(),
        };
        let workload_name = self.workload_name.clone();
        Ok(Settings {
            role: Role::Sidecar(Sidecar {
                workload_group: self.workload_group.clone(),
                app_ports: self
                    .app_ports
                    .iter()
                    .map(|own| (own.name.clone(), own.port))
                    .collect(),
                listen_outbound: self.listen_outbound,
                listen_inbound: self.listen_inbound,
                listen_plain: self.listen_plain,
                listen_services: self.listen_services,
            }),
            namespace: self.namespace.clone(),
            workload_name: workload_name.unwrap_or_else(|| self.workload_group.clone()),
            advertise_address,
            locality: self.proxy.locality.clone(),
            xds_address: self.proxy.xds_address.clone(),
            state_dir: self.identity.state_dir.clone(),
            workers: self.proxy.worker_count(),
            drain_timeout: self.common.drain_timeout,
            listen_admin: self.proxy.listen_admin,
            listen_metrics: self.proxy.listen_metrics,
            listen_ready: self.proxy.listen_ready,
            tracing: self.proxy.tracing(self.common.otlp_endpoint()),
        })
    }
}

/// An IP address, or a name without port.
fn is_host(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.chars().all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, clap::Error> {
        let always = ["mesh-agent", "--workload-group", "webapp"];
        Args::try_parse_from(always.iter().chain(flags))?.settings()
    }

    fn sidecar(settings: &Settings) -> &Sidecar {
        match &settings.role {
            Role::Sidecar(sidecar) => sidecar,
            Role::Gateway(_) => panic!("an agent is a sidecar"),
        }
    }

    #[test]
    fn names_default_to_the_group_and_addresses_to_istios_ports() {
        let settings = settings(&["--advertise-address", "10.0.0.7"]).unwrap();
        assert_eq!(settings.workload_name, "webapp");
        assert_eq!(settings.namespace, "default");
        assert_eq!(settings.state_dir.to_str(), Some("/var/lib/mesh/agent"));
        let sidecar = sidecar(&settings);
        assert_eq!(sidecar.listen_outbound.to_string(), "127.0.0.1:15001");
        assert_eq!(sidecar.listen_inbound.to_string(), "0.0.0.0:15006");
        assert_eq!(sidecar.listen_plain, None);
        assert!(settings.workers >= 1);
    }

    #[test]
    fn application_ports_are_repeatable() {
        let flags = [
            "--advertise-address",
            "webapp",
            "--app-port",
            "http=8080",
            "--app-port",
            "9",
        ];
        let settings = settings(&flags).unwrap();
        let ports = sidecar(&settings).app_ports.clone();
        assert_eq!(
            ports,
            [("9".to_owned(), 9), ("http".to_owned(), 8080)].into()
        );
    }

    #[test]
    fn the_advertised_address_is_given_follows_from_inbound_or_is_to_be_found_out() {
        for (flags, expected) in [
            (&[][..], ""),
            (&["--listen-inbound", "[::]:15006"], ""),
            (&["--listen-inbound", "127.0.0.1:0"], "127.0.0.1"),
            (
                &["--advertise-address", "billing.internal"],
                "billing.internal",
            ),
        ] {
            assert_eq!(
                settings(flags).unwrap().advertise_address,
                expected,
                "{flags:?}"
            );
        }
        let error = settings(&["--advertise-address", "10.0.0.7:80"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("10.0.0.7:80"), "{error}");
    }

    #[test]
    fn services_are_listened_for_if_asked_for() {
        for (flags, expected) in [(&[][..], false), (&["--listen-services"], true)] {
            let settings = settings(flags).unwrap();
            assert_eq!(sidecar(&settings).listen_services, expected);
            assert_eq!(settings.node().listen_services, expected);
        }
    }

    #[test]
    fn bad_values_are_refused_with_the_right_form() {
        for (flags, hint) in [
            (["--app-port", "http"], "http=8080"),
            (["--xds-address", "mesh-api"], "mesh-api:15012"),
            (["--listen-admin", "0.0.0.0:15000"], "loopback"),
            (["--listen-outbound", "0.0.0.0:15001"], "identity"),
            (["--workers", "0"], "1..=1024"),
        ] {
            let error = settings(&flags).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        let error = Args::try_parse_from(["mesh-agent"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("--workload-group"), "{error}");
    }
}
