//! Who is registered: leases as a plain table that is told the time, without I/O or tasks.
//!
//! An instance belongs to the newest stream that registered its name. It lives as long as that stream
//! renews the lease; a stream that ends cleanly takes it away at once, one that breaks or falls silent
//! leaves it to the lease. An older stream of the same name changes nothing any more, unless the name has
//! become free again: then its next heartbeat takes it back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_compile::Instance;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How long an instance outlives its last heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// How long instances of an earlier life of the process may take to come back.
pub(crate) const GRACE: Duration = Duration::from_secs(15);

/// Namespace and name of an instance.
pub(crate) type InstanceName = (String, String);

/// Distinguishes the streams that register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId(u64);

/// An instance and the service account that its certificate carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// The instance.
    #[serde(with = "InstanceOnDisk")]
    pub(crate) instance: Instance,
    /// The service account, in the instance's namespace.
    pub(crate) service_account: String,
    /// Distinguishes two lives of one agent.
    #[serde(default)]
    pub(crate) process_id: String,
}

/// What a registration met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The name was free.
    New,
    /// The same instance came back before its lease was over.
    Back,
    /// An instance of an earlier life of the process came back: not it was away, but this process.
    Known,
    /// The same instance has opened another stream, as it does when its certificate was renewed. The
    /// earlier one will end and means nothing any more.
    Renewed,
    /// The same instance in another life, before it was missed in the earlier one: its agent was started again.
    Restarted,
    /// Another instance had the name and has lost it.
    Replaced,
}

/// Why an instance is gone that did not say goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its stream broke, and no new one came in time.
    Broken,
    /// Its stream fell silent.
    Silent,
    /// It did not come back after a restart of the control plane.
    NotBack,
}

#[derive(Debug)]
struct Entry {
    registered: Registered,
    holder: Holder,
    expires: Instant,
}

/// Who renews an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Stream(StreamId),
    /// Nobody any more: the stream broke.
    Broken,
    /// Nobody yet: it was read from disk.
    Earlier,
}

/// The leases.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<InstanceName, Entry>,
    streams: u64,
}

impl Table {
    /// The instances of an earlier life, each with the grace to come back.
    #[must_use]
    pub(crate) fn restored(earlier: Vec<Registered>, now: Instant) -> Self {
        let entries = earlier.into_iter().map(|registered| {
            let entry = Entry {
                registered,
                holder: Holder::Earlier,
                expires: now + GRACE,
            };
            (name_of(&entry.registered), entry)
        });
        Self {
            entries: entries.collect(),
            streams: 0,
        }
    }

    /// A stream registers an instance under its name, whoever had it.
    pub(crate) fn register(&mut self, registered: Registered, now: Instant) -> (StreamId, Arrival) {
        self.streams += 1;
        let stream = StreamId(self.streams);
        let name = name_of(&registered);
        let arrival = match self.entries.get(&name) {
            None => Arrival::New,
            Some(before) => match before.holder {
                Holder::Stream(_) if before.registered == registered => Arrival::Renewed,
                Holder::Stream(_) if before.registered.instance == registered.instance => {
                    Arrival::Restarted
                }
                Holder::Stream(_) => Arrival::Replaced,
                Holder::Broken => Arrival::Back,
                Holder::Earlier => Arrival::Known,
            },
        };
        let entry = Entry {
            registered,
            holder: Holder::Stream(stream),
            expires: now + LEASE,
        };
        self.entries.insert(name, entry);
        (stream, arrival)
    }

    /// A stream renews its lease. Answers whether that changed who is there: the lease may have run out
    /// in between.
    pub(crate) fn heartbeat(
        &mut self,
        stream: StreamId,
        registered: &Registered,
        now: Instant,
    ) -> bool {
        let name = name_of(registered);
        let expires = now + LEASE;
        if let Some(entry) = self.entries.get_mut(&name) {
            if entry.holder == Holder::Stream(stream) {
                entry.expires = expires;
            }
            return false;
        }
        let entry = Entry {
            registered: registered.clone(),
            holder: Holder::Stream(stream),
            expires,
        };
        self.entries.insert(name, entry);
        true
    }

    /// A stream ended because its client wants to leave. Answers whether that changed who is there.
    pub(crate) fn leave(&mut self, stream: StreamId, registered: &Registered) -> bool {
        let name = name_of(registered);
        if self.owner(&name) == Some(Holder::Stream(stream)) {
            self.entries.remove(&name);
            return true;
        }
        false
    }

    /// A stream broke: its instance stays for what is left of the lease, and the name counts as free for
    /// the next one. Answers whether it was this stream's.
    pub(crate) fn broken(&mut self, stream: StreamId, registered: &Registered) -> bool {
        if let Some(entry) = self.entries.get_mut(&name_of(registered))
            && entry.holder == Holder::Stream(stream)
        {
            entry.holder = Holder::Broken;
            return true;
        }
        false
    }

    /// Takes away what has run out and answers what that was, and why.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(Instance, Ended)> {
        let expired = self.entries.extract_if(.., |_, entry| entry.expires <= now);
        let ended = |(_, entry): (InstanceName, Entry)| {
            let why = match entry.holder {
                Holder::Stream(_) => Ended::Silent,
                Holder::Broken => Ended::Broken,
                Holder::Earlier => Ended::NotBack,
            };
            (entry.registered.instance, why)
        };
        expired.map(ended).collect()
    }

    /// When the next lease runs out.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.expires).min()
    }

    /// Everybody who is there, by namespace and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.entries.values().map(|entry| &entry.registered)
    }

    /// The instance of this name.
    #[must_use]
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Registered> {
        let name = (namespace.to_owned(), name.to_owned());
        self.entries.get(&name).map(|entry| &entry.registered)
    }

    fn owner(&self, name: &InstanceName) -> Option<Holder> {
        Some(self.entries.get(name)?.holder)
    }
}

fn name_of(registered: &Registered) -> InstanceName {
    let instance = &registered.instance;
    (instance.namespace.clone(), instance.name.clone())
}

/// How an [`Instance`] is written to the registry's file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Instance", rename_all = "camelCase")]
struct InstanceOnDisk {
    namespace: String,
    group: String,
    name: String,
    address: String,
    inbound_port: u16,
    app_ports: BTreeMap<String, u16>,
    plain_address: Option<SocketAddr>,
}
