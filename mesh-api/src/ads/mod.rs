//! Delta ADS over gRPC: each proxy gets what concerns it, and says what it made of that.
//!
//! The protocol is [`mesh_xds::server::DeltaSession`]; [`identify`] checks who asks, [`stream`] feeds one
//! session, [`proxies`] remembers for people how far each proxy is.

mod identify;
mod proxies;
mod stream;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use mesh_process::Shutdown;
use mesh_xds::envoy::discovery::{
    AggregatedDiscoveryService, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
    DiscoveryResponse,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub(crate) use identify::gateway_service_account;
pub(crate) use proxies::{Proxies, Proxy};
use stream::ProxyStream;

use crate::events::Events;
use crate::metrics::Metrics;
use crate::peer::verified_peer;
use crate::publish::Published;
use crate::store::Store;

/// Responses that may wait for a slow proxy; a session has one of each type under way at most.
const WAITING: usize = 8;

/// The discovery service.
#[derive(Clone, Debug)]
pub(crate) struct Ads {
    /// Who may ask is decided by what is configured now, not by what is compiled already.
    store: Arc<Store>,
    published: watch::Receiver<Arc<Published>>,
    proxies: Arc<Proxies>,
    metrics: Metrics,
    events: Events,
    /// Resources are put together for this many proxies at once.
    builders: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Ads {
    /// Serves what is published until the stop.
    pub(crate) fn new(
        store: Arc<Store>,
        published: watch::Receiver<Arc<Published>>,
        proxies: Arc<Proxies>,
        metrics: Metrics,
        events: Events,
        shutdown: Shutdown,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store,
            published,
            proxies,
            metrics,
            events,
            builders: Arc::new(Semaphore::new(cores)),
            shutdown,
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "state-of-the-world ADS is not served here; set api_type: DELTA_GRPC in the proxy's bootstrap",
        ))
    }

    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = verified_peer(&request)?;
        let (answers, answered) = mpsc::channel(WAITING);
        let stream = ProxyStream {
            peer,
            ads: self.clone(),
            answers,
        };
        tokio::spawn(stream.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(answered)))
    }
}
