//! The proxy's end of incremental ADS, without I/O.
//!
//! A [`DeltaClient`] knows what the proxy holds and has asked for. The caller owns the stream: it sends what
//! [`DeltaClient::reconnect`], [`DeltaClient::subscribe`], [`DeltaClient::ack`] and [`DeltaClient::nack`]
//! return, and feeds each answer to [`DeltaClient::on_response`]. Nothing counts as held before it is
//! acknowledged; a rejected resource never does, so that the control plane sends it again on the next stream
//! while the last good version stays. The other end is [`crate::server::DeltaSession`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::envoy::core::Node;
use crate::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::envoy::rpc::{Code, Status};
use crate::{Resource, ResourceSet, ResourceType};

/// What a response changes. It takes effect with [`DeltaClient::ack`] or [`DeltaClient::nack`], one of which
/// has to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What the response is about.
    pub resource_type: ResourceType,
    /// Resources that are new or have a new content.
    pub changed: Vec<Arc<Resource>>,
    /// Names of resources that are gone, or that were asked for and do not exist.
    pub removed: Vec<String>,
    /// What had to be refused at first sight, for example a resource of the wrong type.
    pub malformed: Vec<Rejection>,
    /// Goes back with the answer.
    pub nonce: String,
}

/// A resource that is not accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name.
    pub name: String,
    /// What is wrong with it: the field and the reason.
    pub reason: String,
}

/// The response is about something that the client never asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control plane sent resources of type {0:?}, which was never asked for")]
pub struct UnknownType(pub String);

/// The proxy's end of one control plane relation; it outlives streams.
#[derive(Debug)]
pub struct DeltaClient {
    node: Node,
    held: ResourceSet,
    /// Names of subscriptions, indexed by `ResourceType as usize`; unused for wildcard types.
    names: [BTreeSet<String>; ResourceType::COUNT],
    /// Types that were asked for on this stream.
    opened: [bool; ResourceType::COUNT],
    connected: bool,
}

impl DeltaClient {
    /// A client that holds nothing.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self::with_resources(node, ResourceSet::new())
    }

    /// A client that starts with what it had accepted in an earlier life.
    #[must_use]
    pub fn with_resources(node: Node, held: ResourceSet) -> Self {
        Self {
            node,
            held,
            names: Default::default(),
            opened: [false; ResourceType::COUNT],
            connected: false,
        }
    }

    /// Everything that was received and accepted.
    #[must_use]
    pub fn held(&self) -> &ResourceSet {
        &self.held
    }

    /// The names that are subscribed to; empty for wildcard types.
    #[must_use]
    pub fn subscriptions(&self, resource_type: ResourceType) -> &BTreeSet<String> {
        &self.names[resource_type as usize]
    }

    /// Begins a new stream: the requests to send first, in order. They tell the control plane which versions
    /// are held, so that only differences come back.
    pub fn reconnect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.opened = [false; ResourceType::COUNT];
        self.connected = true;
        let mut requests = Vec::with_capacity(ResourceType::ALL.len());
        for resource_type in ResourceType::ALL {
            if resource_type.is_wildcard() || !self.names[resource_type as usize].is_empty() {
                requests.push(self.open(resource_type));
            }
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.clone());
        }
        requests
    }

    /// Sets the names that are wanted of a type. Returns the request that tells the control plane, or `None`
    /// if nothing changes or there is no stream yet. What is no longer wanted is no longer held. Wildcard
    /// types (clusters, listeners) need no names: for them nothing happens.
    pub fn subscribe(
        &mut self,
        resource_type: ResourceType,
        names: BTreeSet<String>,
    ) -> Option<DeltaDiscoveryRequest> {
        if resource_type.is_wildcard() {
            return None;
        }
        let known = &mut self.names[resource_type as usize];
        let added: Vec<_> = names.difference(known).cloned().collect();
        let dropped: Vec<_> = known.difference(&names).cloned().collect();
        *known = names;
        for name in &dropped {
            self.held.remove(resource_type, name);
        }
        if !self.connected || (added.is_empty() && dropped.is_empty()) {
            return None;
        }
        if !self.opened[resource_type as usize] {
            return Some(self.open(resource_type));
        }
        Some(DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: added,
            resource_names_unsubscribe: dropped,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Reads a response. Resources that were not subscribed to (any more) are passed over.
    ///
    /// # Errors
    /// If the response is of a type that was never asked for; the stream should be closed.
    pub fn on_response(&self, response: DeltaDiscoveryResponse) -> Result<Update, UnknownType> {
        let resource_type = match ResourceType::from_type_url(&response.type_url) {
            Some(known) if self.opened[known as usize] => known,
            _ => return Err(UnknownType(response.type_url)),
        };
        let wanted = |name: &str| {
            resource_type.is_wildcard() || self.names[resource_type as usize].contains(name)
        };
        let mut changed = BTreeMap::new();
        let mut malformed = Vec::new();
        for resource in response.resources {
            let Some(any) = resource.resource else {
                continue; // a heartbeat: nothing has changed
            };
            let name = resource.name;
            if any.type_url != resource_type.type_url() {
                let reason = format!(
                    "expected a resource of type {}, got {}",
                    resource_type.type_url(),
                    any.type_url
                );
                malformed.push(Rejection { name, reason });
            } else if name.is_empty() {
                let reason = "a resource needs a name".to_owned();
                malformed.push(Rejection { name, reason });
            } else if wanted(&name) {
                let version = resource.version;
                let resource = Arc::new(Resource {
                    name: name.clone(),
                    version,
                    any,
                });
                changed.insert(name, resource);
            }
        }
        Ok(Update {
            resource_type,
            removed: response
                .removed_resources
                .into_iter()
                .filter(|name| wanted(name) && !changed.contains_key(name))
                .collect(),
            changed: changed.into_values().collect(),
            malformed,
            nonce: response.nonce,
        })
    }

    /// Accepts an update. If parts of it were malformed, the answer rejects these.
    pub fn ack(&mut self, update: &Update) -> DeltaDiscoveryRequest {
        self.nack(update, &[])
    }

    /// Accepts an update but for the given resources.
    pub fn nack(&mut self, update: &Update, rejections: &[Rejection]) -> DeltaDiscoveryRequest {
        let rejections: Vec<_> = update.malformed.iter().chain(rejections).collect();
        let rejected: BTreeSet<&str> = rejections.iter().map(|r| r.name.as_str()).collect();
        let kind = update.resource_type;
        for resource in &update.changed {
            // The subscription may have been dropped between the update and its answer.
            let wanted = kind.is_wildcard() || self.names[kind as usize].contains(&resource.name);
            if wanted && !rejected.contains(resource.name.as_str()) {
                self.held.insert_resource(kind, Arc::clone(resource));
            }
        }
        for name in &update.removed {
            if !rejected.contains(name.as_str()) {
                self.held.remove(kind, name);
            }
        }
        DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            response_nonce: update.nonce.clone(),
            error_detail: error_detail(&rejections),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// The first request of a type on this stream.
    fn open(&mut self, resource_type: ResourceType) -> DeltaDiscoveryRequest {
        self.opened[resource_type as usize] = true;
        DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: self.names[resource_type as usize].iter().cloned().collect(),
            initial_resource_versions: self
                .held
                .iter(resource_type)
                .map(|resource| (resource.name.clone(), resource.version.clone()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// One line for each rejected resource, led by its name: the form that [`crate::server`] reads names from.
fn error_detail(rejections: &[&Rejection]) -> Option<Status> {
    if rejections.is_empty() {
        return None;
    }
    let lines: Vec<_> = rejections
        .iter()
        .map(|rejection| format!("{}: {}", rejection.name, rejection.reason))
        .collect();
    Some(Status {
        code: Code::InvalidArgument as i32,
        message: lines.join("\n"),
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
