//! The live handle on who this process is now.
//!
//! Certificates live for hours and are replaced while connections come and go. Everything that
//! needs one holds an [`Identity`] and reads it at the moment of use: a handshake takes the
//! current certificate and the current roots, without a lock and without being rebuilt. Who
//! replaces it is in `client/renew.rs`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::bundle::TrustBundle;
use crate::spiffe::SpiffeId;
use crate::svid::Svid;

/// A certificate and the roots that go with it, as they were at one time.
#[derive(Debug)]
pub struct Material {
    /// Who this process is.
    pub svid: Arc<Svid>,
    /// Whom it believes.
    pub bundle: Arc<TrustBundle>,
    /// Counts replacements, from 1.
    pub generation: u64,
}

/// The current [`Material`] of a process, shared as `Arc<Identity>` by all who prove or check one.
pub struct Identity {
    current: ArcSwap<Material>,
    /// Serialises writers, so that generations count up by one; readers never wait for it.
    writer: Mutex<watch::Sender<u64>>,
}

impl Identity {
    /// Starts with this material, as generation 1.
    #[must_use]
    pub fn new(svid: Svid, bundle: TrustBundle) -> Arc<Self> {
        let material = Material {
            svid: Arc::new(svid),
            bundle: Arc::new(bundle),
            generation: 1,
        };
        Arc::new(Self {
            current: ArcSwap::from_pointee(material),
            writer: Mutex::new(watch::Sender::new(1)),
        })
    }

    /// What is valid now. Cheap; hold it for one use, not for long.
    #[must_use]
    pub fn current(&self) -> Arc<Material> {
        self.current.load_full()
    }

    /// Who this process is.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        self.current.load().svid.id.clone()
    }

    /// The number of the current material: one atomic read, for the hot path of a pool that has
    /// to notice a change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }

    /// Until when the current certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.current.load().svid.not_after
    }

    /// From the next handshake on, everybody uses this.
    pub fn replace(&self, svid: Svid, bundle: TrustBundle) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation() + 1;
        self.current.store(Arc::new(Material {
            svid: Arc::new(svid),
            bundle: Arc::new(bundle),
            generation,
        }));
        writer.send_replace(generation);
    }

    /// Tells of every replacement, by its generation.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .subscribe()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current.load();
        f.debug_struct("Identity")
            .field("id", &current.svid.id)
            .field("generation", &current.generation)
            .finish_non_exhaustive()
    }
}
