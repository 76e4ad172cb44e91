//! Who a workload is, in the terms of the metric labels.

use std::collections::BTreeMap;

use crate::envoy::protobuf::Struct;
use crate::mesh;
use crate::structs::{get_string, strings};

/// A workload as the metric labels name it; an unknown one has empty fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// For example `webapp-original`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its `app` label.
    pub app: String,
    /// Its `version` label.
    pub version: String,
    /// Label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`, else the name.
    pub canonical_service: String,
    /// Label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else `version`, else
    /// `latest`.
    pub canonical_revision: String,
    /// The cluster's id.
    pub cluster: String,
    /// SPIFFE id with `spiffe://`; empty without one.
    pub principal: String,
}

impl Workload {
    /// Derives the fields from a workload's labels, as Istio does.
    #[must_use]
    pub fn from_labels(
        name: &str,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        cluster: &str,
        principal: &str,
    ) -> Self {
        let first = |keys: [&str; 3]| {
            keys.iter()
                .filter_map(|key| labels.get(*key))
                .find(|value| !value.is_empty())
                .cloned()
        };
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            app: label("app"),
            version: label("version"),
            canonical_service: first([
                "service.istio.io/canonical-name",
                "app.kubernetes.io/name",
                "app",
            ])
            .unwrap_or_else(|| name.to_owned()),
            canonical_revision: first([
                "service.istio.io/canonical-revision",
                "app.kubernetes.io/version",
                "version",
            ])
            .unwrap_or_else(|| "latest".to_owned()),
            cluster: cluster.to_owned(),
            principal: principal.to_owned(),
        }
    }

    /// As it is kept in filter metadata; empty fields are left out.
    #[must_use]
    pub fn to_struct(&self) -> Struct {
        strings([
            ("name", self.name.as_str()),
            ("namespace", &self.namespace),
            ("app", &self.app),
            ("version", &self.version),
            ("canonical_service", &self.canonical_service),
            ("canonical_revision", &self.canonical_revision),
            ("cluster", &self.cluster),
            ("principal", &self.principal),
        ])
    }

    /// The inverse of [`Workload::to_struct`]; what is missing is empty, what is unknown is passed over.
    #[must_use]
    pub fn from_struct(object: &Struct) -> Self {
        let field = |key| get_string(object, key);
        Self {
            name: field("name"),
            namespace: field("namespace"),
            app: field("app"),
            version: field("version"),
            canonical_service: field("canonical_service"),
            canonical_revision: field("canonical_revision"),
            cluster: field("cluster"),
            principal: field("principal"),
        }
    }
}

impl From<&Workload> for mesh::Workload {
    fn from(workload: &Workload) -> Self {
        workload.clone().into()
    }
}

impl From<Workload> for mesh::Workload {
    fn from(workload: Workload) -> Self {
        Self {
            name: workload.name,
            namespace: workload.namespace,
            app: workload.app,
            version: workload.version,
            canonical_service: workload.canonical_service,
            canonical_revision: workload.canonical_revision,
            cluster: workload.cluster,
            principal: workload.principal,
        }
    }
}

impl From<mesh::Workload> for Workload {
    fn from(workload: mesh::Workload) -> Self {
        Self {
            name: workload.name,
            namespace: workload.namespace,
            app: workload.app,
            version: workload.version,
            canonical_service: workload.canonical_service,
            canonical_revision: workload.canonical_revision,
            cluster: workload.cluster,
            principal: workload.principal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;
    use crate::mesh;

    fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn canonical_names_come_from_the_first_label_that_is_set() {
        let plain = Workload::from_labels("w", "ns", &labels(&[]), "mesh", "");
        assert_eq!((plain.app.as_str(), plain.version.as_str()), ("", ""));
        assert_eq!(plain.canonical_service, "w");
        assert_eq!(plain.canonical_revision, "latest");

        let app = Workload::from_labels(
            "w",
            "ns",
            &labels(&[("app", "a"), ("version", "v1")]),
            "mesh",
            "",
        );
        assert_eq!(app.canonical_service, "a");
        assert_eq!(app.canonical_revision, "v1");

        let all = Workload::from_labels(
            "w",
            "ns",
            &labels(&[
                ("app", "a"),
                ("version", "v1"),
                ("app.kubernetes.io/name", "k"),
                ("app.kubernetes.io/version", "k1"),
                ("service.istio.io/canonical-name", "c"),
                ("service.istio.io/canonical-revision", "c1"),
            ]),
            "mesh",
            "spiffe://td/ns/ns/sa/sa",
        );
        assert_eq!(all.canonical_service, "c");
        assert_eq!(all.canonical_revision, "c1");
        assert_eq!((all.app.as_str(), all.version.as_str()), ("a", "v1"));
    }

    #[test]
    fn conversions_lose_nothing() {
        let workload = Workload::from_labels(
            "w",
            "ns",
            &labels(&[("app", "a")]),
            "mesh",
            "spiffe://td/ns/ns/sa/sa",
        );
        assert_eq!(Workload::from_struct(&workload.to_struct()), workload);
        let proto: mesh::Workload = (&workload).into();
        assert_eq!(Workload::from(proto), workload);
        let unknown = Workload::default();
        assert!(unknown.to_struct().fields.is_empty());
        assert_eq!(Workload::from_struct(&unknown.to_struct()), unknown);
    }
}
