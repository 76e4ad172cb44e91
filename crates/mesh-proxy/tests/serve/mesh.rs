//! Snapshots by hand, and workers that serve them.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::testing::Authority;
use mesh_identity::{Identity, tls};
use mesh_proxy::runtime::Workers;
use mesh_proxy::snapshot::{
    Action, Balance, ClientCertificate, Cluster, Connections, Direction, Endpoint, Filter,
    FilterChain, FilterChains, Forward, Http, Listener, Normalization, PathMatcher, PeerDirectory,
    Retry, Route, RouteMatcher, Router, ServiceName, Snapshot, Split, TcpProxy, UpstreamTls,
    VirtualHost,
};
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::upstream::{ClusterState, EndpointState};
use mesh_xds::Workload;
use mesh_xds::mesh::EdgeDelta;
use prometheus::TextEncoder;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

/// Long enough for anything that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, but not forever.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// A running data plane.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    registry: prometheus::Registry,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    telemetry: Arc<Telemetry>,
    workers: Workers,
}

impl Proxy {
    /// Serves the setup's listener.
    pub(crate) fn start(setup: Setup) -> Self {
        let address = setup.listener.address;
        let (workers, identity) = (setup.workers, setup.identity.clone());
        Self::serve(address, workers, identity, setup.snapshot())
    }

    /// Serves a whole snapshot.
    pub(crate) fn serve(
        address: SocketAddr,
        workers: usize,
        identity: Arc<Identity>,
        snapshot: Snapshot,
    ) -> Self {
        let snapshots = watch::Sender::new(Arc::new(snapshot));
        let registry = prometheus::Registry::new();
        let telemetry = Telemetry::new(&registry).expect("a fresh registry");
        let workers = Workers::start(workers, snapshots.subscribe(), identity, telemetry.clone())
            .expect("workers start");
        Self {
            address,
            registry,
            snapshots,
            telemetry,
            workers,
        }
    }

    /// Drains, and returns what was counted.
    pub(crate) async fn finish(self) -> Vec<EdgeDelta> {
        soon(self.workers.drain(PATIENCE)).await;
        self.telemetry.take_edges()
    }

    /// What was counted since this was last asked.
    pub(crate) fn edges(&self) -> Vec<EdgeDelta> {
        self.telemetry.take_edges()
    }

    /// What Prometheus gets.
    pub(crate) fn scrape(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.expect("text")
    }

    /// Waits until so many connections have been refused for this reason.
    pub(crate) async fn has_refused(&self, count: f64, reason: &str) {
        let counted = async {
            while self.refused(reason) < count {
                tokio::task::yield_now().await;
            }
        };
        soon(counted).await;
        assert_eq!(self.refused(reason), count);
    }

    fn refused(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let mut refused = families
            .iter()
            .filter(|f| f.name() == "mesh_connections_refused_total");
        let metrics = refused.next().map_or(&[][..], |family| family.get_metric());
        let mut counts = metrics.iter().filter(|metric| {
            metric
                .get_label()
                .iter()
                .any(|label| label.value() == reason)
        });
        counts
            .next()
            .map_or(0.0, |metric| metric.get_counter().get_value())
    }

    pub(crate) fn into_workers(self) -> (Workers, Arc<Telemetry>) {
        (self.workers, self.telemetry)
    }
}

/// A snapshot in the making: one listener, routes by path, clusters.
pub(crate) struct Setup {
    pub(crate) workers: usize,
    pub(crate) identity: Arc<Identity>,
    pub(crate) listener: Listener,
    pub(crate) hosts: Vec<(&'static str, Vec<Arc<Route>>)>,
    /// The virtual host for all other names.
    pub(crate) any: Option<(&'static str, Vec<Arc<Route>>)>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) tls: Option<(Vec<String>, Arc<rustls::ServerConfig>)>,
    /// Sessions instead of requests.
    pub(crate) tcp: Option<Arc<TcpProxy>>,
}

impl Setup {
    /// A sidecar's outbound listener without anything behind it.
    pub(crate) fn outbound() -> Self {
        let authority = Authority::new("cluster.local");
        Self::new(
            1,
            authority.identity("default", "shop"),
            Direction::Outbound,
        )
    }

    /// A listener at a free port, with one socket for each worker.
    pub(crate) fn new(workers: usize, identity: Arc<Identity>, direction: Direction) -> Self {
        let sockets = sockets(workers);
        let listener = Listener {
            name: "listener".into(),
            address: sockets[0].local_addr().expect("it is bound"),
            sockets: Arc::new(sockets),
            direction,
            edge: false,
            chains: FilterChains::default(),
            workload: workload("shop", "v1"),
            peers: Arc::default(),
        };
        Self {
            workers,
            identity,
            listener,
            hosts: Vec::new(),
            any: None,
            clusters: Vec::new(),
            tls: None,
            tcp: None,
        }
    }

    pub(crate) fn edge(mut self) -> Self {
        self.listener.edge = true;
        self
    }

    /// Everything for `web` goes to one cluster of these endpoints.
    pub(crate) fn to(self, endpoints: Vec<Arc<Endpoint>>) -> Self {
        let cluster = cluster("outbound|80||web", endpoints);
        self.through(cluster)
    }

    pub(crate) fn through(mut self, cluster: Cluster) -> Self {
        let route = forward(vec![(cluster.name.clone(), 1)], 2, self.workers);
        self.clusters.push(cluster);
        self.hosts.push(("web", vec![route]));
        self
    }

    pub(crate) fn snapshot(self) -> Snapshot {
        let host = |(name, routes): (&str, Vec<Arc<Route>>)| {
            let host = VirtualHost::new(name, routes);
            (name.to_owned(), Arc::new(host))
        };
        let router = Arc::new(Router {
            name: "http".into(),
            ignore_port: true,
            any: self.any.map(|any| host(any).1),
            exact: self.hosts.into_iter().map(host).collect(),
            ..Router::default()
        });
        let filter = self.tcp.map_or(
            Filter::Http(Http {
                client_certificate: ClientCertificate::default(),
                router,
                path: Normalization {
                    normalize: true,
                    ..Normalization::default()
                },
            }),
            Filter::Tcp,
        );
        let mut listener = self.listener;
        match self.tls {
            None => listener.chains.default = Some(Arc::new(FilterChain::plain(filter))),
            Some((names, config)) => {
                let chain = Arc::new(FilterChain {
                    mesh: true,
                    clients: None,
                    passes_tls: false,
                    tls: Some(config),
                    filter,
                });
                let names = names.into_iter().map(|name| (name, chain.clone()));
                listener.chains.exact = names.collect();
            }
        }
        let clusters = self
            .clusters
            .into_iter()
            .map(|c| (c.name.clone(), Arc::new(c)));
        Snapshot {
            version: 1,
            listeners: [(listener.name.to_string(), Arc::new(listener))].into(),
            clusters: clusters.collect::<HashMap<_, _>>(),
        }
    }
}

fn sockets(workers: usize) -> Vec<TcpListener> {
    let mut address: SocketAddr = ([127, 0, 0, 1], 0).into();
    let bound = (0..workers).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("an option");
        socket.bind(&address.into()).expect("a free port");
        socket.listen(1024).expect("it listens");
        let socket = TcpListener::from(socket);
        address = socket.local_addr().expect("it is bound");
        socket
    });
    bound.collect()
}

pub(crate) fn workload(name: &str, version: &str) -> Arc<Workload> {
    Arc::new(Workload {
        name: format!("{name}-{version}"),
        namespace: "default".into(),
        app: name.into(),
        version: version.into(),
        canonical_service: name.into(),
        canonical_revision: version.into(),
        cluster: "mesh".into(),
        principal: format!("spiffe://cluster.local/ns/default/sa/{name}"),
    })
}

pub(crate) fn peers(workloads: &[Arc<Workload>]) -> Arc<PeerDirectory> {
    Arc::new(PeerDirectory::new(workloads.iter().cloned()))
}

/// A route for every path.
pub(crate) fn route(action: Action) -> Arc<Route> {
    let matcher = RouteMatcher::path(PathMatcher::Prefix {
        value: "/".into(),
        ignore_case: false,
    });
    Arc::new(Route::new("default", matcher, action))
}

pub(crate) fn forward(targets: Vec<(Arc<str>, u32)>, retries: u32, workers: usize) -> Arc<Route> {
    let forward = Forward::to(Split::new(targets, workers));
    route(Action::Forward(Forward {
        retry: Retry::unprocessed(retries),
        ..forward
    }))
}

pub(crate) fn cluster(name: &str, endpoints: Vec<Arc<Endpoint>>) -> Cluster {
    Cluster {
        name: name.into(),
        service: Arc::new(ServiceName {
            host: "web.default.svc.cluster.local".into(),
            name: "web".into(),
            namespace: "default".into(),
        }),
        endpoints,
        tiers: Vec::new(),
        is_flat: true,
        balance: Balance::RoundRobin,
        warmup: None,
        panic_percent: 0,
        outlier: None,
        limits: None,
        connections: Connections::default(),
        http2: false,
        connect_timeout: Duration::from_secs(5),
        state: Arc::new(ClusterState::new(2)),
        dynamic: None,
    }
}

/// An endpoint in plain text.
pub(crate) fn endpoint(address: SocketAddr, version: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        address: address.to_string().into(),
        workload: workload("web", version),
        tls: None,
        weight: 1,
        health: Arc::default(),
        state: Arc::new(EndpointState::new(2)),
    })
}

/// An endpoint behind mTLS, asked for by this server name.
pub(crate) fn mesh_endpoint(
    address: SocketAddr,
    identity: &Arc<Identity>,
    peers: tls::Peers,
    name: &str,
) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        address: address.to_string().into(),
        workload: workload("web", "v1"),
        tls: Some(UpstreamTls {
            is_mesh: true,
            config: tls::client_config(identity, peers, &[b"h2", b"http/1.1"]),
            sni: name.to_owned().try_into().expect("a server name"),
        }),
        weight: 1,
        health: Arc::default(),
        state: Arc::new(EndpointState::new(2)),
    })
}

/// An address that does not answer who connects, as long as the two others live: a backlog without acceptor that
/// is full.
pub(crate) async fn unanswered() -> (SocketAddr, Socket, tokio::net::TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a free port");
    socket.listen(0).expect("it listens");
    let address = socket.local_addr().expect("bound");
    let address = address.as_socket().expect("IPv4");
    let first = tokio::net::TcpStream::connect(address);
    (address, socket, first.await.expect("the one place"))
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("it is bound")
}
