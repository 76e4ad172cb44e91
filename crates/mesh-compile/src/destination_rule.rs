//! DestinationRules: which one counts for a client, which subsets it defines, and which policy holds.
//!
//! Rules of the client's namespace hide those that the service's namespace exports, and these the root
//! namespace's; nothing is merged across. Within a namespace the most specific host wins. Rules for one host
//! that are for the same clients are merged: subsets with new names are added, a name that is there already
//! keeps its first, oldest meaning, and so does the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::model::{
    Algorithm, DestinationRule, HashKey, LoadBalancer, MeshConfig, PolicyParts, Subset,
    TrafficPolicy,
};
use mesh_config::{Config, resolve_host};

use crate::client::Client;
use crate::host::HostMap;
use crate::service::Service;
use crate::visibility::Visibility;
use crate::workload::{Labels, has_labels};

/// All rules.
#[derive(Debug)]
pub(crate) struct DestinationRules {
    by_namespace: BTreeMap<String, HostMap<Vec<Arc<Rule>>>>,
    ask_for_localities: bool,
}

/// The merged rules of one namespace for one host and the same clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) subsets: BTreeMap<String, Subset>,
    policy: TrafficPolicy,
    /// Which namespaces see it.
    export_to: Visibility,
    selector: Option<Labels>,
    namespace: String,
}

/// What holds for one port of a service or of a subset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) parts: PolicyParts,
    /// The PROXY protocol's version.
    pub(crate) proxy_protocol: Option<u8>,
    /// The rule is for chosen workloads of its namespace only.
    pub(crate) is_selected: bool,
}

impl DestinationRules {
    /// Rules that are equal to those of `known` are those.
    pub(crate) fn build(config: &Config, mesh: &MeshConfig, known: Option<&Self>) -> Self {
        let mut by_namespace: BTreeMap<String, Vec<(String, Arc<Rule>)>> = BTreeMap::new();
        let mut ask_for_localities = false;
        for (object, spec) in config.destination_rules() {
            let namespace = &object.metadata.namespace;
            let host = resolve_host(&spec.host, namespace);
            let rules = by_namespace.entry(namespace.clone()).or_default();
            rules.push((host, Arc::new(Rule::new(namespace, spec, mesh))));
            ask_for_localities |= asks_for_localities(spec);
        }
        Self {
            by_namespace: by_namespace
                .into_iter()
                .map(|(namespace, rules)| {
                    let mut rules = HostMap::collect(rules, merge);
                    if let Some(known) = known.and_then(|known| known.by_namespace.get(&namespace))
                    {
                        rules.for_each(known, |rules, known| keep(rules, known));
                    }
                    (namespace, rules)
                })
                .collect(),
            ask_for_localities,
        }
    }

    /// The rule that a client follows for a service.
    pub(crate) fn choose(
        &self,
        client: &Client,
        service: &Service,
        root: &str,
    ) -> Option<&Arc<Rule>> {
        let own = self.first(&client.namespace, &service.host, |rule| {
            // A client in the root namespace, as gateways are, follows the service's own rules before those
            // that are for everybody.
            client.namespace != root || rule.is_private()
        });
        let exported = |namespace: &str| {
            let mut rules = self.first(namespace, &service.host, |rule| !rule.is_private());
            rules.retain(|rule| rule.is_visible_in(&client.namespace));
            rules
        };
        let mut found = own;
        for namespace in [service.namespace.as_str(), root] {
            if found.is_empty() {
                found = exported(namespace);
            }
        }
        let selects = |rule: &&Arc<Rule>| {
            let selector = rule.selector.as_ref();
            rule.namespace == client.namespace
                && selector.is_some_and(|selector| has_labels(&client.labels, selector))
        };
        let for_all = || found.iter().rev().find(|rule| rule.selector.is_none());
        found
            .iter()
            .copied()
            .find(selects)
            .or_else(|| for_all().copied())
    }

    /// The rules of a namespace for the most specific host that has any of this kind.
    fn first(&self, namespace: &str, host: &str, kind: impl Fn(&Rule) -> bool) -> Vec<&Arc<Rule>> {
        let rules = self.by_namespace.get(namespace);
        rules
            .into_iter()
            .flat_map(|rules| rules.for_host(host))
            .map(|rules| rules.iter().filter(|rule| kind(rule)).collect::<Vec<_>>())
            .find(|rules| !rules.is_empty())
            .unwrap_or_default()
    }

    /// Every subset by which some client may ask for a service.
    pub(crate) fn subsets_of<'a>(&'a self, host: &'a str) -> BTreeSet<&'a str> {
        self.by_namespace
            .values()
            .flat_map(|rules| rules.for_host(host).flatten())
            .flat_map(|rule| rule.subsets.keys())
            .map(String::as_str)
            .collect()
    }

    /// The keys of clients' labels that some rule asks for.
    pub(crate) fn client_labels(&self) -> BTreeSet<String> {
        let rules = || {
            self.by_namespace
                .values()
                .flat_map(HostMap::values)
                .flatten()
        };
        let selectors = rules().filter_map(|rule| rule.selector.as_ref());
        let selected = selectors.flat_map(Labels::keys).cloned();
        let failover = rules()
            .flat_map(|rule| rule.load_balancers())
            .filter_map(|balancer| balancer.locality.as_ref())
            .flat_map(|setting| &setting.failover_priority)
            .map(|label| {
                label
                    .split_once('=')
                    .map_or(label.as_str(), |(key, _)| key)
                    .to_owned()
            });
        selected.chain(failover).collect()
    }

    /// Whether where a client runs may matter.
    pub(crate) fn ask_for_localities(&self) -> bool {
        self.ask_for_localities
    }
}

impl Rule {
    fn new(namespace: &str, spec: &DestinationRule, mesh: &MeshConfig) -> Self {
        let mut subsets = BTreeMap::new();
        for subset in &spec.subsets {
            let known = subsets.entry(subset.name.clone());
            known.or_insert_with(|| subset.clone());
        }
        Self {
            subsets,
            policy: spec.policy.clone(),
            export_to: Visibility::new(
                &spec.export_to,
                namespace,
                &mesh.default_destination_rule_export_to,
            ),
            selector: spec.workload_selector.clone(),
            namespace: namespace.to_owned(),
        }
    }

    fn is_private(&self) -> bool {
        self.export_to.is_only(&self.namespace)
    }

    fn is_visible_in(&self, namespace: &str) -> bool {
        self.export_to.includes(namespace)
    }

    fn policies(&self) -> impl Iterator<Item = &TrafficPolicy> {
        let subsets = self.subsets.values().map(|subset| &subset.policy);
        subsets.chain([&self.policy])
    }

    fn load_balancers(&self) -> impl Iterator<Item = &LoadBalancer> {
        self.policies()
            .flat_map(all_parts)
            .filter_map(|parts| parts.load_balancer.as_ref())
    }

    /// In what requests and sessions are alike that are to go to the same endpoint, if that is asked for.
    pub(crate) fn hash_key(&self, port: u16, subset: Option<&str>) -> Option<HashKey> {
        let key = |balancer: &LoadBalancer| match &balancer.algorithm {
            Algorithm::ConsistentHash(hash) => hash.key.clone(),
            _ => None,
        };
        // Most rules do not ask for it at all.
        self.load_balancers().find_map(key)?;
        key(&self.policy(port, subset).parts.load_balancer?)
    }

    /// What holds for a port of a service or of one of its subsets. A subset's part replaces that of the whole
    /// host; what is said for the port alone replaces all parts.
    pub(crate) fn policy(&self, port: u16, subset: Option<&str>) -> Policy {
        let whole = &self.policy;
        let mut policy = Policy {
            parts: whole.ports.get(&port).unwrap_or(&whole.parts).clone(),
            proxy_protocol: whole.proxy_protocol,
            is_selected: self.selector.is_some(),
        };
        let Some(subset) = subset.and_then(|subset| self.subsets.get(subset)) else {
            return policy;
        };
        let subset = &subset.policy;
        policy.proxy_protocol = subset.proxy_protocol.or(policy.proxy_protocol);
        let parts = &subset.parts;
        policy.parts = match subset.ports.get(&port) {
            Some(parts) => parts.clone(),
            None => PolicyParts {
                load_balancer: parts.load_balancer.clone().or(policy.parts.load_balancer),
                connection_pool: parts
                    .connection_pool
                    .clone()
                    .or(policy.parts.connection_pool),
                outlier_detection: parts
                    .outlier_detection
                    .clone()
                    .or(policy.parts.outlier_detection),
                tls: parts.tls.clone().or(policy.parts.tls),
            },
        };
        policy
    }
}

/// Adds a rule to those for the same host.
fn merge(rules: &mut Vec<Arc<Rule>>, rule: Arc<Rule>) {
    let alike = |known: &&mut Arc<Rule>| {
        known.export_to == rule.export_to && known.selector == rule.selector
    };
    let Some(known) = rules.iter_mut().find(alike) else {
        rules.push(rule);
        return;
    };
    let (known, rule) = (Arc::make_mut(known), Arc::unwrap_or_clone(rule));
    if known.policy == TrafficPolicy::default() {
        known.policy = rule.policy;
    }
    for (name, subset) in rule.subsets {
        known.subsets.entry(name).or_insert(subset);
    }
}

/// Puts known rules in the place of equal ones.
fn keep(rules: &mut [Arc<Rule>], known: &[Arc<Rule>]) {
    for (rule, known) in rules.iter_mut().zip(known) {
        if rule == known {
            *rule = Arc::clone(known);
        }
    }
}

fn all_parts(policy: &TrafficPolicy) -> impl Iterator<Item = &PolicyParts> {
    policy.ports.values().chain([&policy.parts])
}

fn asks_for_localities(spec: &DestinationRule) -> bool {
    let subsets = spec.subsets.iter().map(|subset| &subset.policy);
    subsets
        .chain([&spec.policy])
        .flat_map(all_parts)
        .any(|parts| {
            let balancer = parts.load_balancer.as_ref();
            parts.outlier_detection.is_some()
                || balancer.is_some_and(|balancer| balancer.locality.is_some())
        })
}
