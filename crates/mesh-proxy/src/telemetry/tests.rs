//! The contract with Prometheus, Istio's dashboards and Kiali, and the life of a series.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use mesh_xds::Workload;
use prometheus::{Encoder, Registry, TextEncoder};

use super::series::Security;
use super::*;
use crate::fail::{Flag, Flags};
use crate::snapshot::{Direction, FilterChains, Listener};

fn workload(name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        name: format!("{name}-v1"),
        namespace: "default".into(),
        app: name.into(),
        version: "v1".into(),
        canonical_service: name.into(),
        canonical_revision: "v1".into(),
        cluster: "mesh".into(),
        principal: format!("spiffe://cluster.local/ns/default/sa/{name}"),
    })
}

fn ratings() -> Arc<ServiceName> {
    Arc::new(ServiceName {
        host: "ratings.default.svc.cluster.local".into(),
        name: "ratings".into(),
        namespace: "default".into(),
    })
}

fn labels() -> Labels {
    Labels {
        direction: Direction::Outbound,
        source: workload("productpage"),
        source_principal: Some("spiffe://cluster.local/ns/default/sa/productpage".into()),
        destination: workload("ratings"),
        destination_principal: Some("spiffe://cluster.local/ns/default/sa/ratings".into()),
        service: ratings(),
        carried: Carried::Http,
        code: 200,
        grpc_status: None,
        flags: Flags::default(),
        security: Security::Unknown,
    }
}

fn measures(duration_ms: u64) -> Measures {
    Measures {
        duration_ms,
        request_bytes: 100,
        response_bytes: 2000,
    }
}

fn facts(labels: &Labels) -> Facts<'_> {
    let (source, destination) = (&labels.source, &labels.destination);
    let callers = labels.source_principal.as_ref();
    let called = labels.destination_principal.as_ref();
    let nobody = &NOBODY;
    let ends = match labels.direction {
        Direction::Outbound => {
            Ends::outbound(source, callers.unwrap_or(nobody), destination, called)
        }
        Direction::Inbound => Ends::inbound(source, callers, destination, called.unwrap_or(nobody)),
    };
    Facts {
        ends,
        service: &labels.service,
        carried: labels.carried,
        code: labels.code,
        grpc_status: labels.grpc_status,
        flags: labels.flags,
    }
}

static NOBODY: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

/// Records as a worker does.
fn record(recorder: &Recorder, labels: &Labels, measures: Measures) {
    recorder.record(&facts(labels), measures);
}

fn scraped(registry: &Registry) -> String {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    encoder.encode(&registry.gather(), &mut text).expect("text");
    String::from_utf8(text).expect("UTF-8")
}

/// The labels of the only line that begins like this, sorted.
fn labels_of(text: &str, name: &str) -> Vec<String> {
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")));
    let line = lines.next().expect("a series");
    assert_eq!(lines.next(), None, "one series");
    let inside = &line[line.find('{').expect("labels") + 1..line.rfind('}').expect("labels")];
    let mut labels: Vec<_> = inside.split(',').map(str::to_owned).collect();
    labels.sort();
    labels
}

#[test]
fn the_client_side_names_both_ends_as_istio_does() {
    let registry = Registry::new();
    let telemetry = Telemetry::new(&registry).expect("a fresh registry");
    let recorder = Recorder::new(0, telemetry);
    record(&recorder, &labels(), measures(0));
    let expected = [
        r#"connection_security_policy="unknown""#,
        r#"destination_app="ratings""#,
        r#"destination_canonical_revision="v1""#,
        r#"destination_canonical_service="ratings""#,
        r#"destination_cluster="mesh""#,
        r#"destination_principal="spiffe://cluster.local/ns/default/sa/ratings""#,
        r#"destination_service="ratings.default.svc.cluster.local""#,
        r#"destination_service_name="ratings""#,
        r#"destination_service_namespace="default""#,
        r#"destination_version="v1""#,
        r#"destination_workload="ratings-v1""#,
        r#"destination_workload_namespace="default""#,
        r#"grpc_response_status="""#,
        r#"reporter="source""#,
        r#"request_protocol="http""#,
        r#"response_code="200""#,
        r#"response_flags="-""#,
        r#"source_app="productpage""#,
        r#"source_canonical_revision="v1""#,
        r#"source_canonical_service="productpage""#,
        r#"source_cluster="mesh""#,
        r#"source_principal="spiffe://cluster.local/ns/default/sa/productpage""#,
        r#"source_version="v1""#,
        r#"source_workload="productpage-v1""#,
        r#"source_workload_namespace="default""#,
    ];
    assert_eq!(
        labels_of(&scraped(&registry), "istio_requests_total"),
        expected
    );
}

#[test]
fn what_is_unknown_says_so() {
    let registry = Registry::new();
    let telemetry = Telemetry::new(&registry).expect("a fresh registry");
    let recorder = Recorder::new(0, telemetry);
    let own = Workload {
        app: String::new(),
        ..Workload::clone(&workload("ratings"))
    };
    let unknown = Labels {
        direction: Direction::Inbound,
        source: Arc::default(),
        source_principal: None,
        destination: Arc::new(own),
        destination_principal: None,
        service: Arc::default(),
        code: 0,
        flags: Flag::ClientGone.into(),
        security: Security::None,
        ..labels()
    };
    record(&recorder, &unknown, measures(3));
    let got = labels_of(&scraped(&registry), "istio_requests_total");
    for expected in [
        r#"reporter="destination""#,
        r#"source_workload="unknown""#,
        r#"source_workload_namespace="unknown""#,
        r#"source_app="unknown""#,
        r#"source_canonical_revision="latest""#,
        r#"source_cluster="unknown""#,
        r#"source_principal="unknown""#,
        // A missing label of our own stays empty; a server knows at least itself.
        r#"destination_app="""#,
        r#"destination_service="ratings""#,
        r#"destination_service_name="ratings""#,
        r#"destination_service_namespace="default""#,
        r#"connection_security_policy="none""#,
        r#"response_code="0""#,
        r#"response_flags="DC""#,
    ] {
        assert!(got.contains(&expected.to_owned()), "{expected} in {got:?}");
    }
}

#[test]
fn histograms_have_envoys_buckets() {
    let registry = Registry::new();
    let telemetry = Telemetry::new(&registry).expect("a fresh registry");
    let recorder = Recorder::new(0, telemetry);
    for duration in [0, 1, 2, 4_000_000] {
        record(&recorder, &labels(), measures(duration));
    }
    let text = scraped(&registry);
    let bucket = |le: &str| {
        let mut lines = text.lines().filter(|line| {
            line.starts_with("istio_request_duration_milliseconds_bucket{")
                && line.contains(&format!("le=\"{le}\""))
        });
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no bucket {le} in {text}"));
        line.rsplit(' ').next().expect("a value").to_owned()
    };
    let bounds = [
        "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
        "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf",
    ];
    let counts: Vec<_> = bounds.iter().map(|bound| bucket(bound)).collect();
    assert_eq!(counts[..3], ["1", "2", "3"]);
    assert_eq!(counts[18..], ["3", "4"]);
    assert!(text.contains("# HELP istio_response_bytes "));
    assert!(text.contains("# TYPE istio_request_duration_milliseconds histogram"));
}

#[test]
fn workers_add_up() {
    let telemetry = Telemetry::new(&Registry::new()).expect("a fresh registry");
    for worker in [0, 1, 1] {
        record(
            &Recorder::new(worker, telemetry.clone()),
            &labels(),
            measures(1),
        );
    }
    let totals = telemetry.series(labels()).totals();
    assert_eq!(totals.duration.count(), 3);
    assert_eq!(totals.response_bytes.sum, 6000);
}

#[test]
fn an_edge_says_what_is_new_since_the_last_one() {
    let telemetry = Telemetry::new(&Registry::new()).expect("a fresh registry");
    let recorder = Recorder::new(0, telemetry.clone());
    record(&recorder, &labels(), measures(7));
    record(&recorder, &labels(), measures(30));
    let [edge] = telemetry.take_edges().try_into().expect("one edge");
    assert_eq!((edge.requests, edge.duration_ms_sum), (2, 37));
    assert_eq!((edge.request_bytes, edge.response_bytes), (200, 4000));
    assert_eq!(edge.duration_buckets.len(), 20);
    assert_eq!((edge.duration_buckets[3], edge.duration_buckets[5]), (1, 1));
    assert_eq!(edge.response_flags, "-");
    let source = edge.source.expect("a source");
    assert_eq!(source.name, "productpage-v1");
    assert!(telemetry.take_edges().is_empty(), "nothing new");
    record(&recorder, &labels(), measures(1));
    assert_eq!(telemetry.take_edges()[0].requests, 1);
}

#[test]
fn a_series_lives_as_long_as_the_configuration_that_names_it_and_a_grace() {
    let telemetry = Telemetry::new(&Registry::new()).expect("a fresh registry");
    let recorder = Recorder::new(0, telemetry.clone());
    record(&recorder, &labels(), measures(1));
    let listener = Listener {
        name: "virtualOutbound".into(),
        address: ([127, 0, 0, 1], 15001).into(),
        sockets: Arc::default(),
        direction: Direction::Outbound,
        edge: false,
        chains: FilterChains::default(),
        workload: workload("productpage"),
        peers: Arc::default(),
    };
    let mut snapshot = Snapshot::default();
    snapshot
        .listeners
        .insert("virtualOutbound".into(), Arc::new(listener));
    let start = Instant::now();
    telemetry.retain_at(&snapshot, start);
    telemetry.retain_at(&snapshot, start + GRACE - Duration::from_secs(1));
    assert_eq!(telemetry.all().len(), 1, "the grace is not over");
    telemetry.retain_at(&snapshot, start + GRACE);
    assert!(telemetry.all().is_empty());
    assert_eq!(
        telemetry.take_edges()[0].requests,
        1,
        "what it carried is still told"
    );

    record(&recorder, &labels(), measures(1));
    assert_eq!(
        telemetry.all().len(),
        1,
        "a cached handle does not count into the void"
    );
}

#[test]
fn a_session_that_outlives_its_series_goes_on_in_a_new_one() {
    let telemetry = Telemetry::new(&Registry::new()).expect("a fresh registry");
    let recorder = Recorder::new(0, telemetry.clone());
    let labels = Labels {
        carried: Carried::Tcp,
        code: 0,
        ..labels()
    };
    let cells = recorder.cells(&facts(&labels));
    cells.opened.add(1);
    cells.sent.add(100);
    let start = Instant::now();
    telemetry.retain_at(&Snapshot::default(), start);
    assert!(!cells.is_retired(), "the grace is not over");
    telemetry.retain_at(&Snapshot::default(), start + GRACE);
    assert!(cells.is_retired());

    let cells = recorder.cells(&facts(&labels));
    assert!(!cells.is_retired());
    cells.sent.add(11);
    cells.closed.add(1);
    let [edge] = telemetry.take_edges().try_into().expect("one edge");
    assert_eq!((edge.protocol.as_str(), edge.requests), ("tcp", 0));
    assert_eq!((edge.connections_opened, edge.connections_closed), (1, 1));
    assert_eq!((edge.request_bytes, edge.response_bytes), (0, 111));
    assert!(telemetry.take_edges().is_empty(), "nothing new");
}

#[test]
fn two_of_them_cannot_share_a_registry() {
    let registry = Registry::new();
    let _first = Telemetry::new(&registry).expect("a fresh registry");
    assert!(Telemetry::new(&registry).is_err());
}
