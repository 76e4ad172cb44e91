//! The fleet on loopback: everything of the mesh as real, separate processes of this machine.
//!
//! [`layout`] says what runs and how, [`process`] keeps each process, [`ready`] waits for it, [`tokens`] lets
//! it join, [`binaries`] finds or builds the programs.

pub(crate) mod binaries;
mod command;
pub(crate) mod layout;
pub(crate) mod process;
mod ready;
mod tokens;

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use self::binaries::Binaries;
use self::layout::Layout;
use self::process::{Running, Spec};
use super::deaths::Death;
use super::janitor::Janitor;
use super::logs::Logs;
use super::parts::{API, CA, GATEWAY, LOADBALANCER, WORKLOADS};
use super::ports::{Ports, check_fixed, fixed};
use super::site::Site;
use super::state::{self, StateFile};
use crate::app::role::Role;
use crate::cli::FleetArgs;
use crate::client::Client;
use crate::say::Say;
use crate::scenario;

/// A little more than the drain timeout that every process is given.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// What asking a process whether it is ready may take.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// A fleet of processes, running or about to.
#[derive(Debug)]
pub(crate) struct Loopback {
    layout: Layout,
    running: Vec<Running>,
    site: Site,
    client: Client,
    janitor: Janitor,
    directory: TempDir,
}

impl Loopback {
    /// Builds the daemons or finds them, chooses ports and makes a directory; nothing runs yet.
    pub(crate) async fn prepare(args: &FleetArgs, say: Say) -> anyhow::Result<Self> {
        // Known before a build of minutes, not after it.
        check_fixed(&fixed(args.base_port)?)?;
        let binaries = match &args.bin_dir {
            Some(directory) => Binaries::in_directory(directory)?,
            None => {
                say.line("Building the daemons ...");
                Binaries::build().await?
            }
        };
        let ports = Ports::choose(args.base_port, layout::purposes())?;
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
            otlp_endpoint: args.otlp_endpoint.clone(),
        };
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        for path in [&layout.logs, &layout.tokens(), &layout.addresses()] {
            private
                .create(path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        let keeps_state = layout::identities().into_iter().map(|(name, ..)| name);
        for name in keeps_state.chain([CA.to_owned()]) {
            private.create(layout.state(&name))?;
        }
        let site = Site::new(
            layout.gateway_url(),
            layout.loadbalancer_url(),
            layout.api_url(),
            Logs::Files(layout.logs.clone()),
        );
        Ok(Self {
            layout,
            running: Vec::new(),
            site,
            client: Client::kept_alive(READY_TIMEOUT),
            janitor,
            directory,
        })
    }

    /// Starts everything, in an order in which nobody waits in vain.
    pub(crate) async fn start(&mut self, say: Say) -> anyhow::Result<Site> {
        say.line("Starting the certificate authority and the control plane ...");
        self.start_all([self.layout.ca()]).await?;
        let fingerprint = tokens::create_all(&self.layout).await?;
        self.start_all([self.layout.api(&fingerprint)]).await?;
        self.site.apply(scenario::WORKLOADS).await?;

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
        self.site.wait_for_pages().await?;

        // Only now, so that the graph does not begin with failures of a fleet that is half there.
        let simulators = WORKLOADS
            .iter()
            .filter(|workload| workload.role == Role::PositionSimulator)
            .map(|workload| self.layout.app(workload))
            .collect::<Vec<_>>();
        self.start_all(simulators).await?;
        self.site.wait_for_vehicles().await?;
        Ok(self.site.clone())
    }

    async fn start_all(&mut self, specs: impl IntoIterator<Item = Spec>) -> anyhow::Result<()> {
        let specs: Vec<Spec> = specs.into_iter().collect();
        for spec in &specs {
            let running = process::start(spec.clone(), &self.site.deaths)?;
            self.janitor.started(running.pid);
            self.running.push(running);
        }
        ready::all_ready(&self.client, &specs, &self.site).await
    }

    /// Tells others of the fleet, by a file that vanishes with it.
    pub(crate) fn publish(&mut self, site: &Site, state: &Path) -> anyhow::Result<StateFile> {
        // The janitor has no working directory of its own choice.
        self.janitor.wrote(&std::path::absolute(state)?);
        StateFile::write(
            state,
            &state::Loopback::new(site, &self.layout, &self.running),
        )
    }

    /// A process has ended unasked: its id is no longer the fleet's.
    pub(crate) fn forget(&mut self, death: &Death) {
        if let Some(pid) = death.pid {
            self.janitor.ended(pid);
        }
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
