//! The fleet: everything of the mesh as real, separate processes on loopback.
//!
//! [`plan`] says what runs, [`ports`] where, [`process`] keeps each process, [`ready`] waits for it,
//! [`tokens`] lets it join, [`state`] tells others of it, [`janitor`] cleans up if the demo cannot.

pub(crate) mod binaries;
mod command;
pub(crate) mod janitor;
pub(crate) mod plan;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod ready;
pub(crate) mod state;
pub(crate) mod tokens;

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tempfile::TempDir;

use self::binaries::Binaries;
use self::janitor::Janitor;
use self::plan::{API, CA, GATEWAY, LOADBALANCER, Layout, WORKLOADS};
use self::ports::Ports;
use self::process::{Deaths, Running, Spec};
use self::state::StateFile;
use crate::acts::count::title;
use crate::app::role::Role;
use crate::cli::FleetArgs;
use crate::client::Client;
use crate::say::Say;
use crate::scenario;

/// A little more than the drain timeout that every process is given.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// What a single request of the fleet's own errands may take.
const ERRAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A fleet, running or about to.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Where it lives.
    pub(crate) layout: Layout,
    /// What runs.
    pub(crate) running: Vec<Running>,
    /// What has ended unasked.
    pub(crate) deaths: Deaths,
    client: Client,
    janitor: Janitor,
    directory: TempDir,
}

impl Fleet {
    /// Chooses ports and makes a directory; nothing runs yet.
    pub(crate) fn prepare(args: &FleetArgs, binaries: Binaries) -> anyhow::Result<Self> {
        let ports = Ports::choose(args.base_port, plan::purposes())?;
        let directory = tempfile::Builder::new()
            .prefix("mesh-demo-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a directory for the fleet; set TMPDIR to one that takes files")?;
        let janitor = Janitor::start(binaries.demo(), directory.path())?;
        let logs = match &args.log_dir {
            Some(kept) => std::path::absolute(kept)?,
            None => directory.path().join("logs"),
        };
        let layout = Layout {
            directory: directory.path().to_owned(),
            logs,
            binaries,
            ports,
            leaf_lifetime: args.leaf_lifetime.clone(),
        };
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        for path in [&layout.logs, &layout.tokens(), &layout.addresses()] {
            private
                .create(path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        let keeps_state = plan::identities().into_iter().map(|(name, ..)| name);
        for name in keeps_state.chain([CA.to_owned()]) {
            private.create(layout.state(&name))?;
        }
        Ok(Self {
            layout,
            running: Vec::new(),
            deaths: Deaths::default(),
            client: Client::kept_alive(ERRAND_TIMEOUT),
            janitor,
            directory,
        })
    }

    /// Starts everything, in an order in which nobody waits in vain, until the page comes through the load
    /// balancer from both versions.
    pub(crate) async fn start(&mut self, say: Say) -> anyhow::Result<()> {
        say.line("Starting the certificate authority and the control plane ...");
        self.start_all([self.layout.ca()]).await?;
        let fingerprint = tokens::create_all(&self.layout).await?;
        self.start_all([self.layout.api(&fingerprint)]).await?;
        self.apply(scenario::WORKLOADS).await?;

        say.line(
            "Starting the gateway, the workloads with their agents, and the load balancer ...",
        );
        let mut specs = vec![self.layout.gateway(&fingerprint)];
        for workload in &WORKLOADS {
            specs.push(self.layout.agent(workload, &fingerprint));
            if workload.role != Role::PositionSimulator {
                specs.push(self.layout.app(workload));
            }
        }
        specs.push(self.layout.loadbalancer());
        self.start_all(specs).await?;
        self.wait("the services' endpoints", || self.services_filled())
            .await?;
        self.wait("the page of both versions", || self.both_pages())
            .await?;

        // Only now, so that the graph does not begin with failures of a fleet that is half there.
        let simulators = WORKLOADS
            .iter()
            .filter(|workload| workload.role == Role::PositionSimulator)
            .map(|workload| self.layout.app(workload))
            .collect::<Vec<_>>();
        self.start_all(simulators).await?;
        self.wait("vehicles on the page", || self.vehicles_shown())
            .await
    }

    async fn start_all(&mut self, specs: impl IntoIterator<Item = Spec>) -> anyhow::Result<()> {
        let specs: Vec<Spec> = specs.into_iter().collect();
        for spec in &specs {
            let running = process::start(spec.clone(), &self.deaths)?;
            self.janitor.started(running.pid);
            self.running.push(running);
        }
        ready::all_ready(&self.client, &specs, &self.deaths).await
    }

    async fn wait<F>(&self, what: &str, probe: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = Result<(), String>>,
    {
        let every = Duration::from_millis(100);
        tokio::select! {
            found = ready::poll(ready::PATIENCE, every, probe) => match found {
                Ok(()) => Ok(()),
                Err(missing) => bail!("waited {} s in vain for {what}: {missing}; the logs are in {}",
                    ready::PATIENCE.as_secs(), self.layout.logs.display()),
            },
            death = ready::first_death(&self.deaths) => Err(death),
        }
    }

    /// Applies YAML through the config API, as a user does. Returns the API's answer.
    pub(crate) async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        let url = format!("{}/apply", self.layout.api_url());
        let answer = self
            .client
            .post(&url, "application/yaml", yaml)
            .await
            .with_context(|| format!("POST {url}"))?;
        if !answer.status.is_success() {
            bail!("POST {url}: {}: {}", answer.status, answer.body.trim());
        }
        Ok(answer.body)
    }

    async fn services_filled(&self) -> Result<(), String> {
        let body = self
            .page(&format!("{}/api/mesh/services", self.layout.api_url()))
            .await?;
        let listing: Listing = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        // Nobody calls the simulator, so it is the one workload without a Service.
        let called = WORKLOADS
            .iter()
            .filter(|workload| workload.role != Role::PositionSimulator);
        for wanted in called {
            let service = format!("fleetman-{}", wanted.role.name());
            let versions = WORKLOADS
                .iter()
                .filter(|workload| workload.role == wanted.role)
                .count();
            let filled = listing
                .services
                .iter()
                .find(|listed| listed.name == service)
                .is_some_and(|listed| listed.endpoints.len() >= versions);
            if !filled {
                return Err(format!("{service} has no endpoint for {}", wanted.name));
            }
        }
        Ok(())
    }

    async fn both_pages(&self) -> Result<(), String> {
        let url = self.layout.loadbalancer_url();
        let first = self.page(&url).await?;
        let second = self.page(&url).await?;
        match (title(&first), title(&second)) {
            (Some(first), Some(second)) if first != second => Ok(()),
            (first, second) => Err(format!("titles {first:?} and {second:?}")),
        }
    }

    async fn vehicles_shown(&self) -> Result<(), String> {
        let page = self.page(&self.layout.loadbalancer_url()).await?;
        if page.contains("<table>") {
            Ok(())
        } else {
            Err("no vehicle has been seen yet".to_owned())
        }
    }

    async fn page(&self, url: &str) -> Result<String, String> {
        let answer = self
            .client
            .get(url)
            .await
            .map_err(|lost| format!("{url}: {lost}"))?;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(format!("{url} answered {}", answer.status))
        }
    }

    /// Tells others of the fleet, by a file that vanishes with it.
    pub(crate) fn publish(&mut self, state: &Path) -> anyhow::Result<StateFile> {
        // The janitor has no working directory of its own choice.
        self.janitor.wrote(&std::path::absolute(state)?);
        StateFile::write(state, &self.layout, &self.running)
    }

    /// A process has ended unasked: its id is no longer the fleet's.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.janitor.ended(pid);
    }

    /// Stops everything, callers before the called, and leaves nothing behind.
    pub(crate) async fn stop(mut self, say: Say) {
        let waves: [&dyn Fn(&str) -> bool; 4] = [
            &|name| [LOADBALANCER, GATEWAY, "position-simulator"].contains(&name),
            &|name| ![API, CA].contains(&name),
            &|name| name == API,
            &|_| true,
        ];
        for in_wave in waves {
            let (wave, later) = self
                .running
                .drain(..)
                .partition(|running| in_wave(&running.spec.name));
            self.running = later;
            let wave: Vec<Running> = wave;
            let pids: Vec<u32> = wave.iter().map(|running| running.pid).collect();
            for name in process::stop(wave, STOP_PATIENCE).await {
                say.line(format!("{name} did not stop in time and was killed."));
            }
            for pid in pids {
                self.janitor.ended(pid);
            }
        }
        // By its path, since what somebody else has started again may write once more meanwhile.
        let path = self.directory.keep();
        let removed = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_dir_all(&path));
        if let Err(error) = removed {
            say.line(format!("{} could not be removed: {error}", path.display()));
        }
        self.janitor.done();
    }
}

/// The config API's answer to `GET /api/mesh/services`, as far as the start needs it.
#[derive(Deserialize)]
struct Listing {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    #[serde(default)]
    endpoints: Vec<serde_json::Value>,
}
