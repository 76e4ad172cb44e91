//! Fleets in real containers: projects of Compose, and what Docker says of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};

use crate::fleet::{binary, free_ports, written};
use crate::{Started, eventually, tool};

/// How long a fleet may take from nothing until every container is well, its images being there.
pub const START: Duration = Duration::from_secs(60);

/// One fleet of containers after the other: two would be no measure of how long one takes.
static ONE: Mutex<()> = Mutex::const_new(());

/// The services that do one thing and end; every other one has to run.
pub const ONE_SHOTS: [&str; 2] = ["mesh-join", "mesh-config"];

/// A project of Compose. Dropping it removes its containers, networks and volumes.
#[derive(Debug)]
pub struct Project {
    name: String,
    /// What every command of Compose for it begins with.
    words: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Project {
    /// A project of a Compose file whose relative paths begin at `directory`; nothing is started yet. Its name is
    /// this process's own.
    #[must_use]
    pub fn new(name: &str, file: &Path, directory: &Path, env: BTreeMap<String, String>) -> Self {
        let path = |path: &Path| path.display().to_string();
        let name = own(name);
        let words = [
            "docker-compose",
            "--project-name",
            &name,
            "--file",
            &path(file),
            "--project-directory",
            &path(directory),
        ];
        Self {
            words: words.map(str::to_owned).to_vec(),
            name,
            env,
        }
    }

    /// Runs a command of Compose and returns what it prints.
    ///
    /// # Errors
    ///
    /// When it fails, with what it said.
    pub async fn compose(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let variables = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let words = variables.chain(self.words.iter().cloned());
        let words: Vec<String> = words
            .chain(arguments.iter().map(|&word| word.to_owned()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        tool::run("env", &words).await
    }

    /// The services that have a container, running or not.
    ///
    /// # Errors
    ///
    /// When Docker does not answer.
    pub async fn services(&self) -> anyhow::Result<Vec<String>> {
        let format = r#"{{.Label "com.docker.compose.service"}}"#;
        let listed = self.docker_ps(&[], format).await?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// What is not as it should be: services that must run and do not, or are not healthy, and one-shots that failed.
    ///
    /// # Errors
    ///
    /// When Docker does not answer.
    pub async fn unwell(&self) -> anyhow::Result<Vec<String>> {
        let format = r#"{{.Label "com.docker.compose.service"}} {{.State}} {{.Status}}"#;
        let listed = self.docker_ps(&[], format).await?;
        let is_well = |line: &&str| {
            let service = line.split(' ').next().unwrap_or_default();
            if ONE_SHOTS.contains(&service) {
                return line.contains("Exited (0)");
            }
            line.contains("(healthy)") || (line.contains(" running ") && !line.contains("(health"))
        };
        Ok(listed
            .lines()
            .filter(|line| !is_well(line))
            .map(str::to_owned)
            .collect())
    }

    /// Returns when every container is well.
    pub async fn well(&self, limit: Duration) {
        eventually("every container is well", limit, || async {
            let unwell = self.unwell().await?;
            ensure!(unwell.is_empty(), "{unwell:?}");
            Ok(())
        })
        .await;
    }

    /// `docker kill`.
    ///
    /// # Errors
    ///
    /// When the service has no running container.
    pub async fn kill(&self, service: &str) -> anyhow::Result<()> {
        let container = self.container(service).await?;
        tool::run("docker", &["kill", &container]).await.map(drop)
    }

    /// `docker start`, of one container and nothing else.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn start(&self, service: &str) -> anyhow::Result<()> {
        let container = self.container(service).await?;
        tool::run("docker", &["start", &container]).await.map(drop)
    }

    /// Containers, networks and volumes that are there.
    ///
    /// # Errors
    ///
    /// When Docker does not answer.
    pub async fn left(&self) -> anyhow::Result<Vec<String>> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let mut left = self.services().await?;
        for kind in ["network", "volume"] {
            let listed = tool::run("docker", &[kind, "ls", "--quiet", "--filter", &filter]).await?;
            left.extend(listed.lines().map(|id| format!("{kind} {id}")));
        }
        Ok(left)
    }

    async fn container(&self, service: &str) -> anyhow::Result<String> {
        let filter = format!("label=com.docker.compose.service={service}");
        let id = self.docker_ps(&["--filter", &filter], "{{.ID}}").await?;
        let id = id.lines().next();
        Ok(id
            .with_context(|| format!("{service} has no container"))?
            .to_owned())
    }

    async fn docker_ps(&self, arguments: &[&str], format: &str) -> anyhow::Result<String> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let ours = ["ps", "--all", "--filter", &filter, "--format", format];
        tool::run("docker", &[&ours[..], arguments].concat()).await
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let Some((program, arguments)) = self.words.split_first() else {
            return;
        };
        // Whatever it is that failed, as much as possible is removed.
        let _ = Command::new(program)
            .args(arguments)
            .args(["down", "--volumes", "--remove-orphans", "--timeout", "1"])
            .envs(&self.env)
            .stdin(Stdio::null())
            .output();
    }
}

/// The config API of a fleet in containers, which is beyond its loopback.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    authorization: String,
}

impl Api {
    /// The API at `url`, for whoever has its token.
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self {
            url: url.to_owned(),
            authorization: format!("authorization: Bearer {}", token.trim()),
        }
    }

    /// The JSON at a path.
    ///
    /// # Errors
    ///
    /// When it does not come.
    pub async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.text(path).await?)?)
    }

    /// The text at a path.
    ///
    /// # Errors
    ///
    /// When it does not come.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.url);
        tool::run(
            "curl",
            &[
                "-sS",
                "--fail",
                "--max-time",
                "30",
                "-H",
                &self.authorization,
                &url,
            ],
        )
        .await
    }

    /// Applies manifests, whole.
    ///
    /// # Errors
    ///
    /// The API's answer, if it refuses.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        let url = format!("{}/apply", self.url);
        let arguments = ["-X", "POST", "-H", &self.authorization, &url];
        let answer = tool::curl_with_body(&arguments, manifests).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok(())
    }
}

/// The demo's fleet in containers. Dropping it stops the demo, which takes everything with it.
#[derive(Debug)]
pub struct DemoFleet {
    demo: Started,
    /// What `demo up` wrote about it.
    pub state: State,
    /// Its containers.
    pub project: Project,
    /// Its config API.
    pub api: Api,
    _directory: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

/// The state file of `demo up --fleet compose`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// URL of the gateway.
    pub gateway: String,
    /// URL of the load balancer.
    pub loadbalancer: String,
    /// URL of the config API.
    pub api: String,
    /// URL of Prometheus.
    pub prometheus: String,
    token_file: PathBuf,
    project: String,
    compose: Vec<String>,
    env: BTreeMap<String, String>,
}

impl DemoFleet {
    /// Starts the fleet from nothing, from images that are there.
    ///
    /// # Panics
    ///
    /// When it is not up within `limit`.
    pub async fn up(name: &str, limit: Duration) -> Self {
        let one = ONE.lock().await;
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let state_file = directory.path().join("fleet.json");
        let mut demo = Started::spawn(
            Command::new(binary("demo"))
                .args(["up", "--fleet", "compose", "--no-build"])
                .args(["--project", &own(name), "--state"])
                .arg(&state_file)
                .args(["--base-port", &free_ports(12).to_string()])
                .env("PROMETHEUS_IMAGE", "mesh-tests-prometheus")
                .stdin(Stdio::null()),
        );
        let state: State = written(&mut demo, &state_file, limit).await;
        let token = std::fs::read_to_string(&state.token_file).expect("the token was written");
        Self {
            demo,
            project: Project {
                name: state.project.clone(),
                words: state.compose.clone(),
                env: state.env.clone(),
            },
            api: Api::new(&state.api, &token),
            state,
            _directory: directory,
            _one: one,
        }
    }

    /// Stops the fleet as Ctrl-C does, and says what it left behind.
    ///
    /// # Errors
    ///
    /// When the demo fails or anything is left.
    pub async fn down(mut self) -> anyhow::Result<()> {
        let status = self.demo.stop()?;
        ensure!(status.success(), "the demo ended with {status}");
        let left = self.project.left().await?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }
}

/// A project's name that no other run of the tests has: whatever one of them left behind is in nobody's way.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}
