//! Which proxies are connected, and how far each is: for the operator's eyes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mesh_identity::SpiffeId;
use mesh_xds::ResourceType;
use mesh_xds::node::NodeMetadata;
use mesh_xds::server::TypeStatus;
use prometheus::IntGauge;

use crate::events::Events;

/// A connected proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// The identity that its certificate proves.
    pub(crate) identity: SpiffeId,
    /// The id that it gave its node.
    pub(crate) id: String,
    /// How it introduced itself.
    pub(crate) node: NodeMetadata,
    /// Since when it is connected.
    pub(crate) since: SystemTime,
    /// How far it is with each type, in push order.
    pub(crate) types: [(ResourceType, TypeStatus); ResourceType::COUNT],
    /// The store's revision that it has been told of. It has it once every type is in sync.
    pub(crate) revision: u64,
    /// Tells its stream from a later one of the same proxy.
    stream: u64,
}

/// The connected proxies. The newest stream of a proxy is the one that counts.
#[derive(Debug)]
pub(crate) struct Proxies {
    connected: Mutex<Connected>,
    count: IntGauge,
    events: Events,
}

/// The id of a node, which a proxy only claims, and its identity, so that nobody takes another one's place.
type Key = (String, SpiffeId);

#[derive(Debug, Default)]
struct Connected {
    by_key: BTreeMap<Key, Proxy>,
    streams: u64,
}

/// A proxy's place in the list. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    proxies: Arc<Proxies>,
    key: Key,
    stream: u64,
}

impl Proxies {
    /// An empty list. `count` follows its length; who comes and goes is recorded.
    pub(crate) fn new(count: IntGauge, events: Events) -> Arc<Self> {
        Arc::new(Self {
            connected: Mutex::default(),
            count,
            events,
        })
    }

    /// Adds a proxy, in place of an earlier stream of the same one. A proxy opens another stream when its
    /// certificate was renewed: it is connected all the time, so that is no event.
    pub(super) fn connect(
        self: &Arc<Self>,
        identity: &SpiffeId,
        id: &str,
        node: NodeMetadata,
        types: [(ResourceType, TypeStatus); ResourceType::COUNT],
        revision: u64,
    ) -> Place {
        let key = (id.to_owned(), identity.clone());
        let mut connected = self.lock();
        if !connected.by_key.contains_key(&key) {
            self.events.connected(&node);
        }
        connected.streams += 1;
        let stream = connected.streams;
        let proxy = Proxy {
            identity: identity.clone(),
            id: id.to_owned(),
            node,
            since: SystemTime::now(),
            types,
            revision,
            stream,
        };
        connected.by_key.insert(key.clone(), proxy);
        self.count(&connected);
        Place {
            proxies: Arc::clone(self),
            key,
            stream,
        }
    }

    /// Everybody, by id and identity.
    pub(crate) fn all(&self) -> Vec<Proxy> {
        self.lock().by_key.values().cloned().collect()
    }

    fn count(&self, connected: &Connected) {
        let count = i64::try_from(connected.by_key.len()).unwrap_or(i64::MAX);
        self.count.set(count);
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes how far the proxy is.
    pub(super) fn update(
        &self,
        types: [(ResourceType, TypeStatus); ResourceType::COUNT],
        revision: u64,
    ) {
        let mut connected = self.proxies.lock();
        if let Some(proxy) = connected.by_key.get_mut(&self.key)
            && proxy.stream == self.stream
        {
            proxy.types = types;
            proxy.revision = revision;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.proxies.lock();
        if let Entry::Occupied(place) = connected.by_key.entry(self.key.clone())
            && place.get().stream == self.stream
        {
            let proxy = place.remove();
            self.proxies.count(&connected);
            self.proxies.events.disconnected(&proxy.node);
        }
    }
}
