//! A whole proxy against a control plane over real sockets.

mod plane;

use std::path::Path;
use std::time::{Duration, SystemTime};

use mesh_xds::envoy::core::{DataSource, TrafficDirection, data_source::Specifier};
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::{DirectResponseAction, RouteConfiguration};
use mesh_xds::names::{OUTBOUND_ROUTES, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND};
use mesh_xds::{ResourceSet, ResourceType};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::plane::{Plane, Protocol, Seen, Turn};
use super::*;
use crate::settings::{Gateway, PortMap};
use crate::snapshot::samples::{
    AUTHORITY, address, assignment, chain, eds_cluster, endpoint, listener, manager, rds, routes,
    tls_chain,
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn sidecar(directory: &Path, xds: SocketAddr) -> Settings {
    Settings {
        role: Role::Sidecar(Sidecar {
            workload_group: "webapp".into(),
            app_ports: [("http".to_owned(), 8080)].into(),
            listen_outbound: ANY,
            listen_inbound: ANY,
            listen_plain: Some(ANY),
            listen_services: false,
        }),
        namespace: "default".into(),
        workload_name: "webapp-1".into(),
        advertise_address: "127.0.0.1".into(),
        locality: mesh_xds::Locality::default(),
        xds_address: xds.to_string(),
        state_dir: directory.to_owned(),
        workers: 2,
        drain_timeout: Duration::from_secs(5),
        listen_admin: ANY,
        listen_metrics: ANY,
        listen_ready: ANY,
        tracing: None,
    }
}

fn identity() -> Arc<Identity> {
    AUTHORITY.identity("default", "webapp")
}

async fn plane(set: ResourceSet) -> Plane {
    Plane::start(&AUTHORITY.identity("istio-system", "mesh-api"), set).await
}

/// Everything outbound is answered with these words.
fn answering(text: &str) -> RouteConfiguration {
    let mut message = routes(OUTBOUND_ROUTES, &[("none", 1)]);
    let body = DataSource {
        specifier: Some(Specifier::InlineString(text.into())),
        ..Default::default()
    };
    message.virtual_hosts[0].routes[0].action =
        Some(Action::DirectResponse(DirectResponseAction {
            status: 200,
            body: Some(body),
            ..Default::default()
        }));
    message
}

fn resources() -> ResourceSet {
    let mut set = ResourceSet::new();
    set.insert(&eds_cluster("shop"));
    set.insert(&assignment("shop", vec![endpoint("10.0.0.1", 80)]));
    set.insert(&listener(
        VIRTUAL_OUTBOUND,
        15001,
        vec![chain(&manager(rds(OUTBOUND_ROUTES)))],
    ));
    let mut inbound = listener(
        VIRTUAL_INBOUND,
        15006,
        vec![tls_chain(&["webapp"], &manager(rds(OUTBOUND_ROUTES)))],
    );
    inbound.address = address("0.0.0.0", 15006);
    inbound.traffic_direction = TrafficDirection::Inbound as i32;
    set.insert(&inbound);
    set.insert(&answering("hello"));
    set
}

/// Sends a request of its own connection and returns status and body.
async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    ask_as("shop", address, request).await
}

/// Asks the admin interface as people do: by its address.
async fn ask_admin(address: SocketAddr, request: &str) -> (u16, String) {
    ask_as(&address.to_string(), address, request).await
}

async fn ask_as(host: &str, address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

async fn json(address: SocketAddr, path: &str) -> Value {
    let (status, body) = ask_admin(address, &format!("GET {path}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_sidecar_registers_once_it_serves_reports_and_leaves_before_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    // Without its routes the proxy is not ready, and so no endpoint.
    let mut set = resources();
    set.remove(ResourceType::Route, OUTBOUND_ROUTES);
    let mut plane = plane(set).await;
    let process = Process::new("test");
    let running = start(
        sidecar(directory.path(), plane.address),
        identity(),
        process.clone(),
    )
    .await;
    let running = running.unwrap();
    let ready = running.addresses["ready"];
    let (status, body) = ask(ready, "GET /healthz/ready").await;
    assert!(
        status == 503 && body.contains(crate::control::CONFIGURATION),
        "{status} {body}"
    );

    plane.push(|set| set.insert(&answering("hello")));
    let Seen::Registered(instance) = plane.next().await else {
        panic!("not registered")
    };
    assert!(process.readiness.is_ready());
    assert_eq!(
        ask(ready, "GET /healthz/ready").await,
        (200, "ready\n".to_owned())
    );
    assert_eq!(instance.workload_group, "webapp");
    assert_eq!(instance.name, "webapp-1");
    assert_eq!(instance.address, "127.0.0.1");
    assert_eq!(
        instance.inbound_port,
        u32::from(running.addresses["inbound"].port())
    );
    assert_eq!(
        instance.plain_address,
        running.addresses["plain"].to_string()
    );
    assert_eq!(instance.app_ports, [("http".to_owned(), 8080)].into());

    let outbound = running.addresses["outbound"];
    assert_eq!(running.listeners()[VIRTUAL_OUTBOUND], outbound);
    assert_eq!(ask(outbound, "GET /").await, (200, "hello".to_owned()));
    let Seen::Report(report) = plane.next().await else {
        panic!("no report")
    };
    assert_eq!(
        report.edges.iter().map(|edge| edge.requests).sum::<u64>(),
        1
    );

    assert_eq!(ask(outbound, "GET /").await.0, 200);
    running.drain();
    let wait = tokio::spawn(running.wait());
    let (mut left, mut last_report) = (false, false);
    while !(left && last_report) {
        match plane.next().await {
            Seen::Left => {
                // Others have not heard of it yet: requests are still served.
                assert_eq!(ask(outbound, "GET /").await.0, 200);
                assert!(!process.readiness.is_ready());
                left = true;
            }
            Seen::Report(report) => {
                let requests: u64 = report.edges.iter().map(|edge| edge.requests).sum();
                last_report = requests == 1 && left || requests == 2;
            }
            other => panic!("{other:?}"),
        }
    }
    wait.await.unwrap();
    assert!(TcpStream::connect(outbound).await.is_err());
    assert!(TcpStream::connect(ready).await.is_err());
}

#[tokio::test]
async fn the_workload_is_served_until_the_last_step() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = plane(resources()).await;
    let settings = sidecar(directory.path(), plane.address);
    let mut running = start(settings, identity(), Process::new("test"))
        .await
        .unwrap();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    let [outbound, inbound] = ["outbound", "inbound"].map(|name| running.addresses[name]);
    assert!(TcpStream::connect(inbound).await.is_ok());

    running.deregister().await;
    assert!(matches!(plane.next().await, Seen::Left));
    running.drain_callers(Duration::from_secs(5)).await;
    assert!(TcpStream::connect(inbound).await.is_err());
    assert_eq!(ask(outbound, "GET /").await, (200, "hello".to_owned()));

    running.end(Duration::from_secs(5)).await;
    assert!(TcpStream::connect(outbound).await.is_err());
}

#[tokio::test]
async fn a_broken_lease_is_taken_again_and_kept_alive() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = plane(resources()).await;
    let running = start(
        sidecar(directory.path(), plane.address),
        identity(),
        Process::new("test"),
    )
    .await;
    let running = running.unwrap();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    plane.break_leases();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    tokio::time::pause();
    assert!(matches!(plane.seen.recv().await, Some(Seen::Heartbeat)));
    tokio::time::resume();
    running.drain();
    running.wait().await;
}

#[tokio::test]
async fn a_renewed_certificate_opens_every_stream_anew_before_the_old_ones_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = plane(resources()).await;
    // The less a certificate has left, the sooner its proxy follows a renewal.
    let svid = AUTHORITY.svid("default", "webapp", Duration::from_secs(20));
    let old = svid.not_after;
    let identity = Identity::new(svid, AUTHORITY.bundle());
    let settings = sidecar(directory.path(), plane.address);
    let mut running = start(settings, identity.clone(), Process::new("test"))
        .await
        .unwrap();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    assert_eq!(ask(running.addresses["outbound"], "GET /").await.0, 200);
    let Seen::Report(first) = plane.next().await else {
        panic!("no report")
    };
    let kinds = [
        Protocol::Discovery,
        Protocol::Registration,
        Protocol::Reports,
    ];
    for kind in kinds {
        assert_eq!(plane.turns.recv().await, Some(Turn::Opened(kind, old)));
    }
    let (version, pushed) = (running.snapshots.borrow().version, plane.pushed());
    let mut freshness = running.freshness.clone();
    let away = tokio::spawn(async move {
        freshness
            .wait_for(|now| *now != Freshness::Following)
            .await
            .is_ok()
    });

    let svid = AUTHORITY.svid("default", "webapp", Duration::from_secs(3600));
    let new = svid.not_after;
    identity.replace(svid, AUTHORITY.bundle());
    let mut turns = Vec::new();
    while turns.len() < 2 * kinds.len() {
        turns.push(plane.turns.recv().await.unwrap());
    }
    for kind in kinds {
        let at = |turn| turns.iter().position(|other| *other == turn);
        let (opened, ended) = (Turn::Opened(kind, new), Turn::Ended(kind, old));
        assert!(at(opened).unwrap() < at(ended).unwrap(), "{turns:?}");
    }
    assert!(SystemTime::now() < old, "nothing was cut off");

    // The registry hears of the new stream, then of the old one's end; nobody of a change.
    let mut seen = [plane.next().await, plane.next().await, plane.next().await];
    seen.sort_by_key(|seen| matches!(seen, Seen::Report(_)));
    let [Seen::Registered(_), Seen::Left, Seen::Report(report)] = seen else {
        panic!("{seen:?}")
    };
    // There was nothing to report but the new stream.
    assert_eq!((report.sequence, report.edges.len()), (2, 0));
    assert_eq!((first.sequence, &first.process_id), (1, &report.process_id));
    assert_eq!(plane.pushed(), pushed, "the proxy has what it had");
    assert_eq!(running.snapshots.borrow().version, version);
    assert!(running.has_control_plane() && !away.is_finished());

    // What comes next comes over the new streams.
    plane.push(|set| set.insert(&answering("hello again")));
    running
        .snapshots
        .wait_for(|snapshot| snapshot.version > version)
        .await
        .unwrap();
    let answer = ask(running.addresses["outbound"], "GET /").await;
    assert_eq!(answer, (200, "hello again".to_owned()));
    let Seen::Report(report) = plane.next().await else {
        panic!("no report")
    };
    assert_eq!(report.sequence, 3);
    assert_eq!(report.edges[0].requests, 1);
    running.drain();
    running.wait().await;
}

#[tokio::test]
async fn a_report_without_acknowledgement_is_sent_again_under_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = plane(resources()).await;
    let process = Process::new("test");
    let running = start(
        sidecar(directory.path(), plane.address),
        identity(),
        process,
    )
    .await
    .unwrap();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    plane.acknowledge_reports(false);
    assert_eq!(ask(running.addresses["outbound"], "GET /").await.0, 200);
    let Seen::Report(first) = plane.next().await else {
        panic!("no report")
    };
    let Seen::Report(second) = plane.next().await else {
        panic!("no report")
    };
    assert_eq!(first, second);
    plane.acknowledge_reports(true);
    assert_eq!(ask(running.addresses["outbound"], "GET /").await.0, 200);
    let mut last = second;
    while last.sequence == first.sequence {
        let Seen::Report(report) = plane.next().await else {
            panic!("no report")
        };
        last = report;
    }
    assert_eq!(last.sequence, first.sequence + 1);
    assert_eq!(last.process_id, first.process_id);
    assert_eq!(last.edges.iter().map(|edge| edge.requests).sum::<u64>(), 1);
    running.drain();
    running.wait().await;
}

#[tokio::test]
async fn the_admin_interface_tells_what_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let mut set = resources();
    let mut bad = eds_cluster("bad");
    bad.outlier_detection = Some(Default::default());
    set.insert(&bad);
    let mut plane = plane(set).await;
    let process = Process::new("test");
    let running = start(
        sidecar(directory.path(), plane.address),
        identity(),
        process.clone(),
    )
    .await;
    let running = running.unwrap();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    let admin = running.addresses["admin"];

    let dump = json(admin, "/config_dump").await;
    assert_eq!(dump["controlPlane"]["state"], "following");
    assert_eq!(dump["refused"][0]["name"], "bad");
    assert!(
        dump["refused"][0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("outlier_detection")
    );
    assert!(dump["versions"]["CDS"]["shop"].is_string());
    let route = &dump["routes"][0]["virtualHosts"][0]["routes"][0];
    assert_eq!(route["match"]["prefix"], "/");
    assert_eq!(route["action"]["body"], "hello");
    let listeners = json(admin, "/listeners").await;
    assert_eq!(listeners[0]["name"], VIRTUAL_INBOUND);
    assert_eq!(listeners[0]["chains"][0]["serverName"], "webapp");
    assert_eq!(listeners[0]["chains"][0]["tls"], true);
    let clusters = json(admin, "/clusters").await;
    assert_eq!(clusters[0]["name"], "shop");
    assert_eq!(clusters[0]["endpoints"][0]["address"], "10.0.0.1:80");
    assert_eq!(clusters[0]["endpoints"][0]["activeRequests"], 0);
    let certificate = json(admin, "/certs").await;
    assert_eq!(
        certificate["id"],
        "spiffe://cluster.local/ns/default/sa/webapp"
    );
    assert!(certificate["secondsLeft"].as_u64().unwrap() > 3000);
    assert!(!certificate["serial"].as_str().unwrap().is_empty());
    let all = [dump, clusters, certificate]
        .map(|value| value.to_string())
        .concat();
    assert!(!all.contains("PRIVATE"));

    let (_, metrics) = ask(running.addresses["metrics"], "GET /stats/prometheus").await;
    for metric in [
        "mesh_proxy_xds_connected 1",
        "mesh_proxy_xds_rejections_total{type=\"CDS\"} 1",
        "mesh_proxy_listeners 2",
        "mesh_cert_expiry_seconds",
        "istio_build{",
    ] {
        assert!(
            metrics.contains(metric),
            "{metric} is missing in\n{metrics}"
        );
    }

    // Nothing changes by looking.
    assert_eq!(ask_admin(admin, "GET /drain").await.0, 405);
    // Nor is anything told or changed for a page of somebody else.
    let from_page = "localhost\r\nOrigin: http://pages.example";
    for host in ["pages.example", from_page] {
        for request in ["GET /config_dump", "POST /drain"] {
            let (status, body) = ask_as(host, admin, request).await;
            assert_eq!(status, 403, "{host} {request}: {body}");
        }
    }
    assert!(!process.shutdown.is_triggered());
    assert_eq!(ask_admin(admin, "POST /logging").await.0, 400);
    assert_eq!(
        ask_admin(admin, "POST /logging?level=loud=very").await.0,
        400
    );
    assert!(ask_admin(admin, "GET /").await.1.contains("/config_dump"));
    assert_eq!(ask_admin(admin, "POST /drain").await.0, 202);
    running.wait().await;
}

#[tokio::test]
async fn a_proxy_starts_from_disk_while_the_control_plane_is_away_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = plane(resources()).await;
    let away = plane.address;
    let running = start(
        sidecar(directory.path(), away),
        identity(),
        Process::new("test"),
    )
    .await;
    let running = running.unwrap();
    assert!(matches!(plane.next().await, Seen::Registered(_)));
    running.drain();
    running.wait().await;
    drop(plane);

    let process = Process::new("test");
    let running = start(sidecar(directory.path(), away), identity(), process.clone())
        .await
        .unwrap();
    assert!(process.readiness.is_ready());
    let (status, body) = ask(running.addresses["ready"], "GET /healthz/ready").await;
    assert!(
        status == 200 && body.contains("the control plane is away"),
        "{status} {body}"
    );
    assert_eq!(
        ask(running.addresses["outbound"], "GET /").await,
        (200, "hello".to_owned())
    );
    let dump = json(running.addresses["admin"], "/config_dump").await;
    assert_eq!(dump["controlPlane"]["state"], "away");
    running.drain();
    running.wait().await;
}

#[tokio::test]
async fn whoever_is_not_the_control_plane_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let thief = AUTHORITY.identity("default", "thief");
    let plane = Plane::start(&thief, resources()).await;
    let (events, mut happening) = mpsc::channel(1);
    tokio::spawn(stream::keep_up(
        plane.address.to_string(),
        identity(),
        events,
    ));
    let Some(stream::Event::Down(reason)) = happening.recv().await else {
        panic!("it was believed");
    };
    assert!(reason.contains("sa/thief"), "{reason}");
    drop(directory);
}

#[tokio::test]
async fn a_stream_that_is_closed_ends_and_the_next_one_is_opened() {
    let plane = plane(resources()).await;
    let (events, mut happening) = mpsc::channel(1);
    tokio::spawn(stream::keep_up(
        plane.address.to_string(),
        identity(),
        events,
    ));
    for _ in 0..2 {
        let Some(stream::Event::Up(requests)) = happening.recv().await else {
            panic!("no stream");
        };
        requests.close("nonsense".into());
        let Some(stream::Event::Down(reason)) = happening.recv().await else {
            panic!("it goes on");
        };
        assert_eq!(reason, "nonsense");
    }
}

#[tokio::test]
async fn a_gateway_listens_only_where_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = plane(ResourceSet::new()).await;
    let process = Process::new("test");
    let port_map: PortMap = ["80=127.0.0.1:0"]
        .iter()
        .map(|own| own.parse::<crate::settings::PortMapping>().unwrap())
        .collect();
    let settings = Settings {
        role: Role::Gateway(Gateway { port_map }),
        namespace: "istio-system".into(),
        ..sidecar(directory.path(), plane.address)
    };
    let identity = AUTHORITY.identity("istio-system", "istio-ingressgateway");
    let mut running = start(settings, identity, process.clone()).await.unwrap();
    process.readiness.wait().await;
    assert!(running.listeners().is_empty());
    assert_eq!(
        running.addresses.keys().copied().collect::<Vec<_>>(),
        ["admin", "metrics", "ready"]
    );

    let mut gateway = listener(
        "0.0.0.0_80",
        80,
        vec![chain(&manager(rds(OUTBOUND_ROUTES)))],
    );
    gateway.address = address("0.0.0.0", 80);
    plane.push(|set| {
        set.insert(&gateway);
        set.insert(&answering("edge"));
    });
    running
        .snapshots
        .wait_for(|snapshot| !snapshot.listeners.is_empty())
        .await
        .unwrap();
    let address = running.listeners()["0.0.0.0_80"];
    assert_eq!(ask(address, "GET /").await, (200, "edge".to_owned()));
    assert!(
        matches!(plane.next().await, Seen::Report(_)),
        "a gateway registers nowhere"
    );
    plane.push(|set| *set = ResourceSet::new());
    running
        .snapshots
        .wait_for(|snapshot| snapshot.listeners.is_empty())
        .await
        .unwrap();
    running.drain();
    running.wait().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn mistakes_are_named_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let try_with = async |change: &dyn Fn(&mut Settings)| {
        let mut settings = sidecar(directory.path(), ANY);
        change(&mut settings);
        start(settings, identity(), Process::new("test"))
            .await
            .unwrap_err()
            .to_string()
    };
    let error = try_with(&|settings| settings.namespace = "other".into()).await;
    assert!(
        error.contains("--namespace") && error.contains("sa/webapp"),
        "{error}"
    );
    let error = try_with(&|settings| settings.listen_admin.set_ip([0, 0, 0, 0].into())).await;
    assert!(error.contains("--listen-admin"), "{error}");
    let busy = std::net::TcpListener::bind(ANY).unwrap();
    let busy = busy.local_addr().map(|address| (busy, address)).unwrap();
    let error = try_with(&|settings| {
        if let Role::Sidecar(sidecar) = &mut settings.role {
            sidecar.listen_inbound = busy.1;
        }
    })
    .await;
    assert!(
        error.contains("--listen-inbound") && error.contains(&busy.1.to_string()),
        "{error}"
    );
    let error = try_with(&|settings| settings.listen_ready = busy.1).await;
    assert!(error.contains("--listen-ready"), "{error}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = try_with(&|settings| settings.state_dir = file.join("below")).await;
    assert!(error.contains("--state-dir"), "{error}");
}
