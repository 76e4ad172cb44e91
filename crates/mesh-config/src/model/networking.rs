//! `networking.istio.io` VirtualService.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::{CorsPolicy, Delegate, DirectResponse, HeaderOperations, Redirect, Rewrite};
use super::layer4::{TcpRoute, TlsRoute};
use super::resilience::{Fault, Mirror, Retries, Sticky};

/// A VirtualService: how requests for some hosts are routed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualService {
    /// Hosts as written (short, fully qualified, `*`, `*.suffix`), lower case.
    pub hosts: Vec<String>,
    /// `mesh`, `name` or `namespace/name`; `["mesh"]` where the user gave none.
    pub gateways: Vec<String>,
    /// HTTP routes, first match wins.
    pub http: Vec<HttpRoute>,
    /// Namespaces whose proxies it is for: names, `.` for its own, `*` for all. Empty means all.
    pub export_to: Vec<String>,
    /// If set, clients stay with the destination that their first request got.
    pub sticky: Option<Sticky>,
    /// Routes of TLS that is not terminated, first match wins.
    pub tls: Vec<TlsRoute>,
    /// Routes of connections, first match wins.
    pub tcp: Vec<TcpRoute>,
}

/// One HTTP route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRoute {
    /// The user's name for it, may be empty.
    pub name: String,
    /// Any of these; empty means always.
    pub matches: Vec<HttpMatch>,
    /// Where requests go, by weight. Empty only with one of the three that follow.
    pub route: Vec<HttpDestination>,
    /// Sends the client elsewhere, instead of sending its requests on.
    pub redirect: Option<Redirect>,
    /// Answers, instead of sending requests on.
    pub direct_response: Option<DirectResponse>,
    /// The VirtualService that has the routes for what this one matches.
    pub delegate: Option<Delegate>,
    /// What requests that go on ask for.
    pub rewrite: Option<Rewrite>,
    /// Which pages of other origins may use the route.
    pub cors: Option<CorsPolicy>,
    /// Changes of headers, whatever the destination is.
    pub headers: HeaderOperations,
    /// From the end of a request to the end of its response; `None` and zero are no limit.
    pub timeout: Option<Duration>,
    /// What is tried again; `None` is the mesh's default.
    pub retries: Option<Retries>,
    /// Failures on purpose.
    pub fault: Option<Fault>,
    /// Who gets copies of its requests.
    pub mirrors: Vec<Mirror>,
    /// Whether requests for a destination that does not exist are answered with 500 instead of 503: so with routes
    /// of the Gateway API, never with a VirtualService's own.
    pub missing_is_500: bool,
}

/// All of these conditions; what is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// The match's own name, may be empty.
    pub name: String,
    /// Path without query.
    pub uri: Option<StringMatch>,
    /// Case of `uri` does not matter (exact and prefix only).
    pub ignore_uri_case: bool,
    /// A prefix in `uri` stands for whole segments: `/a` takes `/a` and `/a/b` but not `/ab`. So does the Gateway
    /// API's `PathPrefix`, never a VirtualService's own.
    pub uri_by_segments: bool,
    /// Request method.
    pub method: Option<StringMatch>,
    /// `http` or `https`, as the client asked for it.
    pub scheme: Option<StringMatch>,
    /// Host header or `:authority`.
    pub authority: Option<StringMatch>,
    /// Header name (lower case) to condition; `None` means the header is present.
    pub headers: BTreeMap<String, Option<StringMatch>>,
    /// Header name (lower case) to a condition that must not hold; `None` means the header is
    /// absent. A missing header has no value, so it passes any other condition.
    pub without_headers: BTreeMap<String, Option<StringMatch>>,
    /// Name of a query parameter to a condition on its first value; `None` means that it is there.
    pub query_params: BTreeMap<String, Option<StringMatch>>,
    /// The port that the proxy takes requests at: of the service at sidecars, of the server at gateways.
    pub port: Option<u16>,
    /// Labels that the workload of the proxy must all carry. Not asked if [`HttpMatch::gateways`] are given.
    pub source_labels: BTreeMap<String, String>,
    /// The namespace of the proxy's workload. Not asked if [`HttpMatch::gateways`] are given.
    pub source_namespace: Option<String>,
    /// Replaces the VirtualService's `gateways` for this match; empty means inherit.
    pub gateways: Vec<String>,
    /// Paths of conditions that are valid but not acted on, `spec.http[0].match[1].headers["@request.auth.claims.x"]`.
    /// If there is one, this match must never hold: without it the route would take requests that
    /// it was not meant for.
    pub unsupported: Vec<String>,
}

/// Istio's StringMatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// The whole value.
    Exact(String),
    /// Its beginning, as a plain string.
    Prefix(String),
    /// An RE2 expression that matches the whole value.
    Regex(String),
}

/// A weighted destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDestination {
    /// Host as written: short names belong to the VirtualService's namespace.
    pub host: String,
    /// A subset of a DestinationRule, if named.
    pub subset: Option<String>,
    /// The service's port, if given.
    pub port: Option<u16>,
    /// As written, absent is 0. Alone, a destination takes everything whatever its weight.
    pub weight: u32,
    /// Changes of headers of what goes here.
    pub headers: HeaderOperations,
}
