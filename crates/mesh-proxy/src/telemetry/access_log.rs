//! One line per request and per session, under the target `access`, with Envoy's names for its fields.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::HeaderValue;
use http::{Method, Request, Uri, Version};
use tracing::{Level, enabled, event};

use super::{Facts, Measures};
use crate::fail::Flags;
use crate::peer::{Hello, Peer};
use crate::snapshot::{Cluster, Endpoint};

/// What the line needs beyond the metrics' facts. Collected only if somebody reads the log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    start_time: SystemTime,
    method: Method,
    uri: Uri,
    protocol: Version,
    client: std::net::SocketAddr,
    pub(crate) authority: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) route_name: Option<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) cause: Option<String>,
}

impl AccessLog {
    /// `None` if the log is switched off.
    pub(crate) fn begin<B>(request: &Request<B>, peer: &Peer) -> Option<Box<Self>> {
        enabled!(target: "access", Level::INFO).then(|| {
            Box::new(Self {
                start_time: SystemTime::now(),
                method: request.method().clone(),
                uri: request.uri().clone(),
                protocol: request.version(),
                client: peer.hello.address,
                authority: None,
                request_id: None,
                route_name: None,
                attempts: 0,
                cause: None,
            })
        })
    }

    /// Writes the line.
    pub(crate) fn write(
        &self,
        facts: &Facts<'_>,
        measures: Measures,
        cluster: Option<&Cluster>,
        endpoint: Option<&Endpoint>,
    ) {
        let path = self.uri.path_and_query().map_or("", |path| path.as_str());
        let text = |value: &Option<HeaderValue>| {
            let text = value.as_ref().and_then(|v| v.to_str().ok());
            text.unwrap_or("-").to_owned()
        };
        event!(
            target: "access",
            Level::INFO,
            start_time = %humantime::format_rfc3339_millis(self.start_time),
            method = self.method.as_str(),
            // Non-ASCII text could carry a terminal's control characters.
            path = %path.escape_default(),
            protocol = ?self.protocol,
            response_code = facts.code,
            response_flags = %facts.flags.label(),
            duration = measures.duration_ms,
            bytes_received = measures.request_bytes,
            bytes_sent = measures.response_bytes,
            downstream_remote_address = %self.client,
            upstream_cluster = cluster.map_or("-", |cluster| &cluster.name),
            upstream_host = endpoint.map_or("-", |endpoint| &endpoint.address),
            upstream_request_attempt_count = self.attempts,
            route_name = self.route_name.as_deref().unwrap_or("-"),
            authority = text(&self.authority),
            request_id = text(&self.request_id),
            cause = self.cause.as_deref().unwrap_or("-"),
        );
    }
}

/// What there is to say of a session that has ended.
#[derive(Debug)]
pub(crate) struct SessionLine<'a> {
    pub(crate) start_time: SystemTime,
    pub(crate) duration_ms: u64,
    pub(crate) flags: Flags,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) hello: &'a Hello,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) attempts: u32,
    pub(crate) cause: Option<&'a str>,
}

impl SessionLine<'_> {
    /// Writes the line.
    pub(crate) fn write(&self) {
        let hello = self.hello;
        event!(
            target: "access",
            Level::INFO,
            start_time = %humantime::format_rfc3339_millis(self.start_time),
            protocol = "TCP",
            response_flags = %self.flags.label(),
            duration = self.duration_ms,
            bytes_received = self.received,
            bytes_sent = self.sent,
            downstream_remote_address = %hello.address,
            // A server name that a chain was found for, so it can be printed.
            requested_server_name = hello.server_name.as_deref().unwrap_or("-"),
            upstream_cluster = self.cluster.unwrap_or("-"),
            upstream_host = self.endpoint.map_or("-", |endpoint| &endpoint.address),
            upstream_request_attempt_count = self.attempts,
            cause = self.cause.unwrap_or("-"),
        );
    }
}
