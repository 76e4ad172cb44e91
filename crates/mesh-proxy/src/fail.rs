//! Why a request got no answer from an application, or a session ended early: Envoy's response flags, and what a client reads.
//!
//! A [`Flag`] owns the status, the metric label, the log word and the advice; a `Fail` adds the
//! cause of one case. The answer to a failed request is built in `exchange.rs`.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

use crate::upstream::outlier::Outcome;

/// Envoy's response flags, as far as this proxy raises them; in the order in which several are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// `UH`: the cluster has no endpoint that could be asked.
    NoEndpoint,
    /// `UT`: the answer took too long.
    Timeout,
    /// `UF`: no connection to an endpoint came about.
    ConnectFailure,
    /// `UC`: the endpoint closed the connection before its response.
    UpstreamClosed,
    /// `UO`: the cluster has as many connections or requests as it may have.
    Overflow,
    /// `NR`: no virtual host or no route matches.
    NoRoute,
    /// `DI`: the route has let it wait on purpose.
    DelayInjected,
    /// `FI`: the route has refused it on purpose.
    AbortInjected,
    /// `DC`: the client went away.
    ClientGone,
    /// `URX`: and the retries are used up.
    RetriesUsedUp,
    /// `DPE`: the request is not acceptable HTTP.
    BadRequest,
    /// `UPE`: the response is not acceptable HTTP.
    BadResponse,
    /// `NC`: the route names a cluster that does not exist.
    NoCluster,
}

impl Flag {
    /// All, in the order in which several are written.
    pub const ALL: [Self; 13] = [
        Self::NoEndpoint,
        Self::Timeout,
        Self::ConnectFailure,
        Self::UpstreamClosed,
        Self::Overflow,
        Self::NoRoute,
        Self::DelayInjected,
        Self::AbortInjected,
        Self::ClientGone,
        Self::RetriesUsedUp,
        Self::BadRequest,
        Self::BadResponse,
        Self::NoCluster,
    ];

    /// Envoy's short form, the value of the label `response_flags`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoEndpoint => "UH",
            Self::Timeout => "UT",
            Self::ConnectFailure => "UF",
            Self::UpstreamClosed => "UC",
            Self::Overflow => "UO",
            Self::NoRoute => "NR",
            Self::DelayInjected => "DI",
            Self::AbortInjected => "FI",
            Self::ClientGone => "DC",
            Self::RetriesUsedUp => "URX",
            Self::BadRequest => "DPE",
            Self::BadResponse => "UPE",
            Self::NoCluster => "NC",
        }
    }

    /// What a client is answered.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::BadRequest | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::BadResponse => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::NoEndpoint
            | Self::ConnectFailure
            | Self::UpstreamClosed
            | Self::Overflow
            | Self::DelayInjected
            | Self::AbortInjected
            | Self::RetriesUsedUp
            | Self::NoCluster => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What it means and what to do about it: fit for the eyes of strangers, since it names no address.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoEndpoint => {
                "the service has no endpoint here: start one of its workloads, and check the subset's labels"
            }
            Self::Timeout => {
                "the service did not answer in time: look into what it waits for, or raise the route's timeout"
            }
            Self::ConnectFailure => {
                "no endpoint of the service accepts connections: check that its workloads and their agents run"
            }
            Self::UpstreamClosed => {
                "the service closed the connection before it answered: look into its log for a crash or a short keep-alive"
            }
            Self::Overflow => {
                "the service is busy: this proxy has as many requests or connections to it as its DestinationRule allows"
            }
            Self::NoRoute => {
                "no route matches this host and path: check the hosts and matches of the VirtualService"
            }
            Self::DelayInjected => "the route delays requests on purpose: look for fault.delay",
            Self::AbortInjected => "the route refuses requests on purpose: look for fault.abort",
            Self::ClientGone => "the client went away before it was answered",
            Self::RetriesUsedUp => "all attempts failed: try again later",
            Self::BadRequest => "this request is not acceptable HTTP",
            Self::BadResponse => {
                "the service's response is not acceptable HTTP: check which protocol its port speaks"
            }
            Self::NoCluster => {
                "the route's destination does not exist: check its host, port and subset, and that a DestinationRule names the subset"
            }
        }
    }

    fn bit(self) -> u32 {
        1 << self as u16
    }
}

/// A set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(u32);

impl Flags {
    /// These and this one.
    #[must_use]
    pub fn with(self, flag: Flag) -> Self {
        Self(self.0 | flag.bit())
    }

    /// These and those.
    #[must_use]
    pub fn and(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Is this one among them?
    #[must_use]
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The value of the label `response_flags`: short forms joined by commas, `-` for none.
    #[must_use]
    pub fn label(self) -> Cow<'static, str> {
        let mut labels = Flag::ALL.iter().filter(|flag| self.contains(**flag));
        let Some(first) = labels.next() else {
            return Cow::Borrowed("-");
        };
        labels.fold(Cow::Borrowed(first.label()), |joined, flag| {
            Cow::Owned(format!("{joined},{}", flag.label()))
        })
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        Self::default().with(flag)
    }
}

/// The failure of one request, or of a session to begin.
#[derive(Debug)]
pub(crate) struct Fail {
    /// What kind of failure it is.
    pub(crate) flags: Flags,
    /// What the client is answered.
    pub(crate) status: StatusCode,
    /// What happened, for the log and for the workload that the proxy stands beside. It may name addresses.
    pub(crate) cause: Cow<'static, str>,
    /// What to do; fit for strangers.
    pub(crate) advice: &'static str,
    /// What the client reads instead of cause and advice.
    pub(crate) body: Option<&'static str>,
    /// gRPC's status, if the HTTP status does not say it.
    pub(crate) grpc: Option<u8>,
}

impl Fail {
    /// A failure with its flag's status and advice.
    pub(crate) fn new(flag: Flag, cause: impl Into<Cow<'static, str>>) -> Self {
        Self {
            flags: flag.into(),
            status: flag.status(),
            cause: cause.into(),
            advice: flag.advice(),
            body: None,
            grpc: None,
        }
    }

    /// A request that cannot be taken; `sentence` says why and what would be accepted.
    pub(crate) fn refused(status: StatusCode, sentence: &'static str) -> Self {
        Self {
            flags: Flag::BadRequest.into(),
            status,
            cause: sentence.into(),
            advice: sentence,
            body: None,
            grpc: None,
        }
    }

    /// No virtual host or no route.
    pub(crate) fn no_route() -> Self {
        Self::new(Flag::NoRoute, "no route matches this host and path")
    }

    /// A route without a destination.
    pub(crate) fn no_target() -> Self {
        Self::new(
            Flag::NoCluster,
            "none of the route's destinations has a weight",
        )
    }

    /// A destination that is not there.
    pub(crate) fn no_cluster(cluster: &str) -> Self {
        let cause = format!("the cluster {cluster:?} does not exist");
        Self::new(Flag::NoCluster, cause)
    }

    /// The route's time is up.
    pub(crate) fn timeout() -> Self {
        Self::new(Flag::Timeout, "the route's timeout has passed")
    }

    /// A cluster without endpoints.
    pub(crate) fn no_endpoint(cluster: &str) -> Self {
        Self::new(Flag::NoEndpoint, format!("{cluster} has no endpoints"))
    }

    /// The client is answered this instead of the flag's status.
    pub(crate) fn answered_with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with one more flag.
    pub(crate) fn with(mut self, flag: Flag) -> Self {
        self.flags = self.flags.with(flag);
        self
    }

    /// What it says of the endpoint, if it is the endpoint that failed, or the way to it.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let is = |flag| self.flags.contains(flag);
        if is(Flag::Timeout) {
            Some(Outcome::Late)
        } else if is(Flag::ConnectFailure) || is(Flag::UpstreamClosed) || is(Flag::BadResponse) {
            Some(Outcome::Unreachable)
        } else {
            None
        }
    }

    /// The last of several attempts failed.
    pub(crate) fn after_retries(mut self, retries: u32) -> Self {
        if retries > 0 {
            self.flags = self.flags.with(Flag::RetriesUsedUp);
        }
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flags.label(), self.cause)
    }
}

impl std::error::Error for Fail {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_flags_are_written_in_envoys_order() {
        let flags = Flags::from(Flag::RetriesUsedUp).with(Flag::ConnectFailure);
        assert_eq!(flags.label(), "UF,URX");
        assert_eq!(Flags::default().label(), "-");
        assert_eq!(Flags::from(Flag::NoRoute).label(), "NR");
    }

    #[test]
    fn every_flag_has_its_own_label_and_bit() {
        let labels: std::collections::BTreeSet<_> = Flag::ALL.iter().map(|f| f.label()).collect();
        assert_eq!(labels.len(), Flag::ALL.len());
        for (i, flag) in Flag::ALL.iter().enumerate() {
            assert_eq!(*flag as usize, i, "{flag:?} stands at its place in ALL");
        }
    }

    #[test]
    fn a_single_attempt_has_no_retries_to_use_up() {
        let fail = Fail::new(Flag::ConnectFailure, "refused");
        assert_eq!(fail.after_retries(0).flags.label(), "UF");
        let fail = Fail::new(Flag::ConnectFailure, "refused");
        assert_eq!(fail.after_retries(2).flags.label(), "UF,URX");
    }
}
