//! What an HTTP route does against failures, and which ones it makes on purpose.

use std::time::Duration;

use super::HttpDestination;

/// When a request is tried again. What is absent has Istio's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// How often at most after the first try; 0 switches it off.
    pub attempts: u32,
    /// How long a try may take.
    pub per_try_timeout: Option<Duration>,
    /// Envoy's conditions and status codes, as written; empty is the default list.
    pub on: Vec<String>,
    /// Whether endpoints of other localities may be tried.
    pub remote_localities: bool,
    /// Whether endpoints that have failed are passed over.
    pub ignore_previous_hosts: Option<bool>,
    /// What the first pause stays below.
    pub backoff: Option<Duration>,
}

/// Failures on purpose. Each share is drawn by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Requests that wait.
    pub delay: Option<Delay>,
    /// Requests that are refused.
    pub abort: Option<Abort>,
}

/// Requests that wait before they are sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// For how long.
    pub time: Duration,
    /// How many of them.
    pub share: Share,
}

/// Requests that are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// By what.
    pub status: AbortStatus,
    /// How many of them.
    pub share: Share,
}

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status, 0 to 16.
    Grpc(u8),
}

/// Another destination that gets a copy of requests; nobody waits for its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where copies go; its weight and headers mean nothing.
    pub destination: HttpDestination,
    /// Of how many requests.
    pub share: Share,
}

/// A share of all requests in millionths, as Envoy has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// All requests.
    pub const ALL: Self = Self(1_000_000);

    /// 0 to 100; what is outside is brought to the nearer end.
    #[must_use]
    pub fn of_percent(percent: f64) -> Self {
        // In range and without a fraction, so nothing is cut off.
        Self((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }
}

/// A cookie by which a client stays with the destination that its first request got, while weights change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// How long the client keeps it; `None` is until its session ends.
    pub ttl: Option<Duration>,
}
