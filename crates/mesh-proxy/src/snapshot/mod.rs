//! What the control plane said, in the form in which requests use it.
//!
//! A [`Snapshot`] never changes. One request sees one snapshot from its start to its end. Live state
//! (pools, counters) hangs in `state` fields that are carried over from snapshot to snapshot while
//! the thing that they belong to survives.

pub mod cluster;
pub mod compile;
mod cors;
mod edit;
pub mod endpoint;
mod field;
mod hash;
mod index;
pub mod link;
pub mod listener;
mod manager;
mod matcher;
mod originate;
mod peers;
mod policy;
mod rewrite;
pub mod route;
#[cfg(test)]
pub(crate) mod samples;
pub mod secret;
mod suffix;
mod tcp_proxy;
mod terminate;
mod tier;
mod transport;

pub use cors::{Allowed, Cors};
pub use edit::{Edit, Edits, Fact, Mode, Part, Template};
pub use field::Refusal;
pub use hash::{HashCookie, HashPolicy, Hashed};
pub use peers::{Namesakes, PeerDirectory};
pub use policy::{Abort, Backoff, Conditions, Fault, Mirror, Retry, Share, Timeout};
pub use rewrite::{PathRewrite, Piece, Redirect, RedirectPath};
pub use suffix::Suffixes;
pub use terminate::Clients;
#[cfg(test)]
pub(crate) use tier::for_tests as tiers_for_tests;
pub use tier::{Place, Tier};

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_xds::Workload;

use crate::upstream::breaker::Limits;
use crate::upstream::outlier::{self, Health};
use crate::upstream::table::Spread;
use crate::upstream::{ClusterState, Dynamic, EndpointState};

/// Everything a request needs to know.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each published snapshot.
    pub version: u64,
    /// By listener name.
    pub listeners: BTreeMap<String, Arc<Listener>>,
    /// By cluster name.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
}

/// On whose behalf a listener takes requests: decides `reporter` in telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Requests for the workload beside this proxy: `reporter="destination"`.
    Inbound,
    /// Requests of the workload beside this proxy, or of clients at the edge: `reporter="source"`.
    Outbound,
}

/// An address that is served.
#[derive(Debug)]
pub struct Listener {
    /// Its xDS name.
    pub name: Arc<str>,
    /// The address really bound, after the port map.
    pub address: SocketAddr,
    /// One `SO_REUSEPORT` socket for each worker, bound before the snapshot is published and kept
    /// over snapshots; a worker clones the one at its index.
    pub sockets: Arc<Vec<std::net::TcpListener>>,
    /// See [`Direction`].
    pub direction: Direction,
    /// The clients are strangers: a gateway's listener, or a published plain-text port. What they
    /// claim in `x-mesh-*`, `x-envoy-*` or `x-forwarded-client-cert` is stripped.
    pub edge: bool,
    /// Chains by exact or wildcard server name; see [`Listener::chain_for`].
    pub chains: FilterChains,
    /// This proxy's own workload.
    pub workload: Arc<Workload>,
    /// Who may stand behind a verified principal; empty on outbound listeners.
    pub peers: Arc<PeerDirectory>,
}

/// The filter chains of a listener, indexed by server name.
#[derive(Debug, Default)]
pub struct FilterChains {
    /// By exact server name, lower case.
    pub exact: HashMap<String, Arc<FilterChain>>,
    /// By `.suffix` of `*.suffix`.
    pub suffix: Suffixes<Arc<FilterChain>>,
    /// The chain without server names.
    pub default: Option<Arc<FilterChain>>,
}

impl Listener {
    /// The chain for a connection that asks for this server name (`None` in plain text or without
    /// one): the exact name, else the longest wildcard, else the chain without names.
    #[must_use]
    pub fn chain_for(&self, server_name: Option<&str>) -> Option<&Arc<FilterChain>> {
        self.chains.find(server_name)
    }
}

impl FilterChains {
    /// See [`Listener::chain_for`].
    #[must_use]
    pub fn find(&self, server_name: Option<&str>) -> Option<&Arc<FilterChain>> {
        let named = server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = self.exact.get(&name);
            exact.or_else(|| self.suffix.find(&name))
        });
        named.or(self.default.as_ref())
    }
}

/// What is done with a connection.
#[derive(Debug)]
pub struct FilterChain {
    /// TLS as its server; none of its own without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The clients are proxies of the mesh, verified by its roots; with any other certificate they are
    /// strangers all the same.
    pub mesh: bool,
    /// What clients have to prove to the user's own authorities, if anything.
    pub clients: Option<Arc<Clients>>,
    /// The connections begin with TLS that somebody behind terminates.
    pub passes_tls: bool,
    /// What is spoken.
    pub filter: Filter,
}

impl FilterChain {
    /// A chain in plain text.
    #[must_use]
    pub fn plain(filter: Filter) -> Self {
        Self {
            tls: None,
            mesh: false,
            clients: None,
            passes_tls: false,
            filter,
        }
    }

    /// Whether its connections begin with TLS.
    #[must_use]
    pub fn takes_tls(&self) -> bool {
        self.tls.is_some() || self.passes_tls
    }

    /// Its routes, if it carries requests.
    #[must_use]
    pub fn router(&self) -> Option<&Arc<Router>> {
        match &self.filter {
            Filter::Http(http) => Some(&http.router),
            Filter::Tcp(_) => None,
        }
    }
}

/// What a filter chain's connections carry.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Requests.
    Http(Http),
    /// Bytes that nobody looks into.
    Tcp(Arc<TcpProxy>),
}

/// What is done with the requests of a filter chain: an HTTP connection manager.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// Its routes: an RDS name resolved at compile time. A route configuration that has not come yet answers
    /// 404 NR.
    pub router: Arc<Router>,
    /// How paths are brought into their normal form before anybody reads them.
    pub path: Normalization,
    /// What the services behind are told of the client's certificate.
    pub client_certificate: ClientCertificate,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It is removed.
    #[default]
    Sanitize,
    /// It says which certificate the client has proven to have, and nothing else.
    Set,
    /// It stays if the client is a proxy of the mesh.
    Forward,
}

/// Where the sessions of a filter chain go.
#[derive(Debug)]
pub struct TcpProxy {
    /// Targets by weight, chosen once for each session.
    pub split: Split,
    /// How many endpoints are tried at most until there is a connection.
    pub attempts: u32,
    /// A session in which nothing moves for so long is closed; `None` waits forever.
    pub idle_timeout: Option<Duration>,
    /// The client's address decides on the endpoint, where a cluster chooses by hash.
    pub by_source: bool,
}

/// A route configuration.
#[derive(Debug, Default)]
pub struct Router {
    /// Its xDS name.
    pub name: Arc<str>,
    /// Compare hosts without their port.
    pub ignore_port: bool,
    /// By exact domain, lower case.
    pub exact: HashMap<String, Arc<VirtualHost>>,
    /// By what stands behind the `*` of `*.suffix`, or of `*-suffix`.
    pub suffix: Suffixes<Arc<VirtualHost>>,
    /// The virtual host with domain `*`.
    pub any: Option<Arc<VirtualHost>>,
}

/// Hosts that share routes.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its xDS name.
    pub name: Arc<str>,
    /// First match wins.
    pub routes: Vec<Arc<Route>>,
    /// Them by their paths, if they are many.
    pub(crate) index: Option<index::RouteIndex>,
}

impl VirtualHost {
    /// A host with these routes.
    #[must_use]
    pub fn new(name: &str, routes: Vec<Arc<Route>>) -> Self {
        Self {
            name: name.into(),
            index: index::RouteIndex::of(&routes),
            routes,
        }
    }
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// The user's name for it, may be empty.
    pub name: Arc<str>,
    /// When it applies.
    pub matcher: RouteMatcher,
    /// What it does.
    pub action: Action,
    /// Changes of the answer's headers.
    pub response: Edits,
}

impl Route {
    /// A route that changes nothing of its answers.
    #[must_use]
    pub fn new(name: &str, matcher: RouteMatcher, action: Action) -> Self {
        Self {
            name: name.into(),
            matcher,
            action,
            response: Edits::default(),
        }
    }
}

/// All of these conditions.
#[derive(Debug)]
pub struct RouteMatcher {
    /// The path, without its query.
    pub path: PathMatcher,
    /// Header conditions, pseudo headers (`:method`, `:authority`) included.
    pub headers: Vec<HeaderMatcher>,
    /// Conditions on the query.
    pub query: Vec<QueryMatcher>,
}

impl RouteMatcher {
    /// A path is all that is asked for.
    #[must_use]
    pub fn path(path: PathMatcher) -> Self {
        Self {
            path,
            headers: Vec::new(),
            query: Vec::new(),
        }
    }
}

/// A condition on the first value of a query parameter, as it is written: nothing is decoded, as in Envoy.
#[derive(Debug)]
pub struct QueryMatcher {
    /// The parameter's name.
    pub name: String,
    /// The condition.
    pub value: ValueMatcher,
    /// The parameter must not be there.
    pub absent: bool,
}

/// How a path is compared.
#[derive(Debug)]
pub enum PathMatcher {
    /// A plain string prefix; the empty prefix and `/` match every path.
    Prefix {
        /// In lower case if `ignore_case`.
        value: String,
        /// ASCII case does not matter.
        ignore_case: bool,
    },
    /// A prefix of whole segments: the path itself, or what follows it after a slash.
    Segments {
        /// Without a slash at its end; in lower case if `ignore_case`.
        value: String,
        /// ASCII case does not matter.
        ignore_case: bool,
    },
    /// The whole path.
    Exact {
        /// In lower case if `ignore_case`.
        value: String,
        /// ASCII case does not matter.
        ignore_case: bool,
    },
    /// A regular expression that matches the whole path.
    Regex(regex::Regex),
}

/// A condition on one header.
#[derive(Debug)]
pub struct HeaderMatcher {
    /// Lower case.
    pub name: HeaderName,
    /// The condition.
    pub value: ValueMatcher,
    /// Turns the verdict round.
    pub invert: bool,
    /// A missing field counts as an empty value; else it matches nothing, inverted or not.
    pub missing_is_empty: bool,
}

/// The header that a matcher reads.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderName {
    /// `:method`.
    Method,
    /// `:authority` or `Host`.
    Authority,
    /// `:scheme`.
    Scheme,
    /// `:path`, with its query.
    Path,
    /// A field; several lines of it are joined by commas.
    Field(http::HeaderName),
}

/// A condition on a value.
#[derive(Debug)]
pub enum ValueMatcher {
    /// There is one.
    Present,
    /// The whole value.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// Any part.
    Contains(String),
    /// A regular expression that matches the whole value.
    Regex(regex::Regex),
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Sends the request on.
    Forward(Forward),
    /// Answers by itself.
    Direct {
        /// The status.
        status: http::StatusCode,
        /// The body.
        body: bytes::Bytes,
    },
    /// Sends the client elsewhere.
    Redirect(Box<Redirect>),
}

/// Where a request goes.
#[derive(Debug)]
pub struct Forward {
    /// Targets by weight.
    pub split: Split,
    /// What a request is answered whose target does not exist.
    pub missing: http::StatusCode,
    /// How long it may take.
    pub timeout: Timeout,
    /// What is tried again.
    pub retry: Retry,
    /// Each try tells its number in `x-envoy-attempt-count`.
    pub count_attempts: bool,
    /// What decides on the endpoint, where a cluster chooses by hash; empty if nothing does.
    pub hash: Vec<HashPolicy>,
    /// Failures on purpose.
    pub fault: Option<Box<Fault>>,
    /// Who gets copies of its requests.
    pub mirrors: Vec<Mirror>,
    /// What is changed on the way; most routes change nothing.
    pub changes: Option<Box<Changes>>,
    /// Which pages of other origins may use it.
    pub cors: Option<Arc<Cors>>,
}

impl Forward {
    /// Sends requests on, without a limit of time and once.
    #[must_use]
    pub fn to(split: Split) -> Self {
        Self {
            split,
            missing: http::StatusCode::SERVICE_UNAVAILABLE,
            timeout: Timeout::default(),
            retry: Retry::default(),
            count_attempts: false,
            hash: Vec::new(),
            fault: None,
            mirrors: Vec::new(),
            changes: None,
            cors: None,
        }
    }
}

/// What is changed of requests that are sent on, and of their responses.
#[derive(Debug, Default)]
pub struct Changes {
    /// The path that is asked for.
    pub path: Option<PathRewrite>,
    /// The host that is asked for.
    pub host: Option<http::HeaderValue>,
    /// Headers of requests.
    pub request: Edits,
    /// By target of the split, before the route's own; empty if no target changes anything.
    pub targets: Vec<TargetChanges>,
}

/// What one target of a split changes.
#[derive(Clone, Debug, Default)]
pub struct TargetChanges {
    /// The host that is asked for, unless the route names one.
    pub host: Option<http::HeaderValue>,
    /// Headers of requests.
    pub request: Edits,
    /// Headers of responses.
    pub response: Edits,
}

impl TargetChanges {
    fn is_empty(&self) -> bool {
        self.host.is_none() && self.request.is_empty() && self.response.is_empty()
    }
}

impl Changes {
    /// These, if they change anything.
    fn boxed(self) -> Option<Box<Self>> {
        let nothing = self.path.is_none()
            && self.host.is_none()
            && self.request.is_empty()
            && self.targets.iter().all(TargetChanges::is_empty);
        (!nothing).then(|| Box::new(self))
    }
}

/// Weighted clusters, and each worker's place in their smooth round robin.
#[derive(Debug)]
pub struct Split {
    /// Cluster name and weight; weights of 0 get nothing.
    pub targets: Vec<(Arc<str>, u32)>,
    /// Current weights of the smooth weighted round robin, one list for each worker; never
    /// contended. Shared with the split that follows in a later snapshot as long as its targets stay
    /// the same, so that an unrelated change does not start the round anew.
    pub state: Arc<Vec<Mutex<Vec<i64>>>>,
}

impl Split {
    /// A split whose round starts at its beginning on each of `workers` workers.
    #[must_use]
    pub fn new(targets: Vec<(Arc<str>, u32)>, workers: usize) -> Self {
        let state = (0..workers)
            .map(|_| Mutex::new(vec![0; targets.len()]))
            .collect();
        Self {
            targets,
            state: Arc::new(state),
        }
    }
}

/// Which spellings of a path are made one. Nothing is done by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normalization {
    /// RFC 3986's normal form (Envoy's `normalize_path`).
    pub normalize: bool,
    /// `%2F` and `%5C` are the slashes that they encode (`path_with_escaped_slashes_action`).
    pub unescape_slashes: bool,
    /// Several slashes in a row are one (`merge_slashes`).
    pub merge_slashes: bool,
}

/// Endpoints that offer one thing.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its xDS name.
    pub name: Arc<str>,
    /// The service as the metric labels name it.
    pub service: Arc<ServiceName>,
    /// All endpoints, by priority and place.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The same by priority, the first one first.
    pub tiers: Vec<Tier>,
    /// All endpoints have the same priority, place and weight, and none is warming up.
    pub is_flat: bool,
    /// How one of them is chosen.
    pub balance: Balance,
    /// How an endpoint that has just come gets its share.
    pub warmup: Option<Warmup>,
    /// If fewer of a hundred endpoints of a priority are fit, all of them get requests; 0 is never.
    pub panic_percent: u32,
    /// When endpoints are left alone for their errors.
    pub outlier: Option<outlier::Terms>,
    /// How much there may be at once, if there is a limit.
    pub limits: Option<Limits>,
    /// How connections are kept.
    pub connections: Connections,
    /// What is spoken to an endpoint over TLS is settled by ALPN; in plain text this decides.
    pub http2: bool,
    /// How long a connect, TLS included, may take.
    pub connect_timeout: Duration,
    /// Live state.
    pub state: Arc<ClusterState>,
    /// The endpoint is the host of each request; there are no others then.
    pub dynamic: Option<Arc<Dynamic>>,
}

/// `destination_service`, `_name` and `_namespace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceName {
    /// `reviews.default.svc.cluster.local`.
    pub host: String,
    /// `reviews`.
    pub name: String,
    /// `default`.
    pub namespace: String,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The one with fewer active requests of two random ones.
    LeastRequest,
    /// By chance.
    Random,
    /// The same one for requests that are alike; by chance for those without a hash.
    Hash(Spread),
}

/// How an endpoint that has just come gets its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// After so long it has its whole share.
    pub window: Duration,
    /// Its share at first, from 0 to 1.
    pub least: f64,
    /// 1 grows evenly, more starts slower.
    pub aggression: f64,
}

/// How the connections of a cluster are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Requests that one carries; 0 is no limit.
    pub requests: u32,
    /// How long one is used for new requests.
    pub age: Option<Duration>,
    /// How long one may be idle, 0 is forever; `None` is as long as the pool thinks best.
    pub idle: Option<Duration>,
    /// Requests at once on an HTTP/2 connection; 0 is as many as the pool thinks best.
    pub streams: u32,
    /// TCP keep-alive, if it is not to be as usual.
    pub keepalive: Option<Keepalive>,
    /// None leads to this machine itself: strangers say where.
    pub abroad: bool,
}

/// TCP keep-alive; `None` is the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Unanswered probes until a connection counts as dead.
    pub probes: Option<u32>,
    /// Silence until the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

/// One endpoint of a cluster.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`; a host name is resolved at connect time.
    pub address: Arc<str>,
    /// The workload behind it.
    pub workload: Arc<Workload>,
    /// TLS towards it; plain text without.
    pub tls: Option<UpstreamTls>,
    /// Its share among its neighbours, at least 1.
    pub weight: u32,
    /// What it has on its account.
    pub health: Arc<Health>,
    /// Live state.
    pub state: Arc<EndpointState>,
}

/// How an endpoint is spoken to over TLS.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Who may answer, and which certificate is shown.
    pub config: Arc<rustls::ClientConfig>,
    /// The server name that is asked for.
    pub sni: rustls::pki_types::ServerName<'static>,
    /// A proxy of the mesh answers, which is told what it is connected for.
    pub is_mesh: bool,
}
