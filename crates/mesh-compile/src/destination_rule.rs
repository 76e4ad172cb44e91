//! DestinationRules: which one counts for a client, and which subsets it defines.
//!
//! Rules of the client's namespace hide those of the service's, and these the root namespace's; nothing is
//! merged across. Within a namespace the most specific host wins, and rules for one host are merged: subsets
//! with new names are added, a name that is there already keeps its first, oldest meaning.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::model::Subset;
use mesh_config::{Config, resolve_host};

use crate::host::HostMap;
use crate::service::Service;

/// All rules.
#[derive(Debug)]
pub(crate) struct DestinationRules {
    by_namespace: BTreeMap<String, HostMap<Rule>>,
}

/// The merged rules of one namespace for one host.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub(crate) subsets: BTreeMap<String, Subset>,
}

impl DestinationRules {
    pub(crate) fn build(config: &Config) -> Self {
        let mut by_namespace: BTreeMap<String, Vec<(String, &[Subset])>> = BTreeMap::new();
        for (object, spec) in config.destination_rules() {
            let namespace = &object.metadata.namespace;
            let host = resolve_host(&spec.host, namespace);
            let rules = by_namespace.entry(namespace.clone()).or_default();
            rules.push((host, &spec.subsets));
        }
        let merge = |rule: &mut Rule, subsets: &[Subset]| {
            for subset in subsets {
                let known = rule.subsets.entry(subset.name.clone());
                known.or_insert_with(|| subset.clone());
            }
        };
        Self {
            by_namespace: by_namespace
                .into_iter()
                .map(|(namespace, rules)| (namespace, HostMap::collect(rules, merge)))
                .collect(),
        }
    }

    /// The rule that a client in `client` follows for a service. For clients in the root namespace, as
    /// gateways are, the service's own rules come before those of the root namespace.
    pub(crate) fn choose(&self, client: &str, service: &Service, root: &str) -> Option<&Rule> {
        let own = (client != root).then_some(client);
        let namespaces = own.into_iter().chain([service.namespace.as_str(), root]);
        namespaces
            .filter_map(|namespace| self.by_namespace.get(namespace))
            .find_map(|rules| rules.for_host(&service.host).next())
    }

    /// Every subset by which some client may ask for a service.
    pub(crate) fn subsets_of<'a>(&'a self, host: &'a str) -> BTreeSet<&'a str> {
        self.by_namespace
            .values()
            .filter_map(|rules| rules.for_host(host).next())
            .flat_map(|rule| rule.subsets.keys())
            .map(String::as_str)
            .collect()
    }
}
