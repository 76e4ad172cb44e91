//! Promise: one request through the fleet is one trace, whichever headers its client and its apps know, and a collector
//! that is away costs spans and nothing else.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use mesh_tests::{Fleet, SCENARIO, eventually, tool};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

/// A span as it came.
#[derive(Clone, Debug)]
struct Span {
    /// The resource's `service.name`.
    service: String,
    trace: String,
    id: String,
    /// Empty for the first.
    parent: String,
    name: String,
    kind: SpanKind,
    is_error: bool,
    attributes: BTreeMap<String, String>,
}

/// A store for spans that speaks OTLP/gRPC.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut came = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let resource = texts(&of_resource.resource.unwrap_or_default().attributes);
            let spans = of_resource.scope_spans.into_iter().flat_map(|of| of.spans);
            came.extend(spans.map(|span| Span {
                service: resource.get("service.name").cloned().unwrap_or_default(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind(),
                is_error: span.status.as_ref().map(Status::code) == Some(StatusCode::Error),
                attributes: texts(&span.attributes),
                name: span.name,
            }));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// With its address, and what ends it.
    async fn start() -> (Self, SocketAddr, Serving) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                _ = stopped.await;
            });
        let handle = tokio::spawn(async move { server.await.unwrap() });
        (collector, address, Serving { stop, handle })
    }

    /// The whole trace of the request with this id: every span has its parent in it, or `outside`, and every call is
    /// seen from both ends. The gateway and three services have at least seven.
    async fn trace(&self, request_id: &str, outside: &str) -> Vec<Span> {
        eventually("the trace comes", Duration::from_secs(30), || async {
            let all = self.0.lock().unwrap().clone();
            let of_request = |span: &&Span| span.attributes["guid:x-request-id"] == request_id;
            let traces: BTreeSet<_> = all.iter().filter(of_request).map(|s| &s.trace).collect();
            ensure!(traces.len() == 1, "{} traces", traces.len());
            let mut trace: Vec<Span> = all.iter().filter(of_request).cloned().collect();
            let in_trace = all.iter().filter(|span| traces.contains(&span.trace));
            ensure!(in_trace.count() == trace.len(), "others are in the trace");
            let ids: BTreeSet<_> = trace.iter().map(|span| span.id.clone()).collect();
            ensure!(ids.len() == trace.len(), "an id came twice");
            let (known, lost): (Vec<_>, Vec<_>) = trace
                .iter()
                .partition(|span| span.parent == outside || ids.contains(&span.parent));
            ensure!(lost.is_empty() && known.len() >= 7, "{trace:#?}");
            let services: BTreeSet<_> = trace.iter().map(|span| &span.service).collect();
            ensure!(services.len() >= 4, "{services:?}");
            let parents: BTreeSet<_> = trace.iter().map(|span| &span.parent).collect();
            let is_open =
                |span: &Span| span.kind == SpanKind::Client && !parents.contains(&span.id);
            ensure!(!trace.iter().any(is_open), "a call has no other end");
            trace.sort_by_key(|span| span.parent != outside);
            Ok(trace)
        })
        .await
    }
}

/// A collector that takes connections.
struct Serving {
    stop: oneshot::Sender<()>,
    handle: JoinHandle<()>,
}

impl Serving {
    /// Ends it with all its connections.
    async fn end(self) {
        self.stop.send(()).unwrap();
        self.handle.await.unwrap();
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((pair.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn get(fleet: &Fleet, headers: &[&str]) {
    let mut arguments = vec!["-sS", "--fail", "--max-time", "20", &fleet.state.gateway];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    tool::run("curl", &arguments).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_through_the_whole_fleet() {
    let (collector, address, serving) = Collector::start().await;
    let fleet = Fleet::up_with(&["--otlp-endpoint", &format!("http://{address}")]).await;
    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;

    get(&fleet, &["x-request-id: of-nobody"]).await;
    let trace = collector.trace("of-nobody", "").await;
    assert_chain(&trace);
    let root = &trace[0];
    assert_eq!(
        trace.iter().filter(|span| span.parent.is_empty()).count(),
        1
    );
    assert_eq!(root.service, "istio-ingressgateway.istio-system");
    assert_eq!(root.kind, SpanKind::Client);
    assert_eq!(root.name, "fleetman-webapp.default.svc.cluster.local:80/*");
    assert_eq!(root.attributes["http.status_code"], "200");
    assert_eq!(root.attributes["istio.namespace"], "istio-system");
    assert!(root.attributes["node_id"].starts_with("router~"));
    let services: BTreeSet<_> = trace.iter().map(|span| span.service.as_str()).collect();
    for service in ["webapp.default", "api-gateway.default"] {
        assert!(services.contains(service), "{services:?}");
    }

    // A client's own trace goes on, in the form that it knows.
    let (id, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
    let b3 = format!("b3: {id}-{span}-1");
    get(&fleet, &["x-request-id: of-a-client", &b3]).await;
    let trace = collector.trace("of-a-client", span).await;
    assert_chain(&trace);
    assert!(trace.iter().all(|span| span.trace == id));

    // What its client does not want to be kept is kept nowhere.
    let unwanted = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    get(&fleet, &["x-request-id: unwanted", unwanted]).await;
    get(&fleet, &["x-request-id: last"]).await;
    collector.trace("last", "").await;
    let came = collector.0.lock().unwrap().clone();
    let is_unwanted = |span: &&Span| span.attributes["guid:x-request-id"] == "unwanted";
    assert_eq!(came.iter().filter(is_unwanted).count(), 0);

    // Without a collector requests are served as before, and spans are counted as dropped.
    serving.end().await;
    let metrics = &fleet.state.metrics["mesh-gateway"];
    eventually("spans are dropped", Duration::from_secs(60), || async {
        get(&fleet, &[]).await;
        let text = tool::run("curl", &["-sS", "--fail", metrics]).await?;
        let mut lines = text.lines();
        let dropped = lines.find_map(|line| line.strip_prefix("mesh_proxy_spans_dropped_total "));
        ensure!(dropped.is_some_and(|count| count != "0"), "{dropped:?}");
        Ok(())
    })
    .await;
    fleet.down().unwrap();
}

/// One side after the other, at each of them its own span, and nothing failed.
fn assert_chain(trace: &[Span]) {
    let by_id: BTreeMap<_, _> = trace.iter().map(|span| (&span.id, span)).collect();
    for span in trace {
        assert!(!span.is_error, "{span:?}");
        assert_eq!(span.attributes["component"], "proxy");
        let Some(parent) = by_id.get(&span.parent) else {
            continue;
        };
        // A proxy calls another, which takes the call; its app, or it, calls the next.
        match span.kind {
            SpanKind::Server => {
                assert_eq!(parent.kind, SpanKind::Client, "{span:?} under {parent:?}");
                assert_ne!(parent.service, span.service);
                assert_eq!(parent.name, span.name);
            }
            SpanKind::Client => {
                assert_eq!(parent.kind, SpanKind::Server, "{span:?} under {parent:?}");
                assert_eq!(parent.service, span.service);
            }
            kind => panic!("{kind:?}: {span:?}"),
        }
    }
}
