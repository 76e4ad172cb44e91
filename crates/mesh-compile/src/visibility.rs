//! Who sees what: `exportTo`, and the Sidecars that narrow what some workloads know.
//!
//! An object is seen from the namespaces to which it is exported. A Sidecar says which of what is seen the
//! workloads that it is for are to know: the one that selects a workload by labels, else that of the workload's
//! namespace without selector, else that of the root namespace without selector; the oldest of each.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::Config;
use mesh_config::model::{
    EgressHost, EgressListener, EgressNamespace, IngressListener, OutboundPolicy,
};

use crate::client::Client;
use crate::host::covers;
use crate::service::Service;
use crate::workload::{Labels, has_labels};

/// The namespaces from which an object is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// All of them.
    Everywhere,
    /// These; with none of them it is seen from nowhere.
    In(BTreeSet<String>),
}

impl Visibility {
    /// What `exportTo` means for an object of the namespace `own`; `otherwise` is for objects that say nothing.
    pub(crate) fn new(export_to: &[String], own: &str, otherwise: &[String]) -> Self {
        let said = match export_to.is_empty() {
            true => otherwise,
            false => export_to,
        };
        if said.is_empty() || said.iter().any(|name| name == "*") {
            return Self::Everywhere;
        }
        let names = said.iter().filter(|name| *name != "~");
        Self::In(
            names
                .map(|name| match name.as_str() {
                    "." => own.to_owned(),
                    name => name.to_owned(),
                })
                .collect(),
        )
    }

    /// Whether it is seen from this namespace and no other.
    pub(crate) fn is_only(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => false,
            Self::In(names) => names.len() == 1 && names.contains(namespace),
        }
    }

    pub(crate) fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::In(names) => names.contains(namespace),
        }
    }
}

/// All Sidecars.
#[derive(Debug, Default)]
pub(crate) struct Sidecars {
    root_namespace: String,
    /// By namespace, oldest first.
    by_namespace: BTreeMap<String, Vec<Sidecar>>,
}

/// One Sidecar with what compiling asks of it.
#[derive(Debug)]
pub(crate) struct Sidecar {
    namespace: String,
    selector: Labels,
    egress: Vec<EgressListener>,
    pub(crate) ingress: Vec<IngressListener>,
    pub(crate) outbound: Option<OutboundPolicy>,
}

impl Sidecars {
    pub(crate) fn build(config: &Config, root_namespace: &str) -> Self {
        let mut by_namespace: BTreeMap<String, Vec<Sidecar>> = BTreeMap::new();
        for (object, spec) in config.sidecars() {
            let namespace = &object.metadata.namespace;
            let known = by_namespace.entry(namespace.clone()).or_default();
            known.push(Sidecar {
                namespace: namespace.clone(),
                selector: spec.selector.clone(),
                egress: spec.egress.clone(),
                ingress: spec.ingress.clone(),
                outbound: spec.outbound,
            });
        }
        Self {
            root_namespace: root_namespace.to_owned(),
            by_namespace,
        }
    }

    /// The keys of labels by which they select.
    pub(crate) fn client_labels(&self) -> impl Iterator<Item = &String> {
        let all = self.by_namespace.values().flatten();
        all.flat_map(|sidecar| sidecar.selector.keys())
    }

    /// The one for a workload.
    pub(crate) fn of(&self, namespace: &str, labels: &Labels) -> Option<&Sidecar> {
        let own = || self.by_namespace.get(namespace).into_iter().flatten();
        let selects = |sidecar: &&Sidecar| {
            !sidecar.selector.is_empty() && has_labels(labels, &sidecar.selector)
        };
        let for_all = |sidecar: &&Sidecar| sidecar.selector.is_empty();
        let root = self.by_namespace.get(&self.root_namespace);
        own()
            .find(selects)
            .or_else(|| own().find(for_all))
            .or_else(|| root.into_iter().flatten().find(for_all))
    }
}

/// What one client knows of the mesh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    namespace: &'a str,
    sidecar: Option<&'a Sidecar>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(sidecars: &'a Sidecars, client: &'a Client) -> Self {
        Self {
            namespace: &client.namespace,
            sidecar: sidecars.of(&client.namespace, &client.labels),
        }
    }

    /// What becomes of hosts that it does not know, if its Sidecar says so.
    pub(crate) fn outbound(&self) -> Option<OutboundPolicy> {
        self.sidecar?.outbound
    }

    /// Whether it knows a port of a service.
    pub(crate) fn knows(&self, service: &Service, port: u16) -> bool {
        service.export_to.includes(self.namespace)
            && self.imports(&service.namespace, &service.host, Some(port))
    }

    /// Whether it follows a rule of this namespace for this host.
    pub(crate) fn follows(&self, namespace: &str, host: &str) -> bool {
        self.imports(namespace, host, None)
    }

    fn imports(&self, namespace: &str, host: &str, port: Option<u16>) -> bool {
        let Some(sidecar) = self.sidecar.filter(|sidecar| !sidecar.egress.is_empty()) else {
            return true;
        };
        let is_for = |listener: &&EgressListener| listener.port.is_some() && listener.port == port;
        let for_all = |listener: &&EgressListener| listener.port.is_none();
        match port {
            Some(_) => {
                let listener = sidecar.egress.iter().find(is_for);
                let listener = listener.or_else(|| sidecar.egress.iter().find(for_all));
                listener.is_some_and(|listener| sidecar.lists(listener, namespace, host))
            }
            None => {
                let mut all = sidecar.egress.iter();
                all.any(|listener| sidecar.lists(listener, namespace, host))
            }
        }
    }
}

impl Sidecar {
    /// Whether a listener's hosts have this one. What is excluded is out, whatever else is said.
    fn lists(&self, listener: &EgressListener, namespace: &str, host: &str) -> bool {
        let names = |entry: &EgressHost| covers(&entry.host, host) || covers(host, &entry.host);
        let excluded = listener.hosts.iter().any(|entry| {
            matches!(&entry.namespace, EgressNamespace::Not(name) if name == namespace)
                && names(entry)
        });
        !excluded
            && listener.hosts.iter().any(|entry| {
                let is_there = match &entry.namespace {
                    EgressNamespace::Any => true,
                    EgressNamespace::Own => self.namespace == namespace,
                    EgressNamespace::Named(name) => name == namespace,
                    EgressNamespace::None | EgressNamespace::Not(_) => false,
                };
                is_there && names(entry)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::Visibility;

    #[test]
    fn exports() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (said, otherwise, seen) in [
            (&[][..], &[][..], [true, true]),
            (&["*"], &["."], [true, true]),
            (&["."], &[], [true, false]),
            (&["b"], &[], [false, true]),
            (&["~"], &[], [false, false]),
            (&[], &["."], [true, false]),
        ] {
            let visibility = Visibility::new(&names(said), "a", &names(otherwise));
            assert_eq!(["a", "b"].map(|n| visibility.includes(n)), seen, "{said:?}");
        }
    }
}
