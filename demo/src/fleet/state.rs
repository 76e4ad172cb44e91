//! The file by which others find a running fleet: addresses, metrics, process ids and command lines.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::plan::{CA, Layout};
use super::process::{Invocation, Running};

/// What the file says.
#[derive(Debug, Serialize)]
struct State<'a> {
    /// Base URL of the gateway; refuses connections until a Gateway opens port 80.
    gateway: String,
    /// Base URL of the load balancer.
    loadbalancer: String,
    /// Base URL of the config API.
    api: String,
    /// The drawn graph.
    graph: String,
    /// `host:port` of the certificate authority.
    ca: String,
    /// Process to the URL of its metrics.
    metrics: BTreeMap<&'a str, &'a str>,
    /// Process to its id.
    pids: BTreeMap<&'a str, u32>,
    /// Process to what starts it again.
    commands: BTreeMap<&'a str, &'a Invocation>,
    /// The directory with a log for each process.
    logs: &'a Path,
}

/// The file while it is there. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Makes sure that nobody takes a file of an earlier fleet for this one's.
    pub(crate) fn clear(path: &Path) -> anyhow::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot replace {} (--state)", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes it in one step: a reader sees all of it or nothing.
    pub(crate) fn write(path: &Path, layout: &Layout, running: &[Running]) -> anyhow::Result<Self> {
        let json = serde_json::to_vec_pretty(&describe(layout, running))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
            file.write_all(&json)?;
            file.write_all(b"\n")?;
            file.persist(path).map_err(|error| error.error)
        });
        written.with_context(|| format!("cannot write {} (--state)", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Somebody else may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn describe<'a>(layout: &'a Layout, running: &'a [Running]) -> State<'a> {
    let by_name = running
        .iter()
        .map(|running| (running.spec.name.as_str(), running));
    State {
        gateway: layout.gateway_url(),
        loadbalancer: layout.loadbalancer_url(),
        api: layout.api_url(),
        graph: layout.graph_url(),
        ca: layout.ports.of(CA, "grpc").to_string(),
        metrics: by_name
            .clone()
            .map(|(name, running)| (name, running.spec.metrics_url.as_str()))
            .collect(),
        pids: by_name
            .clone()
            .map(|(name, running)| (name, running.pid))
            .collect(),
        commands: by_name
            .map(|(name, running)| (name, &running.spec.invocation))
            .collect(),
        logs: &layout.logs,
    }
}

#[cfg(test)]
mod tests {
    use super::super::binaries::{Binaries, DAEMONS};
    use super::super::plan::purposes;
    use super::super::ports::Ports;
    use super::super::process::{Deaths, start};
    use super::*;

    #[tokio::test]
    async fn says_what_others_need_and_vanishes_with_the_fleet() {
        let directory = tempfile::tempdir().unwrap();
        for name in DAEMONS {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let layout = Layout {
            directory: directory.path().to_owned(),
            logs: directory.path().join("logs"),
            binaries: Binaries::in_directory(directory.path()).unwrap(),
            ports: (22_000..23_000)
                .step_by(3)
                .find_map(|base| Ports::choose(base, purposes()).ok())
                .expect("of 333 bases one is free"),
            leaf_lifetime: "24h".to_owned(),
        };
        std::fs::create_dir(&layout.logs).unwrap();
        let mut spec = layout.ca();
        spec.invocation.argv = vec!["/bin/sleep".to_owned(), "600".to_owned()];
        let running = [start(spec, &Deaths::default()).unwrap()];

        let path = directory.path().join("fleet.json");
        let file = StateFile::write(&path, &layout, &running).unwrap();
        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for key in ["gateway", "loadbalancer", "api", "graph"] {
            assert!(read[key].as_str().unwrap().starts_with("http://127.0.0.1:"));
        }
        assert!(read["ca"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(read["pids"]["mesh-ca"], running[0].pid);
        assert_eq!(read["commands"]["mesh-ca"]["argv"][1], "600");
        assert!(
            read["metrics"]["mesh-ca"]
                .as_str()
                .unwrap()
                .ends_with("/metrics")
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_cleared_and_none_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.json");
        std::fs::write(&path, "{}").unwrap();
        StateFile::clear(&path).unwrap();
        assert!(!path.exists());
        StateFile::clear(&path).unwrap();
        assert!(StateFile::clear(directory.path()).is_err());
    }
}
