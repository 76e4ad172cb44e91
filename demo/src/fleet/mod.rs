//! The fleet: everything of the mesh, up and running, on loopback or in containers.
//!
//! [`loopback`] starts it as processes of this machine, [`compose`] as containers by `docker-compose.yml`. Both
//! give a [`site`], which is all that the acts know of it. [`parts`] names what there is, [`ready`] waits
//! for it, [`state`] tells others of it, [`janitor`] cleans up if the demo cannot.

pub(crate) mod compose;
pub(crate) mod deaths;
pub(crate) mod janitor;
pub(crate) mod logs;
pub(crate) mod loopback;
pub(crate) mod parts;
pub(crate) mod ports;
pub(crate) mod ready;
pub(crate) mod site;
pub(crate) mod state;

use std::path::Path;

use mesh_process::Shutdown;

use self::compose::Compose;
use self::deaths::Death;
use self::loopback::Loopback;
use self::site::Site;
use self::state::StateFile;
use crate::cli::{FleetArgs, On};
use crate::say::Say;

/// A fleet, running or about to.
#[derive(Debug)]
pub(crate) enum Fleet {
    /// Processes of this machine.
    Loopback(Box<Loopback>),
    /// Containers.
    Compose(Box<Compose>),
}

impl Fleet {
    /// Builds what it runs, and makes sure that it can run; nothing runs yet. `None` if the stop came first.
    pub(crate) async fn prepare(
        args: &FleetArgs,
        stop: &Shutdown,
        say: Say,
    ) -> anyhow::Result<Option<Self>> {
        let prepared = async {
            Ok(match args.fleet {
                On::Loopback => Self::Loopback(Box::new(Loopback::prepare(args, say).await?)),
                On::Compose => Self::Compose(Box::new(Compose::prepare(args, say).await?)),
            })
        };
        tokio::select! {
            prepared = prepared => prepared.map(Some),
            () = stop.wait() => Ok(None),
        }
    }

    /// Starts everything, until the page comes through the load balancer from both versions and shows vehicles.
    pub(crate) async fn start(&mut self, say: Say) -> anyhow::Result<Site> {
        match self {
            Self::Loopback(fleet) => fleet.start(say).await,
            Self::Compose(fleet) => fleet.start(say).await,
        }
    }

    /// Tells others of the fleet, by a file that vanishes with it.
    pub(crate) fn publish(&mut self, site: &Site, state: &Path) -> anyhow::Result<StateFile> {
        match self {
            Self::Loopback(fleet) => fleet.publish(site, state),
            Self::Compose(fleet) => fleet.publish(site, state),
        }
    }

    /// A part has ended unasked: it need not be stopped any more.
    pub(crate) fn forget(&mut self, death: &Death) {
        match self {
            Self::Loopback(fleet) => fleet.forget(death),
            // Compose goes by what is there.
            Self::Compose(_) => {}
        }
    }

    /// Stops everything and leaves nothing behind.
    pub(crate) async fn stop(self, say: Say) {
        match self {
            Self::Loopback(fleet) => fleet.stop(say).await,
            Self::Compose(fleet) => fleet.stop(say).await,
        }
    }
}
