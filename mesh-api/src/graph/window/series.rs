//! The series that proxies report, by their labels, in bounded number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mesh_xds::mesh::edge_delta::Reporter;
use mesh_xds::mesh::{EdgeDelta, Workload};

use super::delta::Id;
use crate::graph::labels::{Label, Labels};

/// Longest label value kept, in bytes: names in a mesh are shorter, and a longer one is not worth the
/// memory.
const LONGEST_VALUE: usize = 256;

/// The labels of a delta's series, `None` if nobody says who reported it. What was not reported is
/// `unknown`, as proxies label it.
pub(super) fn labels(delta: &EdgeDelta, strings: &mut Strings) -> Option<Labels> {
    let reporter = match delta.reporter() {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
        Reporter::Unspecified => return None,
    };
    let nobody = Workload::default();
    let source = delta.source.as_ref().unwrap_or(&nobody);
    let destination = delta.destination.as_ref().unwrap_or(&nobody);
    let code = delta.response_code.to_string();
    let or_unknown = |value| or(value, "unknown");
    let values = [
        (Label::Reporter, reporter),
        (Label::SourceCluster, or_unknown(&source.cluster)),
        (
            Label::SourceWorkloadNamespace,
            or_unknown(&source.namespace),
        ),
        (Label::SourceWorkload, or_unknown(&source.name)),
        (
            Label::SourceCanonicalService,
            or_unknown(&source.canonical_service),
        ),
        (
            Label::SourceCanonicalRevision,
            or(&source.canonical_revision, "latest"),
        ),
        (Label::SourcePrincipal, or_unknown(&source.principal)),
        (Label::DestinationCluster, or_unknown(&destination.cluster)),
        (
            Label::DestinationServiceNamespace,
            or_unknown(&delta.service_namespace),
        ),
        (Label::DestinationService, or_unknown(&delta.service_host)),
        (
            Label::DestinationServiceName,
            or_unknown(&delta.service_name),
        ),
        (
            Label::DestinationWorkloadNamespace,
            or_unknown(&destination.namespace),
        ),
        (Label::DestinationWorkload, or_unknown(&destination.name)),
        (
            Label::DestinationCanonicalService,
            or_unknown(&destination.canonical_service),
        ),
        (
            Label::DestinationCanonicalRevision,
            or(&destination.canonical_revision, "latest"),
        ),
        (
            Label::DestinationPrincipal,
            or_unknown(&destination.principal),
        ),
        (Label::RequestProtocol, or(&delta.protocol, "http")),
        (Label::ResponseCode, &code),
        (Label::GrpcResponseStatus, &delta.grpc_status),
        (Label::ResponseFlags, or(&delta.response_flags, "-")),
        (
            Label::ConnectionSecurityPolicy,
            or_unknown(&delta.security_policy),
        ),
    ];
    let labelled = values.map(|(label, value)| (label, strings.shared(value)));
    Some(labelled.into_iter().collect())
}

fn or<'a>(value: &'a str, fallback: &'a str) -> &'a str {
    if value.is_empty() { fallback } else { value }
}

/// Label values, each kept once.
#[derive(Debug, Default)]
pub(super) struct Strings(HashSet<Arc<str>>);

impl Strings {
    fn shared(&mut self, value: &str) -> Arc<str> {
        let mut end = value.len().min(LONGEST_VALUE);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = &value[..end];
        if let Some(known) = self.0.get(value) {
            return Arc::clone(known);
        }
        let new: Arc<str> = value.into();
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Forgets what no series uses any more.
    fn sweep(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

#[derive(Debug)]
struct Entry {
    labels: Arc<Labels>,
    last_seen: u64,
}

/// All series, by id and by labels.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Id, Entry>,
    ids: HashMap<Arc<Labels>, Id>,
    next: Id,
    pub(super) strings: Strings,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The id of a series, which is new if it was not known.
    pub(super) fn id(&mut self, labels: Labels, now: u64) -> Id {
        if let Some(&id) = self.ids.get(&labels) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.last_seen = entry.last_seen.max(now);
            }
            return id;
        }
        let id = self.next;
        self.next += 1;
        let labels = Arc::new(labels);
        self.ids.insert(Arc::clone(&labels), id);
        let entry = Entry {
            labels,
            last_seen: now,
        };
        self.entries.insert(id, entry);
        id
    }

    /// Keeps a series that is idle and still wanted. False if it has been forgotten already.
    pub(super) fn touch(&mut self, id: Id, now: u64) -> bool {
        let entry = self.entries.get_mut(&id);
        entry.is_some_and(|entry| {
            entry.last_seen = entry.last_seen.max(now);
            true
        })
    }

    /// The labels of a series, unless it has been forgotten.
    pub(super) fn labels(&self, id: Id) -> Option<&Arc<Labels>> {
        self.entries.get(&id).map(|entry| &entry.labels)
    }

    /// Forgets the series that were idle for longest, until at most `most` are left. Returns how many
    /// were.
    pub(super) fn evict(&mut self, most: usize) -> usize {
        let excess = self.entries.len().saturating_sub(most);
        if excess == 0 {
            return 0;
        }
        let mut by_age: Vec<(u64, Id)> = self
            .entries
            .iter()
            .map(|(id, entry)| (entry.last_seen, *id))
            .collect();
        by_age.select_nth_unstable(excess - 1);
        for (_, id) in &by_age[..excess] {
            self.remove(*id);
        }
        self.strings.sweep();
        excess
    }

    /// Forgets the series that were not seen since a time.
    pub(super) fn forget_before(&mut self, time: u64) {
        let old: Vec<Id> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.last_seen < time)
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            self.remove(id);
        }
        self.strings.sweep();
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.ids.clear();
        self.strings.sweep();
    }

    fn remove(&mut self, id: Id) {
        if let Some(entry) = self.entries.remove(&id) {
            self.ids.remove(&entry.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Strings, Table, labels};
    use crate::graph::labels::Label;
    use mesh_xds::mesh::edge_delta::Reporter;
    use mesh_xds::mesh::{EdgeDelta, Workload};

    #[test]
    fn what_was_not_reported_is_unknown() {
        let delta = EdgeDelta {
            reporter: Reporter::Destination.into(),
            destination: Some(Workload {
                name: "web-v1".into(),
                canonical_revision: "v1".into(),
                ..Workload::default()
            }),
            ..EdgeDelta::default()
        };
        let labels = labels(&delta, &mut Strings::default()).expect("it has a reporter");
        assert_eq!(labels.get(Label::Reporter), Some("destination"));
        assert_eq!(labels.get(Label::SourceWorkload), Some("unknown"));
        assert_eq!(labels.get(Label::SourceCanonicalRevision), Some("latest"));
        assert_eq!(labels.get(Label::DestinationWorkload), Some("web-v1"));
        assert_eq!(labels.get(Label::ResponseCode), Some("0"));
        assert_eq!(labels.get(Label::GrpcResponseStatus), Some(""));
        assert_eq!(labels.get(Label::ResponseFlags), Some("-"));
    }

    #[test]
    fn nobodys_report_is_none() {
        let delta = EdgeDelta::default();
        assert!(labels(&delta, &mut Strings::default()).is_none());
        let delta = EdgeDelta {
            reporter: 77,
            ..EdgeDelta::default()
        };
        assert!(labels(&delta, &mut Strings::default()).is_none());
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut strings = Strings::default();
        assert_eq!(strings.shared(&"é".repeat(500)).len(), 256);
        assert_eq!(strings.shared(&"x".repeat(500)).len(), 256);
        assert_eq!(strings.shared(&format!("x{}", "é".repeat(500))).len(), 255);
    }

    #[test]
    fn the_longest_idle_go_first() {
        let mut table = Table::default();
        let mut id = |name: &str, now| {
            let source = Some(Workload {
                name: name.into(),
                ..Workload::default()
            });
            let delta = EdgeDelta {
                reporter: Reporter::Source.into(),
                source,
                ..EdgeDelta::default()
            };
            let labels = labels(&delta, &mut table.strings).expect("it has a reporter");
            table.id(labels, now)
        };
        let (a, b, c) = (id("a", 1), id("b", 2), id("c", 3));
        assert_eq!(id("a", 4), a);
        assert_eq!(table.evict(2), 1);
        assert!(table.labels(b).is_none());
        assert!(table.labels(a).is_some() && table.labels(c).is_some());
        let values = table.strings.0.len();
        table.clear();
        assert_eq!((table.len(), table.strings.0.len()), (0, 0));
        assert!(values > 0);
    }
}
