//! The whole control plane in this process, as proxies, users and operators meet it: a harness, then a file
//! for each thing that it promises.

mod discovery;
mod events;
mod leases;
mod page;
mod renewals;
mod reports;
mod sessions;
mod starting;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mesh_identity::testing::Authority;
use mesh_identity::tls::{Peers, client_config};
use mesh_identity::{Identity, SpiffeId, grpc};
use mesh_process::{Process, Shutdown};
use mesh_xds::client::DeltaClient;
use mesh_xds::envoy::discovery::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    DiscoveryRequest,
};
use mesh_xds::envoy::endpoint::ClusterLoadAssignment;
use mesh_xds::envoy::listener::Listener;
use mesh_xds::mesh::registry_client::RegistryClient;
use mesh_xds::mesh::telemetry_client::TelemetryClient;
use mesh_xds::mesh::{
    EdgeDelta, EdgeReport, Instance, RegisterRequest, RegisterResponse, Workload,
};
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::{ResourceType, client::Rejection};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::{Running, Settings, start};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web-v1, namespace: shop}
spec:
  metadata: {labels: {app: web, version: v1}}
  template: {serviceAccount: web, ports: {http: 8080}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: client, namespace: shop}
spec:
  metadata: {labels: {app: client}}
  template: {serviceAccount: client}
";

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

/// Long enough for a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A control plane and everybody's certificates.
struct Plane {
    authority: Authority,
    running: Running,
    shutdown: Shutdown,
}

impl Plane {
    async fn start(state: &Path) -> Self {
        Self::start_by(Authority::new("cluster.local"), state, |_| ())
            .await
            .unwrap()
    }

    async fn start_by(
        authority: Authority,
        state: &Path,
        change: impl FnOnce(&mut Settings),
    ) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = Settings {
            mesh_config: None,
            listen_xds: any,
            listen_http: any,
            listen_metrics: any,
            state_dir: state.to_owned(),
            config_dir: None,
            token_file: None,
        };
        change(&mut settings);
        let identity = authority.identity("istio-system", "mesh-api");
        let process = Process::new("mesh-api");
        let shutdown = process.shutdown.clone();
        let running = start(settings, identity, process).await?;
        Ok(Self {
            authority,
            running,
            shutdown,
        })
    }

    /// Stops it as SIGTERM does and gives the authority to its next life.
    async fn stop(self) -> Authority {
        self.shutdown.trigger();
        timeout(PATIENCE, self.running.ended()).await.unwrap();
        self.authority
    }

    fn channel(&self, namespace: &str, account: &str) -> Channel {
        self.channel_of(&self.authority.identity(namespace, account))
    }

    fn channel_of(&self, identity: &Arc<Identity>) -> Channel {
        let api = SpiffeId::api(identity.id().trust_domain());
        let tls = client_config(identity, Peers::one(api), &[b"h2"]);
        grpc::channel(&self.running.addresses["xds"].to_string(), tls)
    }

    async fn call(&self, address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let client: Client<HttpConnector, Body> =
            Client::builder(TokioExecutor::new()).build_http();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.running.addresses[address]))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = client.request(request).await.unwrap();
        let code = response.status().as_u16();
        let body = Body::new(response.into_body());
        let bytes = to_bytes(body, 16 << 20).await.unwrap();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (code, text) = self.call("http", "GET", path, "").await;
        assert_eq!(code, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn apply(&self, text: &str) {
        let (code, answer) = self.call("http", "POST", "/apply", text).await;
        assert_eq!(code, 200, "{answer}");
    }

    /// The newest event of a kind about a subject, once there is one.
    async fn event(&self, kind: &str, subject: &str) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut after = 0;
        loop {
            let path = format!("/api/mesh/events?after={after}&wait=5");
            let answer = self.get(&path).await;
            let events = answer["events"].as_array().unwrap();
            let wanted = |event: &&Value| event["kind"] == kind && event["subject"] == subject;
            if let Some(event) = events.iter().rev().find(wanted) {
                return event.clone();
            }
            after = events
                .last()
                .map_or(after, |event| event["id"].as_u64().unwrap());
            assert!(
                tokio::time::Instant::now() < deadline,
                "no {kind} of {subject}"
            );
        }
    }

    async fn endpoints(&self) -> Vec<String> {
        let services = self.get("/api/mesh/services").await;
        let endpoints = services["services"][0]["endpoints"].as_array().cloned();
        endpoints
            .unwrap_or_default()
            .iter()
            .map(|endpoint| endpoint["workload"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A registration that is held.
struct Lease {
    requests: mpsc::Sender<RegisterRequest>,
    answers: Streaming<RegisterResponse>,
}

impl Lease {
    async fn open(plane: &Plane, account: &str, instance: Instance) -> Result<Self, Status> {
        Self::over(plane.channel("shop", account), instance).await
    }

    async fn over(channel: Channel, instance: Instance) -> Result<Self, Status> {
        let mut client = RegistryClient::new(channel);
        let (requests, stream) = mpsc::channel(4);
        let first = RegisterRequest {
            instance: Some(instance),
        };
        requests.send(first).await.unwrap();
        let mut answers = client
            .register(ReceiverStream::new(stream))
            .await?
            .into_inner();
        let first = answers.message().await?.unwrap();
        assert_eq!(first.lease_ms, 10_000);
        Ok(Self { requests, answers })
    }
}

fn instance(name: &str, port: u32) -> Instance {
    Instance {
        namespace: "shop".to_owned(),
        workload_group: "web-v1".to_owned(),
        name: name.to_owned(),
        address: "127.0.0.1".to_owned(),
        inbound_port: port,
        app_ports: [("http".to_owned(), 9090)].into_iter().collect(),
        plain_address: "127.0.0.1:7777".to_owned(),
        process_id: "one life".to_owned(),
    }
}

/// A proxy's discovery stream.
struct Xds {
    client: DeltaClient,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    seen: BTreeMap<ResourceType, BTreeSet<String>>,
}

impl Xds {
    async fn open(
        plane: &Plane,
        account: (&str, &str),
        node: &NodeMetadata,
    ) -> Result<Self, Status> {
        Self::over(plane.channel(account.0, account.1), node).await
    }

    async fn over(channel: Channel, node: &NodeMetadata) -> Result<Self, Status> {
        let mut stub = AggregatedDiscoveryServiceClient::new(channel);
        let mut client = DeltaClient::new(node.to_node());
        let (requests, stream) = mpsc::channel(64);
        for request in client.reconnect() {
            requests.send(request).await.unwrap();
        }
        let responses = stub
            .delta_aggregated_resources(ReceiverStream::new(stream))
            .await?;
        Ok(Self {
            client,
            requests,
            responses: responses.into_inner(),
            seen: BTreeMap::new(),
        })
    }

    /// Takes responses, accepting all but what `reject` names, until `enough`.
    async fn until(
        &mut self,
        reject: Option<&str>,
        enough: impl Fn(&DeltaClient) -> bool,
    ) -> Result<(), Status> {
        while !enough(&self.client) {
            let response = timeout(PATIENCE, self.responses.message())
                .await
                .expect("a response in time")?
                .expect("the stream goes on");
            let update = self.client.on_response(response).unwrap();
            let rejections: Vec<Rejection> = update
                .changed
                .iter()
                .filter(|resource| Some(resource.name.as_str()) == reject)
                .map(|resource| Rejection {
                    name: resource.name.clone(),
                    reason: "spec: no such thing".to_owned(),
                })
                .collect();
            let seen = self.seen.entry(update.resource_type).or_default();
            seen.extend(update.changed.iter().map(|resource| resource.name.clone()));
            let rejected = !rejections.is_empty();
            let answer = if rejected {
                self.client.nack(&update, &rejections)
            } else {
                self.client.ack(&update)
            };
            self.send(answer).await;
            let clusters = self.client.held().iter(ResourceType::Cluster);
            let clusters: BTreeSet<String> = clusters
                .map(|cluster| cluster.name.clone())
                .filter(|name| name.starts_with("outbound"))
                .collect();
            if let Some(request) = self.client.subscribe(ResourceType::Endpoint, clusters) {
                self.send(request).await;
            }
            if rejected {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }
}

fn sidecar(group: &str) -> NodeMetadata {
    NodeMetadata {
        kind: ProxyKind::Sidecar,
        address: "127.0.0.1".to_owned(),
        namespace: "shop".to_owned(),
        workload_group: group.to_owned(),
        workload_name: format!("{group}-1"),
        app_ports: BTreeMap::new(),
        plain_listener: false,
        listen_services: false,
        metrics_address: String::new(),
        locality: mesh_xds::Locality::default(),
        version: "0.1.0".to_owned(),
    }
}

fn gateway() -> NodeMetadata {
    NodeMetadata {
        kind: ProxyKind::Gateway,
        namespace: "istio-system".to_owned(),
        workload_group: String::new(),
        workload_name: "istio-ingressgateway".to_owned(),
        ..sidecar("")
    }
}

const GATEWAY_ACCOUNT: (&str, &str) = ("istio-system", "istio-ingressgateway-service-account");

fn endpoint_ports(client: &DeltaClient, cluster: &str) -> Vec<u32> {
    let Some(resource) = client.held().get(ResourceType::Endpoint, cluster) else {
        return Vec::new();
    };
    let assignment: ClusterLoadAssignment = resource.decode().unwrap();
    let text = format!("{assignment:?}");
    let mut ports: Vec<u32> = text
        .split("PortValue(")
        .skip(1)
        .filter_map(|rest| rest.split(')').next()?.parse().ok())
        .collect();
    ports.sort_unstable();
    ports
}
