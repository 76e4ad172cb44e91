//! The edge: takes the clients' traffic into the mesh.
//!
//! A thin program: what was typed becomes [`mesh_proxy::Settings`], the rest is `crates/mesh-proxy`. It
//! listens only where a Gateway resource says so.

use std::process::ExitCode;

use clap::Parser;
use mesh_identity::client::IdentityArgs;
use mesh_process::{CommonArgs, Process};
use mesh_proxy::Settings;
use mesh_proxy::settings::{Gateway, PortMapping, ProxyArgs, Role};

/// The mesh's gateway: takes traffic in where a Gateway resource says so
#[derive(Debug, Parser)]
#[command(name = "mesh-gateway", version, mut_arg("state_dir", |arg| arg.default_value("/var/lib/mesh/gateway")))]
struct Args {
    #[command(flatten)]
    common: CommonArgs,

    #[command(flatten)]
    identity: IdentityArgs,

    #[command(flatten)]
    proxy: ProxyArgs,

    /// Namespace of the gateway
    #[arg(long, env = "MESH_NAMESPACE", value_name = "NAME", default_value = mesh_identity::ROOT_NAMESPACE)]
    namespace: String,

    /// The gateway's own name, unique in its namespace
    #[arg(
        long,
        env = "MESH_WORKLOAD_NAME",
        value_name = "NAME",
        default_value = "istio-ingressgateway"
    )]
    workload_name: String,

    /// Binds a Gateway's port elsewhere, for example 80=8080 where ports below 1024 need privileges;
    /// repeatable
    #[arg(
        long = "port-map",
        env = "MESH_PORT_MAP",
        value_name = "PORT=[IP:]PORT",
        value_delimiter = ','
    )]
    port_map: Vec<PortMapping>,
}

impl AsRef<CommonArgs> for Args {
    fn as_ref(&self) -> &CommonArgs {
        &self.common
    }
}

impl Args {
    /// What the arguments mean.
    fn settings(&self) -> Settings {
        Settings {
            role: Role::Gateway(Gateway {
                port_map: self.port_map.iter().copied().collect(),
            }),
            namespace: self.namespace.clone(),
            workload_name: self.workload_name.clone(),
            advertise_address: String::new(),
            locality: self.proxy.locality.clone(),
            xds_address: self.proxy.xds_address.clone(),
            state_dir: self.identity.state_dir.clone(),
            workers: self.proxy.worker_count(),
            drain_timeout: self.common.drain_timeout,
            listen_admin: self.proxy.listen_admin,
            listen_metrics: self.proxy.listen_metrics,
            listen_ready: self.proxy.listen_ready,
            tracing: self.proxy.tracing(self.common.otlp_endpoint()),
        }
    }
}

fn main() -> ExitCode {
    mesh_process::run("mesh-gateway", serve)
}

async fn serve(args: Args, process: Process) -> anyhow::Result<()> {
    let addresses_file = args.common.addresses_file.clone();
    mesh_proxy::serve(
        args.identity.settings(),
        args.settings(),
        addresses_file.as_deref(),
        process,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_istios_ingress_gateway() {
        let args = Args::try_parse_from(["mesh-gateway"]).unwrap();
        let settings = args.settings();
        assert_eq!(settings.workload_name, "istio-ingressgateway");
        assert_eq!(settings.namespace, "istio-system");
        assert_eq!(settings.state_dir.to_str(), Some("/var/lib/mesh/gateway"));
    }

    #[test]
    fn ports_may_be_mapped_and_mistakes_are_explained() {
        let flags = [
            "mesh-gateway",
            "--port-map",
            "80=8080",
            "--port-map",
            "443=127.0.0.1:8443",
        ];
        let args = Args::try_parse_from(flags).unwrap();
        assert_eq!(args.port_map.len(), 2);
        let error = Args::try_parse_from(["mesh-gateway", "--port-map", "8080"]).unwrap_err();
        assert!(error.to_string().contains("80=8080"), "{error}");
    }
}
