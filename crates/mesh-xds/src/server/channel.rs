//! What one proxy wants, has been told and has answered about one resource type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::status::{Mark, Rejected, Sync, TypeStatus};
use crate::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Sent};
use crate::{ResourceSet, ResourceType};

/// The name that stands for all resources.
const WILDCARD: &str = "*";
/// As much of a rejection's words is kept.
const MESSAGE_BYTES: usize = 4 << 10;

/// Whether resources may be taken away by this response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removals {
    Now,
    Later,
}

/// The content of a response.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) resources: Vec<Sent>,
    pub(super) removed: Vec<String>,
    /// Names of resources that the proxy had in another version.
    pub(super) updated: Vec<String>,
}

/// A response without an answer.
#[derive(Debug)]
struct UnderWay {
    mark: Mark,
    names: BTreeSet<String>,
}

/// Resources that may not be what the proxy was told.
#[derive(Debug, Default)]
enum Suspects {
    #[default]
    None,
    /// These, and no others.
    Named(BTreeSet<String>),
    All,
}

impl Suspects {
    fn add(&mut self, names: BTreeSet<String>) {
        match self {
            Self::None if names.is_empty() => {}
            Self::None => *self = Self::Named(names),
            Self::Named(known) => known.extend(names),
            Self::All => {}
        }
    }
}

/// One type's part of a stream.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// The first request has come.
    opened: bool,
    /// All resources are wanted.
    wildcard: bool,
    /// These are wanted by name.
    names: BTreeSet<String>,
    /// The version of each resource that was sent last, accepted or not; or that the proxy said it has.
    told: BTreeMap<String, String>,
    /// These must be answered even if nothing changed: the protocol wants an answer to each subscription.
    owed: BTreeSet<String>,
    /// A wildcard subscription must be answered even if there is nothing.
    owes_answer: bool,
    /// Where there may be something to send.
    suspects: Suspects,
    under_way: Option<UnderWay>,
    last_sent: Option<Mark>,
    acked: Option<Mark>,
    rejection: Option<Rejected>,
    /// Resources whose last sent version was rejected.
    rejected: BTreeSet<String>,
}

impl Channel {
    /// What there is of this type has changed.
    pub(super) fn look_again(
        &mut self,
        resource_type: ResourceType,
        before: &ResourceSet,
        now: &ResourceSet,
    ) {
        // The first request looks at everything.
        if !self.opened || matches!(self.suspects, Suspects::All) {
            return;
        }
        self.suspects.add(before.differences(now, resource_type));
        // Names that come and go while the proxy is slow must not add up.
        if let Suspects::Named(names) = &self.suspects
            && names.len() > self.told.len() + now.len(resource_type)
        {
            self.suspects = Suspects::All;
        }
    }

    /// A response has no answer yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// How many names there would be with these.
    pub(super) fn subscriptions_with(&self, names: &[String]) -> usize {
        let new: BTreeSet<_> = names
            .iter()
            .filter(|name| !self.names.contains(*name))
            .collect();
        self.names.len() + new.len()
    }

    /// The answer to the response under way, if the request is one. An answer with another nonce is about
    /// nothing that matters any more.
    pub(super) fn settle(&mut self, request: &DeltaDiscoveryRequest, now: SystemTime) {
        let Some(answered) = self
            .under_way
            .take_if(|under_way| under_way.mark.nonce == request.response_nonce)
        else {
            return;
        };
        let mark = Mark {
            at: now,
            ..answered.mark
        };
        let mut names = BTreeSet::new();
        if let Some(detail) = &request.error_detail {
            names = blamed(&detail.message, &answered.names);
            self.rejection = Some(Rejected {
                mark,
                message: shortened(&detail.message),
                names: names.clone(),
            });
        } else {
            self.acked = Some(mark);
        }
        self.rejected.retain(|name| !answered.names.contains(name));
        self.rejected.extend(names);
    }

    /// Changes to what is wanted.
    pub(super) fn subscribe(
        &mut self,
        resource_type: ResourceType,
        request: &DeltaDiscoveryRequest,
    ) {
        let first = !self.opened;
        self.opened = true;
        let subscribe = &request.resource_names_subscribe;
        let unsubscribe = &request.resource_names_unsubscribe;
        if first || !subscribe.is_empty() || !unsubscribe.is_empty() {
            self.suspects = Suspects::All;
        }
        if first && subscribe.is_empty() && resource_type.is_wildcard() {
            self.want_all();
        }
        for name in subscribe {
            if name == WILDCARD {
                self.want_all();
                continue;
            }
            self.names.insert(name.clone());
            // On a later request the proxy may have dropped what it once had: it gets it again.
            if !first || !request.initial_resource_versions.contains_key(name) {
                self.owed.insert(name.clone());
            }
        }
        if first {
            self.told = request
                .initial_resource_versions
                .iter()
                .filter(|(name, _)| self.wants(name))
                .map(|(name, version)| (name.clone(), version.clone()))
                .collect();
        }
        for name in unsubscribe {
            self.unsubscribe(name);
        }
    }

    fn want_all(&mut self) {
        self.wildcard = true;
        self.owes_answer = true;
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = false;
            self.owes_answer = false;
            let names = &self.names;
            self.told.retain(|name, _| names.contains(name));
            self.rejected.retain(|name| names.contains(name));
            return;
        }
        self.names.remove(name);
        if self.wildcard {
            // Still wanted as one of all; the proxy needs to hear whether there is one.
            self.owed.insert(name.to_owned());
        } else {
            self.owed.remove(name);
            self.told.remove(name);
            self.rejected.remove(name);
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// These must be sent again, as far as they are wanted.
    pub(super) fn owe(&mut self, names: Vec<String>) {
        let wanted: BTreeSet<String> = names.into_iter().filter(|name| self.wants(name)).collect();
        self.owed.extend(wanted.iter().cloned());
        self.suspects.add(wanted);
    }

    /// What to send now, if anything: not while a response is under way.
    pub(super) fn compose(
        &mut self,
        resource_type: ResourceType,
        set: &ResourceSet,
        removals: Removals,
        max_bytes: usize,
    ) -> Option<Push> {
        if !self.opened || self.under_way.is_some() {
            return None;
        }
        let get = |name: &String| set.get(resource_type, name);
        let wanted: Box<dyn Iterator<Item = _>> = match &self.suspects {
            Suspects::None => return None,
            Suspects::Named(names) => {
                let wanted = names.iter().filter(|name| self.wants(name));
                Box::new(wanted.filter_map(get))
            }
            Suspects::All if self.wildcard => Box::new(set.iter(resource_type)),
            Suspects::All => Box::new(self.names.iter().filter_map(get)),
        };
        let mut push = Push {
            resources: Vec::new(),
            removed: Vec::new(),
            updated: Vec::new(),
        };
        let (mut bytes, mut complete) = (0, true);
        for resource in wanted {
            let told = self.told.get(&resource.name);
            let same = told == Some(&resource.version);
            if same && !self.owed.contains(&resource.name) {
                continue;
            }
            bytes += resource.any.value.len();
            if bytes > max_bytes && !push.resources.is_empty() {
                complete = false;
                break;
            }
            if told.is_some() && !same {
                push.updated.push(resource.name.clone());
            }
            push.resources.push(Sent {
                name: resource.name.clone(),
                version: resource.version.clone(),
                resource: Some(resource.any.clone()),
                ..Sent::default()
            });
        }
        let exists = |name: &String| get(name).is_some();
        push.removed
            .extend(self.owed.iter().filter(|name| !exists(name)).cloned());
        let told: Box<dyn Iterator<Item = &String>> = match &self.suspects {
            Suspects::None => return None,
            Suspects::Named(names) => {
                Box::new(names.iter().filter(|name| self.told.contains_key(*name)))
            }
            Suspects::All => Box::new(self.told.keys()),
        };
        let gone = told.filter(|name| !exists(name) && !self.owed.contains(*name));
        if removals == Removals::Now {
            push.removed.extend(gone.cloned());
        } else {
            complete &= gone.take(1).count() == 0;
        }
        if complete {
            self.suspects = Suspects::None;
        }
        let nothing = push.resources.is_empty() && push.removed.is_empty();
        if nothing && !self.owes_answer {
            return None;
        }
        self.owes_answer = false;
        Some(push)
    }

    /// Keeps in mind what was sent.
    pub(super) fn sent(&mut self, response: &DeltaDiscoveryResponse, now: SystemTime) {
        let mark = Mark {
            version: response.system_version_info.clone(),
            nonce: response.nonce.clone(),
            at: now,
        };
        let mut names = BTreeSet::new();
        for resource in &response.resources {
            self.owed.remove(&resource.name);
            self.told
                .insert(resource.name.clone(), resource.version.clone());
            names.insert(resource.name.clone());
        }
        for name in &response.removed_resources {
            self.owed.remove(name);
            self.told.remove(name);
            names.insert(name.clone());
        }
        self.last_sent = Some(mark.clone());
        self.under_way = Some(UnderWay { mark, names });
    }

    /// For the operator.
    pub(super) fn status(&self) -> TypeStatus {
        let sync = if !self.opened {
            Sync::NotAsked
        } else if !self.rejected.is_empty() {
            Sync::Rejected
        } else if !matches!(self.suspects, Suspects::None) || self.under_way.is_some() {
            Sync::Stale
        } else {
            Sync::Synced
        };
        TypeStatus {
            sync,
            sent: self.last_sent.clone(),
            acked: self.acked.clone(),
            rejection: self.rejection.clone(),
            rejected: self.rejected.clone(),
            wildcard: self.wildcard,
            subscriptions: self.names.len(),
        }
    }
}

/// The resources that a rejection names. Our own client writes one line for each, led by its name; Envoy puts
/// the names somewhere into its sentence. Where none is named, all are meant.
fn blamed(message: &str, sent: &BTreeSet<String>) -> BTreeSet<String> {
    let leads = |name: &&String| {
        message.lines().any(|line| {
            line.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.starts_with(": "))
        })
    };
    let mut names: BTreeSet<String> = sent.iter().filter(leads).cloned().collect();
    if names.is_empty() {
        let mentioned = sent.iter().filter(|name| message.contains(name.as_str()));
        names = mentioned.cloned().collect();
    }
    if names.is_empty() {
        names = sent.clone();
    }
    names
}

/// Cuts a message between two characters.
fn shortened(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{blamed, shortened};
    use std::collections::BTreeSet;

    #[test]
    fn a_rejection_is_about_the_names_it_leads_with_then_mentions_then_all() {
        let sent: BTreeSet<String> = ["a", "a.b", "c"].map(str::to_owned).into();
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(blamed("a.b: no\nc: neither a", &sent), set(&["a.b", "c"]));
        assert_eq!(blamed("Error adding/updating: c", &sent), set(&["a", "c"]));
        assert_eq!(blamed("", &sent), sent);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let message = format!("{}é", "x".repeat(4095));
        assert_eq!(shortened(&message).len(), 4095);
        assert_eq!(shortened("short"), "short");
    }
}
