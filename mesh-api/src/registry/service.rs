//! `mesh.v1.Registry` over gRPC: one stream is one instance's lease.

use std::sync::Arc;
use std::time::Duration;

use mesh_identity::SpiffeId;
use mesh_process::Shutdown;
use mesh_xds::mesh::registry_server::Registry as RegistryApi;
use mesh_xds::mesh::{RegisterRequest, RegisterResponse};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{LEASE, Registered, Registry, StreamId, admit};
use crate::peer::verified_peer;
use crate::store::Store;

/// How long a new stream may take to say who it is.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// Answers that a client may leave unread.
const UNREAD: usize = 4;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct RegistryService {
    registry: Arc<Registry>,
    store: Arc<Store>,
    shutdown: Shutdown,
}

impl RegistryService {
    /// Serves `registry` for the WorkloadGroups in `store` until the stop.
    #[must_use]
    pub(crate) fn new(registry: Arc<Registry>, store: Arc<Store>, shutdown: Shutdown) -> Self {
        Self {
            registry,
            store,
            shutdown,
        }
    }

    fn admit(&self, peer: &SpiffeId, request: RegisterRequest) -> Result<Registered, Status> {
        let instance = request.instance.ok_or_else(|| {
            Status::invalid_argument("the first message of a registration must name the instance")
        })?;
        admit(&self.store.view().config, peer, instance)
    }
}

#[tonic::async_trait]
impl RegistryApi for RegistryService {
    type RegisterStream = ReceiverStream<Result<RegisterResponse, Status>>;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let peer = verified_peer(&request)?;
        let mut requests = request.into_inner();
        let first = timeout(FIRST_MESSAGE, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("a registration must begin with an instance"))??
            .ok_or_else(|| {
                Status::invalid_argument("the stream ended before it named an instance")
            })?;
        let registered = self.admit(&peer, first);
        let registered =
            registered.inspect_err(|refused| self.registry.refused(&peer, refused.message()))?;
        let stream = self.registry.register(&registered).map_err(|taken| {
            self.registry.refused(&peer, &taken.to_string());
            Status::already_exists(taken.to_string())
        })?;
        let (answers, answered) = mpsc::channel(UNREAD);
        let lease = Lease {
            registry: Arc::clone(&self.registry),
            stream,
            registered,
        };
        tokio::spawn(lease.keep(requests, answers, self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(answered)))
    }
}

struct Lease {
    registry: Arc<Registry>,
    stream: StreamId,
    registered: Registered,
}

impl Lease {
    /// Renews the lease with each message, until the stream ends one way or the other.
    async fn keep(
        self,
        mut requests: Streaming<RegisterRequest>,
        answers: mpsc::Sender<Result<RegisterResponse, Status>>,
        shutdown: Shutdown,
    ) {
        let lease_ms = u32::try_from(LEASE.as_millis()).unwrap_or(u32::MAX);
        // The one answer says that the instance is registered; the client may be gone already.
        let _ = answers.try_send(Ok(RegisterResponse { lease_ms }));
        loop {
            let message = tokio::select! {
                message = requests.message() => message,
                () = shutdown.wait() => {
                    let stopping = Status::unavailable("mesh-api is stopping; register again");
                    // The client may be gone, too.
                    let _ = answers.try_send(Err(stopping));
                    return self.registry.broken(self.stream, &self.registered);
                }
            };
            match message {
                // The connection lives, but nobody listens to this stream any more.
                Ok(Some(_)) if answers.is_closed() => {
                    return self.registry.broken(self.stream, &self.registered);
                }
                Ok(Some(_)) => self.registry.heartbeat(self.stream, &self.registered),
                Ok(None) => return self.registry.leave(self.stream, &self.registered),
                Err(error) => {
                    let name = &self.registered.instance.name;
                    tracing::info!(
                        name,
                        reason = error.message(),
                        "a registration's stream broke"
                    );
                    return self.registry.broken(self.stream, &self.registered);
                }
            }
        }
    }
}
