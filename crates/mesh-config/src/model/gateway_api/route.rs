//! What is attached to listeners: HTTPRoute, GRPCRoute, and the routes that carry bytes.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::filter::Filter;
use super::gateway::own_group;
use crate::rules;

/// What a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// API group; that of the Gateway API where it is left out, empty for a Service.
    #[serde(default = "own_group")]
    pub group: String,
    /// `Gateway` (also where it is left out), `ListenerSet` or `Service`.
    #[serde(default = "gateway")]
    pub kind: String,
    /// Namespace, if another one than the route's.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The only listener that is meant, if named.
    pub section_name: Option<String>,
    /// The only port that is meant, if named.
    pub port: Option<u16>,
}

fn gateway() -> String {
    "Gateway".to_owned()
}

/// Where a rule sends requests or connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BackendRef {
    /// API group, empty for core.
    #[serde(default)]
    pub group: String,
    /// Kind; a Service where it is left out.
    #[serde(default = "service")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, if another one than the route's.
    pub namespace: Option<String>,
    /// The service's port.
    pub port: Option<u16>,
    /// Its share of the rule's requests: 0 to 1,000,000.
    #[serde(default = "one")]
    pub weight: u32,
    /// What happens to requests that go here, after the rule's filters.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

fn service() -> String {
    "Service".to_owned()
}

fn one() -> u32 {
    1
}

/// An HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// What it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// The hosts that it is for; empty for all of the listener.
    pub hostnames: Vec<String>,
    /// Its rules; `read` puts the default rule in where there are none.
    pub rules: Vec<HttpRule>,
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRule {
    /// Its name, may be empty.
    pub name: String,
    /// Any of these; empty for every request.
    pub matches: Vec<HttpMatch>,
    /// What happens to requests.
    pub filters: Vec<Filter>,
    /// Where they go.
    pub backend_refs: Vec<BackendRef>,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// When they are tried again.
    pub retry: Option<Retry>,
}

/// How long requests may take; zero is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Timeouts {
    /// From the request to the end of the answer, with all tries.
    #[serde(deserialize_with = "duration")]
    pub request: Option<Duration>,
    /// One try.
    #[serde(deserialize_with = "duration")]
    pub backend_request: Option<Duration>,
}

/// A duration as the API writes it, `1h30m` or `500ms`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    rules::length_of_time(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("{text} is no length of time")))
}

/// When requests are tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// Statuses of answers for which they are.
    pub codes: Vec<u16>,
    /// How often at most.
    pub attempts: Option<u32>,
    /// The shortest pause between two tries.
    #[serde(deserialize_with = "duration")]
    pub backoff: Option<Duration>,
}

/// All of these conditions; what is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// The path; every path where it is left out.
    pub path: PathMatch,
    /// Headers.
    pub headers: Vec<ValueMatch>,
    /// Parameters of the query.
    pub query_params: Vec<ValueMatch>,
    /// The method.
    pub method: Option<String>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PathMatch {
    /// How the value is compared.
    #[serde(rename = "type")]
    pub kind: PathType,
    /// What the path must be.
    pub value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        PathMatch {
            kind: PathType::PathPrefix,
            value: "/".to_owned(),
        }
    }
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PathType {
    /// The whole path.
    Exact,
    /// Its first segments.
    #[default]
    PathPrefix,
    /// An RE2 expression for the whole path.
    RegularExpression,
}

/// A condition on a header or on a parameter of the query.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ValueMatch {
    /// How the value is compared.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// The name of the header or parameter.
    pub name: String,
    /// What its value must be.
    pub value: String,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MatchType {
    /// The whole value.
    #[default]
    Exact,
    /// An RE2 expression for the whole value.
    RegularExpression,
}

/// A GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRoute {
    /// What it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// The hosts that it is for; empty for all of the listener.
    pub hostnames: Vec<String>,
    /// Its rules.
    pub rules: Vec<GrpcRule>,
}

/// A rule of a GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRule {
    /// Its name, may be empty.
    pub name: String,
    /// Any of these; empty for every call.
    pub matches: Vec<GrpcMatch>,
    /// What happens to calls.
    pub filters: Vec<Filter>,
    /// Where they go.
    pub backend_refs: Vec<BackendRef>,
}

/// All of these conditions; what is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcMatch {
    /// The service and method that are called.
    pub method: Option<GrpcMethod>,
    /// Headers.
    pub headers: Vec<ValueMatch>,
}

/// A condition on what is called; at least one of service and method is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcMethod {
    /// How they are compared.
    #[serde(rename = "type")]
    pub kind: MatchType,
    /// `package.Service`, may be empty.
    pub service: String,
    /// May be empty.
    pub method: String,
}

/// A TCPRoute, TLSRoute or UDPRoute: what carries bytes that nobody looks into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BytesRoute {
    /// What it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// The server names that it is for, of a TLSRoute; empty for all of the listener.
    pub hostnames: Vec<String>,
    /// Its rules, of which only the first has a meaning.
    pub rules: Vec<BytesRule>,
}

/// A rule of a route that carries bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BytesRule {
    /// Its name, may be empty.
    pub name: String,
    /// Where connections go.
    pub backend_refs: Vec<BackendRef>,
}
