//! What happened in the mesh, for people: a bounded list in memory, the newest last.
//!
//! Whoever makes something happen records it ([`Events::record`]); [`crate::http`] shows the list, and
//! [`Events::last`] wakes those who follow it. It is no audit log: a restart begins a new one. [`words`] has
//! the sentences, which are read by somebody who is tired and looks for what changed.

#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::Action;

/// How many are kept.
const KEPT: usize = 1000;

/// How many are kept of one subject, so that what flaps for days leaves room for the others.
const KEPT_OF_ONE: usize = 50;

/// What happens to the same subject again within this time is one event that is counted.
const AGAIN: Duration = Duration::from_secs(60);

/// Longest subject and sentence in bytes: parts of them come from outside.
const LONGEST_SUBJECT: usize = 300;
const LONGEST_MESSAGE: usize = 1000;

/// What kind of thing happened. [`as_str`](Self::as_str) has the stable words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// mesh-api has started.
    ApiStarted,
    /// A workload that was not there is.
    WorkloadJoined,
    /// A workload said goodbye.
    WorkloadLeft,
    /// The connection of a workload's agent broke; its lease runs.
    WorkloadLost,
    /// A workload's lease ran out.
    WorkloadGone,
    /// A workload was lost or gone and is there again.
    WorkloadBack,
    /// Another instance took a workload's name.
    WorkloadReplaced,
    /// A workload may not register.
    WorkloadRefused,
    /// A proxy follows its configuration.
    ProxyConnected,
    /// A proxy does not follow its configuration any more.
    ProxyDisconnected,
    /// A proxy may not have the configuration that it asks for.
    ProxyRefused,
    /// A proxy rejected a part of its configuration.
    ConfigurationRejected,
    /// There is a new object.
    ObjectCreated,
    /// An object was replaced by one that differs.
    ObjectChanged,
    /// An object is gone.
    ObjectDeleted,
    /// Many objects changed at once.
    ObjectsChanged,
    /// The configuration directory is in error.
    ConfigDirRefused,
    /// The configuration directory is right again.
    ConfigDirMended,
}

impl EventKind {
    /// What a write that did something did.
    #[must_use]
    pub(crate) fn of(action: Action) -> Option<Self> {
        match action {
            Action::Created => Some(Self::ObjectCreated),
            Action::Configured => Some(Self::ObjectChanged),
            Action::Unchanged => None,
        }
    }

    /// The kind's stable word.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ApiStarted => "api-started",
            Self::WorkloadJoined => "workload-joined",
            Self::WorkloadLeft => "workload-left",
            Self::WorkloadLost => "workload-lost",
            Self::WorkloadGone => "workload-gone",
            Self::WorkloadBack => "workload-back",
            Self::WorkloadReplaced => "workload-replaced",
            Self::WorkloadRefused => "workload-refused",
            Self::ProxyConnected => "proxy-connected",
            Self::ProxyDisconnected => "proxy-disconnected",
            Self::ProxyRefused => "proxy-refused",
            Self::ConfigurationRejected => "configuration-rejected",
            Self::ObjectCreated => "object-created",
            Self::ObjectChanged => "object-changed",
            Self::ObjectDeleted => "object-deleted",
            Self::ObjectsChanged => "objects-changed",
            Self::ConfigDirRefused => "config-dir-refused",
            Self::ConfigDirMended => "config-dir-mended",
        }
    }

    /// Whether somebody should look at it: an outage, or something that is not in force.
    #[must_use]
    pub(crate) fn is_warning(self) -> bool {
        matches!(
            self,
            Self::WorkloadLost
                | Self::WorkloadGone
                | Self::WorkloadReplaced
                | Self::WorkloadRefused
                | Self::ProxyDisconnected
                | Self::ProxyRefused
                | Self::ConfigurationRejected
                | Self::ConfigDirRefused
        )
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Grows with each event, also across restarts.
    pub(crate) id: u64,
    /// When it happened, the last time if it did so repeatedly.
    pub(crate) time: SystemTime,
    /// What kind of thing.
    pub(crate) kind: EventKind,
    /// To what: `NAMESPACE/NAME` of a workload, `KIND/NAMESPACE/NAME` of an object, and the like.
    pub(crate) subject: String,
    /// One sentence.
    pub(crate) message: String,
    /// How often, this time included, with less than a minute in between.
    pub(crate) count: u32,
    /// When it happened first.
    pub(crate) first: SystemTime,
}

/// The list. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Oldest first.
    kept: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
    /// Until when those who were there before the start are coming back.
    resumes_until: OnceLock<Instant>,
}

impl Events {
    /// An empty list. Its ids begin above those of every earlier one.
    #[must_use]
    pub(crate) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        // A number that every JSON reader keeps whole. Nobody has a thousand events a second for long.
        let before = started.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or_default()
        });
        Self {
            shared: Arc::new(Shared {
                kept: Mutex::default(),
                last: watch::Sender::new(before),
                resumes_until: OnceLock::new(),
            }),
        }
    }

    /// Adds what happened now. If the same has just happened to the same subject, this takes its place.
    pub(crate) fn record(&self, kind: EventKind, subject: &str, message: &str) {
        self.record_at(SystemTime::now(), kind, subject, message);
    }

    /// What has a higher id than `after`, oldest first.
    #[must_use]
    pub(crate) fn since(&self, after: u64) -> Vec<Event> {
        let kept = self.lock();
        let new = kept.partition_point(|event| event.id <= after);
        kept.range(new..).cloned().collect()
    }

    /// Follows the id of the newest event.
    #[must_use]
    pub(crate) fn last(&self) -> watch::Receiver<u64> {
        self.shared.last.subscribe()
    }

    /// From now on, for this long, those who were there before the start come back.
    fn resumes_for(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.shared.resumes_until.get_or_init(|| until);
    }

    fn is_resuming(&self) -> bool {
        let until = self.shared.resumes_until.get();
        until.is_some_and(|until| Instant::now() < *until)
    }

    fn record_at(&self, now: SystemTime, kind: EventKind, subject: &str, message: &str) {
        let mut kept = self.lock();
        let id = *self.shared.last.borrow() + 1;
        let mut event = Event {
            id,
            time: now,
            kind,
            subject: cut(subject, LONGEST_SUBJECT),
            message: cut(message, LONGEST_MESSAGE),
            count: 1,
            first: now,
        };
        let same = |other: &Event| other.kind == kind && other.subject == event.subject;
        // The clock may have been set back: then it was just now, too.
        let recent = |other: &Event| {
            now.duration_since(other.time)
                .map_or(true, |past| past < AGAIN)
        };
        if let Some(place) = kept.iter().rposition(same)
            && recent(&kept[place])
            && let Some(earlier) = kept.remove(place)
        {
            event.count = earlier.count.saturating_add(1);
            event.first = earlier.first;
        }
        let of_subject = |other: &&Event| other.subject == event.subject;
        if kept.iter().filter(of_subject).count() >= KEPT_OF_ONE {
            if let Some(oldest) = kept.iter().position(|other| of_subject(&other)) {
                kept.remove(oldest);
            }
        } else if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
        // With the list still locked: whoever is woken finds the event.
        self.shared.last.send_replace(id);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text, or its beginning if it is too long.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(longest)])
}
