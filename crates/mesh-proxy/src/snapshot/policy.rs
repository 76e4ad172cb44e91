//! What a route promises about a request's time and tries, which failures it makes on purpose, and who gets copies.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

/// How long a request may take, from its end to the end of its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeout {
    /// For every request; `None` is no limit.
    pub route: Option<Duration>,
    /// If set, a gRPC request has its own `grpc-timeout` instead, at most this long; zero caps nothing.
    pub grpc_max: Option<Duration>,
}

/// Failures on purpose; each share is drawn by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Requests that wait, and for how long.
    pub delay: Option<(Share, Duration)>,
    /// Requests that are refused, and how.
    pub abort: Option<(Share, Abort)>,
}

/// How a request is refused on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// By an HTTP status.
    Http(StatusCode),
    /// By a gRPC status.
    Grpc(u8),
}

/// Who gets a copy of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// Of how many requests.
    pub share: Share,
}

/// A share of all requests, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// All requests.
    pub const ALL: Self = Self(1_000_000);

    /// Whether a request is one of them; `draw` gives a number below its argument.
    #[must_use]
    pub fn takes(self, draw: &mut impl FnMut(u32) -> u32) -> bool {
        self.0 > 0 && draw(Self::ALL.0) < self.0
    }
}

/// When and how a request is tried again. The default never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most, after the first try.
    pub attempts: u32,
    /// What is worth another try.
    pub on: Conditions,
    /// The statuses of [`Conditions::STATUSES`].
    pub statuses: Vec<StatusCode>,
    /// From the end of the request and a connection for it to the response's head; `None` is no limit.
    pub per_try_timeout: Option<Duration>,
    /// Endpoints that have failed this request are passed over while there are others.
    pub avoid_tried: bool,
    /// Before the n-th retry passes a random time below `base × (2ⁿ − 1)`, at most `max`.
    pub backoff: Backoff,
}

/// The pauses between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// What the first pause stays below.
    pub base: Duration,
    /// What every pause stays below.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::from_base(Duration::from_millis(25))
    }
}

impl Backoff {
    /// Pauses up to ten times the base, Envoy's default.
    #[must_use]
    pub fn from_base(base: Duration) -> Self {
        Self {
            base,
            max: base * 10,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 0,
            on: Conditions::default(),
            statuses: Vec::new(),
            per_try_timeout: None,
            avoid_tried: true,
            backoff: Backoff::default(),
        }
    }
}

impl Retry {
    /// So many more tries of what was provably not processed, at other endpoints.
    #[must_use]
    pub fn unprocessed(attempts: u32) -> Self {
        Self {
            attempts,
            on: Conditions::CONNECT_FAILURE | Conditions::REFUSED_STREAM,
            ..Self::default()
        }
    }

    /// Whether a request may have to be sent again after an endpoint had it. Only then it is kept.
    #[must_use]
    pub fn repeats(&self, grpc: bool) -> bool {
        let statuses = if self.statuses.is_empty() {
            Conditions::default()
        } else {
            Conditions::STATUSES
        };
        let mut after_sending =
            Conditions::ANY_RESET | Conditions::RETRIABLE_4XX | Conditions::RATE_LIMITED | statuses;
        if grpc {
            after_sending = after_sending | Conditions::ANY_GRPC;
        }
        self.attempts > 0 && self.on.meets(after_sending)
    }

    /// Whether a response with this head is worth another try; `grpc` is its `grpc-status`, if the request
    /// was gRPC's and the response has one in its head.
    #[must_use]
    pub fn wants(&self, status: StatusCode, headers: &HeaderMap, grpc: Option<u8>) -> bool {
        let on = self.on;
        if headers.contains_key("x-envoy-ratelimited") {
            return on.meets(Conditions::RATE_LIMITED);
        }
        let code = status.as_u16();
        let by_status = (on.meets(Conditions::SERVER_ERRORS) && status.is_server_error())
            || (on.meets(Conditions::GATEWAY_ERRORS) && (502..=504).contains(&code))
            || (on.meets(Conditions::RETRIABLE_4XX) && code == 409)
            || (on.meets(Conditions::STATUSES) && self.statuses.contains(&status));
        let by_grpc = || match grpc {
            Some(1) => on.meets(Conditions::CANCELLED),
            Some(4) => on.meets(Conditions::DEADLINE_EXCEEDED),
            Some(8) => on.meets(Conditions::RESOURCE_EXHAUSTED),
            Some(13) => on.meets(Conditions::INTERNAL),
            Some(14) => on.meets(Conditions::UNAVAILABLE),
            _ => false,
        };
        by_status || by_grpc()
    }
}

/// A set of Envoy's conditions for another try (`retry_on`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions(u16);

impl Conditions {
    /// `connect-failure`: no connection came about, so nothing was sent.
    pub const CONNECT_FAILURE: Self = Self(1);
    /// `refused-stream`: the endpoint says that it did not look at the request.
    pub const REFUSED_STREAM: Self = Self(1 << 1);
    /// `reset-before-request`: the connection broke before the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 2);
    /// `reset`: no response came, for whatever reason.
    pub const RESET: Self = Self(1 << 3);
    /// `5xx`: a response of 500 to 599, or none.
    pub const SERVER_ERRORS: Self = Self(1 << 4);
    /// `gateway-error`: a response of 502 to 504, or none.
    pub const GATEWAY_ERRORS: Self = Self(1 << 5);
    /// `retriable-4xx`: 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    /// `retriable-status-codes`: those of the policy's list.
    pub const STATUSES: Self = Self(1 << 7);
    /// `envoy-ratelimited`: the response says that a limit of rates was met.
    pub const RATE_LIMITED: Self = Self(1 << 8);
    /// `cancelled`: gRPC's status 1.
    pub const CANCELLED: Self = Self(1 << 9);
    /// `deadline-exceeded`: gRPC's status 4.
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 10);
    /// `resource-exhausted`: gRPC's status 8.
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 11);
    /// `internal`: gRPC's status 13.
    pub const INTERNAL: Self = Self(1 << 12);
    /// `unavailable`: gRPC's status 14.
    pub const UNAVAILABLE: Self = Self(1 << 13);

    /// Those under which a request without a response is tried again, although it may have had its effect.
    pub const ANY_RESET: Self =
        Self(Self::RESET.0 | Self::SERVER_ERRORS.0 | Self::GATEWAY_ERRORS.0);
    const ANY_GRPC: Self = Self(
        Self::CANCELLED.0
            | Self::DEADLINE_EXCEEDED.0
            | Self::RESOURCE_EXHAUSTED.0
            | Self::INTERNAL.0
            | Self::UNAVAILABLE.0,
    );

    /// What Envoy calls it, if it is known. Two never hold here: no policy names headers, and nothing is
    /// spoken over QUIC.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "connect-failure" => Self::CONNECT_FAILURE,
            "refused-stream" => Self::REFUSED_STREAM,
            "reset-before-request" => Self::RESET_BEFORE_REQUEST,
            "reset" => Self::RESET,
            "5xx" => Self::SERVER_ERRORS,
            "gateway-error" => Self::GATEWAY_ERRORS,
            "retriable-4xx" => Self::RETRIABLE_4XX,
            "retriable-status-codes" => Self::STATUSES,
            "envoy-ratelimited" => Self::RATE_LIMITED,
            "cancelled" => Self::CANCELLED,
            "deadline-exceeded" => Self::DEADLINE_EXCEEDED,
            "resource-exhausted" => Self::RESOURCE_EXHAUSTED,
            "internal" => Self::INTERNAL,
            "unavailable" => Self::UNAVAILABLE,
            "retriable-headers" | "http3-post-connect-failure" => Self::default(),
            _ => return None,
        })
    }

    /// Whether any of those is among these.
    #[must_use]
    pub fn meets(self, those: Self) -> bool {
        self.0 & those.0 != 0
    }
}

impl std::ops::BitOr for Conditions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
