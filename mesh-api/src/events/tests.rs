//! The list's promises: bounded, readable when something flaps, followed without gaps.

use std::collections::BTreeMap;

use mesh_xds::node::{NodeMetadata, ProxyKind};

use super::*;

const START: Duration = Duration::from_secs(1_000_000);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + START + Duration::from_secs(seconds)
}

fn subjects(events: &Events) -> Vec<String> {
    let all = events.since(0).into_iter();
    all.map(|event| event.subject).collect()
}

#[test]
fn who_follows_misses_nothing_and_gets_nothing_twice() {
    let events = Events::new();
    let last = events.last();
    let before = *last.borrow();
    events.record(EventKind::WorkloadJoined, "a/one", "one has joined");
    events.record(EventKind::WorkloadJoined, "a/two", "two has joined");
    let all = events.since(before);
    let ids: Vec<u64> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids, [before + 1, before + 2]);
    assert_eq!(*last.borrow(), before + 2);
    assert!(last.has_changed().unwrap());
    let newer = events.since(before + 1);
    assert_eq!(newer.len(), 1);
    assert_eq!(newer[0].message, "two has joined");
    assert_eq!(events.since(before + 2), []);
    assert_eq!(events.since(u64::MAX), []);
}

#[test]
fn ids_grow_across_restarts_and_stay_whole_in_javascript() {
    let first = *Events::new().last().borrow();
    assert!(first > 1_600_000_000_000);
    assert!(first < 1 << 53);
    assert!(*Events::new().last().borrow() >= first);
}

#[test]
fn what_happens_again_at_once_is_counted() {
    let events = Events::new();
    events.record_at(at(0), EventKind::WorkloadLost, "a/one", "lost");
    events.record_at(at(1), EventKind::WorkloadLost, "a/two", "lost");
    events.record_at(at(2), EventKind::WorkloadBack, "a/one", "back");
    events.record_at(at(59), EventKind::WorkloadLost, "a/one", "lost again");
    let all = events.since(0);
    assert_eq!(subjects(&events), ["a/two", "a/one", "a/one"]);
    let again = all.last().unwrap();
    assert_eq!(again.kind, EventKind::WorkloadLost);
    assert_eq!((again.count, again.message.as_str()), (2, "lost again"));
    assert_eq!((again.first, again.time), (at(0), at(59)));

    // After a while it is news again.
    events.record_at(at(119), EventKind::WorkloadLost, "a/one", "lost");
    assert_eq!(events.since(again.id).len(), 1);
    assert_eq!(events.since(again.id)[0].count, 1);
    assert_eq!(subjects(&events).len(), 4);

    // A clock that was set back makes no difference.
    events.record_at(at(100), EventKind::WorkloadLost, "a/one", "lost");
    assert_eq!(events.since(0).last().unwrap().count, 2);
}

#[test]
fn what_flaps_for_days_leaves_room_for_the_others() {
    let events = Events::new();
    events.record_at(at(0), EventKind::ObjectChanged, "Service/a/b", "changed");
    for round in 1..5000 {
        let kind = if round % 2 == 0 {
            EventKind::WorkloadLost
        } else {
            EventKind::WorkloadBack
        };
        events.record_at(at(round * 100), kind, "a/flapping", "flaps");
    }
    let subjects = subjects(&events);
    assert_eq!(subjects.len(), 1 + KEPT_OF_ONE);
    assert_eq!(subjects[0], "Service/a/b");
    // The newest ones are kept, in order.
    let times: Vec<SystemTime> = events.since(0).iter().map(|event| event.time).collect();
    assert!(times.is_sorted());
    assert_eq!(*times.last().unwrap(), at(4999 * 100));
}

#[test]
fn the_list_is_bounded() {
    let events = Events::new();
    for number in 0..=KEPT {
        events.record(EventKind::WorkloadJoined, &format!("a/{number}"), "joined");
    }
    let subjects = subjects(&events);
    assert_eq!(subjects.len(), KEPT);
    assert_eq!(subjects[0], "a/1");

    let long = "ä".repeat(LONGEST_MESSAGE);
    events.record(EventKind::ConfigurationRejected, &long, &long);
    let all = events.since(0);
    let last = all.last().unwrap();
    assert!(last.message.len() <= LONGEST_MESSAGE + "…".len());
    assert!(last.message.ends_with("ä…"));
    assert!(last.subject.len() <= LONGEST_SUBJECT + "…".len());
}

#[test]
fn one_large_write_is_one_event() {
    use mesh_config::model::{Kind, ObjectKey};

    let keys: Vec<ObjectKey> = (0..200)
        .map(|number| ObjectKey {
            kind: Kind::Service,
            namespace: "shop".to_owned(),
            name: format!("s{number}"),
        })
        .collect();
    let events = Events::new();
    let changes: Vec<_> = keys
        .iter()
        .map(|key| (key, EventKind::ObjectCreated))
        .collect();
    events.objects(&changes, "over the config API");
    events.objects(&changes[..1], "over the config API");
    let messages: Vec<String> = events
        .since(0)
        .into_iter()
        .map(|event| event.message)
        .collect();
    assert_eq!(
        messages,
        [
            "200 objects changed over the config API: 200 created, 0 changed, 0 deleted",
            "Service shop/s0 was created over the config API",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_after_a_restart_is_counted_in_one_event() {
    let node = |name: &str| NodeMetadata {
        kind: ProxyKind::Sidecar,
        address: String::new(),
        namespace: "shop".to_owned(),
        workload_group: String::new(),
        workload_name: name.to_owned(),
        app_ports: BTreeMap::new(),
        plain_listener: false,
        listen_services: false,
        metrics_address: String::new(),
        locality: mesh_xds::Locality::default(),
        version: String::new(),
    };
    let events = Events::new();
    events.started(3, 2);
    events.connected(&node("web-1"));
    events.connected(&node("web-2"));
    tokio::time::advance(crate::registry::GRACE).await;
    events.connected(&node("web-3"));
    let told: Vec<(String, u32)> = events
        .since(0)
        .into_iter()
        .map(|event| (event.subject, event.count))
        .collect();
    let expected = [("mesh-api", 1), ("mesh-api", 2), ("shop/web-3", 1)];
    assert_eq!(
        told,
        expected.map(|(subject, count)| (subject.to_owned(), count))
    );

    // At the first start there is nobody to come back.
    let events = Events::new();
    events.started(3, 0);
    events.connected(&node("web-1"));
    assert_eq!(subjects(&events), ["mesh-api", "shop/web-1"]);
}
