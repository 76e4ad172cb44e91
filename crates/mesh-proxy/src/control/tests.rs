//! The loop against the control plane's own state machine, without a network and with a paused clock.

use std::net::SocketAddr;
use std::path::Path;

use mesh_process::Process;
use mesh_xds::ResourceSet;
use mesh_xds::envoy::listener::Listener as ListenerMessage;
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::server::{DeltaSession, Limits, Sync};

use super::*;
use crate::control::sockets::Places;
use crate::control::stream::Asked;
use crate::settings::PortMapping;
use crate::snapshot::Action;
use crate::snapshot::samples::{
    AUTHORITY, assignment, chain, context, eds_cluster, endpoint, listener, manager, rds, routes,
    static_cluster,
};

/// A control loop and the control plane that it follows.
struct Mesh {
    session: DeltaSession,
    set: ResourceSet,
    events: mpsc::Sender<Event>,
    requests: Option<Asked>,
    questions: Questions,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    freshness: watch::Receiver<Freshness>,
    process: Process,
    stop: Shutdown,
    run: JoinHandle<()>,
    /// Looked at after each step: routes that name a cluster without endpoints.
    broken: Vec<String>,
}

fn node() -> Node {
    let metadata = NodeMetadata {
        kind: ProxyKind::Gateway,
        address: String::new(),
        namespace: "istio-system".into(),
        workload_group: String::new(),
        workload_name: "gateway".into(),
        app_ports: BTreeMap::new(),
        plain_listener: false,
        listen_services: false,
        metrics_address: String::new(),
        locality: mesh_xds::Locality::default(),
        version: "1".into(),
    };
    metadata.to_node()
}

impl Mesh {
    /// Starts the loop; listeners on port 80 are bound at `port_80`.
    fn start(directory: &Path, port_80: SocketAddr) -> Self {
        let mapping: PortMapping = format!("80={port_80}").parse().unwrap();
        Self::start_at(directory, Places::Mapped([mapping].into_iter().collect()))
    }

    fn start_at(directory: &Path, places: Places) -> Self {
        let process = Process::new("test");
        let freshness = watch::Sender::new(Freshness::Never);
        let identity = AUTHORITY.identity("istio-system", "gateway");
        let (publish, snapshots) = watch::channel(Arc::default());
        let (registry, freshness_of) = (&process.registry, freshness.subscribe());
        let metrics =
            Metrics::register(registry, identity, freshness_of, snapshots.clone()).unwrap();
        let parts = Parts {
            lookup: resolve::system(),
            context: context(),
            sockets: Sockets::new(places, 2),
            cache: Cache::new(directory, &node().id),
            snapshots: publish,
            freshness: freshness.clone(),
            readiness: process.readiness.clone(),
            telemetry: Telemetry::new(&process.registry).unwrap(),
            metrics,
        };
        let (events, happening) = mpsc::channel(16);
        let (questions, asked) = mpsc::channel(1);
        let stop = Shutdown::new();
        let run = Control::new(parts, node()).run(happening, asked, stop.clone());
        Self {
            session: DeltaSession::new(ResourceSet::new(), Limits::default()),
            set: ResourceSet::new(),
            events,
            requests: None,
            questions,
            snapshots,
            freshness: freshness.subscribe(),
            process,
            stop,
            run: tokio::spawn(run),
            broken: Vec::new(),
        }
    }

    async fn connect(&mut self) {
        self.session = DeltaSession::new(self.set.clone(), Limits::default());
        let (requests, asked) = Requests::channel();
        self.requests = Some(asked);
        self.events.send(Event::Up(requests)).await.unwrap();
        self.settle().await;
    }

    async fn lose(&mut self, reason: &str) {
        self.requests = None;
        self.events
            .send(Event::Down(reason.to_owned()))
            .await
            .unwrap();
        self.settle().await;
    }

    /// What the proxy should have from now on.
    async fn push(&mut self, change: impl FnOnce(&mut ResourceSet)) {
        change(&mut self.set);
        let responses = self
            .session
            .on_resources(self.set.clone(), SystemTime::now());
        self.send(responses).await;
        self.settle().await;
    }

    async fn send(&mut self, responses: Vec<DeltaDiscoveryResponse>) {
        for response in responses {
            self.events
                .send(Event::Response(Box::new(response)))
                .await
                .unwrap();
            self.view().await;
            self.look();
        }
    }

    /// Lets both ends say all that they have to say.
    async fn settle(&mut self) {
        loop {
            self.view().await;
            self.look();
            let Some(request) = self.requests.as_mut().and_then(|(r, _)| r.try_recv().ok()) else {
                return;
            };
            let responses = self
                .session
                .on_request(&request, SystemTime::now())
                .unwrap();
            self.send(responses).await;
        }
    }

    /// What is in force, once the loop has seen all events.
    async fn view(&self) -> View {
        let (question, answer) = oneshot::channel();
        self.questions.send(question).await.unwrap();
        answer.await.unwrap()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn targets(&self) -> Vec<String> {
        targets(&self.snapshot())
    }

    fn look(&mut self) {
        let snapshot = self.snapshot();
        for target in targets(&snapshot) {
            if snapshot
                .clusters
                .get(&*target)
                .is_none_or(|cluster| cluster.endpoints.is_empty())
            {
                self.broken.push(target);
            }
        }
    }

    fn rejection(&self, kind: ResourceType) -> Option<String> {
        let status = self.session.status();
        let (_, status) = status.iter().find(|(of, _)| *of == kind).unwrap();
        let rejection = status
            .rejection
            .as_ref()
            .filter(|_| status.sync == Sync::Rejected);
        rejection.map(|rejection| rejection.message.clone())
    }

    async fn end(self) {
        self.stop.trigger();
        self.run.await.unwrap();
    }
}

/// Where requests to the listener `l` go.
fn targets(snapshot: &Snapshot) -> Vec<String> {
    let listener = snapshot.listeners.get("l");
    let any = listener.and_then(|listener| listener.chain_for(None)?.router()?.any.clone());
    let routes = any.map(|host| host.routes.clone()).unwrap_or_default();
    let names = routes.iter().flat_map(|route| match &route.action {
        Action::Forward(forward) => forward
            .split
            .targets
            .iter()
            .map(|(name, _)| name.to_string())
            .collect(),
        Action::Direct { .. } | Action::Redirect(_) => vec![],
    });
    names.collect()
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn edge() -> ListenerMessage {
    listener("l", 80, vec![chain(&manager(rds("r")))])
}

/// A service `name` with one endpoint, and all traffic to it.
fn serve(set: &mut ResourceSet, name: &str) {
    set.insert(&eds_cluster(name));
    set.insert(&assignment(name, vec![endpoint("10.0.0.1", 80)]));
    set.insert(&edge());
    set.insert(&routes("r", &[(name, 1)]));
}

#[tokio::test(start_paused = true)]
async fn the_first_configuration_makes_it_ready() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    assert_eq!(mesh.process.readiness.pending(), [CONFIGURATION]);
    mesh.connect().await;
    assert_eq!(mesh.targets(), ["v1"]);
    assert!(mesh.process.readiness.is_ready());
    assert_eq!(*mesh.freshness.borrow(), Freshness::Following);
    assert!(
        mesh.session
            .status()
            .iter()
            .filter(|(kind, _)| *kind != ResourceType::Secret)
            .all(|(_, status)| status.sync == Sync::Synced)
    );
    assert_eq!(mesh.broken, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_to_serve_is_a_configuration_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    mesh.connect().await;
    assert!(mesh.process.readiness.is_ready());
    assert!(mesh.snapshot().listeners.is_empty());
}

#[tokio::test(start_paused = true)]
async fn canary_steps_never_name_a_cluster_without_endpoints() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v0");
    mesh.connect().await;
    for step in 1..20 {
        let (old, new) = (format!("v{}", step - 1), format!("v{step}"));
        mesh.push(|set| {
            set.remove(ResourceType::Cluster, &old);
            set.remove(ResourceType::Endpoint, &old);
            serve(set, &new);
        })
        .await;
        assert_eq!(mesh.targets(), [new]);
    }
    assert_eq!(mesh.broken, [""; 0]);
    assert_eq!(mesh.snapshot().clusters.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_bad_resource_is_refused_by_name_and_the_rest_applies() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    mesh.push(|set| {
        let mut bad = eds_cluster("v1");
        bad.outlier_detection = Some(Default::default());
        set.insert(&bad);
        set.insert(&static_cluster("v2", 80));
    })
    .await;
    assert!(mesh.snapshot().clusters.contains_key("v2"));
    assert_eq!(
        mesh.snapshot().clusters["v1"].endpoints.len(),
        1,
        "its last good version"
    );
    let reason = mesh.rejection(ResourceType::Cluster).unwrap();
    assert!(reason.contains("v1: outlier_detection"), "{reason}");
    let metrics = mesh.process.registry.gather();
    let refused = metrics
        .iter()
        .find(|m| m.name() == "mesh_proxy_xds_rejections_total")
        .unwrap();
    let sum: f64 = refused
        .get_metric()
        .iter()
        .map(|metric| metric.get_counter().get_value())
        .sum();
    assert_eq!(sum as u32, 1);

    mesh.push(|set| serve(set, "v1")).await;
    assert_eq!(mesh.rejection(ResourceType::Cluster), None);
}

#[tokio::test(start_paused = true)]
async fn a_busy_port_is_refused_and_taken_once_it_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind(any_port()).unwrap();
    let busy = other.local_addr().unwrap();
    let mut mesh = Mesh::start(directory.path(), busy);
    serve(&mut mesh.set, "v1");
    mesh.set
        .insert(&listener("good", 0, vec![chain(&manager(rds("r")))]));
    mesh.connect().await;
    let reason = mesh.rejection(ResourceType::Listener).unwrap();
    assert!(
        reason.contains(&format!("l: address: cannot listen on {busy}")),
        "{reason}"
    );
    assert!(mesh.snapshot().listeners.contains_key("good"));
    assert!(mesh.view().await.unbound.contains_key("l"));
    assert!(!mesh.process.readiness.is_ready());

    drop(other);
    mesh.snapshots
        .wait_for(|snapshot| snapshot.listeners.contains_key("l"))
        .await
        .unwrap();
    assert_eq!(mesh.snapshot().listeners["l"].address, busy);
    assert!(mesh.view().await.unbound.is_empty());
    assert!(mesh.process.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_is_ready_without_a_listener_whose_port_is_busy() {
    let directory = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind(any_port()).unwrap();
    let busy = other.local_addr().unwrap();
    let mut mesh = Mesh::start_at(directory.path(), Places::Fixed(BTreeMap::new()));
    serve(&mut mesh.set, "v1");
    let service = listener("service", busy.port(), vec![chain(&manager(rds("r")))]);
    mesh.set.insert(&service);
    mesh.set
        .insert(&listener("l", 0, vec![chain(&manager(rds("r")))]));
    mesh.connect().await;
    let reason = mesh.rejection(ResourceType::Listener).unwrap();
    assert!(reason.contains(&busy.to_string()), "{reason}");
    assert!(mesh.snapshot().listeners.contains_key("l"));
    assert!(mesh.process.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_changes_nothing_and_the_next_one_brings_differences_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    let before = mesh.snapshot();
    mesh.lose("gone").await;
    mesh.lose("gone").await;
    assert!(matches!(*mesh.freshness.borrow(), Freshness::AwaySince(_)));
    assert!(Arc::ptr_eq(&before, &mesh.snapshot()));
    assert!(mesh.process.readiness.is_ready());

    mesh.set.insert(&static_cluster("more", 80));
    mesh.connect().await;
    assert_eq!(*mesh.freshness.borrow(), Freshness::Following);
    let after = mesh.snapshot();
    assert!(after.clusters.contains_key("more"));
    assert!(Arc::ptr_eq(&before.clusters["v1"], &after.clusters["v1"]));
    assert!(Arc::ptr_eq(&before.listeners["l"], &after.listeners["l"]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_the_protocol_is_closed_and_no_longer_listened_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    let nonsense = DeltaDiscoveryResponse {
        type_url: "type.googleapis.com/never.asked.For".into(),
        ..Default::default()
    };
    mesh.send(vec![nonsense]).await;
    let (_, closed) = mesh.requests.take().unwrap();
    let reason = closed.await.unwrap();
    assert!(reason.contains("never.asked.For"), "{reason}");
    mesh.push(|set| serve(set, "v2")).await;
    assert_eq!(mesh.targets(), ["v1"], "what came on the closed stream");

    mesh.lose(&reason).await;
    mesh.connect().await;
    assert_eq!(*mesh.freshness.borrow(), Freshness::Following);
    assert!(mesh.snapshot().clusters.contains_key("v2"));
}

#[tokio::test(start_paused = true)]
async fn routes_do_not_wait_forever_for_endpoints() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    // The control plane has nothing to say about these endpoints, not even that there are none.
    mesh.requests = None;
    let mut only = ResourceSet::new();
    only.insert(&eds_cluster("v2"));
    only.insert(&routes("r", &[("v2", 1)]));
    for kind in [ResourceType::Cluster, ResourceType::Route] {
        let resources = only
            .iter(kind)
            .map(|resource| mesh_xds::envoy::discovery::Resource {
                name: resource.name.clone(),
                version: resource.version.clone(),
                resource: Some(resource.any.clone()),
                ..Default::default()
            });
        let response = DeltaDiscoveryResponse {
            type_url: kind.type_url().into(),
            resources: resources.collect(),
            ..Default::default()
        };
        mesh.events
            .send(Event::Response(Box::new(response)))
            .await
            .unwrap();
    }
    let view = mesh.view().await;
    assert_eq!(view.linked.waiting.len(), 1);
    assert_eq!(mesh.targets(), ["v1"]);
    let began = tokio::time::Instant::now();
    mesh.snapshots
        .wait_for(|snapshot| targets(snapshot) == ["v2"])
        .await
        .unwrap();
    assert_eq!(
        began.elapsed().as_secs(),
        crate::snapshot::link::WARMING.as_secs()
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_serves_from_disk_while_the_control_plane_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    let set = mesh.set.clone();
    mesh.end().await;

    let mut mesh = Mesh::start(directory.path(), any_port());
    mesh.view().await;
    assert!(matches!(*mesh.freshness.borrow(), Freshness::AwaySince(_)));
    assert!(mesh.process.readiness.is_ready());
    assert_eq!(mesh.targets(), ["v1"]);
    assert_eq!(mesh.snapshot().clusters["v1"].endpoints.len(), 1);
    let before = mesh.snapshot();

    mesh.set = set;
    mesh.set.remove(ResourceType::Listener, "l");
    mesh.set.insert(&static_cluster("more", 80));
    mesh.connect().await;
    assert_eq!(*mesh.freshness.borrow(), Freshness::Following);
    assert!(
        mesh.snapshot().listeners.is_empty(),
        "it went while we were away"
    );
    assert!(Arc::ptr_eq(
        &before.clusters["v1"],
        &mesh.snapshot().clusters["v1"]
    ));
    assert!(mesh.snapshot().clusters.contains_key("more"));
}

#[tokio::test(start_paused = true)]
async fn changes_reach_the_disk_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    let cache = Cache::new(directory.path(), &node().id);
    // The clock stands still while the file is written, so time has to be given.
    for _ in 0..100 {
        tokio::time::sleep(SAVE_AFTER).await;
        if cache.load().is_some() {
            break;
        }
    }
    assert_eq!(
        cache.load().unwrap().resources.len(ResourceType::Cluster),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn another_stream_takes_over_without_an_interruption() {
    let directory = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    let before = mesh.snapshot();
    let mut freshness = mesh.freshness.clone();
    let away = tokio::spawn(async move {
        let away = freshness.wait_for(|now| *now != Freshness::Following);
        away.await.is_ok()
    });

    let (_old, old_is_open) = mesh.requests.take().unwrap();
    mesh.connect().await;
    assert!(Arc::ptr_eq(&before, &mesh.snapshot()), "nothing was sent");
    assert!(
        old_is_open.await.is_err(),
        "nothing is asked of it any more"
    );
    mesh.push(|set| serve(set, "v2")).await;
    assert_eq!(mesh.targets(), ["v2"]);
    assert_eq!(*mesh.freshness.borrow(), Freshness::Following);
    assert!(!away.is_finished());
    mesh.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_means_a_start_from_nothing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("resources.pb"), "nonsense").unwrap();
    let mut mesh = Mesh::start(directory.path(), any_port());
    mesh.view().await;
    assert!(!mesh.process.readiness.is_ready());
    assert_eq!(*mesh.freshness.borrow(), Freshness::Never);
    serve(&mut mesh.set, "v1");
    mesh.connect().await;
    assert_eq!(mesh.targets(), ["v1"]);
}
