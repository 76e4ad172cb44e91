//! The fleet in containers: `docker-compose.yml` beside the sources, brought up and taken down by Compose.
//!
//! [`engine`] finds Docker and Compose, [`images`] has the images built, [`project`] speaks to Compose,
//! [`containers`] says who is well, [`events`] tells who ends unasked.

mod command;
mod containers;
pub(crate) mod engine;
mod events;
mod images;
pub(crate) mod project;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use self::command::Failed;
use self::containers::{Container, Unwell};
use self::events::Watch;
use self::project::Project;
use super::janitor::Janitor;
use super::logs::Logs;
use super::parts::API;
use super::ports::{Fixed, check_fixed, fixed};
use super::ready::poll;
use super::site::Site;
use super::state::{self, StateFile};
use crate::cli::FleetArgs;
use crate::say::Say;

/// How long all containers may take to get well, on a slow and busy machine.
const START_PATIENCE: Duration = Duration::from_secs(240);
/// How long they may take to go.
const STOP_PATIENCE: Duration = Duration::from_secs(120);
/// How often Docker is asked how they are.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Prometheus' port, counted from the first one.
const PROMETHEUS_OFFSET: u16 = 10;

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 15;

/// A fleet of containers, running or about to.
#[derive(Debug)]
pub(crate) struct Compose {
    project: Project,
    site: Site,
    log_dir: Option<PathBuf>,
    watch: Option<Watch>,
    janitor: Janitor,
    directory: TempDir,
}

impl Compose {
    /// Makes sure of Docker, the ports, the project's name and the images; nothing runs yet.
    pub(crate) async fn prepare(args: &FleetArgs, say: Say) -> anyhow::Result<Self> {
        let compose = engine::find().await?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker-compose.yml");
        if !file.is_file() {
            bail!(
                "{} is no longer there; run `cargo demo` in the repository",
                file.display()
            );
        }
        let [gateway, loadbalancer, api, prometheus] = ports(args.base_port)?;
        check_fixed(&[gateway, loadbalancer, api, prometheus])?;
        let env = [
            ("MESH_DEMO_PORT_GATEWAY", gateway.0.to_string()),
            ("MESH_DEMO_PORT_LOADBALANCER", loadbalancer.0.to_string()),
            ("MESH_DEMO_PORT_API", api.0.to_string()),
            ("MESH_DEMO_PORT_PROMETHEUS", prometheus.0.to_string()),
            ("MESH_DEMO_LEAF_LIFETIME", args.leaf_lifetime.clone()),
        ];
        let collector = args.otlp_endpoint.clone();
        let env: BTreeMap<String, String> = env
            .into_iter()
            .chain(collector.map(|url| ("MESH_OTLP_ENDPOINT", url)))
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let project = Project::new(compose, &args.project, &file, env);
        let left = project.left().await?;
        if !left.is_empty() {
            bail!(
                "there is a project {} already ({}); remove it by `{}`, or choose another name with --project",
                project.name,
                left.join(", "),
                project.down().argv.join(" ")
            );
        }
        images::bring(args, say).await?;

        let directory = tempfile::Builder::new()
            .prefix("mesh-demo-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a directory for the fleet; set TMPDIR to one that takes files")?;
        let janitor = Janitor::start(&std::env::current_exe()?, directory.path())?;
        let log_dir = match &args.log_dir {
            Some(kept) => {
                std::fs::create_dir_all(kept)
                    .with_context(|| format!("cannot make {} (--log-dir)", kept.display()))?;
                Some(std::path::absolute(kept)?)
            }
            None => None,
        };
        let url = |(port, _): Fixed| format!("http://127.0.0.1:{port}");
        let logs = Logs::Containers(project.clone());
        let mut site = Site::new(url(gateway), url(loadbalancer), url(api), logs);
        site.prometheus = Some(url(prometheus));
        site.forwarded = true;
        Ok(Self {
            project,
            site,
            log_dir,
            watch: None,
            janitor,
            directory,
        })
    }

    /// Brings everything up until all of it is well; the order is the file's.
    pub(crate) async fn start(&mut self, say: Say) -> anyhow::Result<Site> {
        say.line(format!(
            "Starting the containers of project {} ...",
            self.project.name
        ));
        let deadline = Instant::now() + START_PATIENCE;
        self.janitor.stopped_by(&self.project.down());
        self.watch = Some(events::watch(&self.project, self.site.deaths.clone())?);
        let up = self.project.start(&["up", "--detach", "--no-build"])?;
        let pid = up.pid();
        if let Some(pid) = pid {
            self.janitor.started(pid);
        }
        let up = tokio::select! {
            up = up.output() => match up {
                Ok(_) => Ok(()),
                Err(failed) => Err(self.not_up(failed).await),
            },
            death = self.site.first_death() => Err(death),
            () = sleep_until(deadline) => Err(self.too_slow().await),
        };
        if let Some(pid) = pid {
            self.janitor.ended(pid);
        }
        up?;
        let patience = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            well = poll(patience, ASK_EVERY, || self.all_well()) => if well.is_err() {
                return Err(self.too_slow().await);
            },
            death = self.site.first_death() => return Err(death),
        }
        let token = self
            .project
            .run(&["exec", "-T", API, API, "token"])
            .await
            .context("cannot get the config API's token")?;
        self.keep_token(token.trim())?;
        self.site.wait_for_pages().await?;
        self.site.wait_for_vehicles().await?;
        Ok(self.site.clone())
    }

    fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    fn keep_token(&mut self, token: &str) -> anyhow::Result<()> {
        let path = self.token_file();
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(token.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.site.token = Some(token.to_owned());
        Ok(())
    }

    async fn unwell(&self) -> anyhow::Result<Vec<Unwell>> {
        let containers = containers::list(&self.project).await?;
        Ok(containers::unwell(&containers))
    }

    async fn all_well(&self) -> Result<(), String> {
        let unwell = self.unwell().await.map_err(|error| format!("{error:#}"))?;
        match unwell.first() {
            None => Ok(()),
            Some(first) => Err(first.to_string()),
        }
    }

    /// Why Compose gave up: its own words, and those of a container that it may have waited for in vain.
    async fn not_up(&self, failed: Failed) -> anyhow::Error {
        // Most likely that is why.
        if !self.site.deaths.borrow().is_empty() {
            return self.site.first_death().await;
        }
        let failed = anyhow!(failed);
        let unwell = self.unwell().await.unwrap_or_default();
        match unwell.into_iter().find(Unwell::is_why) {
            Some(unwell) => failed.context(self.describe(&unwell).await),
            None => failed.context("the containers cannot be brought up"),
        }
    }

    async fn too_slow(&self) -> anyhow::Error {
        let waited = format!("the fleet was not up after {} s", START_PATIENCE.as_secs());
        match self.unwell().await {
            Err(error) => error.context(waited),
            Ok(unwell) => match unwell.first() {
                Some(first) => anyhow!("{waited}: {}", self.describe(first).await),
                None => anyhow!("{waited}, but is now; try it again"),
            },
        }
    }

    async fn describe(&self, unwell: &Unwell) -> String {
        let logs = &self.site.logs;
        format!(
            "{unwell}; the end of what `{}` shows:\n{}",
            logs.of(&unwell.service),
            logs.tail(&unwell.service, TAIL_LINES).await
        )
    }

    /// Tells others of the fleet, by a file that vanishes with it.
    pub(crate) fn publish(&mut self, site: &Site, state: &Path) -> anyhow::Result<StateFile> {
        self.janitor.wrote(&std::path::absolute(state)?);
        let token_file = self.token_file();
        StateFile::write(
            state,
            &state::Compose::new(site, &self.project, &token_file),
        )
    }

    /// Takes everything down and leaves nothing behind.
    pub(crate) async fn stop(mut self, say: Say) {
        // What ends from now on is asked to.
        self.watch = None;
        if let Some(directory) = &self.log_dir {
            self.save_logs(directory, say).await;
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        let down = async {
            // Once more, because Docker may have been about to make a container when Compose was stopped.
            let mut wrong = Ok(());
            for _ in 0..2 {
                wrong = self.down().await;
                if wrong.is_ok() {
                    return;
                }
            }
            if let Err(wrong) = wrong {
                say.line(format!("{wrong:#}"));
            }
            let typed = self.project.down().argv.join(" ");
            say.line(format!(
                "Something is left of the fleet; remove it by `{typed}`."
            ));
        };
        tokio::select! {
            () = down => {}
            () = sleep_until(deadline) => say.line(format!(
                "The containers did not go within {} s; look at `docker ps`, and remove them by `{}`.",
                STOP_PATIENCE.as_secs(),
                self.project.down().argv.join(" ")
            )),
        }
        self.janitor.done();
    }

    async fn down(&self) -> anyhow::Result<()> {
        let down = self.project.down();
        command::output(&down.argv, &down.env).await?;
        let left = self.project.left().await?;
        if left.is_empty() {
            Ok(())
        } else {
            bail!("{} is left", left.join(", "))
        }
    }

    async fn save_logs(&self, directory: &Path, say: Say) {
        let containers = containers::list(&self.project).await.unwrap_or_default();
        for service in containers.iter().map(Container::service) {
            let saved = async {
                let log = self.project.log(service, None).await?;
                tokio::fs::write(directory.join(format!("{service}.log")), log).await?;
                anyhow::Ok(())
            };
            if let Err(error) = saved.await {
                say.line(format!("The log of {service} is not saved: {error:#}"));
            }
        }
    }
}

/// The ports for people: those of every fleet, and Prometheus'.
fn ports(base: u16) -> anyhow::Result<[Fixed; 4]> {
    let [gateway, loadbalancer, api] = fixed(base)?;
    let prometheus = base.checked_add(PROMETHEUS_OFFSET).with_context(|| {
        format!(
            "--base-port {base} is too high: Prometheus gets the port {PROMETHEUS_OFFSET} above it; choose one up to {}",
            u16::MAX - PROMETHEUS_OFFSET
        )
    })?;
    Ok([gateway, loadbalancer, api, (prometheus, "Prometheus")])
}

#[cfg(test)]
mod tests;
