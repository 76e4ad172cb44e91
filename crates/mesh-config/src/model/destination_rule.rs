//! `networking.istio.io` DestinationRule: what the callers of a host should know about it.
//!
//! A part that is absent is not said: it follows from the rule's top level, or is Istio's default. What
//! overrides what is for `mesh-compile` to settle.

use std::collections::BTreeMap;
use std::time::Duration;

/// A DestinationRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationRule {
    /// Host as written: a short name belongs to the rule's namespace.
    pub host: String,
    /// Named groups of endpoints.
    pub subsets: Vec<Subset>,
    /// For all endpoints, as far as their subset says nothing else.
    pub policy: TrafficPolicy,
    /// Namespaces whose clients see the rule, `.` for its own, `*` for all; empty means all.
    pub export_to: Vec<String>,
    /// Labels that a client of the rule's namespace must all carry, if it is for some of them only.
    pub workload_selector: Option<BTreeMap<String, String>>,
}

/// A named group of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// Labels that an endpoint must all carry.
    pub labels: BTreeMap<String, String>,
    /// What is different for it.
    pub policy: TrafficPolicy,
}

/// How endpoints are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// For all ports that have no policy of their own.
    pub parts: PolicyParts,
    /// For single ports. They replace all four parts and inherit none.
    pub ports: BTreeMap<u16, PolicyParts>,
    /// The PROXY protocol's version, 1 or 2, with which a connection begins.
    pub proxy_protocol: Option<u8>,
}

/// The four parts of a policy, each replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyParts {
    /// Which endpoint gets a request.
    pub load_balancer: Option<LoadBalancer>,
    /// How many connections and requests there may be, and for how long.
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is left alone for its errors.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the endpoints.
    pub tls: Option<ClientTls>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Which localities are preferred; `None` for the mesh's own setting.
    pub locality: Option<LocalitySetting>,
    /// How an endpoint that has just come gets its share.
    pub warmup: Option<Warmup>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// The less busy of two endpoints.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// By chance.
    Random,
    /// The address that the client asked for, whatever endpoints there are.
    Passthrough,
    /// The same endpoint for requests that are alike.
    ConsistentHash(ConsistentHash),
}

/// The same endpoint for requests that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistentHash {
    /// In what requests are alike; `None` if the rule does not say, so that chance decides.
    pub key: Option<HashKey>,
    /// How hashes are spread over endpoints.
    pub table: HashTable,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The value of this header.
    Header(String),
    /// The value of a cookie.
    Cookie(HashCookie),
    /// The client's address.
    SourceIp,
    /// The value of this query parameter.
    QueryParameter(String),
}

/// A cookie that keeps a client at its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// Its path; empty for none.
    pub path: String,
    /// If given, a client without the cookie gets one that lasts so long; 0 lasts for the session.
    pub ttl: Option<Duration>,
    /// Further attributes, such as `SameSite`, in the order written.
    pub attributes: Vec<(String, String)>,
}

/// How hashes are spread over endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// A ring with at least so many places; `None` for Envoy's default of 1024.
    Ring(Option<u64>),
    /// A Maglev table with so many places, a prime number; `None` for Envoy's default of 65537.
    Maglev(Option<u64>),
}

/// How an endpoint that has just come gets its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmup {
    /// After so long it has its whole share.
    pub duration: Duration,
    /// Its share at first, in thousandths of a percent of the whole one; `None` for Envoy's default of 10 %.
    pub minimum_millipercent: Option<u64>,
    /// In thousandths: 1000 grows evenly, more starts slower; `None` for 1000.
    pub milli_aggression: Option<u64>,
}

/// Which localities get requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalitySetting {
    /// `false` takes localities out of account.
    pub enabled: bool,
    /// Shares by the client's locality. The first that fits counts.
    pub distribute: Vec<Distribute>,
    /// The region that takes over from another: from, to.
    pub failover: Vec<(String, String)>,
    /// Labels, `key` or `key=value`: the more of them in a row an endpoint has in common with the client, the
    /// sooner it gets requests.
    pub failover_priority: Vec<String>,
}

/// The shares of localities for clients of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribute {
    /// `region/zone/subzone`, each may be `*` or left out.
    pub from: String,
    /// Percent by locality, written like `from`.
    pub to: BTreeMap<String, u32>,
}

/// Limits and lifetimes of connections and requests. `None` is no limit, or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// Connections at once.
    pub max_connections: Option<u32>,
    /// How long a connect may take; `None` for the mesh's setting.
    pub connect_timeout: Option<Duration>,
    /// Probes on a silent connection.
    pub keepalive: Option<Keepalive>,
    /// How long a connection lives.
    pub max_connection_duration: Option<Duration>,
    /// How long a TCP session, or an HTTP connection, may be idle; 0 is forever.
    pub tcp_idle_timeout: Option<Duration>,
    /// How long an HTTP connection may be idle; 0 is forever.
    pub http_idle_timeout: Option<Duration>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests at once.
    pub max_requests: Option<u32>,
    /// Requests that one connection carries.
    pub max_requests_per_connection: Option<u32>,
    /// Retries at once.
    pub max_retries: Option<u32>,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// Whether HTTP/1.1 becomes HTTP/2 on the way; `None` for the mesh's setting, which is not.
    pub h2_upgrade: Option<bool>,
    /// Speak what the client speaks.
    pub use_client_protocol: bool,
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

/// When an endpoint is left alone for its errors. `None` is Envoy's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Answers of 5xx in a row, 0 is never; by default 5.
    pub consecutive_5xx: Option<u32>,
    /// Answers of 502, 503 and 504 in a row, 0 is never; by default never.
    pub consecutive_gateway_errors: Option<u32>,
    /// Count what happens on the way apart from what the endpoint answers.
    pub split_local_errors: bool,
    /// Failures on the way in a row, if they are counted apart; by default 5.
    pub consecutive_local_failures: Option<u32>,
    /// How often ejections are looked at; by default 10 s.
    pub interval: Option<Duration>,
    /// How long the first ejection lasts, and by how much each further one is longer; by default 30 s.
    pub base_ejection_time: Option<Duration>,
    /// How many of a hundred endpoints may be ejected, but at least one; by default 10.
    pub max_ejection_percent: Option<u32>,
    /// If fewer of a hundred endpoints are left, all of them get requests; 0 is never.
    pub min_health_percent: u32,
}

/// TLS towards endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Whose certificates are used.
    pub mode: TlsMode,
    /// File with the own certificate, of MUTUAL.
    pub client_certificate: String,
    /// File with its key.
    pub private_key: String,
    /// File with the authorities that the server's certificate must come from; empty for those of the system.
    pub ca_certificates: String,
    /// A Secret instead of files, at gateways.
    pub credential_name: String,
    /// Names of which the server's certificate must have one.
    pub subject_alt_names: Vec<String>,
    /// The name that is asked for.
    pub sni: String,
    /// Believe any server.
    pub insecure_skip_verify: bool,
}

/// Whose certificates are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// The server's.
    Simple,
    /// The server's, and one's own.
    Mutual,
    /// Those of the mesh.
    IstioMutual,
}
