//! What runs, as far as it is written: pods, what makes pods, workload groups and entries, and gateways.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::Options;
use super::view::{Labels, at, is, items, labels, own_labels, selects, spec, text};
use crate::config::Config;
use crate::model::{Kind, Object};

/// Something that runs.
pub(super) struct Workload<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) labels: Labels<'a>,
    /// Whether a proxy of the mesh stands beside it.
    pub(super) in_mesh: bool,
    /// Whether it is in Istio's mode without sidecars.
    pub(super) is_ambient: bool,
    /// Whether where it runs is not written, so that labels of places say nothing about it.
    pub(super) is_anywhere: bool,
}

/// Everything that runs.
pub(super) struct Workloads<'a> {
    by_namespace: BTreeMap<&'a str, Vec<Workload<'a>>>,
    /// Namespace and place in it of those that have a label.
    by_label: HashMap<(&'a str, &'a str), Vec<(&'a str, usize)>>,
    /// Gateways that are known without being written.
    pub(super) gateways: Vec<Workload<'a>>,
    /// Whether what is written is all that runs.
    pub(super) are_known: bool,
}

/// Labels that a pod has from its node.
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Whether the label tells where a workload runs.
fn is_place(label: &str) -> bool {
    [REGION, ZONE, SUBZONE, HOSTNAME].contains(&label)
}

impl<'a> Workloads<'a> {
    pub(super) fn of(config: &'a Config, options: &'a Options) -> Self {
        let mut reader = Reader::default();
        for object in config
            .iter()
            .filter(|object| object.kind.group().is_empty())
        {
            match object.kind.kind() {
                "Namespace" => {
                    reader.namespaces.insert(&object.metadata.name, object);
                }
                "Node" => {
                    reader.nodes.insert(&object.metadata.name, object);
                }
                _ => {}
            }
        }
        let mut by_namespace: BTreeMap<&str, Vec<Workload<'_>>> = BTreeMap::new();
        let mut pods_in = BTreeSet::new();
        let mut add = |workload: Workload<'a>| {
            by_namespace
                .entry(workload.namespace)
                .or_default()
                .push(workload);
        };
        for object in config.iter() {
            if is(object, "", "Pod") {
                pods_in.insert(object.metadata.namespace.as_str());
                add(reader.pod(object));
            } else if object.kind == Kind::WorkloadGroup {
                add(group(object));
            } else if object.kind == Kind::WorkloadEntry {
                add(entry(object));
            }
        }
        for object in config.iter().filter(|object| makes_pods(object)) {
            // Where pods are written, they tell the truth.
            if !pods_in.contains(object.metadata.namespace.as_str()) {
                add(reader.template(object));
            }
        }
        let gateways = options.gateways.iter().map(|gateway| Workload {
            namespace: &gateway.namespace,
            name: &gateway.name,
            labels: gateway
                .labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            in_mesh: true,
            is_ambient: false,
            is_anywhere: true,
        });
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for (namespace, all) in &by_namespace {
            for (place, workload) in all.iter().enumerate() {
                for (key, value) in &workload.labels {
                    let having = by_label.entry((*key, *value)).or_default();
                    having.push((*namespace, place));
                }
            }
        }
        Workloads {
            by_label,
            are_known: options.complete || !by_namespace.is_empty(),
            gateways: gateways.collect(),
            by_namespace,
        }
    }

    /// What runs in a namespace, without the gateways that are not written.
    pub(super) fn in_namespace(&self, namespace: &str) -> &[Workload<'a>] {
        self.by_namespace.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Everything but the gateways that are not written.
    pub(super) fn written(&self) -> impl Iterator<Item = &Workload<'a>> {
        self.by_namespace.values().flatten()
    }

    /// Whether a subset with these labels selects anything, in any namespace. Where a workload runs is only known of
    /// pods; of all others it is not asked.
    pub(super) fn any_in_subset(&self, selector: &Labels<'_>) -> bool {
        let fits = |workload: &Workload<'_>| {
            selector.iter().all(|(key, value)| {
                workload.labels.get(key) == Some(value) || (workload.is_anywhere && is_place(key))
            })
        };
        // Of a label that few have, few are to be looked at.
        let asked = selector.iter().filter(|(key, _)| !is_place(key));
        let rarest = asked
            .map(|(key, value)| self.having(key, value))
            .min_by_key(|all| all.len());
        match rarest {
            None => self.written().any(fits),
            Some(few) => few.iter().any(|(namespace, place)| {
                let workload = self.in_namespace(namespace).get(*place);
                workload.is_some_and(fits)
            }),
        }
    }

    /// Namespace and place in it of all that have a label.
    fn having<'s>(&'s self, key: &'s str, value: &'s str) -> &'s [(&'s str, usize)] {
        let all = self.by_label.get(&(key, value));
        all.map_or(&[], Vec::as_slice)
    }

    /// Everything that a Gateway's selector selects, in any namespace.
    pub(super) fn selected_by<'s>(
        &'s self,
        selector: &'s Labels<'_>,
    ) -> impl Iterator<Item = &'s Workload<'a>> {
        self.gateways
            .iter()
            .chain(self.written())
            .filter(move |workload| selects(selector, &workload.labels))
    }
}

#[derive(Default)]
struct Reader<'a> {
    namespaces: BTreeMap<&'a str, &'a Object>,
    nodes: BTreeMap<&'a str, &'a Object>,
}

impl<'a> Reader<'a> {
    fn pod(&self, object: &'a Object) -> Workload<'a> {
        let pod = at(&object.raw, &["spec"]).unwrap_or(&Value::Null);
        let mut labels = own_labels(object);
        let annotations = &object.metadata.annotations;
        let marked = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| items(pod.get(list)))
            .find(|container| text(container, "name") == "istio-proxy");
        let has_proxy = marked.is_some_and(|proxy| !text(proxy, "image").is_empty());
        let annotation = annotations.get(INJECT).map(String::as_str);
        let in_mesh = has_proxy
            || labels
                .get(INJECT)
                .copied()
                .or(annotation)
                .map_or_else(|| self.injects(object), |word| word == "true");
        let node = text(pod, "nodeName");
        if let Some(place) = self.nodes.get(node) {
            let place = own_labels(place);
            for label in [REGION, ZONE, SUBZONE] {
                if let Some(value) = place.get(label).filter(|value| !value.is_empty()) {
                    labels.insert(label, value);
                }
            }
            labels.insert(HOSTNAME, node);
        }
        Workload {
            namespace: &object.metadata.namespace,
            name: &object.metadata.name,
            labels,
            in_mesh,
            is_ambient: annotations
                .get("ambient.istio.io/redirection")
                .is_some_and(|word| word == "enabled"),
            is_anywhere: false,
        }
    }

    /// What a Deployment and the like make.
    fn template(&self, object: &'a Object) -> Workload<'a> {
        let metadata = |key| spec(object, &["template", "metadata", key]);
        Workload {
            namespace: &object.metadata.namespace,
            name: &object.metadata.name,
            labels: labels(metadata("labels")),
            // A mesh without Kubernetes needs no injection; so only who says no is out of it.
            in_mesh: injection(object).unwrap_or(true),
            is_ambient: false,
            is_anywhere: true,
        }
    }

    fn injects(&self, object: &Object) -> bool {
        self.namespaces
            .get(object.metadata.namespace.as_str())
            .is_some_and(|namespace| injects(namespace))
    }
}

const INJECT: &str = "sidecar.istio.io/inject";

/// Whether pods of this Namespace get a sidecar unless they say no.
pub(super) fn injects(namespace: &Object) -> bool {
    let label = namespace.metadata.labels.get("istio-injection");
    label.is_some_and(|word| word == "enabled")
}

/// Whether this Namespace is in Istio's mode without sidecars.
pub(super) fn is_ambient(namespace: &Object) -> bool {
    let labels = &namespace.metadata.labels;
    let is = |label: &str, value: &str| labels.get(label).is_some_and(|word| word == value);
    let has_revision = labels
        .get("istio.io/rev")
        .is_some_and(|word| !word.is_empty());
    !injects(namespace) && !has_revision && is("istio.io/dataplane-mode", "ambient")
}

/// Whether the object's pods say that they want a sidecar, if they say anything.
pub(super) fn injection(object: &Object) -> Option<bool> {
    let containers = items(spec(object, &["template", "spec", "containers"]));
    let is_proxy = |container: &Value| {
        text(container, "name") == "istio-proxy" && !text(container, "image").is_empty()
    };
    if containers.iter().any(is_proxy) {
        return Some(true);
    }
    ["labels", "annotations"]
        .iter()
        .find_map(|key| {
            spec(object, &["template", "metadata", key])?
                .get(INJECT)?
                .as_str()
        })
        .map(|word| word == "true")
}

/// Whether an object of this kind makes pods.
fn makes_pods(object: &Object) -> bool {
    const KINDS: [&str; 4] = ["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"];
    object.kind.group() == "apps" && KINDS.contains(&object.kind.kind())
}

fn group(object: &Object) -> Workload<'_> {
    let mut joined = labels(spec(object, &["metadata", "labels"]));
    joined.extend(labels(spec(object, &["template", "labels"])));
    Workload {
        namespace: &object.metadata.namespace,
        name: &object.metadata.name,
        labels: joined,
        in_mesh: true,
        is_ambient: false,
        is_anywhere: true,
    }
}

fn entry(object: &Object) -> Workload<'_> {
    Workload {
        labels: labels(spec(object, &["labels"])),
        ..group(object)
    }
}
