//! What analyzers look up, each part made when it is first asked for.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::Options;
use super::hosts::{self, Hosts, export_scopes};
use super::view::{
    Labels, at, each, in_words, items, kind, labels, spec, spec_each, spec_texts, text,
};
use super::workloads::Workloads;
use crate::config::{Config, resolve_host};
use crate::model::{Kind, Object, ObjectKey, SharedObject};

/// The objects, and what is known of them together.
pub(super) struct Index<'a> {
    pub(super) config: &'a Config,
    pub(super) options: &'a Options,
    hosts: OnceCell<Hosts<'a>>,
    subsets: OnceCell<HashMap<String, Vec<&'a str>>>,
    workloads: OnceCell<Workloads<'a>>,
    namespaces: OnceCell<BTreeSet<&'a str>>,
    mesh_hosts: OnceCell<MeshHosts<'a>>,
    rules: OnceCell<HashMap<String, Vec<Rule<'a>>>>,
    gateways: OnceCell<Gateways<'a>>,
    not_opened: OnceCell<HashMap<ObjectKey, BTreeMap<usize, String>>>,
    entries: OnceCell<HashMap<(String, i64), Vec<Entry<'a>>>>,
}

/// Which VirtualServices sidecars follow for a host: the scope and the VirtualService.
#[derive(Default)]
pub(super) struct MeshHosts<'a> {
    pub(super) exact: HashMap<String, Vec<(&'a str, &'a Object)>>,
    /// Hosts that begin with `*`.
    pub(super) wildcard: Vec<(String, &'a str, &'a Object)>,
}

/// A VirtualService that routes requests to a host.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) object: &'a Object,
    /// Whether sidecars follow it.
    pub(super) in_mesh: bool,
    /// Whether it has the host among its own, written just so.
    pub(super) is_own: bool,
    /// Whether it chooses a subset, or gives weights.
    pub(super) chooses: bool,
    /// Whether it names a subset.
    pub(super) names_subset: bool,
}

/// The servers of all Gateways.
#[derive(Default)]
pub(super) struct Gateways<'a> {
    /// The Gateways by their selector in words.
    pub(super) by_selector: BTreeMap<String, (Labels<'a>, Vec<&'a Object>)>,
    /// Which Gateways' servers have a certificate.
    pub(super) by_certificate: HashMap<String, Vec<&'a Object>>,
    /// Which Gateways open a host on a port, with their bind address.
    pub(super) by_host: HashMap<(i64, &'a str), Vec<(&'a str, &'a Object)>>,
}

/// What a ServiceEntry says of a host and port.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) object: &'a Object,
    pub(super) scope: &'a str,
    pub(super) protocol: &'a str,
}

const ISTIO: &str = "networking.istio.io";

impl<'a> Index<'a> {
    pub(super) fn new(config: &'a Config, options: &'a Options) -> Self {
        Index {
            config,
            options,
            hosts: OnceCell::new(),
            subsets: OnceCell::new(),
            workloads: OnceCell::new(),
            namespaces: OnceCell::new(),
            mesh_hosts: OnceCell::new(),
            rules: OnceCell::new(),
            gateways: OnceCell::new(),
            not_opened: OnceCell::new(),
            entries: OnceCell::new(),
        }
    }

    /// The objects of a kind, acted on or not.
    pub(super) fn all(
        &self,
        group: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a SharedObject> + use<'a> {
        let config = self.config;
        kind(group, name)
            .into_iter()
            .flat_map(move |kind| config.of_kind(kind))
    }

    /// An object of a kind, acted on or not.
    pub(super) fn find(
        &self,
        group: &str,
        name: &str,
        namespace: &str,
        object: &str,
    ) -> Option<&'a SharedObject> {
        self.config.find(kind(group, name)?, namespace, object)
    }

    /// The hosts of Services and ServiceEntries.
    pub(super) fn hosts(&self) -> &Hosts<'a> {
        self.hosts.get_or_init(|| {
            let entries = self.all(ISTIO, "ServiceEntry");
            Hosts::of(self.config.of_kind(Kind::Service).chain(entries))
        })
    }

    /// The subsets that DestinationRules define, by the full host; empty for a host whose rules have none.
    pub(super) fn subsets(&self, host: &str) -> Option<&[&'a str]> {
        let all = self
            .subsets
            .get_or_init(|| hosts::subsets(self.config.of_kind(Kind::DestinationRule)));
        all.get(host).map(Vec::as_slice)
    }

    /// What runs.
    pub(super) fn workloads(&self) -> &Workloads<'a> {
        self.workloads
            .get_or_init(|| Workloads::of(self.config, self.options))
    }

    /// Every namespace that there is: declared, or with an object in it.
    pub(super) fn namespaces(&self) -> &BTreeSet<&'a str> {
        self.namespaces.get_or_init(|| {
            let declared = self
                .all("", "Namespace")
                .map(|object| &object.metadata.name);
            let lived_in = self.config.iter().map(|object| &object.metadata.namespace);
            let all = declared.chain(lived_in).map(String::as_str);
            all.filter(|name| !name.is_empty()).collect()
        })
    }

    /// The servers of Gateways that no gateway opens because of older ones, and why.
    pub(super) fn not_opened(&self) -> &HashMap<ObjectKey, BTreeMap<usize, String>> {
        self.not_opened
            .get_or_init(|| super::gateway::all_not_opened(self))
    }

    /// Which VirtualServices sidecars follow.
    pub(super) fn mesh_hosts(&self) -> &MeshHosts<'a> {
        self.mesh_hosts.get_or_init(|| {
            let mut mesh = MeshHosts::default();
            for object in self.config.of_kind(Kind::VirtualService) {
                let object: &Object = object;
                if !bound_to_mesh(object) {
                    continue;
                }
                for scope in export_scopes(object) {
                    for host in spec_texts(object, "hosts") {
                        let host = resolve_host(host, &object.metadata.namespace);
                        if host.starts_with('*') {
                            mesh.wildcard.push((host, scope, object));
                        } else {
                            mesh.exact.entry(host).or_default().push((scope, object));
                        }
                    }
                }
            }
            mesh
        })
    }

    /// The VirtualServices whose HTTP routes lead to a full host.
    pub(super) fn rules_for(&self, host: &str) -> &[Rule<'a>] {
        let all = self.rules.get_or_init(|| {
            let mut rules: HashMap<String, Vec<Rule<'_>>> = HashMap::new();
            for object in self.config.of_kind(Kind::VirtualService) {
                for (host, rule) in rules_of(object) {
                    rules.entry(host).or_default().push(rule);
                }
            }
            rules
        });
        all.get(host).map_or(&[], Vec::as_slice)
    }

    /// The Gateways by what they may have in common.
    pub(super) fn gateways(&self) -> &Gateways<'a> {
        self.gateways.get_or_init(|| {
            let mut gateways = Gateways::default();
            for object in self.config.of_kind(Kind::Gateway) {
                let object: &Object = object;
                let selector = labels(spec(object, &["selector"]));
                let entry = gateways.by_selector.entry(in_words(&selector));
                entry
                    .or_insert_with(|| (selector, Vec::new()))
                    .1
                    .push(object);
                for (_, server) in spec_each(object, "servers") {
                    if let Some(certificate) = certificate(server) {
                        let known = gateways.by_certificate.entry(certificate).or_default();
                        known.push(object);
                    }
                    let port = server_port(server).unwrap_or_default();
                    let bind = text(server, "bind");
                    for host in each(server, "hosts").filter_map(|(_, host)| host.as_str()) {
                        let known = gateways.by_host.entry((port, host)).or_default();
                        known.push((bind, object));
                    }
                }
            }
            gateways
        })
    }

    /// What ServiceEntries say of a host, as it is written, and a port.
    pub(super) fn entries(&self, host: &str, port: i64) -> &[Entry<'a>] {
        let all = self.entries.get_or_init(|| {
            let mut entries: HashMap<(String, i64), Vec<Entry<'_>>> = HashMap::new();
            for object in self.all(ISTIO, "ServiceEntry") {
                let object: &Object = object;
                for host in spec_texts(object, "hosts") {
                    for (_, port) in spec_each(object, "ports") {
                        let number = port.get("number").and_then(Value::as_i64);
                        let known = entries
                            .entry((host.to_owned(), number.unwrap_or_default()))
                            .or_default();
                        known.extend(export_scopes(object).into_iter().map(|scope| Entry {
                            object,
                            scope,
                            protocol: text(port, "protocol"),
                        }));
                    }
                }
            }
            entries
        });
        all.get(&(host.to_owned(), port)).map_or(&[], Vec::as_slice)
    }
}

/// Whether sidecars follow a VirtualService.
pub(super) fn bound_to_mesh(object: &Object) -> bool {
    let mut gateways = spec_texts(object, "gateways").peekable();
    gateways.peek().is_none() || gateways.any(|name| name == "mesh")
}

/// The hosts that a VirtualService's HTTP routes lead to, once each.
fn rules_of(object: &Object) -> BTreeMap<String, Rule<'_>> {
    let namespace = &object.metadata.namespace;
    let in_mesh = bound_to_mesh(object);
    let own: Vec<&str> = spec_texts(object, "hosts").collect();
    let mut rules: BTreeMap<String, Rule<'_>> = BTreeMap::new();
    for (_, route) in spec_each(object, "http") {
        let targets = items(route.get("route"));
        for target in targets {
            let destination = target.get("destination").unwrap_or(&Value::Null);
            let host = text(destination, "host");
            if host.is_empty() {
                continue;
            }
            let names_subset = !text(destination, "subset").is_empty();
            let rule = rules
                .entry(resolve_host(host, namespace))
                .or_insert_with(|| Rule {
                    object,
                    in_mesh,
                    is_own: own.contains(&host),
                    chooses: false,
                    names_subset: false,
                });
            rule.chooses |= names_subset || targets.len() > 1;
            rule.names_subset |= names_subset;
        }
    }
    rules
}

/// The number of a Gateway server's port.
pub(super) fn server_port(server: &Value) -> Option<i64> {
    at(server, &["port", "number"])?.as_i64()
}

/// What names the certificate of a Gateway's server: its Secret, or its files.
pub(super) fn certificate(server: &Value) -> Option<String> {
    let tls = server.get("tls")?;
    let field = |key| text(tls, key);
    let (secret, file, key) = (
        field("credentialName"),
        field("serverCertificate"),
        field("privateKey"),
    );
    if !secret.is_empty() {
        Some(format!("secret {secret}"))
    } else if !file.is_empty() && !key.is_empty() {
        Some(format!("files {file} {key}"))
    } else {
        None
    }
}
