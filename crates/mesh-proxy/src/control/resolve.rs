//! The names of clusters that are resolved again and again: Envoy's `STRICT_DNS`.
//!
//! Every cluster has a task that resolves its endpoints' names, waits, and does so again. The control loop hears
//! of an answer only if it differs from the one before. A name that does not resolve keeps its last addresses;
//! before the first answer it stands for itself and is resolved when a connection is opened.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::snapshot::cluster::{ClusterSpec, Family, Names, Source};
use crate::snapshot::compile::Accepted;
use crate::snapshot::endpoint::Assignment;

/// How many answers wait for the control loop; the tasks wait then.
const ANSWERS: usize = 64;

/// The addresses behind `host:port`.
pub(crate) type Lookup = Arc<dyn Fn(Arc<str>) -> Looking + Send + Sync>;
/// A lookup under way.
pub(crate) type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks the resolver of this machine.
pub(crate) fn system() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host(&*name).await?.collect()) }))
}

/// The tasks of all clusters.
pub(super) struct Resolver {
    lookup: Lookup,
    tasks: BTreeMap<String, Task>,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

/// What a cluster's names have turned out to be.
pub(super) struct Answer {
    cluster: String,
    spec: Arc<ClusterSpec>,
    assignment: Arc<Assignment>,
}

struct Task {
    spec: Arc<ClusterSpec>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Resolver {
    pub(super) fn new(lookup: Lookup) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS);
        Self {
            lookup,
            tasks: BTreeMap::new(),
            sender,
            answers,
        }
    }

    /// Starts what is new and ends what is gone.
    pub(super) fn keep_in_step(&mut self, accepted: &mut Accepted) {
        let clusters = &accepted.clusters;
        let is_current = |name: &String, spec: &Arc<ClusterSpec>| {
            let held = clusters.get(name);
            held.is_some_and(|held| Arc::ptr_eq(&held.spec, spec))
        };
        self.tasks.retain(|name, task| is_current(name, &task.spec));
        accepted.resolved.retain(|name, _| {
            let held = clusters.get(name);
            held.is_some_and(|held| matches!(held.spec.source, Source::Dns(_)))
        });
        for (name, held) in clusters {
            let Source::Dns(names) = &held.spec.source else {
                continue;
            };
            self.tasks.entry(name.clone()).or_insert_with(|| {
                let follow = Follow {
                    cluster: name.clone(),
                    spec: Arc::clone(&held.spec),
                    names: Arc::clone(names),
                    lookup: Arc::clone(&self.lookup),
                    answers: self.sender.clone(),
                };
                Task {
                    spec: Arc::clone(&held.spec),
                    handle: tokio::spawn(follow.run()),
                }
            });
        }
    }

    /// Waits for the next answer.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// Takes an answer, unless the cluster has another meaning by now.
    pub(super) fn take(&self, answer: Answer, accepted: &mut Accepted) {
        let held = accepted.clusters.get(&answer.cluster);
        if held.is_some_and(|held| Arc::ptr_eq(&held.spec, &answer.spec)) {
            accepted.resolved.insert(answer.cluster, answer.assignment);
        }
    }
}

/// One cluster's task.
struct Follow {
    cluster: String,
    spec: Arc<ClusterSpec>,
    names: Arc<Names>,
    lookup: Lookup,
    answers: mpsc::Sender<Answer>,
}

impl Follow {
    async fn run(self) {
        let mut known: BTreeMap<Arc<str>, Vec<SocketAddr>> = BTreeMap::new();
        loop {
            let mut changed = false;
            for endpoint in &self.names.assignment.endpoints {
                let name = &endpoint.address;
                match (self.lookup)(Arc::clone(name)).await {
                    Ok(found) => {
                        let found = self.names.family.of(found);
                        if !found.is_empty() && known.get(name) != Some(&found) {
                            known.insert(Arc::clone(name), found);
                            changed = true;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(cluster = self.cluster, %name, %error, "a name does not resolve; its last addresses stay");
                    }
                }
            }
            if changed {
                let answer = Answer {
                    cluster: self.cluster.clone(),
                    spec: Arc::clone(&self.spec),
                    assignment: Arc::new(self.names.assignment.resolved(&known)),
                };
                if self.answers.send(answer).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(self.names.refresh).await;
        }
    }
}

impl Family {
    /// The addresses that are used of those that were found, in one order.
    fn of(self, mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let has_v4 = found.iter().any(SocketAddr::is_ipv4);
        let has_v6 = found.iter().any(SocketAddr::is_ipv6);
        found.retain(|address| match self {
            Self::V4Only => address.is_ipv4(),
            Self::V6Only => address.is_ipv6(),
            Self::V4Preferred => address.is_ipv4() || !has_v4,
            Self::V6Preferred => address.is_ipv6() || !has_v6,
            Self::All => true,
        });
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::time::Duration;

    use mesh_xds::envoy::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    use mesh_xds::{Resource, ResourceType};

    use super::*;
    use crate::snapshot::samples;

    /// An answer is followed until it changes; what does not resolve any more keeps its last addresses.
    #[tokio::test(start_paused = true)]
    async fn a_name_is_resolved_again_and_keeps_its_last_good_answer() {
        let script: Vec<io::Result<Vec<SocketAddr>>> = vec![
            Ok(vec!["10.0.0.1:80".parse().unwrap()]),
            Err(io::ErrorKind::NotFound.into()),
            Ok(vec!["10.0.0.1:80".parse().unwrap()]),
            Ok(vec!["10.0.0.2:80".parse().unwrap()]),
        ];
        let script = Arc::new(Mutex::new(script.into_iter()));
        let lookup: Lookup = Arc::new(move |_| {
            let next = script.lock().unwrap().next();
            Box::pin(async move { next.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())) })
        });
        let mut cluster = samples::static_cluster("outbound|80||api.example.com", 80);
        let kind = DiscoveryType::StrictDns as i32;
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind));
        let mut accepted = Accepted::default();
        let cluster = [Arc::new(Resource::new(&cluster))];
        let context = samples::context();
        let now = std::time::Instant::now();
        let refused = accepted.apply(ResourceType::Cluster, &cluster, &[], &context, now);
        assert!(refused.is_empty(), "{refused:?}");
        let mut resolver = Resolver::new(lookup);
        resolver.keep_in_step(&mut accepted);
        let began = tokio::time::Instant::now();
        for (expected, after) in [("10.0.0.1:80", 0), ("10.0.0.2:80", 15)] {
            let answer = resolver.next().await.unwrap();
            resolver.take(answer, &mut accepted);
            let resolved = &accepted.resolved["outbound|80||api.example.com"];
            assert_eq!(&*resolved.endpoints[0].address, expected);
            assert_eq!(began.elapsed(), Duration::from_secs(after));
        }
        accepted.clusters.clear();
        resolver.keep_in_step(&mut accepted);
        assert!(accepted.resolved.is_empty());
        assert!(resolver.tasks.is_empty());
    }

    #[test]
    fn families() {
        let found = ["[::1]:80", "10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"]
            .map(|address| address.parse().unwrap());
        let of = |family: Family| {
            let found = family.of(found.to_vec()).into_iter();
            found.map(|a| a.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(Family::V4Preferred), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(of(Family::V6Preferred), ["[::1]:80"]);
        assert_eq!(of(Family::All).len(), 3);
        assert_eq!(
            Family::V4Preferred.of(vec![found[0]]),
            [found[0]],
            "the other family is better than nothing"
        );
    }
}
