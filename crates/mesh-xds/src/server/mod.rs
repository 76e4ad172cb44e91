//! The control plane's end of incremental ADS, without I/O.
//!
//! A [`DeltaSession`] is one stream. The caller feeds it requests and new resource sets, sends what comes out,
//! and owns the clock. What a session promises:
//!
//! - Only differences are sent. One exception serves Envoy, which warms a cluster anew when it changes and
//!   waits for its endpoints: they follow such a cluster even if they are the same.
//! - Make before break: clusters, endpoints, listeners, routes. Listeners and routes wait until a push of
//!   clusters is answered (Envoy answers once they are warm). Clusters and endpoints are taken away only when
//!   the proxy has answered everything else.
//! - One response of a type is under way at a time. What changes meanwhile is joined into the next one, so a
//!   slow proxy costs no memory.
//! - A rejection ends nothing, and the rejected content is not sent again until it changes.
//!
//! What the proxy holds is in `channel.rs`, what an operator may know of it in [`TypeStatus`]. The other end is
//! [`crate::client::DeltaClient`].

mod channel;
mod status;
#[cfg(test)]
mod tests;

pub use status::{Mark, Rejected, Sync, TypeStatus};

use std::time::SystemTime;

use crate::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::{ResourceSet, ResourceType};
use channel::{Channel, Removals};

/// What one stream may ask of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names that may be subscribed to, and versions that may be claimed, for each type.
    pub subscriptions: usize,
    /// Length of a resource name in bytes.
    pub name_length: usize,
    /// Resources go into one response until it has this many bytes; the rest follows in the next one. Clients
    /// of gRPC refuse messages over 4 MiB unless told otherwise.
    pub response_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscriptions: 100_000,
            name_length: 1_024,
            response_bytes: 2 << 20,
        }
    }
}

/// A request that cannot be served. The session is as it was before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The stream may go on: the proxy asked for something that this control plane does not have.
    #[error("resources of type {0:?} are not served here; ask for CDS, EDS, LDS or RDS")]
    UnknownType(String),
    /// The stream should be closed.
    #[error("{resource_type}: a resource name has {length} bytes, {limit} are allowed")]
    NameTooLong {
        /// Of which type.
        resource_type: ResourceType,
        /// Its length in bytes.
        length: usize,
        /// See [`Limits::name_length`].
        limit: usize,
    },
    /// The stream should be closed.
    #[error("{resource_type}: {count} names on one stream, {limit} are allowed")]
    TooManyNames {
        /// Of which type.
        resource_type: ResourceType,
        /// How many there would be.
        count: usize,
        /// See [`Limits::subscriptions`].
        limit: usize,
    },
}

/// One delta ADS stream.
#[derive(Debug)]
pub struct DeltaSession {
    limits: Limits,
    set: ResourceSet,
    /// Indexed by `ResourceType as usize`.
    channels: [Channel; ResourceType::COUNT],
    /// How many sets there have been: the version that responses carry for people to read.
    generation: u64,
    nonces: u64,
}

impl DeltaSession {
    /// A new stream of a proxy for which `set` was compiled.
    #[must_use]
    pub fn new(set: ResourceSet, limits: Limits) -> Self {
        Self {
            limits,
            set,
            channels: Default::default(),
            generation: 1,
            nonces: 0,
        }
    }

    /// Takes a request: a subscription, an acknowledgement, a rejection, or several of these at once. Returns
    /// the responses to send, in order.
    ///
    /// # Errors
    /// If the request is for an unknown type or goes over the [`Limits`]. It has had no effect then.
    pub fn on_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        now: SystemTime,
    ) -> Result<Vec<DeltaDiscoveryResponse>, RequestError> {
        let resource_type = ResourceType::from_type_url(&request.type_url)
            .ok_or_else(|| RequestError::UnknownType(request.type_url.clone()))?;
        let channel = &mut self.channels[resource_type as usize];
        check(resource_type, channel, request, self.limits)?;
        channel.settle(request, now);
        channel.subscribe(resource_type, request);
        Ok(self.flush(now))
    }

    /// Takes what the proxy should have from now on. Returns the responses to send, in order.
    pub fn on_resources(
        &mut self,
        set: ResourceSet,
        now: SystemTime,
    ) -> Vec<DeltaDiscoveryResponse> {
        for (kind, channel) in ResourceType::ALL.into_iter().zip(&mut self.channels) {
            channel.look_again(kind, &self.set, &set);
        }
        self.set = set;
        self.generation += 1;
        self.flush(now)
    }

    /// How far the proxy is with each type, in push order.
    #[must_use]
    pub fn status(&self) -> [(ResourceType, TypeStatus); ResourceType::COUNT] {
        ResourceType::ALL.map(|kind| (kind, self.channels[kind as usize].status()))
    }

    /// Everything that may be sent now.
    fn flush(&mut self, now: SystemTime) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        self.send(ResourceType::Cluster, Removals::Later, now, &mut responses);
        self.send(ResourceType::Endpoint, Removals::Later, now, &mut responses);
        if !self.is_under_way(ResourceType::Cluster) {
            self.send(ResourceType::Listener, Removals::Now, now, &mut responses);
            self.send(ResourceType::Route, Removals::Now, now, &mut responses);
            self.send(ResourceType::Secret, Removals::Now, now, &mut responses);
        }
        for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
            let busy = ResourceType::ALL.map(|other| self.is_under_way(other));
            if busy == [false; ResourceType::COUNT] {
                self.send(kind, Removals::Now, now, &mut responses);
            }
        }
        responses
    }

    fn is_under_way(&self, resource_type: ResourceType) -> bool {
        self.channels[resource_type as usize].is_under_way()
    }

    /// Sends what there is to send of one type.
    fn send(
        &mut self,
        resource_type: ResourceType,
        removals: Removals,
        now: SystemTime,
        responses: &mut Vec<DeltaDiscoveryResponse>,
    ) {
        let channel = &mut self.channels[resource_type as usize];
        let Some(push) = channel.compose(
            resource_type,
            &self.set,
            removals,
            self.limits.response_bytes,
        ) else {
            return;
        };
        self.nonces += 1;
        let response = DeltaDiscoveryResponse {
            system_version_info: self.generation.to_string(),
            type_url: resource_type.type_url().to_owned(),
            nonce: self.nonces.to_string(),
            resources: push.resources,
            removed_resources: push.removed,
            ..DeltaDiscoveryResponse::default()
        };
        channel.sent(&response, now);
        if resource_type == ResourceType::Cluster {
            self.channels[ResourceType::Endpoint as usize].owe(push.updated);
        }
        responses.push(response);
    }
}

/// Holds a request against the limits.
fn check(
    resource_type: ResourceType,
    channel: &Channel,
    request: &DeltaDiscoveryRequest,
    limits: Limits,
) -> Result<(), RequestError> {
    let names = request
        .resource_names_subscribe
        .iter()
        .chain(&request.resource_names_unsubscribe)
        .chain(request.initial_resource_versions.keys());
    if let Some(length) = names.map(String::len).find(|len| *len > limits.name_length) {
        return Err(RequestError::NameTooLong {
            resource_type,
            length,
            limit: limits.name_length,
        });
    }
    let subscriptions = channel.subscriptions_with(&request.resource_names_subscribe);
    let count = subscriptions
        .max(request.initial_resource_versions.len())
        .max(request.resource_names_unsubscribe.len());
    if count > limits.subscriptions {
        return Err(RequestError::TooManyNames {
            resource_type,
            count,
            limit: limits.subscriptions,
        });
    }
    Ok(())
}
