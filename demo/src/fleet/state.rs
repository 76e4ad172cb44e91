//! The file by which others find a running fleet: addresses, and how to get hold of its parts.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::compose::project::Project;
use super::loopback::layout::Layout;
use super::loopback::process::{Invocation, Running};
use super::parts::CA;
use super::site::Site;

/// What the file says of any fleet.
#[derive(Debug, Serialize)]
struct Addresses<'a> {
    /// Base URL of the gateway; refuses connections until a Gateway opens port 80.
    gateway: &'a str,
    /// Base URL of the load balancer.
    loadbalancer: &'a str,
    /// Base URL of the config API.
    api: &'a str,
    /// The drawn graph.
    graph: String,
}

impl<'a> Addresses<'a> {
    fn of(site: &'a Site) -> Self {
        Self {
            gateway: &site.gateway,
            loadbalancer: &site.loadbalancer,
            api: &site.api,
            graph: site.graph_url(),
        }
    }
}

/// What it says of a fleet of processes.
#[derive(Debug, Serialize)]
pub(crate) struct Loopback<'a> {
    #[serde(flatten)]
    addresses: Addresses<'a>,
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

impl<'a> Loopback<'a> {
    /// The file of this fleet.
    pub(crate) fn new(site: &'a Site, layout: &'a Layout, running: &'a [Running]) -> Self {
        let by_name = running
            .iter()
            .map(|running| (running.spec.name.as_str(), running));
        Self {
            addresses: Addresses::of(site),
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
}

/// What it says of a fleet of containers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Compose<'a> {
    #[serde(flatten)]
    addresses: Addresses<'a>,
    /// Base URL of Prometheus.
    prometheus: &'a str,
    /// The file with the config API's bearer token.
    token_file: &'a Path,
    /// The Compose project, by whose label Docker knows the fleet's containers, networks and volumes.
    project: &'a str,
    /// The words that begin each command of Compose for this fleet.
    compose: Vec<String>,
    /// The variables which that command needs.
    env: &'a BTreeMap<String, String>,
}

impl<'a> Compose<'a> {
    /// The file of this fleet.
    pub(crate) fn new(site: &'a Site, project: &'a Project, token_file: &'a Path) -> Self {
        Self {
            addresses: Addresses::of(site),
            prometheus: site.prometheus.as_deref().unwrap_or_default(),
            token_file,
            project: &project.name,
            compose: project.argv(&[]),
            env: &project.env,
        }
    }
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
    pub(crate) fn write(path: &Path, content: &impl Serialize) -> anyhow::Result<Self> {
        let json = serde_json::to_vec_pretty(content)?;
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

#[cfg(test)]
mod tests {
    use super::super::logs::Logs;
    use super::super::loopback::binaries::{Binaries, DAEMONS};
    use super::super::loopback::layout::purposes;
    use super::super::loopback::process::start;
    use super::super::ports::Ports;
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
            otlp_endpoint: None,
        };
        std::fs::create_dir(&layout.logs).unwrap();
        let mut spec = layout.ca();
        spec.invocation.argv = vec!["/bin/sleep".to_owned(), "600".to_owned()];
        let site = Site::new(
            layout.gateway_url(),
            layout.loadbalancer_url(),
            layout.api_url(),
            Logs::Files(layout.logs.clone()),
        );
        let running = [start(spec, &site.deaths).unwrap()];

        let path = directory.path().join("fleet.json");
        let content = Loopback::new(&site, &layout, &running);
        let file = StateFile::write(&path, &content).unwrap();
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
    fn of_containers_it_says_how_compose_is_called() {
        let env = BTreeMap::from([("MESH_DEMO_PORT_API".to_owned(), "18082".to_owned())]);
        let project = Project::new(
            vec!["docker-compose".to_owned()],
            "mesh-demo",
            Path::new("/demo/docker-compose.yml"),
            env,
        );
        let url = |port| format!("http://127.0.0.1:{port}");
        let mut site = Site::new(
            url(18080),
            url(18081),
            url(18082),
            Logs::Containers(project.clone()),
        );
        site.prometheus = Some(url(18090));
        site.token = Some("secret".to_owned());
        let content = Compose::new(&site, &project, Path::new("/tmp/x/token"));
        let read = serde_json::to_value(content).unwrap();
        assert_eq!(read["api"], "http://127.0.0.1:18082");
        assert_eq!(read["prometheus"], "http://127.0.0.1:18090");
        assert_eq!(read["tokenFile"], "/tmp/x/token");
        assert_eq!(read["project"], "mesh-demo");
        assert_eq!(read["compose"][0], "docker-compose");
        assert_eq!(read["env"]["MESH_DEMO_PORT_API"], "18082");
        assert!(!read.to_string().contains("secret"));
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
