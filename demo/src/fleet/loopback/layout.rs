//! The exact command line of each process of the fleet.
//!
//! Pure: from a directory, programs and ports to [`Spec`]s. Nothing secret is in a command line; a join
//! token lies in a file that only this user can read.

use std::path::PathBuf;

use super::binaries::Binaries;
use super::command::Command;
use super::process::Spec;
use crate::fleet::parts::{
    API, CA, GATEWAY, LOADBALANCER, NAMESPACE, PUBLISHED_SERVICE, ROOT_NAMESPACE, WORKLOADS,
    Workload,
};
use crate::fleet::ports::{Ports, Purpose};

/// A process that needs an identity: its name, its namespace and its service account.
pub(crate) fn identities() -> Vec<(String, &'static str, &'static str)> {
    let mut all = vec![
        (API.to_owned(), ROOT_NAMESPACE, "mesh-api"),
        (
            GATEWAY.to_owned(),
            ROOT_NAMESPACE,
            "istio-ingressgateway-service-account",
        ),
    ];
    for workload in &WORKLOADS {
        all.push((workload.agent(), NAMESPACE, workload.service_account()));
    }
    all
}

/// Everything that needs a free port.
pub(crate) fn purposes() -> Vec<Purpose> {
    let mut all = Vec::new();
    let mut add = |process: &str, purposes: &[&'static str]| {
        all.extend(
            purposes
                .iter()
                .map(|purpose| (process.to_owned(), *purpose)),
        );
    };
    add(CA, &["grpc", "metrics"]);
    add(API, &["xds", "metrics"]);
    add(GATEWAY, &["admin", "metrics", "ready"]);
    add(LOADBALANCER, &["metrics"]);
    for workload in &WORKLOADS {
        add(workload.name, &["http", "metrics"]);
        let agent = workload.agent();
        add(
            &agent,
            &["outbound", "inbound", "admin", "metrics", "ready"],
        );
        if workload.published {
            add(&agent, &["plain"]);
        }
    }
    all
}

/// Where one fleet lives.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Its directory, for this user only.
    pub(crate) directory: PathBuf,
    /// Where its logs are.
    pub(crate) logs: PathBuf,
    /// Its programs.
    pub(crate) binaries: Binaries,
    /// Its ports.
    pub(crate) ports: Ports,
    /// How long its certificates live, in the words of the command line.
    pub(crate) leaf_lifetime: String,
    /// Where the proxies send their spans.
    pub(crate) otlp_endpoint: Option<String>,
}

impl Layout {
    /// The log of a process.
    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.logs.join(format!("{process}.log"))
    }

    /// Where the join tokens are.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// Where each process writes what it has bound.
    pub(crate) fn addresses(&self) -> PathBuf {
        self.directory.join("addresses")
    }

    /// What a process keeps.
    pub(crate) fn state(&self, process: &str) -> PathBuf {
        self.directory.join("state").join(process)
    }

    /// The file with the join token of a process.
    pub(crate) fn token(&self, process: &str) -> PathBuf {
        self.tokens().join(process)
    }

    /// The base URL of the config API.
    pub(crate) fn api_url(&self) -> String {
        format!("http://{}", self.ports.api())
    }

    /// The base URL of the gateway, for Gateways that open port 80.
    pub(crate) fn gateway_url(&self) -> String {
        format!("http://{}", self.ports.gateway())
    }

    /// The base URL of the load balancer.
    pub(crate) fn loadbalancer_url(&self) -> String {
        format!("http://{}", self.ports.loadbalancer())
    }

    /// The certificate authority.
    pub(crate) fn ca(&self) -> Spec {
        let listen = self.ports.of(CA, "grpc");
        let metrics = self.ports.of(CA, "metrics");
        Command::daemon(self, CA, CA)
            .arg("--state-dir", self.state(CA))
            .arg("--listen", listen.to_string())
            .arg("--listen-metrics", metrics.to_string())
            .arg("--leaf-lifetime", &self.leaf_lifetime)
            .spec(metrics, metrics, "/metrics")
    }

    /// The control plane. `fingerprint` is the CA's.
    pub(crate) fn api(&self, fingerprint: &str) -> Spec {
        let metrics = self.ports.of(API, "metrics");
        Command::daemon(self, API, API)
            .identity(self, fingerprint)
            .arg("--listen-xds", self.ports.of(API, "xds").to_string())
            .arg("--listen-http", self.ports.api().to_string())
            .arg("--listen-metrics", metrics.to_string())
            .spec(metrics, metrics, "/metrics")
    }

    /// The edge.
    pub(crate) fn gateway(&self, fingerprint: &str) -> Spec {
        Command::daemon(self, GATEWAY, GATEWAY)
            .identity(self, fingerprint)
            .arg("--xds-address", self.ports.of(API, "xds").to_string())
            .arg("--port-map", format!("80={}", self.ports.gateway()))
            .proxy(self)
    }

    /// The agent of a workload.
    pub(crate) fn agent(&self, workload: &Workload, fingerprint: &str) -> Spec {
        let name = workload.agent();
        let ports = &self.ports;
        let mut command = Command::daemon(self, &name, "mesh-agent")
            .identity(self, fingerprint)
            .arg("--xds-address", ports.of(API, "xds").to_string())
            .arg("--namespace", NAMESPACE)
            .arg("--workload-group", workload.name)
            .arg("--workload-name", workload.name)
            .arg("--advertise-address", "127.0.0.1")
            .arg(
                "--app-port",
                format!("http={}", ports.of(workload.name, "http").port()),
            )
            .arg("--listen-outbound", ports.of(&name, "outbound").to_string())
            .arg("--listen-inbound", ports.of(&name, "inbound").to_string());
        if workload.published {
            command = command.arg("--listen-plain", ports.of(&name, "plain").to_string());
        }
        command.proxy(self)
    }

    /// The app of a workload.
    pub(crate) fn app(&self, workload: &Workload) -> Spec {
        let metrics = self.ports.of(workload.name, "metrics");
        let outbound = self.ports.of(&workload.agent(), "outbound");
        Command::demo(self, workload.name, "app")
            .arg("--role", workload.role.name())
            .arg("--version", workload.version.name())
            .arg("--name", workload.name)
            .arg("--listen", self.ports.of(workload.name, "http").to_string())
            .arg("--listen-metrics", metrics.to_string())
            .arg("--proxy", format!("http://{outbound}"))
            .spec(metrics, metrics, "/metrics")
    }

    /// The load balancer.
    pub(crate) fn loadbalancer(&self) -> Spec {
        let metrics = self.ports.of(LOADBALANCER, "metrics");
        Command::demo(self, LOADBALANCER, "loadbalancer")
            .arg("--listen", self.ports.loadbalancer().to_string())
            .arg("--listen-metrics", metrics.to_string())
            .arg("--service", PUBLISHED_SERVICE)
            .arg("--namespace", NAMESPACE)
            .arg("--api", self.api_url())
            .spec(metrics, metrics, "/metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::super::binaries::DAEMONS;
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn layout(directory: &Path) -> Layout {
        for name in DAEMONS {
            std::fs::write(directory.join(name), "").unwrap();
        }
        let ports = (21_000..22_000)
            .step_by(3)
            .find_map(|base| Ports::choose(base, purposes()).ok())
            .expect("of 333 bases one is free");
        Layout {
            directory: directory.to_owned(),
            logs: directory.join("logs"),
            binaries: Binaries::in_directory(directory).unwrap(),
            ports,
            leaf_lifetime: "24h".to_owned(),
            otlp_endpoint: None,
        }
    }

    fn all(layout: &Layout) -> Vec<Spec> {
        let mut all = vec![
            layout.ca(),
            layout.api("sha256:00"),
            layout.gateway("sha256:00"),
            layout.loadbalancer(),
        ];
        for workload in &WORKLOADS {
            all.push(layout.agent(workload, "sha256:00"));
            all.push(layout.app(workload));
        }
        all
    }

    #[test]
    fn no_two_processes_share_a_name_or_listen_on_the_same_address() {
        let directory = tempfile::tempdir().unwrap();
        let specs = all(&layout(directory.path()));
        let names: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), specs.len());

        let mut listening = Vec::new();
        for spec in &specs {
            for pair in spec.invocation.argv.windows(2) {
                if pair[0].starts_with("--listen") {
                    listening.push(pair[1].clone());
                }
                assert_ne!(pair[1], "127.0.0.1:0", "{}", spec.name);
            }
        }
        let different: BTreeSet<&String> = listening.iter().collect();
        assert_eq!(different.len(), listening.len());
    }

    #[test]
    fn every_process_with_an_identity_reads_its_own_token_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let specs = all(&layout);
        for (name, namespace, account) in identities() {
            let spec = specs.iter().find(|spec| spec.name == name).unwrap();
            let token = layout.token(&name).display().to_string();
            let at = |flag: &str| {
                let argv = &spec.invocation.argv;
                let position = argv.iter().position(|word| word == flag);
                position.map(|position| argv[position + 1].as_str())
            };
            assert_eq!(at("--join-token-file"), Some(token.as_str()));
            assert_eq!(at("--ca-fingerprint"), Some("sha256:00"));
            assert!(!account.is_empty() && !namespace.is_empty());
        }
    }

    #[test]
    fn only_the_webapp_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let published: Vec<&str> = WORKLOADS
            .iter()
            .filter(|workload| {
                let agent = layout.agent(workload, "sha256:00");
                agent
                    .invocation
                    .argv
                    .iter()
                    .any(|word| word == "--listen-plain")
            })
            .map(|workload| workload.name)
            .collect();
        assert_eq!(published, ["webapp-original", "webapp-experimental"]);
    }
}
