//! The sentences of events, in one place, so that they sound alike.

use std::path::Path;

use mesh_compile::Instance;
use mesh_config::model::ObjectKey;
use mesh_identity::SpiffeId;
use mesh_xds::ResourceType;
use mesh_xds::node::{NodeMetadata, ProxyKind};

use super::{EventKind, Events};
use crate::registry::{Arrival, Ended, GRACE, LEASE};

/// More objects than this in one write are one event.
const SINGLY: usize = 20;

/// Events about the program itself have this subject.
const SELF: &str = "mesh-api";

impl Events {
    /// mesh-api has started, with what it had before.
    pub(crate) fn started(&self, objects: usize, instances: usize) {
        let version = env!("CARGO_PKG_VERSION");
        if instances > 0 {
            self.resumes_for(GRACE);
        }
        let grace = match instances {
            0 => String::new(),
            _ => format!("; who is not back within {} s is told", GRACE.as_secs()),
        };
        let message = format!(
            "mesh-api {version} has started with {} and {} known from before{grace}",
            counted(objects, "object"),
            counted(instances, "workload")
        );
        self.record(EventKind::ApiStarted, SELF, &message);
    }

    /// A workload has registered. That mesh-api is back is no news about each of them.
    pub(crate) fn registered(&self, instance: &Instance, arrival: Arrival) {
        let name = workload(instance);
        let (kind, message) = match arrival {
            Arrival::Known => return,
            Arrival::New => (
                EventKind::WorkloadJoined,
                format!("{name} has joined the mesh"),
            ),
            Arrival::Back => (
                EventKind::WorkloadBack,
                format!("{name} is back: its agent is connected again"),
            ),
            // For others nothing happened.
            Arrival::Renewed => return,
            Arrival::Restarted => (
                EventKind::WorkloadBack,
                format!("{name} is back: its agent has been started again"),
            ),
            Arrival::Replaced => (
                EventKind::WorkloadReplaced,
                format!(
                    "another instance has taken the name {name} while the earlier one was connected; if both are to run, give each its own --workload-name"
                ),
            ),
        };
        self.record(kind, &subject(instance), &message);
    }

    /// A workload whose lease had run out is heard of.
    pub(crate) fn heard_of_again(&self, instance: &Instance) {
        let message = format!(
            "{} is back: its agent is heard of again",
            workload(instance)
        );
        self.record(EventKind::WorkloadBack, &subject(instance), &message);
    }

    /// A workload said goodbye.
    pub(crate) fn left(&self, instance: &Instance) {
        let message = format!(
            "{} has left the mesh: its agent was stopped",
            workload(instance)
        );
        self.record(EventKind::WorkloadLeft, &subject(instance), &message);
    }

    /// The stream of a workload broke, and its lease runs.
    pub(crate) fn lost(&self, instance: &Instance) {
        let message = format!(
            "the connection to the agent of {} broke; the workload stays a destination for up to {} s while it may come back",
            workload(instance),
            LEASE.as_secs()
        );
        self.record(EventKind::WorkloadLost, &subject(instance), &message);
    }

    /// A workload's lease ran out.
    pub(crate) fn gone(&self, instance: &Instance, ended: Ended) {
        let name = workload(instance);
        let message = match ended {
            Ended::Broken => format!(
                "{name} is gone: its agent's connection broke and it did not come back within {} s",
                LEASE.as_secs()
            ),
            Ended::Silent => format!(
                "{name} is gone: its agent was not heard of for {} s",
                LEASE.as_secs()
            ),
            Ended::NotBack => format!(
                "{name} is gone: it did not come back within {} s of mesh-api's start",
                GRACE.as_secs()
            ),
        };
        self.record(EventKind::WorkloadGone, &subject(instance), &message);
    }

    /// A registration was refused.
    pub(crate) fn registration_refused(&self, peer: &SpiffeId, reason: &str) {
        let message = format!("a workload with the identity {peer} may not join: {reason}");
        self.record(EventKind::WorkloadRefused, &peer.to_string(), &message);
    }

    /// A proxy has its discovery stream. When mesh-api has just come back, they all do: that is one event,
    /// which is counted.
    pub(crate) fn connected(&self, node: &NodeMetadata) {
        if self.is_resuming() {
            let message = format!(
                "proxies are connected again after mesh-api's start, the latest is {}",
                proxy(node)
            );
            return self.record(EventKind::ProxyConnected, SELF, &message);
        }
        let message = format!("{} is connected and follows the configuration", proxy(node));
        self.record(EventKind::ProxyConnected, &subject_of(node), &message);
    }

    /// A proxy's discovery stream ended.
    pub(crate) fn disconnected(&self, node: &NodeMetadata) {
        let message = format!(
            "{} is disconnected; if it runs, it goes on with the configuration that it has",
            proxy(node)
        );
        self.record(EventKind::ProxyDisconnected, &subject_of(node), &message);
    }

    /// A proxy may not have what it asks for.
    pub(crate) fn proxy_refused(&self, peer: &SpiffeId, reason: &str) {
        let message = format!("a proxy with the identity {peer} gets no configuration: {reason}");
        self.record(EventKind::ProxyRefused, &peer.to_string(), &message);
    }

    /// A proxy rejected resources of a type.
    pub(crate) fn rejected(&self, node: &NodeMetadata, resource_type: ResourceType, reason: &str) {
        let message = format!(
            "{} rejected its {} and keeps the last good ones: {reason}",
            proxy(node),
            plural(resource_type)
        );
        self.record(
            EventKind::ConfigurationRejected,
            &subject_of(node),
            &message,
        );
    }

    /// What happened to objects in one step. `from` completes "was changed …".
    pub(crate) fn objects(&self, changes: &[(&ObjectKey, EventKind)], from: &str) {
        if changes.len() > SINGLY {
            let of = |kind| changes.iter().filter(|(_, other)| *other == kind).count();
            let message = format!(
                "{} changed {from}: {} created, {} changed, {} deleted",
                counted(changes.len(), "object"),
                of(EventKind::ObjectCreated),
                of(EventKind::ObjectChanged),
                of(EventKind::ObjectDeleted)
            );
            self.record(EventKind::ObjectsChanged, SELF, &message);
            return;
        }
        for (key, kind) in changes {
            let verb = match kind {
                EventKind::ObjectCreated => "created",
                EventKind::ObjectDeleted => "deleted",
                _ => "changed",
            };
            let name = if key.namespace.is_empty() {
                key.name.clone()
            } else {
                format!("{}/{}", key.namespace, key.name)
            };
            let subject = format!("{}/{name}", key.kind.kind());
            let message = format!("{} {name} was {verb} {from}", key.kind.kind());
            self.record(*kind, &subject, &message);
        }
    }

    /// The configuration directory is in error.
    pub(crate) fn directory_refused(&self, directory: &Path, errors: &[String]) {
        let directory = directory.display();
        let more = match errors.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let first = errors.first().map_or("", String::as_str);
        let message = format!(
            "the configuration directory {directory} is in error, so its last good state stays in force: {first}{more}"
        );
        self.record(
            EventKind::ConfigDirRefused,
            &directory.to_string(),
            &message,
        );
    }

    /// The configuration directory is right again.
    pub(crate) fn directory_mended(&self, directory: &Path) {
        let directory = directory.display();
        let message =
            format!("the configuration directory {directory} is right again and in force");
        self.record(EventKind::ConfigDirMended, &directory.to_string(), &message);
    }
}

fn subject(instance: &Instance) -> String {
    format!("{}/{}", instance.namespace, instance.name)
}

fn workload(instance: &Instance) -> String {
    format!("{} ({})", instance.name, instance.namespace)
}

fn subject_of(node: &NodeMetadata) -> String {
    format!("{}/{}", node.namespace, node.workload_name)
}

fn proxy(node: &NodeMetadata) -> String {
    let (name, namespace) = (&node.workload_name, &node.namespace);
    match node.kind {
        ProxyKind::Sidecar => format!("the agent of {name} ({namespace})"),
        ProxyKind::Gateway => format!("the gateway {name} ({namespace})"),
    }
}

fn plural(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Cluster => "clusters",
        ResourceType::Endpoint => "endpoints",
        ResourceType::Listener => "listeners",
        ResourceType::Route => "routes",
        ResourceType::Secret => "secrets",
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
