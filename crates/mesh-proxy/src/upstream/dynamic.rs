//! Clusters whose one endpoint is the host that each request asks for: Envoy's dynamic forward proxy.
//!
//! For each host there is a cluster of its own with one endpoint, made when the first request asks for it, so
//! that everything behind it (pools, limits, retries) works as for any other. Its name is resolved whenever a
//! connection is opened. A worker keeps a bounded number of them; the one that was not asked for the longest
//! goes first, and its idle connections close with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::uri::Authority;
use rustls::pki_types::ServerName;

use super::EndpointState;
use crate::fail::{Fail, Flag};
use crate::snapshot::{Cluster, Endpoint, Listener, UpstreamTls};

/// What a host that names no port is asked at.
const HTTP_PORT: u16 = 80;
/// The same by TLS.
const HTTPS_PORT: u16 = 443;

/// The hosts of such a cluster.
#[derive(Debug)]
pub struct Dynamic {
    /// How many are kept by each worker.
    most: usize,
    /// How hosts are spoken to; `None` is plain text. By TLS each is asked for by its own name, as Envoy does.
    tls: Option<UpstreamTls>,
    lanes: Box<[Mutex<Hosts>]>,
}

#[derive(Debug, Default)]
struct Hosts {
    /// By `host:port`, each with the number of the request that asked for it last.
    clusters: HashMap<Arc<str>, (Arc<Cluster>, u64)>,
    requests: u64,
}

impl Dynamic {
    /// For a proxy with this many workers, of which each keeps `most` hosts.
    #[must_use]
    pub(crate) fn new(workers: usize, most: usize, tls: Option<UpstreamTls>) -> Self {
        Self {
            tls,
            most: most.max(1),
            lanes: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// The cluster for the host of a request; `cluster` is the one that says how such hosts are spoken to, and
    /// `listener` is where the request came in: a request to its port would come back for ever. The names of
    /// strangers do not lead to this machine, whatever they resolve to: not back to this proxy, and not to what
    /// listens on loopback because it asks nobody who they are.
    pub(crate) fn cluster(
        &self,
        cluster: &Cluster,
        worker: usize,
        authority: &str,
        listener: &Listener,
    ) -> Result<Arc<Cluster>, Fail> {
        let port = match self.tls {
            Some(_) => HTTPS_PORT,
            None => HTTP_PORT,
        };
        let address = address(authority, port, listener.address.port())?;
        let mut hosts = self.hosts(worker);
        hosts.requests += 1;
        let request = hosts.requests;
        if let Some((known, last)) = hosts.clusters.get_mut(&*address) {
            *last = request;
            return Ok(Arc::clone(known));
        }
        if hosts.clusters.len() >= self.most {
            let oldest = hosts.clusters.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(address, _)| Arc::clone(address)) {
                hosts.clusters.remove(&oldest);
            }
        }
        let mut made = self.with_endpoint(cluster, Arc::clone(&address));
        made.connections.abroad = listener.edge;
        let made = Arc::new(made);
        hosts.clusters.insert(address, (Arc::clone(&made), request));
        Ok(made)
    }

    /// Lets idle connections go, as [`EndpointState::sweep`].
    pub(crate) fn sweep(&self, worker: usize, now: Instant, generation: u64) {
        for (cluster, _) in self.hosts(worker).clusters.values() {
            for endpoint in &cluster.endpoints {
                let terms = &cluster.connections;
                endpoint.state.sweep(worker, terms, now, generation);
            }
        }
    }

    fn hosts(&self, worker: usize) -> MutexGuard<'_, Hosts> {
        self.lanes[worker]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dynamic {
    /// The same cluster with one endpoint at this address, without workload.
    fn with_endpoint(&self, cluster: &Cluster, address: Arc<str>) -> Cluster {
        let workers = self.lanes.len();
        let endpoint = Endpoint {
            tls: self.tls.as_ref().map(|tls| UpstreamTls {
                sni: server_name(&address).unwrap_or_else(|| tls.sni.clone()),
                ..tls.clone()
            }),
            address,
            workload: Arc::default(),
            weight: 1,
            health: Arc::default(),
            state: Arc::new(EndpointState::new(workers)),
        };
        Cluster {
            endpoints: vec![Arc::new(endpoint)],
            tiers: Vec::new(),
            is_flat: true,
            // There is nobody else to go to.
            outlier: None,
            dynamic: None,
            ..cluster.clone()
        }
    }
}

/// The name by which TLS asks for `host:port`.
fn server_name(address: &str) -> Option<ServerName<'static>> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).ok()
}

/// `host:port` in lower case; `otherwise` is the port of a host that names none.
fn address(authority: &str, otherwise: u16, listener: u16) -> Result<Arc<str>, Fail> {
    let parsed: Option<Authority> = authority.parse().ok();
    let Some(parsed) = parsed.filter(|parsed| !parsed.host().is_empty()) else {
        let cause = format!("{authority:?} is no host that could be resolved");
        return Err(Fail::new(Flag::NoRoute, cause));
    };
    let port = parsed.port_u16().unwrap_or(otherwise);
    let host = parsed.host().to_ascii_lowercase();
    let literal = host.trim_matches(['[', ']']);
    let is_here = literal == "localhost"
        || literal
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    if is_here && port == listener {
        let cause =
            format!("{host}:{port} is this proxy itself; ask for a host, not for the proxy");
        return Err(Fail::new(Flag::NoRoute, cause));
    }
    Ok(format!("{host}:{port}").into())
}

#[cfg(test)]
mod tests {
    use super::{address, server_name};

    #[test]
    fn hosts_have_one_spelling_and_a_port() {
        for (authority, expected) in [
            ("Example.com", Some("example.com:80")),
            ("example.com:8080", Some("example.com:8080")),
            ("[::1]:81", Some("[::1]:81")),
            ("127.0.0.1:15001", None),
            ("localhost:15001", None),
            ("localhost:15002", Some("localhost:15002")),
            ("", None),
        ] {
            let found = address(authority, 80, 15001).ok();
            assert_eq!(found.as_deref(), expected, "{authority}");
        }
    }

    #[test]
    fn tls_asks_for_the_host_without_its_port() {
        for (address, expected) in [
            ("example.com:443", Some("example.com")),
            ("[::1]:443", Some("::1")),
            ("127.0.0.2:443", Some("127.0.0.2")),
            ("a b:443", None),
        ] {
            let found = server_name(address).map(|name| name.to_str().into_owned());
            assert_eq!(found.as_deref(), expected, "{address}");
        }
    }
}
