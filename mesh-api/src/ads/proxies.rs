//! Which proxies are connected, and how far each is: for the operator's eyes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mesh_xds::ResourceType;
use mesh_xds::node::NodeMetadata;
use mesh_xds::server::TypeStatus;
use prometheus::IntGauge;

/// A connected proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// How it introduced itself.
    pub(crate) node: NodeMetadata,
    /// Since when it is connected.
    pub(crate) since: SystemTime,
    /// How far it is with each type, in push order.
    pub(crate) types: [(ResourceType, TypeStatus); 4],
    /// Tells its stream from a later one of the same proxy.
    stream: u64,
}

/// The connected proxies by the id of their node. The newest stream of a proxy is the one that counts.
#[derive(Debug)]
pub(crate) struct Proxies {
    connected: Mutex<Connected>,
    count: IntGauge,
}

#[derive(Debug, Default)]
struct Connected {
    by_id: BTreeMap<String, Proxy>,
    streams: u64,
}

/// A proxy's place in the list. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    proxies: Arc<Proxies>,
    id: String,
    stream: u64,
}

impl Proxies {
    /// An empty list. `count` follows its length.
    pub(crate) fn new(count: IntGauge) -> Arc<Self> {
        Arc::new(Self {
            connected: Mutex::default(),
            count,
        })
    }

    /// Adds a proxy, in place of an earlier stream of the same one.
    pub(super) fn connect(
        self: &Arc<Self>,
        id: String,
        node: NodeMetadata,
        types: [(ResourceType, TypeStatus); 4],
    ) -> Place {
        let mut connected = self.lock();
        connected.streams += 1;
        let stream = connected.streams;
        let proxy = Proxy {
            node,
            since: SystemTime::now(),
            types,
            stream,
        };
        connected.by_id.insert(id.clone(), proxy);
        self.count(&connected);
        Place {
            proxies: Arc::clone(self),
            id,
            stream,
        }
    }

    /// Everybody, by id.
    pub(crate) fn all(&self) -> Vec<(String, Proxy)> {
        let connected = self.lock();
        let all = connected.by_id.iter();
        all.map(|(id, proxy)| (id.clone(), proxy.clone())).collect()
    }

    fn count(&self, connected: &Connected) {
        let count = i64::try_from(connected.by_id.len()).unwrap_or(i64::MAX);
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
    pub(super) fn update(&self, types: [(ResourceType, TypeStatus); 4]) {
        let mut connected = self.proxies.lock();
        if let Some(proxy) = connected.by_id.get_mut(&self.id)
            && proxy.stream == self.stream
        {
            proxy.types = types;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.proxies.lock();
        if connected
            .by_id
            .get(&self.id)
            .is_some_and(|proxy| proxy.stream == self.stream)
        {
            connected.by_id.remove(&self.id);
        }
        self.proxies.count(&connected);
    }
}
