//! One worker's way from a finished request, or from a session, to the numbers of its series.
//!
//! The hot path formats no label and compares no string: a request's facts are shared values that
//! live in the snapshot, so their addresses are a key. An entry keeps what its key points to alive,
//! so no address is ever used anew while it stands for something else here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex};

use mesh_xds::Workload;

use super::series::{Carried, Cells, Labels, Measures, Security};
use super::trace::Tracer;
use super::{Telemetry, lock};
use crate::fail::Flags;
use crate::snapshot::{Direction, ServiceName};

/// What tells the series of a request or session, borrowed from where its facts are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) ends: Ends<'a>,
    pub(crate) service: &'a Arc<ServiceName>,
    pub(crate) carried: Carried,
    pub(crate) code: u16,
    pub(crate) grpc_status: Option<u8>,
    pub(crate) flags: Flags,
}

/// Who is at both ends, as one side knows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a> {
    direction: Direction,
    source: &'a Arc<Workload>,
    source_principal: Option<&'a Arc<str>>,
    destination: &'a Arc<Workload>,
    destination_principal: Option<&'a Arc<str>>,
    security: Security,
}

impl<'a> Ends<'a> {
    /// As the calling side knows them: `own` is its principal, `answered` that of who has answered, both
    /// proven if there was TLS.
    pub(crate) fn outbound(
        source: &'a Arc<Workload>,
        own: &'a Arc<str>,
        destination: &'a Arc<Workload>,
        answered: Option<&'a Arc<str>>,
    ) -> Self {
        Self {
            direction: Direction::Outbound,
            source,
            source_principal: answered.map(|_| own),
            destination,
            destination_principal: answered,
            security: Security::Unknown,
        }
    }

    /// As the called side knows them: `verified` is who has called, if that was proven, `own` its own
    /// principal.
    pub(crate) fn inbound(
        source: &'a Arc<Workload>,
        verified: Option<&'a Arc<str>>,
        destination: &'a Arc<Workload>,
        own: &'a Arc<str>,
    ) -> Self {
        Self {
            direction: Direction::Inbound,
            source,
            source_principal: verified,
            destination,
            destination_principal: verified.map(|_| own),
            security: if verified.is_some() {
                Security::MutualTls
            } else {
                Security::None
            },
        }
    }
}

impl Facts<'_> {
    fn key(&self) -> Key {
        let ends = self.ends;
        let principal = |id: Option<&Arc<str>>| id.map_or(0, |id| Arc::as_ptr(id).addr());
        Key {
            source: Arc::as_ptr(ends.source).addr(),
            source_principal: principal(ends.source_principal),
            destination: Arc::as_ptr(ends.destination).addr(),
            destination_principal: principal(ends.destination_principal),
            service: Arc::as_ptr(self.service).addr(),
            code: self.code,
            flags: self.flags,
            grpc_status: self.grpc_status,
            carried: self.carried,
            direction: ends.direction,
            security: ends.security,
        }
    }

    fn labels(&self) -> Labels {
        let ends = self.ends;
        Labels {
            direction: ends.direction,
            source: ends.source.clone(),
            source_principal: ends.source_principal.cloned(),
            destination: ends.destination.clone(),
            destination_principal: ends.destination_principal.cloned(),
            service: self.service.clone(),
            carried: self.carried,
            code: self.code,
            grpc_status: self.grpc_status,
            flags: self.flags,
            security: ends.security,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: usize,
    source_principal: usize,
    destination: usize,
    destination_principal: usize,
    service: usize,
    code: u16,
    flags: Flags,
    grpc_status: Option<u8>,
    carried: Carried,
    direction: Direction,
    security: Security,
}

#[derive(Debug)]
struct Entry {
    cells: Arc<Cells>,
    /// Keeps the key's addresses taken.
    _labels: Labels,
}

/// A worker's cache of handles; never contended.
#[derive(Debug)]
pub(crate) struct Recorder {
    worker: usize,
    telemetry: Arc<Telemetry>,
    entries: Mutex<HashMap<Key, Entry, BuildHasherDefault<Fold>>>,
}

impl Recorder {
    pub(crate) fn new(worker: usize, telemetry: Arc<Telemetry>) -> Self {
        Self {
            worker,
            telemetry,
            entries: Mutex::default(),
        }
    }

    /// Adds one request to its series.
    pub(crate) fn record(&self, facts: &Facts<'_>, measures: Measures) {
        self.with(facts, |cells| cells.add(measures));
    }

    /// The cells of a session, which uses them for as long as they are not retired.
    pub(crate) fn cells(&self, facts: &Facts<'_>) -> Arc<Cells> {
        self.with(facts, Arc::clone)
    }

    fn with<R>(&self, facts: &Facts<'_>, act: impl FnOnce(&Arc<Cells>) -> R) -> R {
        let key = facts.key();
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(&key)
            && !entry.cells.is_retired()
        {
            return act(&entry.cells);
        }
        let labels = facts.labels();
        let cells = self.telemetry.series(labels.clone()).cells(self.worker);
        let result = act(&cells);
        let entry = Entry {
            cells,
            _labels: labels,
        };
        entries.insert(key, entry);
        result
    }

    /// Who takes requests into their traces, if anybody collects spans.
    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.telemetry.tracer.as_ref()
    }

    /// Counts a connection that came to nothing at a listener.
    pub(crate) fn refused(&self, listener: &str, reason: &str) {
        let counter = self
            .telemetry
            .refused
            .with_label_values(&[listener, reason]);
        counter.inc();
    }

    /// Counts a copy for a mirror by what has become of it.
    pub(crate) fn mirrored(&self, cluster: &str, result: &str) {
        let counter = self
            .telemetry
            .mirrored
            .with_label_values(&[cluster, result]);
        counter.inc();
    }

    /// Lets go of the values of a snapshot that has been replaced.
    pub(crate) fn forget(&self) {
        lock(&self.entries).clear();
    }
}

/// A quick hash for keys that no stranger chooses.
#[derive(Debug, Default)]
struct Fold(u64);

impl Fold {
    fn fold(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.fold(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.fold(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.fold(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.fold(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.fold(value as u64);
    }

    fn finish(&self) -> u64 {
        // The map takes the top bits for its tags and the low ones for the bucket; mix both.
        self.0 ^ (self.0 >> 32)
    }
}
