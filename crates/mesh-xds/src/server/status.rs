//! What an operator may know of a proxy's subscription.

use std::collections::BTreeSet;
use std::time::SystemTime;

/// Whether a proxy has what it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sync {
    /// It has not asked.
    NotAsked,
    /// It has acknowledged everything.
    Synced,
    /// Something is on its way, or waits for another type's answer.
    Stale,
    /// It has rejected something that is still wanted. Its last good version stays in force.
    Rejected,
}

impl Sync {
    /// The word for tables and JSON: `NOT SENT`, `SYNCED`, `STALE`, `REJECTED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAsked => "NOT SENT",
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Rejected => "REJECTED",
        }
    }
}

/// A response, and when something happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The set's number on this stream, counted from 1.
    pub version: String,
    /// The response's nonce.
    pub nonce: String,
    /// When, by the caller's clock.
    pub at: SystemTime,
}

/// The last rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The response, and when the answer came.
    pub mark: Mark,
    /// The proxy's own words, cut at 4 KiB.
    pub message: String,
    /// The resources that it is about, as far as the message names them; else all of the response.
    pub names: BTreeSet<String>,
}

/// How far a proxy is with one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeStatus {
    /// In one word.
    pub sync: Sync,
    /// The last response.
    pub sent: Option<Mark>,
    /// The last response that was accepted as a whole.
    pub acked: Option<Mark>,
    /// The last rejection on this stream, also after it was mended.
    pub rejection: Option<Rejected>,
    /// Resources whose present version the proxy has rejected.
    pub rejected: BTreeSet<String>,
    /// Whether it wants all resources of the type.
    pub wildcard: bool,
    /// How many names it wants.
    pub subscriptions: usize,
}
