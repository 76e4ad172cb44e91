//! What an HTTP route does to the requests that it takes, besides choosing a destination.

use std::collections::BTreeMap;
use std::time::Duration;

use super::StringMatch;

/// What requests ask for when they go on; their query stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The path.
    pub path: Option<PathRewrite>,
    /// `Host` and `:authority`.
    pub authority: Option<String>,
}

/// How a path is rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// Stands in for what the match asked for: its prefix, or the whole path where it asked for an exact one or
    /// by an expression. Behind a prefix of whole segments ([`super::HttpMatch::uri_by_segments`]) `/` leaves no
    /// second slash.
    Matched(String),
    /// Each part of the path that the RE2 expression finds is replaced; `\1` is its first group.
    Regex {
        /// What is looked for.
        pattern: String,
        /// What stands in for it.
        substitution: String,
    },
}

/// An answer that sends the client elsewhere; what is absent stays as the client asked for it, and so does the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The path.
    pub path: Option<RedirectPath>,
    /// Host, with a port if it has one.
    pub authority: Option<String>,
    /// The port.
    pub port: Option<RedirectPort>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            path: None,
            authority: None,
            port: None,
            scheme: None,
            code: 301,
        }
    }
}

/// The path that a client is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// Instead of the whole path.
    Whole(String),
    /// Instead of the prefix that the match asked for; see [`PathRewrite::Matched`].
    Prefix(String),
}

/// The port that a client is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    /// This one.
    Number(u16),
    /// 80 or 443, as the scheme has it.
    OfScheme,
    /// The one that it asked at.
    OfRequest,
}

/// An answer without any upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The VirtualService whose routes stand in for this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; the VirtualService's own if there is none.
    pub namespace: Option<String>,
}

/// Which pages of other origins may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsPolicy {
    /// Origins that may, any of these.
    pub allow_origins: Vec<StringMatch>,
    /// `access-control-allow-methods`.
    pub allow_methods: Vec<String>,
    /// `access-control-allow-headers`.
    pub allow_headers: Vec<String>,
    /// `access-control-expose-headers`.
    pub expose_headers: Vec<String>,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Option<Duration>,
    /// Whether pages may send credentials.
    pub allow_credentials: Option<bool>,
    /// Whether a preflight of an origin that is not allowed is answered here, without leave, instead of being
    /// sent on.
    pub ignore_unmatched_preflights: bool,
}

/// Changes of headers on both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOperations {
    /// Of requests, before they are sent on. Here `host` and `:authority` name the host that is asked for.
    pub request: HeaderChanges,
    /// Of responses.
    pub response: HeaderChanges,
}

/// Changes of headers: what is removed goes first, then `set` and `add` come. Values may have Envoy's placeholders, as
/// `%DOWNSTREAM_REMOTE_ADDRESS%`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Name to the only value.
    pub set: BTreeMap<String, String>,
    /// Name to one more value.
    pub add: BTreeMap<String, String>,
    /// Names.
    pub remove: Vec<String>,
}

impl HeaderOperations {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

impl HeaderChanges {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}
