//! From a tree to a typed object: identity, table, metadata, spec.
//!
//! The table of [`crate::schema`] has been held against the tree before a spec is read, so the type
//! and the syntax of every value are right; what is checked here is how values go together. One file
//! a kind; what Istio's own webhook refuses is refused in fields that are not acted on, too
//! (`layer4`, `route_policy`, `tls`, `traffic_policy`).

mod authentication;
mod authorization;
mod core;
mod destination_rule;
mod extension;
mod gateway;
mod gateway_api;
mod http_action;
mod layer4;
mod matching;
mod mesh_config;
mod metadata;
mod policy;
mod resilience;
mod route_policy;
mod service;
mod service_entry;
mod sidecar;
mod telemetry;
mod tls;
mod traffic_policy;
mod virtual_service;
mod workload;

#[cfg(test)]
mod tests;

pub use mesh_config::mesh_config;
pub(crate) use virtual_service::modern_gateway_name;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::core::config_map;
use crate::analysis::NOT_ACTED_ON;
use crate::finding::{Finding, Level, Report};
use crate::model::{Kind, Metadata, Object, ObjectKey, Origin, Spec};
use crate::rules::{self, Verdict};
use crate::schema;
use crate::yaml::{Cursor, Marks, Node, Value, to_json};

/// An object that may be used, and what its author should know about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The object.
    pub object: Object,
    /// What is valid in it and not acted on, and the like. All of [`crate::Level::Warning`].
    pub warnings: Vec<Finding>,
}

/// Reads one object.
///
/// `source` is the file and the number of the document in it, where there is one; `namespace` is
/// for objects that name none.
pub(crate) fn object(
    root: &Node,
    source: Option<(Arc<Path>, usize)>,
    namespace: &str,
) -> Result<Parsed, Vec<Finding>> {
    let mut reader = Reader {
        report: Report::new(source.clone()),
    };
    let read = reader.object(&Cursor::root(root), namespace);
    let report = reader.report;
    let has_errors = report.errors() > 0;
    let mut findings = report.into_findings();
    match read {
        Some((kind, metadata, spec)) if !has_errors => Ok(Parsed {
            object: Object {
                api_version: Cursor::root(root).text("apiVersion").to_owned(),
                kind,
                metadata,
                spec,
                raw: to_json(root),
                origin: origin(root, source),
            },
            warnings: findings,
        }),
        _ => {
            findings.retain(|finding| finding.level == Level::Error);
            Err(findings)
        }
    }
}

/// The same, but an object that is refused is given, too, as long as it can be told which one it is: with its JSON,
/// and as one that asks nothing of the mesh.
pub(crate) fn loosely(
    root: &Node,
    source: Option<(Arc<Path>, usize)>,
    namespace: &str,
) -> (Option<Object>, Vec<Finding>) {
    let findings = match object(root, source.clone(), namespace) {
        Ok(parsed) => return (Some(parsed.object), parsed.warnings),
        Err(findings) => findings,
    };
    let at = Cursor::root(root);
    let api_version = at.text("apiVersion");
    let key = Kind::of_object(api_version, at.text("kind"))
        .ok()
        .and_then(|kind| identity(&at, kind, namespace));
    let object = key.map(|key| {
        let metadata = at.get("metadata");
        let texts = |field| {
            let metadata = metadata.as_ref();
            metadata.map_or_else(BTreeMap::new, |metadata| text_map(metadata, field))
        };
        Object {
            api_version: api_version.to_owned(),
            kind: key.kind,
            metadata: Metadata {
                name: key.name,
                namespace: key.namespace,
                labels: texts("labels"),
                annotations: texts("annotations"),
                ..Metadata::default()
            },
            spec: Spec::Inert,
            raw: to_json(root),
            origin: origin(root, source),
        }
    });
    (object, findings)
}

fn origin(root: &Node, source: Option<(Arc<Path>, usize)>) -> Option<Origin> {
    source.map(|(file, document)| Origin {
        file,
        document,
        line: root.mark.line,
        marks: Arc::new(Marks::of(root)),
    })
}

/// What reading one object collects.
struct Reader {
    report: Report,
}

impl Reader {
    fn object(&mut self, root: &Cursor<'_>, namespace: &str) -> Option<(Kind, Metadata, Spec)> {
        if !matches!(root.node.value, Value::Map(_)) {
            let message = format!(
                "{} stands where an object belongs; an object is a map with apiVersion, kind and \
                 metadata",
                root.node.describe()
            );
            self.report.error(root, message);
            return None;
        }
        let kind = self.kind(root)?;
        self.report.object = identity(root, kind, namespace);
        match schema::of(kind) {
            Some(shape) => schema::check(root, shape, &mut self.report),
            None => schema::check_metadata(root, &mut self.report),
        }
        let fits = self.report.errors() == 0;
        let metadata = self.metadata(root, kind, namespace);
        if !fits {
            return None;
        }
        let spec = self.spec(root, kind, &metadata.namespace)?;
        Some((kind, metadata, spec))
    }

    fn kind(&mut self, root: &Cursor<'_>) -> Option<Kind> {
        let mut field = |name: &str| match root.get(name) {
            Some(value) if value.node.as_str().is_none() => {
                let message = format!(
                    "{} stands where the name of an API belongs; quote it",
                    value.node.describe()
                );
                self.report.error(&value, message);
                None
            }
            value => Some(value.map_or("", |value| value.node.as_str().unwrap_or_default())),
        };
        let (api_version, kind) = (field("apiVersion")?, field("kind")?);
        match Kind::of_object(api_version, kind) {
            Ok(kind) => Some(kind),
            Err(error) => {
                let at = if Kind::is_known(kind) {
                    "apiVersion"
                } else {
                    "kind"
                };
                match root.get(at) {
                    Some(value) => self.report.error(&value, error.to_string()),
                    None => self.report.missing(root, at, error.to_string()),
                }
                None
            }
        }
    }

    fn spec(&mut self, root: &Cursor<'_>, kind: Kind, namespace: &str) -> Option<Spec> {
        if let Some(note) = kind.note() {
            let message = format!("{kind} is kept but not acted on: {note}");
            self.report.tell(&NOT_ACTED_ON, root, message);
        }
        // The table demands a spec where it is needed; without one, its errors have been reported.
        let spec = root.get("spec").unwrap_or_else(|| root.clone());
        Some(match kind {
            Kind::Service => Spec::Service(self.service(&spec, root)),
            Kind::Gateway => Spec::Gateway(self.gateway(&spec)),
            Kind::VirtualService => Spec::VirtualService(self.virtual_service(root, &spec)),
            Kind::DestinationRule => Spec::DestinationRule(Box::new(self.destination_rule(&spec))),
            Kind::WorkloadGroup => Spec::WorkloadGroup(self.workload_group(&spec)),
            Kind::WorkloadEntry => Spec::WorkloadEntry(self.workload_entry(&spec)),
            Kind::Namespace => Spec::Namespace,
            Kind::Secret => Spec::Secret(self.secret(root)),
            Kind::ConfigMap => Spec::ConfigMap(config_map(root)),
            Kind::ServiceEntry => Spec::ServiceEntry(self.service_entry(&spec, root)),
            Kind::Sidecar => Spec::Sidecar(self.sidecar(&spec)),
            Kind::GatewayApi(kind) => Spec::GatewayApi(self.gateway_api(root, &spec, kind)?),
            Kind::PeerAuthentication => Spec::PeerAuthentication(self.peer_authentication(&spec)),
            Kind::AuthorizationPolicy => {
                Spec::AuthorizationPolicy(self.authorization_policy(&spec, root, namespace))
            }
            Kind::RequestAuthentication => {
                Spec::RequestAuthentication(self.request_authentication(&spec))
            }
            Kind::Telemetry => Spec::Telemetry(self.telemetry(&spec)),
            Kind::Inert(inert) => {
                self.inert(inert, &spec);
                Spec::Inert
            }
        })
    }

    /// Reports what a check of [`crate::rules`] found.
    fn check(&mut self, at: &Cursor<'_>, verdict: Verdict) {
        if let Err(message) = verdict {
            self.report.error(at, message);
        }
    }

    /// Reports items whose text under `key` stands in an earlier item too.
    fn unique<'a>(&mut self, items: impl Iterator<Item = Cursor<'a>>, key: &str) {
        let mut seen = BTreeMap::new();
        for at in items.filter_map(|item| item.get(key)) {
            let text = at.node.as_str().unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            if let Some(first) = seen.get(text) {
                let message = format!("{text} is already {first}; choose another one");
                self.report.error(&at, message);
            } else {
                seen.insert(text, at.path());
            }
        }
    }

    /// `exportTo` names each namespace once, and `*` or `~` stands alone.
    fn export_to(&mut self, spec: &Cursor<'_>) {
        let Some(list) = spec.get("exportTo") else {
            return;
        };
        let object = self.report.object.as_ref();
        let own = object
            .map_or("", |object| object.namespace.as_str())
            .to_owned();
        let is_entry = object.is_some_and(|object| object.kind == Kind::ServiceEntry);
        for item in list.items().filter(|item| item.node.as_str() == Some("~")) {
            if !is_entry {
                let message =
                    "~ is for a ServiceEntry that nobody sees; write . for this namespace alone";
                self.report.error(&item, message);
            }
        }
        let mut names: Vec<&str> = list
            .items()
            .filter_map(|item| item.node.as_str())
            .map(|name| if name == "." { own.as_str() } else { name })
            .collect();
        if spec.get("workloadSelector").is_some()
            && !is_entry
            && names.iter().any(|name| *name != own)
        {
            let message = "a rule with a workloadSelector is for its own namespace; write exportTo: [.], or leave it out";
            self.report.error(&list, message);
        }
        let stands_alone = names.iter().any(|name| matches!(*name, "*" | "~"));
        if names.len() > 1 && stands_alone {
            self.report
                .error(&list, "* and ~ say it all; remove the other entries");
        }
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("{} stands here twice; remove one of them", twice[0]);
            self.report.error(&list, message);
        }
    }

    /// Reports fields of a map that exclude one another.
    fn exclusive(&mut self, map: &Cursor<'_>, fields: &[&str]) {
        let set: Vec<&str> = fields
            .iter()
            .copied()
            .filter(|field| is_set(map, field))
            .collect();
        if set.len() > 1 {
            let message = format!("{} exclude one another; keep one", set.join(" and "));
            self.report.error(map, message);
        }
    }

    /// Reports a map without any of these fields, though it needs one.
    fn needs_one_of(&mut self, map: &Cursor<'_>, fields: &[&str]) {
        if !fields.iter().any(|field| is_set(map, field)) {
            let message = format!("it says nothing; give {}", fields.join(", or "));
            self.report.error(map, message);
        }
    }
}

/// Kind, namespace and name as far as they are written, for the findings' first words.
fn identity(root: &Cursor<'_>, kind: Kind, namespace: &str) -> Option<ObjectKey> {
    let metadata = root.get("metadata")?;
    let name = metadata.text("name");
    let namespace = metadata::namespace_of(&metadata, kind, namespace);
    // What is longer is no name, and would only blow up every finding.
    let fits = |text: &str| text.len() <= rules::DOMAIN_LENGTH;
    (!name.is_empty() && fits(name) && fits(&namespace)).then(|| ObjectKey {
        kind,
        namespace,
        name: name.to_owned(),
    })
}

/// Whether a field is there and not empty.
fn is_set(map: &Cursor<'_>, field: &str) -> bool {
    map.get(field).is_some_and(|value| match &value.node.value {
        Value::String(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        _ => true,
    })
}

/// The texts of the map under `key`.
fn text_map(parent: &Cursor<'_>, key: &str) -> BTreeMap<String, String> {
    parent
        .each_entry(key)
        .map(|(entry, value)| {
            let text = value.node.as_str().unwrap_or_default();
            (entry.key.clone(), text.to_owned())
        })
        .collect()
}

/// The texts of the list under `key`.
fn texts(parent: &Cursor<'_>, key: &str) -> Vec<String> {
    parent
        .each(key)
        .filter_map(|item| item.node.as_str().map(str::to_owned))
        .collect()
}

/// The length of time under `key`.
fn length(parent: &Cursor<'_>, key: &str) -> Option<Duration> {
    rules::length_of_time(parent.get(key)?.node.as_str()?)
}

/// The whole number under `key`.
fn whole<T: TryFrom<i64>>(parent: &Cursor<'_>, key: &str) -> Option<T> {
    parent.get(key)?.node.as_integer()?.try_into().ok()
}

/// The switch under `key`.
fn switch(parent: &Cursor<'_>, key: &str) -> Option<bool> {
    match parent.get(key)?.node.value {
        Value::Bool(value, _) => Some(value),
        _ => None,
    }
}
