//! One proxy's discovery stream: requests and new models go in, responses come out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_identity::SpiffeId;
use mesh_xds::envoy::core::Node;
use mesh_xds::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_xds::node::NodeMetadata;
use mesh_xds::server::{DeltaSession, Limits, RequestError};
use mesh_xds::{ResourceSet, ResourceType};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::Ads;
use super::identify::identify;
use crate::publish::Published;

/// How long a new stream may take to say who it is.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// How long a proxy may leave responses unread before it is taken for dead.
const UNREAD: Duration = Duration::from_secs(30);

/// A stream and who is at its other end.
pub(super) struct ProxyStream {
    pub(super) peer: SpiffeId,
    pub(super) ads: Ads,
    pub(super) answers: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

impl ProxyStream {
    /// Serves until one side ends it. Why we do is the stream's last word.
    pub(super) async fn run(self, mut requests: Streaming<DeltaDiscoveryRequest>) {
        let stopping = Status::unavailable("mesh-api is stopping; connect again");
        let ended = tokio::select! {
            ended = self.serve(&mut requests) => ended,
            () = self.ads.shutdown.wait() => Err(stopping),
        };
        if let Err(status) = ended {
            tracing::debug!(peer = %self.peer, reason = status.message(), "ending a discovery stream");
            // The proxy may be gone.
            let _ = self.answers.try_send(Err(status));
        }
    }

    async fn serve(&self, requests: &mut Streaming<DeltaDiscoveryRequest>) -> Result<(), Status> {
        let mut published = self.ads.published.clone();
        let Some(first) = timeout(FIRST_REQUEST, requests.message())
            .await
            .map_err(|_| {
                Status::deadline_exceeded("a discovery stream must begin with a request")
            })??
        else {
            return Ok(());
        };
        let introduction = first.node.clone();
        let node = self.identify(introduction.as_ref());
        let node = Arc::new(node.inspect_err(|refused| self.log_refusal(refused))?);
        let id = introduction
            .as_ref()
            .map(|node| node.id.clone())
            .unwrap_or_default();
        let now = Arc::clone(&published.borrow_and_update());
        let mut revision = now.revision;
        let resources = self.resources(now, &node).await?;
        let mut session = DeltaSession::new(resources, Limits::default());
        let place = self.ads.proxies.connect(
            &self.peer,
            &id,
            NodeMetadata::clone(&node),
            session.status(),
            revision,
        );
        tracing::info!(id, peer = %self.peer, "proxy connected");

        let mut next = Some(first);
        loop {
            if let Some(request) = next.take() {
                let responses = self.answer(&mut session, &request, &id, &node)?;
                place.update(session.status(), revision);
                self.send(responses).await?;
            }
            tokio::select! {
                message = requests.message() => match message {
                    Ok(Some(request)) => next = Some(request),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::info!(id, reason = status.message(), "a discovery stream broke");
                        return Ok(());
                    }
                },
                changed = published.changed() => {
                    if changed.is_err() {
                        return Err(Status::unavailable("mesh-api is stopping; connect again"));
                    }
                    // A group may have been given to somebody else. One that is gone leaves its proxies what
                    // they need as clients.
                    if let Err(refused) = self.identify(introduction.as_ref())
                        && refused.code() == Code::PermissionDenied
                    {
                        self.log_refusal(&refused);
                        return Err(refused);
                    }
                    let now = Arc::clone(&published.borrow_and_update());
                    revision = now.revision;
                    let resources = self.resources(now, &node).await?;
                    let responses = session.on_resources(resources, SystemTime::now());
                    place.update(session.status(), revision);
                    self.send(responses).await?;
                }
            }
        }
        tracing::info!(id, "proxy disconnected");
        Ok(())
    }

    fn identify(&self, introduction: Option<&Node>) -> Result<NodeMetadata, Status> {
        let config = self.ads.store.view().config.clone();
        identify(&config, &self.peer, introduction)
    }

    fn log_refusal(&self, refused: &Status) {
        tracing::warn!(peer = %self.peer, reason = refused.message(), "a proxy was refused");
        self.ads.events.proxy_refused(&self.peer, refused.message());
    }

    fn answer(
        &self,
        session: &mut DeltaSession,
        request: &DeltaDiscoveryRequest,
        id: &str,
        node: &NodeMetadata,
    ) -> Result<Vec<DeltaDiscoveryResponse>, Status> {
        if let Some(rejected) = &request.error_detail
            && let Some(resource_type) = ResourceType::from_type_url(&request.type_url)
        {
            self.ads.metrics.rejections.of(resource_type).inc();
            tracing::warn!(id, %resource_type, reason = rejected.message, "a proxy rejected its configuration and keeps the last good one");
            self.ads
                .events
                .rejected(node, resource_type, &rejected.message);
        }
        match session.on_request(request, SystemTime::now()) {
            Ok(responses) => Ok(responses),
            Err(error @ RequestError::UnknownType(_)) => {
                tracing::warn!(id, %error, "a proxy asked for what is not served");
                Ok(Vec::new())
            }
            Err(error) => Err(Status::resource_exhausted(error.to_string())),
        }
    }

    async fn send(&self, responses: Vec<DeltaDiscoveryResponse>) -> Result<(), Status> {
        for response in responses {
            if let Some(resource_type) = ResourceType::from_type_url(&response.type_url) {
                self.ads.metrics.pushes.of(resource_type).inc();
            }
            match timeout(UNREAD, self.answers.send(Ok(response))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Status::cancelled("the proxy is gone")),
                Err(_) => {
                    return Err(Status::deadline_exceeded(
                        "the proxy does not read its responses",
                    ));
                }
            }
        }
        Ok(())
    }

    /// What the proxy should have, put together where it delays nobody.
    async fn resources(
        &self,
        published: Arc<Published>,
        node: &Arc<NodeMetadata>,
    ) -> Result<ResourceSet, Status> {
        let node = Arc::clone(node);
        // Never closed.
        let permit = Arc::clone(&self.ads.builders).acquire_owned().await.ok();
        let build = tokio::task::spawn_blocking(move || {
            let resources = published.model.resources_for(&node);
            drop(permit);
            resources
        });
        build.await.map_err(|error| {
            Status::internal(format!("compiling for this proxy broke off: {error}"))
        })
    }
}
