//! What proxies talk to: discovery, registration and telemetry on one address, by mutual TLS.

use std::sync::Arc;
use std::time::Duration;

use mesh_identity::tls::{Peers, server_config};
use mesh_identity::{Identity, grpc};
use mesh_process::Shutdown;
use mesh_xds::envoy::discovery::AggregatedDiscoveryServiceServer;
use mesh_xds::mesh::registry_server::RegistryServer;
use mesh_xds::mesh::telemetry_server::TelemetryServer;
use tokio::net::TcpListener;
use tonic::transport::Server;

use crate::ads::Ads;
use crate::registry::RegistryService;
use crate::telemetry::Telemetry;

/// A proxy that is gone without a word is noticed after the interval and the timeout.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A proxy needs three streams; a few more while it reconnects.
const STREAMS: u32 = 16;

/// Largest message of a proxy, in bytes.
const LARGEST: usize = 4 << 20;

/// How long connections may take to end after the stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// The gRPC services.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) ads: Ads,
    pub(crate) registry: RegistryService,
    pub(crate) telemetry: Telemetry,
}

impl Services {
    /// Serves everybody with a certificate of the trust domain, until the stop.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        identity: Arc<Identity>,
        shutdown: Shutdown,
    ) {
        let tls = server_config(&identity, Peers::TrustDomain, &[b"h2"]);
        let ads =
            AggregatedDiscoveryServiceServer::new(self.ads).max_decoding_message_size(LARGEST);
        let registry = RegistryServer::new(self.registry).max_decoding_message_size(64 << 10);
        let telemetry = TelemetryServer::new(self.telemetry).max_decoding_message_size(LARGEST);
        let stop = shutdown.clone();
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(Some(STREAMS))
            .http2_max_header_list_size(Some(16 << 10))
            .add_service(ads)
            .add_service(registry)
            .add_service(telemetry)
            .serve_with_incoming_shutdown(grpc::incoming(listener, tls), async move {
                stop.wait().await;
            });
        let patience = async {
            shutdown.wait().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::error!(%error, "proxies are not served any more");
            },
            () = patience => tracing::info!("connections of proxies that did not end in time are cut off"),
        }
    }
}
