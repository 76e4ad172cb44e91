//! The labels of Istio's series that a graph is built from.
//!
//! A closed set: the graph's rules name every label they read, so a label set is an array, not a
//! map, and a misspelt label is a compile error. Next: [`super::promql`] asks for series by labels,
//! [`super::engine`] turns them into nodes and edges.

use std::sync::Arc;

macro_rules! labels {
    ($($name:ident = $text:literal),+ $(,)?) => {
        /// A label name, as Prometheus knows it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Label {
            $(#[doc = concat!("`", $text, "`")] $name),+
        }

        impl Label {
            /// Every label, in the order of the enum.
            pub const ALL: &'static [Label] = &[$(Label::$name),+];

            /// The name in a Prometheus series.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Label::$name => $text),+ }
            }

            /// The label of that name, unless the graph has no use for it.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Label> {
                match name { $($text => Some(Label::$name),)+ _ => None }
            }
        }
    };
}

labels! {
    Reporter = "reporter",
    App = "app",
    SourceCluster = "source_cluster",
    SourceWorkloadNamespace = "source_workload_namespace",
    SourceWorkload = "source_workload",
    SourceCanonicalService = "source_canonical_service",
    SourceCanonicalRevision = "source_canonical_revision",
    SourcePrincipal = "source_principal",
    DestinationCluster = "destination_cluster",
    DestinationServiceNamespace = "destination_service_namespace",
    DestinationService = "destination_service",
    DestinationServiceName = "destination_service_name",
    DestinationWorkloadNamespace = "destination_workload_namespace",
    DestinationWorkload = "destination_workload",
    DestinationCanonicalService = "destination_canonical_service",
    DestinationCanonicalRevision = "destination_canonical_revision",
    DestinationPrincipal = "destination_principal",
    RequestProtocol = "request_protocol",
    ResponseCode = "response_code",
    GrpcResponseStatus = "grpc_response_status",
    ResponseFlags = "response_flags",
    ConnectionSecurityPolicy = "connection_security_policy",
}

/// Number of labels.
const COUNT: usize = Label::ALL.len();

/// A label set. An absent label and an empty one differ, although PromQL's matchers treat them alike:
/// the graph skips a series that lacks a label, not one where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels([Option<Arc<str>>; COUNT]);

impl Labels {
    /// The value of a label, `None` when it is absent.
    #[must_use]
    pub fn get(&self, label: Label) -> Option<&str> {
        self.0[label as usize].as_deref()
    }

    /// The value of a label as PromQL's matchers see it: empty when it is absent.
    #[must_use]
    pub fn matched(&self, label: Label) -> &str {
        self.get(label).unwrap_or_default()
    }

    /// Sets a label.
    pub fn set(&mut self, label: Label, value: impl Into<Arc<str>>) {
        self.0[label as usize] = Some(value.into());
    }

    /// The same set with only the given labels, as `by (…)` keeps them.
    #[must_use]
    pub fn project(&self, by: &[Label]) -> Labels {
        let mut kept = Labels::default();
        for &label in by {
            kept.0[label as usize] = self.0[label as usize].clone();
        }
        kept
    }
}

impl<V: Into<Arc<str>>> FromIterator<(Label, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Label, V)>>(pairs: I) -> Self {
        let mut labels = Labels::default();
        for (label, value) in pairs {
            labels.set(label, value);
        }
        labels
    }
}

/// One element of an instant vector: a label set and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The labels that the query kept.
    pub labels: Labels,
    /// Per second for rates; milliseconds for response times.
    pub value: f64,
}

#[cfg(test)]
mod tests {
    use super::{Label, Labels};

    #[test]
    fn every_label_is_found_by_its_own_name() {
        for &label in Label::ALL {
            assert_eq!(Label::from_name(label.as_str()), Some(label));
        }
        assert_eq!(Label::from_name("le"), None);
    }

    #[test]
    fn an_empty_label_is_not_an_absent_one() {
        let labels = Labels::from_iter([(Label::ResponseFlags, "")]);
        assert_eq!(labels.get(Label::ResponseFlags), Some(""));
        assert_eq!(labels.get(Label::ResponseCode), None);
        assert_eq!(labels.matched(Label::ResponseCode), "");
    }

    #[test]
    fn projection_drops_the_other_labels() {
        let labels =
            Labels::from_iter([(Label::ResponseFlags, "UF"), (Label::ResponseCode, "503")]);
        let kept = labels.project(&[Label::ResponseCode, Label::App]);
        assert_eq!(kept, Labels::from_iter([(Label::ResponseCode, "503")]));
    }
}
