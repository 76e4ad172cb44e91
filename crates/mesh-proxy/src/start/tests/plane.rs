//! A control plane for tests: its protocols over real sockets and TLS, without anything behind them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use mesh_identity::tls::{self, Peers};
use mesh_identity::{Identity, grpc};
use mesh_xds::ResourceSet;
use mesh_xds::envoy::discovery::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer, DeltaDiscoveryRequest,
    DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_xds::mesh::registry_server::{Registry, RegistryServer};
use mesh_xds::mesh::telemetry_server::{Telemetry, TelemetryServer};
use mesh_xds::mesh::{EdgeReport, EdgeReportAck, Instance, RegisterRequest, RegisterResponse};
use mesh_xds::server::{DeltaSession, Limits};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// What a proxy did.
#[derive(Debug)]
pub(super) enum Seen {
    Registered(Instance),
    Heartbeat,
    /// It closed its half of the lease.
    Left,
    Report(EdgeReport),
}

/// A stream was opened or has ended, and until when the certificate is valid with which it came.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    Opened(Protocol, SystemTime),
    Ended(Protocol, SystemTime),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Protocol {
    Discovery,
    Registration,
    Reports,
}

/// A stream, while it lives.
struct Life {
    protocol: Protocol,
    until: SystemTime,
    turns: mpsc::UnboundedSender<Turn>,
}

impl Drop for Life {
    fn drop(&mut self) {
        _ = self.turns.send(Turn::Ended(self.protocol, self.until));
    }
}

pub(super) struct Plane {
    pub(super) address: SocketAddr,
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
    pub(super) turns: mpsc::UnboundedReceiver<Turn>,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    set: watch::Sender<ResourceSet>,
    seen: mpsc::UnboundedSender<Seen>,
    turns: mpsc::UnboundedSender<Turn>,
    /// Resources that were sent or taken away.
    pushed: Arc<AtomicUsize>,
    /// Each increment breaks all leases.
    breaks: watch::Sender<u32>,
    /// Streams of reports end without an acknowledgement.
    deaf: AtomicBool,
}

impl Plane {
    pub(super) async fn start(identity: &Arc<Identity>, set: ResourceSet) -> Self {
        let (seen, watched) = mpsc::unbounded_channel();
        let (turns, turned) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            set: watch::Sender::new(set),
            seen,
            turns,
            pushed: Arc::default(),
            breaks: watch::Sender::new(0),
            deaf: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = tls::server_config(identity, Peers::TrustDomain, &[b"h2"]);
        let serve = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::from_arc(state.clone()))
            .add_service(RegistryServer::from_arc(state.clone()))
            .add_service(TelemetryServer::from_arc(state.clone()))
            .serve_with_incoming(grpc::incoming(listener, tls));
        let server = tokio::spawn(async move { serve.await.unwrap() });
        Self {
            address,
            seen: watched,
            turns: turned,
            state,
            server,
        }
    }

    pub(super) fn push(&self, change: impl FnOnce(&mut ResourceSet)) {
        self.state.set.send_modify(change);
    }

    /// How many resources were sent or taken away so far.
    pub(super) fn pushed(&self) -> usize {
        self.state.pushed.load(Relaxed)
    }

    pub(super) fn break_leases(&self) {
        self.state.breaks.send_modify(|breaks| *breaks += 1);
    }

    pub(super) fn acknowledge_reports(&self, yes: bool) {
        self.state.deaf.store(!yes, Relaxed);
    }

    /// The next thing that is no heartbeat.
    pub(super) async fn next(&mut self) -> Seen {
        loop {
            match self.seen.recv().await.unwrap() {
                Seen::Heartbeat => {}
                seen => return seen,
            }
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn begin<T>(&self, protocol: Protocol, request: &Request<T>) -> Life {
        let until = grpc::peer(request).unwrap().not_after.unwrap();
        _ = self.turns.send(Turn::Opened(protocol, until));
        let turns = self.turns.clone();
        Life {
            protocol,
            until,
            turns,
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answers<T: Send + 'static>(
    answers: mpsc::UnboundedReceiver<Result<T, Status>>,
) -> Response<Answers<T>> {
    Response::new(Box::pin(UnboundedReceiverStream::new(answers)))
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for State {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only incremental"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let life = self.begin(Protocol::Discovery, &request);
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut sets = self.set.subscribe();
        let mut session = DeltaSession::new(sets.borrow_and_update().clone(), Limits::default());
        let pushed = self.pushed.clone();
        tokio::spawn(async move {
            let _life = life;
            loop {
                let responses = tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) => session.on_request(&request, SystemTime::now()).unwrap(),
                        _ => return,
                    },
                    changed = sets.changed() => {
                        let Ok(()) = changed else { return };
                        let set = sets.borrow_and_update().clone();
                        session.on_resources(set, SystemTime::now())
                    }
                };
                for response in responses {
                    let count = response.resources.len() + response.removed_resources.len();
                    pushed.fetch_add(count, Relaxed);
                    _ = sender.send(Ok(response));
                }
            }
        });
        Ok(answers(receiver))
    }
}

#[tonic::async_trait]
impl Registry for State {
    type RegisterStream = Answers<RegisterResponse>;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let life = self.begin(Protocol::Registration, &request);
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        let seen = self.seen.clone();
        let mut breaks = self.breaks.subscribe();
        tokio::spawn(async move {
            let _life = life;
            loop {
                let request = tokio::select! {
                    request = requests.message() => request,
                    _ = breaks.changed() => return,
                };
                match request {
                    Ok(Some(RegisterRequest {
                        instance: Some(instance),
                    })) => {
                        _ = seen.send(Seen::Registered(instance));
                        _ = sender.send(Ok(RegisterResponse { lease_ms: 15_000 }));
                    }
                    Ok(Some(RegisterRequest { instance: None })) => _ = seen.send(Seen::Heartbeat),
                    Ok(None) => {
                        _ = seen.send(Seen::Left);
                        return;
                    }
                    Err(_) => return,
                }
            }
        });
        Ok(answers(receiver))
    }
}

#[tonic::async_trait]
impl Telemetry for State {
    type ReportStream = Answers<EdgeReportAck>;

    async fn report(
        &self,
        request: Request<Streaming<EdgeReport>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let life = self.begin(Protocol::Reports, &request);
        let mut reports = request.into_inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        let seen = self.seen.clone();
        if self.deaf.load(Relaxed) {
            tokio::spawn(async move {
                if let Ok(Some(report)) = reports.message().await {
                    _ = seen.send(Seen::Report(report));
                }
                drop(sender);
            });
            return Ok(answers(receiver));
        }
        tokio::spawn(async move {
            let _life = life;
            while let Ok(Some(report)) = reports.message().await {
                let sequence = report.sequence;
                _ = seen.send(Seen::Report(report));
                _ = sender.send(Ok(EdgeReportAck { sequence }));
            }
        });
        Ok(answers(receiver))
    }
}
