//! The services of a Compose file: which are labelled, and which of them an edit can keep whole.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;
use super::labels::{self, Labels};
use super::yaml::{Entry, Node, Tree, Value};

/// What Compose connects a service to that names no network.
pub(super) const DEFAULT_NETWORK: &str = "default";

/// A Compose file as `inject` sees it.
#[derive(Debug)]
pub(super) struct Project<'a> {
    pub(super) tree: &'a Tree,
    /// The `services` entry.
    pub(super) services: &'a Entry,
    /// The labelled services, in the file's order.
    pub(super) members: Vec<Member<'a>>,
    /// The other services by name.
    pub(super) others: Vec<(&'a str, &'a Node)>,
}

/// A labelled service.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// Its name in the Compose file.
    pub(super) name: &'a str,
    pub(super) key: &'a Node,
    pub(super) node: &'a Node,
    pub(super) labels: Labels,
    /// Its name as a WorkloadGroup.
    pub(super) group: String,
    /// Its service account. By default each service has its own, so that its certificate alone says which one
    /// it is.
    pub(super) account: String,
    /// The networks that it is on.
    pub(super) networks: Vec<&'a str>,
    pub(super) profiles: Vec<&'a str>,
}

impl<'a> Project<'a> {
    /// Reads a tree.
    ///
    /// # Errors
    /// It is no Compose file, no service is labelled, or a labelled one is written in a way that cannot be
    /// edited.
    pub(super) fn read(tree: &'a Tree) -> Result<Self, Refusal> {
        let root = &tree.root;
        let Some(services) = root.own("services") else {
            return Err(root.refuse(
                "there is no services: at the top of the file; name a Compose file of format 2 or later",
            ));
        };
        if !services.value.is_map() {
            return Err(services
                .key
                .refuse("services is not a map of services; name a Compose file"));
        }
        let mut members = Vec::new();
        let mut others = Vec::new();
        for (name, key, node) in services.value.merged() {
            let Some(labels) = labels::read(node)? else {
                others.push((name, node));
                continue;
            };
            let is_own = services
                .value
                .own(name)
                .is_some_and(|entry| std::ptr::eq(entry.value.as_ref(), node));
            if !is_own || services.value.is_alias() {
                return Err(key.refuse(format!(
                    "service {name} comes from an alias, so that it cannot be edited alone; write it out under services"
                )));
            }
            members.push(Member::read(name, key, node, labels)?);
        }
        if members.is_empty() {
            return Err(services.key.refuse(
                "no service has the label mesh.service; give it to those that shall be in the mesh, and mesh.port to those that others call",
            ));
        }
        let project = Self {
            tree,
            services,
            members,
            others,
        };
        project.check_groups()?;
        project.check_ports()?;
        project.check_names()?;
        project.check_extends()?;
        Ok(project)
    }

    /// The network on which all members reach each other and the control plane.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn common_network(&self) -> Result<&'a str, Refusal> {
        let is_common = |network: &&str| {
            self.members
                .iter()
                .all(|member| member.networks.contains(network))
        };
        let first = &self.members[0];
        let common: Vec<&str> = first.networks.iter().copied().filter(is_common).collect();
        let open = common.iter().find(|network| !self.is_internal(network));
        if let Some(network) = open.or(common.first()) {
            return Ok(network);
        }
        for (index, one) in self.members.iter().enumerate() {
            let apart = |other: &&Member| {
                !other
                    .networks
                    .iter()
                    .any(|name| one.networks.contains(name))
            };
            if let Some(other) = self.members[index + 1..].iter().find(apart) {
                return Err(other.key.refuse(format!(
                    "services {} and {} have no network in common, and the mesh needs one that all labelled services are on; add the same network to the networks of each",
                    one.name, other.name
                )));
            }
        }
        Err(first.key.refuse(
            "the labelled services have no network that all of them are on, and the mesh needs one; add the same network to the networks of each",
        ))
    }

    /// Whether a network has no way to the outside, so that nothing on it can be published.
    pub(super) fn is_internal(&self, network: &str) -> bool {
        let networks = self.tree.root.get("networks");
        let network = networks.and_then(|networks| networks.get(network));
        let internal = network.and_then(|network| network.get("internal"));
        internal.and_then(Node::text).is_some_and(|text| {
            !matches!(text.to_ascii_lowercase().as_str(), "false" | "no" | "off")
        })
    }

    /// The services that others can call, by namespace and name, with those that they are made of.
    pub(super) fn callable(&self) -> BTreeMap<(&str, &str), Vec<&Member<'a>>> {
        let mut services: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for member in self
            .members
            .iter()
            .filter(|member| !member.labels.ports.is_empty())
        {
            let name = (
                member.labels.namespace.as_str(),
                member.labels.service.as_str(),
            );
            services.entry(name).or_default().push(member);
        }
        services
    }

    fn check_groups(&self) -> Result<(), Refusal> {
        let mut groups: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for member in &self.members {
            let group = (member.labels.namespace.as_str(), member.group.as_str());
            if let Some(other) = groups.insert(group, member.name) {
                return Err(member.key.refuse(format!(
                    "services {other} and {} would both be the workload {}; rename one",
                    member.name, member.group
                )));
            }
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), Refusal> {
        for members in self.callable().values() {
            let first = members[0];
            for other in &members[1..] {
                if other.labels.ports != first.labels.ports {
                    return Err(other.key.refuse(format!(
                        "services {} and {} are both {} in the mesh, with different ports; give both the same mesh.port",
                        first.name, other.name, first.labels.service
                    )));
                }
            }
        }
        Ok(())
    }

    /// A name means the mesh's service to labelled services: so it must not be another service's in the file.
    fn check_names(&self) -> Result<(), Refusal> {
        for ((_, service), members) in self.callable() {
            let first = members[0];
            let other = self.services.value.merged().into_iter().find(|(name, ..)| {
                let mut members = self.members.iter();
                let labelled = members.find(|member| member.name == *name);
                *name == service && labelled.is_none_or(|member| member.labels.service != service)
            });
            if let Some((_, key, _)) = other {
                return Err(key.refuse(format!(
                    "service {} is called {service} in the mesh, so that calls to {service} would not reach this service any more; rename one of them",
                    first.name
                )));
            }
        }
        Ok(())
    }

    /// `extends` is resolved by Compose, from this or other files: what it brings cannot be seen here.
    fn check_extends(&self) -> Result<(), Refusal> {
        let members: BTreeSet<&str> = self.members.iter().map(|member| member.name).collect();
        for member in &self.members {
            if let Some(extends) = member.node.get("extends") {
                return Err(extends.refuse(format!(
                    "service {} extends another one, whose ports and hosts cannot be edited for it alone; write out what it takes over",
                    member.name
                )));
            }
        }
        for (name, node) in &self.others {
            let Some(extends) = node.get("extends") else {
                continue;
            };
            let base = extends.get("service").unwrap_or(extends);
            if extends.get("file").is_none()
                && let Some(base) = base.text().filter(|base| members.contains(base))
            {
                return Err(extends.refuse(format!(
                    "service {name} extends {base}, which is labelled, and would take over what is added there; write out what it takes over"
                )));
            }
        }
        Ok(())
    }
}

impl<'a> Member<'a> {
    fn read(name: &'a str, key: &'a Node, node: &'a Node, labels: Labels) -> Result<Self, Refusal> {
        if node.is_alias() {
            return Err(node.refuse(format!(
                "service {name} is an alias, so that it cannot be edited alone; write it out, or use <<: with the alias"
            )));
        }
        if node.is_flow() {
            return Err(node.refuse(format!(
                "service {name} is written in braces, where nothing can be added line by line; write it in indented lines"
            )));
        }
        if let Some(mode) = node.get("network_mode") {
            return Err(mode.refuse(format!(
                "service {name} has network_mode, but its agent and the mesh need a network of their own there; use networks instead"
            )));
        }
        let scale = node
            .get("scale")
            .or_else(|| node.get("deploy")?.get("replicas"));
        if let Some(scale) = scale.filter(|scale| !matches!(scale.text(), Some("0" | "1"))) {
            return Err(scale.refuse(format!(
                "service {name} runs in several containers, and an agent can stand beside one only; write it out as several services with the same mesh.service"
            )));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let group = name.to_ascii_lowercase().replace(['_', '.'], "-");
        if !name.chars().all(is_name) || !labels::is_dns_label(&group) {
            return Err(key.refuse(format!(
                "service {name:?} cannot be the name of a workload; use up to 63 letters, digits and -, with a letter or a digit at both ends"
            )));
        }
        Ok(Self {
            name,
            key,
            node,
            account: labels.account.clone().unwrap_or_else(|| group.clone()),
            labels,
            group,
            networks: networks(node),
            profiles: texts(node.get("profiles")),
        })
    }
}

/// The services that a service says it needs.
pub(super) fn dependencies(node: &Node) -> Vec<&str> {
    let mut names = texts(node.get("depends_on"));
    let links = texts(node.get("links")).into_iter();
    names.extend(links.map(|link| link.split_once(':').map_or(link, |(name, _)| name)));
    names
}

/// The names that a service has on its networks beside its own.
pub(super) fn aliases(node: &Node) -> Vec<&str> {
    let networks = node.get("networks").filter(|networks| networks.is_map());
    let networks = networks.map(Node::merged).unwrap_or_default();
    let aliases = networks
        .into_iter()
        .filter_map(|(_, _, network)| network.get("aliases"));
    aliases.flat_map(|aliases| texts(Some(aliases))).collect()
}

fn networks(node: &Node) -> Vec<&str> {
    let names = texts(node.get("networks"));
    if names.is_empty() {
        return vec![DEFAULT_NETWORK];
    }
    names
}

/// The texts of a list, or the keys of a map.
fn texts(node: Option<&Node>) -> Vec<&str> {
    let Some(node) = node else { return Vec::new() };
    match &node.resolved().value {
        Value::Map { .. } => node.merged().into_iter().map(|(key, ..)| key).collect(),
        _ => node.items().iter().filter_map(|item| item.text()).collect(),
    }
}
