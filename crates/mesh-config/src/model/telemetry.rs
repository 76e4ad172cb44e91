//! `telemetry.istio.io` Telemetry.

use std::collections::BTreeMap;
use std::time::Duration;

use super::policy::PolicyTarget;

/// What proxies report about traffic, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// The workloads whose proxies it is for.
    pub target: PolicyTarget,
    /// Traces.
    pub tracing: Vec<Tracing>,
    /// Metrics.
    pub metrics: Vec<Metrics>,
    /// Access logs.
    pub access_logging: Vec<AccessLogging>,
}

/// Of which traffic of a workload something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Both.
    #[default]
    ClientAndServer,
    /// What it sends.
    Client,
    /// What it gets.
    Server,
}

/// How requests are traced. What is `None` is left to the wider scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracing {
    /// Of which traffic.
    pub side: Side,
    /// Names of providers; none leaves them to the wider scope.
    pub providers: Vec<String>,
    /// Of a million requests, how many are traced if nobody has decided about them.
    pub sampled_per_million: Option<u32>,
    /// No spans are reported, whatever was sampled.
    pub disabled: Option<bool>,
    /// Tags by their names.
    pub tags: BTreeMap<String, CustomTag>,
    /// Whether the request's id tells if it is sampled.
    pub sample_by_request_id: Option<bool>,
    /// Whether spans have Istio's own tags.
    pub istio_tags: Option<bool>,
}

/// Where the value of a span's tag comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomTag {
    /// It is this.
    Literal(String),
    /// A variable of the proxy, and what to write if there is none.
    Environment(String, String),
    /// A header of the request, and what to write if there is none.
    Header(String, String),
    /// A format of access logs.
    Formatter(String),
    /// Nothing was said.
    Empty,
}

/// Which metrics are reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Names of providers; none leaves them to the wider scope.
    pub providers: Vec<String>,
    /// Changes of single metrics, in order.
    pub overrides: Vec<MetricsOverride>,
    /// How often metrics are reported, where the provider is told.
    pub reporting_interval: Option<Duration>,
}

/// A change of some metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsOverride {
    /// One of Istio's metrics as the field's words have it, `REQUEST_COUNT`, or another's own name; `None` for all.
    pub metric: Option<String>,
    /// Of which traffic.
    pub side: Side,
    /// Not reported at all.
    pub disabled: Option<bool>,
    /// By their names: the new expression of a tag, or `None` to remove it.
    pub tags: BTreeMap<String, Option<String>>,
}

/// What is written to the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogging {
    /// Of which traffic.
    pub side: Side,
    /// Names of providers; none leaves them to the wider scope.
    pub providers: Vec<String>,
    /// Nothing at all.
    pub disabled: Option<bool>,
    /// A CEL expression that must hold for an entry to be written; empty for every entry.
    pub filter: String,
}
