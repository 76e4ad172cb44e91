//! Leases with a clock that the tests hold, and who may have one.

use std::collections::HashMap;

use mesh_identity::{SpiffeId, TrustDomain};
use mesh_xds::mesh;
use tokio::time::{advance, pause};
use tonic::Code;

use super::*;

const GROUP: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web-v1, namespace: shop}
spec: {template: {serviceAccount: web}}
";

fn config(text: &str) -> Config {
    let objects = mesh_config::parse(Path::new("test.yaml"), text).unwrap();
    objects.into_iter().map(|one| one.object).collect()
}

fn message(name: &str) -> mesh::Instance {
    mesh::Instance {
        namespace: "shop".to_owned(),
        workload_group: "web-v1".to_owned(),
        name: name.to_owned(),
        address: "10.0.0.1".to_owned(),
        inbound_port: 15006,
        app_ports: HashMap::from([("http".to_owned(), 8080)])
            .into_iter()
            .collect(),
        plain_address: String::new(),
        process_id: "first life".to_owned(),
    }
}

fn peer(namespace: &str, account: &str) -> SpiffeId {
    let domain = TrustDomain::new("cluster.local").unwrap();
    SpiffeId::workload(&domain, namespace, account).unwrap()
}

fn registered(name: &str) -> Registered {
    admit(&config(GROUP), &peer("shop", "web"), message(name)).unwrap()
}

fn names(registry: &Registry) -> Vec<String> {
    let instances = registry.instances(&config(GROUP));
    instances
        .into_iter()
        .map(|instance| instance.name)
        .collect()
}

/// A registry whose leases run, and what stops it.
fn running(state: &Path) -> (Arc<Registry>, Shutdown, tokio::task::JoinHandle<()>) {
    let registry = Registry::open(state, Events::new()).unwrap();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(Arc::clone(&registry).run(shutdown.clone()));
    (registry, shutdown, task)
}

#[test]
fn only_members_of_the_group_are_admitted() {
    let config = config(GROUP);
    let code =
        |peer: &SpiffeId, instance| admit(&config, peer, instance).map_err(|status| status.code());
    let own = peer("shop", "web");
    assert!(code(&own, message("a")).is_ok());

    let refused = admit(&config, &peer("shop", "other"), message("a")).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("web") && refused.message().contains("other"));
    assert_eq!(
        code(&peer("default", "web"), message("a")),
        Err(Code::PermissionDenied)
    );

    let mut unknown = message("a");
    unknown.workload_group = "web-v2".to_owned();
    let refused = admit(&config, &own, unknown).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(
        refused.message().contains("shop/web-v2"),
        "{}",
        refused.message()
    );
}

#[test]
fn fields_that_cannot_be_are_refused() {
    type Change = fn(&mut mesh::Instance);
    let changes: [Change; 11] = [
        |it| it.name = String::new(),
        |it| it.name = "../x".to_owned(),
        |it| it.namespace = "Shop".to_owned(),
        |it| it.address = String::new(),
        |it| it.address = "0.0.0.0".to_owned(),
        |it| it.address = "a b".to_owned(),
        |it| it.inbound_port = 0,
        |it| it.inbound_port = 65536,
        |it| it.app_ports = [("http".to_owned(), 0)].into_iter().collect(),
        |it| it.plain_address = "10.0.0.1".to_owned(),
        |it| it.plain_address = "0.0.0.0:80".to_owned(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut instance = message("a");
        change(&mut instance);
        let refused = admit(&config(GROUP), &peer("shop", "web"), instance).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "change {number}");
    }
    for address in ["10.0.0.1", "::1", "web-1.example.org"] {
        let mut instance = message("a");
        instance.address = address.to_owned();
        instance.plain_address = "127.0.0.1:8080".to_owned();
        assert!(
            admit(&config(GROUP), &peer("shop", "web"), instance).is_ok(),
            "{address}"
        );
    }
}

#[tokio::test]
async fn a_lease_lives_as_long_as_it_is_renewed() {
    pause();
    let state = tempfile::tempdir().unwrap();
    let (registry, ..) = running(state.path());
    let mut changes = registry.subscribe();
    let a = registered("a");
    let stream = registry.register(&a).unwrap();
    for _ in 0..5 {
        advance(LEASE - Duration::from_secs(1)).await;
        registry.heartbeat(stream, &a);
        assert_eq!(names(&registry), ["a"]);
    }
    changes.mark_unchanged();
    let silent_since = Instant::now();
    changes.changed().await.unwrap();
    assert!(names(&registry).is_empty());
    let silent = silent_since.elapsed();
    assert!(
        silent >= LEASE && silent <= Duration::from_secs(15),
        "{silent:?}"
    );

    // A stream that is heard of again is taken back.
    registry.heartbeat(stream, &a);
    assert_eq!(names(&registry), ["a"]);
}

#[tokio::test]
async fn a_clean_end_takes_the_instance_away_at_once_and_a_broken_one_does_not() {
    pause();
    let state = tempfile::tempdir().unwrap();
    let (registry, ..) = running(state.path());
    let mut changes = registry.subscribe();
    let (a, b) = (registered("a"), registered("b"));
    let stream_a = registry.register(&a).unwrap();
    let stream_b = registry.register(&b).unwrap();
    registry.leave(stream_a, &a);
    assert_eq!(names(&registry), ["b"]);

    registry.broken(stream_b, &b);
    assert_eq!(names(&registry), ["b"]);
    changes.mark_unchanged();
    // It comes back in time, on another stream.
    advance(LEASE - Duration::from_secs(1)).await;
    let again = registry.register(&b).unwrap();
    assert!(
        !changes.has_changed().unwrap(),
        "for others nothing happened"
    );
    registry.leave(stream_b, &b);
    assert_eq!(
        names(&registry),
        ["b"],
        "the old stream means nothing any more"
    );
    registry.broken(again, &b);
    changes.changed().await.unwrap();
    assert!(names(&registry).is_empty());
}

#[tokio::test]
async fn a_second_process_of_a_name_replaces_the_first() {
    pause();
    let state = tempfile::tempdir().unwrap();
    let (registry, ..) = running(state.path());
    let first = registered("a");
    let mut second = registered("a");
    second.instance.address = "10.0.0.2".to_owned();
    let address = |registry: &Registry| {
        let instances = registry.instances(&config(GROUP));
        instances
            .into_iter()
            .map(|instance| instance.address)
            .collect::<Vec<_>>()
    };

    let old = registry.register(&first).unwrap();
    let new = registry.register(&second).unwrap();
    assert_eq!(address(&registry), ["10.0.0.2"]);
    registry.heartbeat(old, &first);
    registry.leave(old, &first);
    registry.broken(old, &first);
    assert_eq!(address(&registry), ["10.0.0.2"]);
    // When the name is free again, whoever still lives has it.
    registry.leave(new, &second);
    registry.heartbeat(old, &first);
    assert_eq!(address(&registry), ["10.0.0.1"]);
}

#[tokio::test]
async fn an_instance_that_renews_its_stream_never_leaves() {
    pause();
    let state = tempfile::tempdir().unwrap();
    let (registry, ..) = running(state.path());
    let mut changes = registry.subscribe();
    let a = registered("a");
    let old = registry.register(&a).unwrap();
    changes.mark_unchanged();
    advance(LEASE - Duration::from_secs(1)).await;
    let new = registry.register(&a).unwrap();
    registry.leave(old, &a);
    advance(LEASE - Duration::from_secs(1)).await;
    registry.heartbeat(new, &a);
    registry.expire();
    assert_eq!(names(&registry), ["a"]);
    assert!(
        !changes.has_changed().unwrap(),
        "for others nothing happened"
    );
    let told: Vec<&str> = registry
        .events
        .since(0)
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(told, ["workload-joined"]);
    // It is the newest stream's to leave.
    registry.leave(new, &a);
    assert!(names(&registry).is_empty());
}

#[tokio::test]
async fn instances_survive_a_restart_and_have_a_grace_to_come_back() {
    pause();
    let state = tempfile::tempdir().unwrap();
    let (registry, shutdown, task) = running(state.path());
    registry.register(&registered("a")).unwrap();
    registry.register(&registered("b")).unwrap();
    shutdown.trigger();
    task.await.unwrap();
    drop(registry);

    let (registry, ..) = running(state.path());
    let mut changes = registry.subscribe();
    assert_eq!(names(&registry), ["a", "b"], "at once");
    changes.mark_unchanged();
    let a = registered("a");
    let stream = registry.register(&a).unwrap();
    let started = Instant::now();
    let heartbeats = async {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            registry.heartbeat(stream, &a);
        }
    };
    tokio::select! {
        () = heartbeats => {}
        changed = changes.changed() => changed.unwrap(),
    }
    assert_eq!(names(&registry), ["a"]);
    assert!(started.elapsed() >= GRACE);
}

#[tokio::test]
async fn registrations_reach_the_disk_soon() {
    let state = tempfile::tempdir().unwrap();
    let (registry, shutdown, task) = running(state.path());
    registry.register(&registered("a")).unwrap();
    shutdown.trigger();
    task.await.unwrap();
    let text = std::fs::read_to_string(state.path().join("registry.json")).unwrap();
    assert!(text.contains("\"inboundPort\": 15006"), "{text}");

    std::fs::write(state.path().join("registry.json"), &text[..text.len() / 2]).unwrap();
    let error = Registry::open(state.path(), Events::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("registry.json is damaged"), "{error}");
    assert!(error.contains("remove it"), "{error}");
}

#[tokio::test]
async fn an_instance_is_there_only_while_its_group_is() {
    let state = tempfile::tempdir().unwrap();
    let (registry, ..) = running(state.path());
    registry.register(&registered("a")).unwrap();
    assert_eq!(registry.instances(&config(GROUP)).len(), 1);
    assert_eq!(registry.instances(&Config::default()).len(), 0);
    let moved = config(&GROUP.replace("serviceAccount: web", "serviceAccount: other"));
    assert_eq!(registry.instances(&moved).len(), 0);
    assert_eq!(registry.len(), 1, "the lease itself goes on");
}

#[tokio::test]
async fn an_agent_that_was_started_again_before_it_was_missed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Events::new()).unwrap();
    let before = registered("a");
    let old = registry.register(&before).unwrap();
    let after = Registered {
        process_id: "second life".to_owned(),
        ..before.clone()
    };
    registry.register(&after).unwrap();
    let events = registry.events.since(0);
    let last = events.last().expect("it joined and came back");
    assert_eq!(last.kind.as_str(), "workload-back");
    // The end of the earlier life comes late, and is nobody's.
    registry.broken(old, &before);
    assert_eq!(registry.events.since(0).len(), events.len());
    assert_eq!(names(&registry), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_pushes_out_an_instance_of_another_account() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Events::new()).unwrap();
    let victim = registered("a");
    registry.register(&victim).unwrap();
    let thief = Registered {
        service_account: "thief".into(),
        ..victim.clone()
    };
    let refused = registry.register(&thief).unwrap_err().to_string();
    assert!(refused.contains("--workload-name"), "{refused}");
    // A second process of the same workload may.
    registry.register(&victim).unwrap();
}

#[tokio::test]
async fn what_becomes_of_an_instance_is_told_with_its_reason() {
    let state = tempfile::tempdir().unwrap();
    let events = Events::new();
    let earlier = vec![registered("earlier"), registered("known")];
    write_json(&state.path().join("registry.json"), &earlier).unwrap();
    let registry = Registry::open(state.path(), events.clone()).unwrap();
    // It was there all the time.
    let known = registered("known");
    let of_known = registry.register(&known).unwrap();
    let (broken, silent) = (registered("broken"), registered("silent"));
    let stream = registry.register(&broken).unwrap();
    registry.register(&silent).unwrap();
    registry.broken(stream, &broken);
    // Only the first end of a stream means something.
    registry.broken(stream, &broken);
    pause();
    advance(GRACE).await;
    registry.heartbeat(of_known, &known);
    registry.expire();
    let told: Vec<(&str, String)> = events
        .since(0)
        .into_iter()
        .map(|event| (event.kind.as_str(), event.message))
        .collect();
    let told: Vec<(&str, &str)> = told
        .iter()
        .map(|(kind, message)| (*kind, message.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("workload-joined", "broken (shop) has joined the mesh"),
            ("workload-joined", "silent (shop) has joined the mesh"),
            (
                "workload-lost",
                "the connection to the agent of broken (shop) broke; the workload stays a destination for up to 10 s while it may come back"
            ),
            (
                "workload-gone",
                "broken (shop) is gone: its agent's connection broke and it did not come back within 10 s"
            ),
            (
                "workload-gone",
                "earlier (shop) is gone: it did not come back within 15 s of mesh-api's start"
            ),
            (
                "workload-gone",
                "silent (shop) is gone: its agent was not heard of for 10 s"
            ),
        ]
    );
}
