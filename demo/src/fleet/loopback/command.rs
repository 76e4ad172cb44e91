//! Putting a command line together, with the flags that many processes share. [`super::layout`] says which
//! process gets which.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::process::{Invocation, Spec};
use crate::fleet::parts::CA;

/// How long each process may take to finish what is in flight when it is stopped, as a flag's value.
const DRAIN: &str = "3s";

/// A command line that grows.
pub(super) struct Command {
    name: String,
    argv: Vec<String>,
    directory: PathBuf,
    addresses_file: PathBuf,
    log: PathBuf,
}

impl Command {
    /// One of the mesh's programs.
    pub(super) fn daemon(layout: &Layout, name: &str, program: &str) -> Self {
        Self::new(layout, name, layout.binaries.daemon(program), &[])
    }

    /// A part that this program plays.
    pub(super) fn demo(layout: &Layout, name: &str, part: &str) -> Self {
        Self::new(layout, name, layout.binaries.demo(), &[part])
    }

    fn new(layout: &Layout, name: &str, program: &Path, words: &[&str]) -> Self {
        let addresses_file = layout.addresses().join(format!("{name}.json"));
        let mut argv = vec![program.display().to_string()];
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        let command = Self {
            name: name.to_owned(),
            argv,
            directory: layout.directory.clone(),
            addresses_file: addresses_file.clone(),
            log: layout.log(name),
        };
        command
            .arg("--addresses-file", addresses_file)
            .arg("--drain-timeout", DRAIN)
    }

    /// One more flag with its value.
    pub(super) fn arg(mut self, flag: &str, value: impl AsRef<OsStr>) -> Self {
        self.argv.push(flag.to_owned());
        self.argv.push(value.as_ref().display().to_string());
        self
    }

    /// What a process needs to get its certificate.
    pub(super) fn identity(self, layout: &Layout, fingerprint: &str) -> Self {
        let state = layout.state(&self.name);
        let token = layout.token(&self.name);
        self.arg("--ca-address", layout.ports.of(CA, "grpc").to_string())
            .arg("--ca-fingerprint", fingerprint)
            .arg("--join-token-file", token)
            .arg("--state-dir", state)
    }

    /// What every proxy listens on for its operators. Eight proxies share this machine, so each gets two
    /// workers at most.
    pub(super) fn proxy(self, layout: &Layout) -> Spec {
        let [admin, metrics, ready] =
            ["admin", "metrics", "ready"].map(|purpose| layout.ports.of(&self.name, purpose));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = self
            .arg("--listen-admin", admin.to_string())
            .arg("--listen-metrics", metrics.to_string())
            .arg("--listen-ready", ready.to_string())
            .arg("--workers", cores.min(2).to_string());
        if let Some(collector) = &layout.otlp_endpoint {
            command = command
                .arg("--otlp-endpoint", collector)
                .arg("--trace-sampling", "100");
        }
        command.spec(ready, metrics, "/stats/prometheus")
    }

    /// The whole: where it says that it is ready, and where its metrics are.
    pub(super) fn spec(self, ready: SocketAddr, metrics: SocketAddr, metrics_path: &str) -> Spec {
        // Nothing of the user's environment, so that a stray MESH_… variable changes nothing.
        let env = BTreeMap::from([("RUST_BACKTRACE".to_owned(), "1".to_owned())]);
        Spec {
            name: self.name,
            invocation: Invocation {
                argv: self.argv,
                env,
                cwd: self.directory,
            },
            addresses_file: self.addresses_file,
            ready_url: format!("http://{ready}/healthz/ready"),
            metrics_url: format!("http://{metrics}{metrics_path}"),
            log: self.log,
        }
    }
}
