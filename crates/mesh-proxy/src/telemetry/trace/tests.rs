//! Who is kept, what becomes of spans, and what is in them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use http::Request;
use mesh_process::Shutdown;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::*;
use crate::fail::Flag;
use crate::peer::{Hello, Protocol, Standing};
use crate::snapshot::{Filter, FilterChains, Http};
use crate::telemetry::{Carried, Ends};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MEASURES: Measures = Measures {
    duration_ms: 7,
    request_bytes: 100,
    response_bytes: 2000,
};

fn ratings() -> Arc<Workload> {
    Arc::new(Workload {
        name: "ratings-v1".into(),
        namespace: "default".into(),
        canonical_service: "ratings".into(),
        canonical_revision: "v1".into(),
        cluster: "mesh".into(),
        ..Workload::default()
    })
}

fn listener(direction: Direction, edge: bool) -> Arc<Listener> {
    Arc::new(Listener {
        name: "listener".into(),
        address: ([127, 0, 0, 1], 2).into(),
        sockets: Arc::default(),
        direction,
        edge,
        chains: FilterChains::default(),
        workload: ratings(),
        peers: Arc::default(),
    })
}

fn peer(listener: &Arc<Listener>, server_name: Option<&str>) -> Peer {
    let hello = Hello {
        certificate: None,
        listener: "listener".into(),
        server_name: server_name.map(str::to_owned),
        address: ([10, 0, 0, 7], 1).into(),
        // Between proxies, whatever the client has spoken.
        tls: true,
        clients: None,
        principal: None,
        caller: None,
        proven_until: None,
        protocol: Protocol::Http1,
    };
    let standing = Standing {
        version: 1,
        snapshot: Arc::default(),
        listener: listener.clone(),
        filter: Filter::Http(Http::default()),
        own_principal: "".into(),
        caller: None,
        candidates: None,
        unknown: Arc::default(),
    };
    Peer::new(hello, standing, Arc::new(AtomicU64::new(1)))
}

fn head(parent: Option<&str>) -> Parts {
    let mut request = Request::get("/list?all=1").header("user-agent", "curl/8");
    if let Some(parent) = parent {
        request = request.header("traceparent", parent);
    }
    request.body(()).unwrap().into_parts().0
}

fn begin(tracer: &Tracer, head: &mut Parts, listener: &Arc<Listener>) -> Option<Box<Span>> {
    let authority = HeaderValue::from_static("ratings");
    tracer.begin(head, &authority, &peer(listener, None), listener)
}

fn end(tracer: &Tracer, span: Box<Span>, code: u16, flags: Flags) {
    let (workload, nobody, service) = (Arc::default(), "".into(), Arc::default());
    let facts = Facts {
        ends: Ends::outbound(&workload, &nobody, &workload, None),
        service: &service,
        carried: Carried::Http,
        code,
        grpc_status: None,
        flags,
    };
    let duration = Duration::from_millis(7);
    tracer.end(span, &facts, MEASURES, duration, None, None);
}

/// What came, by the resource's `service.name`; refuses all if it is to.
#[derive(Clone, Debug, Default)]
struct Collector {
    refuses: bool,
    service: String,
    came: Arc<Mutex<Vec<(String, SpanData)>>>,
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.refuses {
            return Err(OTelSdkError::InternalFailure("no room".into()));
        }
        let batch = batch.into_iter().map(|span| (self.service.clone(), span));
        self.came.lock().unwrap().extend(batch);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        let name = resource.get(&"service.name".into()).unwrap();
        self.service = name.to_string();
    }
}

/// Exports what waits, as a proxy does that ends.
async fn export(spans: Spans, collector: Collector) {
    let stop = Shutdown::new();
    stop.trigger();
    spans.export(collector, "sidecar~node".into(), stop).await;
}

#[test]
fn a_callers_decision_is_respected_a_strangers_too() {
    for edge in [false, true] {
        let listener = listener(Direction::Inbound, edge);
        let registry = Registry::new();
        let (none, _spans) = Tracer::new(0.0, &registry).unwrap();
        let span = begin(&none, &mut head(Some(PARENT)), &listener).unwrap();
        assert_eq!(span.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(span.own.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        let (all, _spans) = Tracer::new(100.0, &Registry::new()).unwrap();
        let unwanted = format!("{}00", &PARENT[..53]);
        let mut head = head(Some(&unwanted));
        assert!(begin(&all, &mut head, &listener).is_none());
        let passed = head.headers["traceparent"].to_str().unwrap();
        assert!(passed.starts_with(&PARENT[..36]) && passed.ends_with("-00"));
    }
}

#[test]
fn a_trace_that_begins_here_is_kept_or_not_and_the_next_hop_is_told() {
    let listener = listener(Direction::Outbound, false);
    let kept = |percent| {
        let (tracer, _spans) = Tracer::new(percent, &Registry::new()).unwrap();
        let once = |_| {
            let mut head = head(None);
            let span = begin(&tracer, &mut head, &listener);
            let passed = head.headers["traceparent"].to_str().unwrap();
            assert_eq!(passed.ends_with("-01"), span.is_some(), "{passed}");
            if let Some(span) = &span {
                let own = format!("00-{:032x}-{:016x}-01", span.own.trace, span.own.span);
                assert_eq!((span.parent, passed), (None, &*own));
            }
            span.is_some()
        };
        (0..1000).map(once).filter(|kept| *kept).count()
    };
    assert_eq!([kept(0.0), kept(100.0)], [0, 1000]);
    // Further from 500 than twelve times the standard deviation.
    assert!((300..700).contains(&kept(50.0)));
}

#[test]
fn spans_without_room_are_dropped_and_counted() {
    let (tracer, spans) = Tracer::new(100.0, &Registry::new()).unwrap();
    let listener = listener(Direction::Outbound, false);
    for _ in 0..QUEUE + 3 {
        let span = begin(&tracer, &mut head(None), &listener).unwrap();
        end(&tracer, span, 200, Flags::default());
    }
    assert_eq!(spans.waiting.len(), QUEUE);
    assert_eq!(spans.counts.dropped.get(), 3);
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted() {
    let (tracer, spans) = Tracer::new(100.0, &Registry::new()).unwrap();
    let listener = listener(Direction::Outbound, false);
    let span = begin(&tracer, &mut head(None), &listener).unwrap();
    end(&tracer, span, 200, Flags::default());
    let collector = Collector {
        refuses: true,
        ..Collector::default()
    };
    export(spans, collector).await;
    let counts = &tracer.counts;
    assert_eq!((counts.exported.get(), counts.dropped.get()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn spans_go_on_their_way_while_the_proxy_runs() {
    let (tracer, spans) = Tracer::new(100.0, &Registry::new()).unwrap();
    let listener = listener(Direction::Outbound, false);
    let (collector, stop) = (Collector::default(), Shutdown::new());
    let came = collector.came.clone();
    let running = tokio::spawn(spans.export(collector, String::new(), stop.clone()));
    for _ in 0..3 {
        let span = begin(&tracer, &mut head(None), &listener).unwrap();
        end(&tracer, span, 200, Flags::default());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(came.lock().unwrap().len(), 3);
    assert_eq!(tracer.counts.exported.get(), 3);
    stop.trigger();
    running.await.unwrap();
}

#[tokio::test]
async fn a_span_says_what_envoys_does() {
    let (tracer, spans) = Tracer::new(100.0, &Registry::new()).unwrap();
    let called = "outbound_.9080_._.ratings.default.svc.cluster.local";
    let inbound = listener(Direction::Inbound, false);
    let authority = HeaderValue::from_static("ratings:9080");
    let mut asked = head(Some(PARENT));
    let span = tracer.begin(
        &mut asked,
        &authority,
        &peer(&inbound, Some(called)),
        &inbound,
    );
    end(&tracer, span.unwrap(), 200, Flags::default());
    let outbound = listener(Direction::Outbound, false);
    let mut secure = head(None);
    let https = HeaderValue::from_static("https");
    secure.headers.insert("x-forwarded-proto", https);
    let span = begin(&tracer, &mut secure, &outbound).unwrap();
    end(&tracer, span, 503, Flag::NoEndpoint.into());
    let collector = Collector::default();
    export(spans, collector.clone()).await;

    let came = collector.came.lock().unwrap();
    let [(service, server), (_, client)] = came.as_slice() else {
        panic!("{came:?}");
    };
    assert_eq!(service, "ratings.default");
    assert_eq!(server.name, "ratings.default.svc.cluster.local:9080/*");
    assert_eq!(server.span_kind, SpanKind::Server);
    assert_eq!(server.status, Status::Unset);
    assert_eq!(server.parent_span_id.to_string(), "00f067aa0ba902b7");
    let id = server.span_context.span_id().to_string();
    assert!(asked.headers["traceparent"].to_str().unwrap().contains(&id));
    let lasted = server.end_time.duration_since(server.start_time);
    assert_eq!(lasted.unwrap(), Duration::from_millis(7));
    let attributes = |span: &SpanData| -> BTreeMap<String, String> {
        let pairs = span.attributes.iter();
        pairs
            .map(|pair| (pair.key.to_string(), pair.value.to_string()))
            .collect()
    };
    let expected = [
        ("component", "proxy"),
        ("downstream_cluster", "-"),
        ("guid:x-request-id", "-"),
        ("http.method", "GET"),
        ("http.protocol", "HTTP/1.1"),
        ("http.status_code", "200"),
        ("http.url", "http://ratings:9080/list?all=1"),
        ("istio.canonical_revision", "v1"),
        ("istio.canonical_service", "ratings"),
        ("istio.cluster_id", "mesh"),
        ("istio.namespace", "default"),
        ("node_id", "sidecar~node"),
        ("peer.address", "10.0.0.7"),
        ("request_size", "100"),
        ("response_flags", "-"),
        ("response_size", "2000"),
        ("user_agent", "curl/8"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(attributes(server), BTreeMap::from(expected));

    assert_eq!(client.name, "ratings/*");
    assert_eq!(client.span_kind, SpanKind::Client);
    assert_eq!(client.status, Status::error(""));
    assert_eq!(attributes(client)["response_flags"], "UH");
    assert_eq!(attributes(client)["http.url"], "https://ratings/list?all=1");
}
