use mesh_xds::Discoverable;
use mesh_xds::envoy::cluster::OutlierDetection;

use super::*;
use crate::snapshot::samples::{
    assignment, chain, context, eds_cluster, endpoint as bare, listener, manager, rds, routes,
    static_cluster,
};

/// What is accepted, fed by hand.
struct Store {
    accepted: Accepted,
    context: Context,
    now: Instant,
}

impl Store {
    fn new() -> Self {
        Self {
            accepted: Accepted::default(),
            context: context(),
            now: Instant::now(),
        }
    }

    fn apply<M: Discoverable>(&mut self, messages: &[M], removed: &[&str]) -> Vec<Rejection> {
        let changed: Vec<_> = messages
            .iter()
            .map(|message| Arc::new(Resource::new(message)))
            .collect();
        let removed: Vec<_> = removed.iter().map(|name| (*name).to_owned()).collect();
        self.accepted
            .apply(M::TYPE, &changed, &removed, &self.context, self.now)
    }
}

#[test]
fn an_unchanged_version_is_not_read_again() {
    let mut store = Store::new();
    assert!(
        store
            .apply(&[eds_cluster("a"), eds_cluster("b")], &[])
            .is_empty()
    );
    let before = Arc::clone(&store.accepted.clusters["a"].spec);
    let mut other = eds_cluster("b");
    other.lb_policy = 0;
    assert!(store.apply(&[eds_cluster("a"), other], &[]).is_empty());
    assert!(Arc::ptr_eq(&before, &store.accepted.clusters["a"].spec));
}

#[test]
fn one_bad_resource_leaves_the_others_and_its_last_good_version() {
    let mut store = Store::new();
    store.apply(&[eds_cluster("a"), eds_cluster("b")], &[]);
    let before = Arc::clone(&store.accepted.clusters["a"].spec);
    let mut bad = eds_cluster("a");
    bad.outlier_detection = Some(OutlierDetection::default());
    let rejections = store.apply(&[bad, eds_cluster("c")], &["b"]);
    let [rejection] = rejections.as_slice() else {
        panic!("{rejections:?}")
    };
    assert_eq!(rejection.name, "a");
    assert!(
        rejection.reason.starts_with("outlier_detection."),
        "{}",
        rejection.reason
    );
    assert!(Arc::ptr_eq(&before, &store.accepted.clusters["a"].spec));
    assert_eq!(
        store.accepted.clusters.keys().collect::<Vec<_>>(),
        ["a", "c"]
    );
    let refused = &store.accepted.refused[&(ResourceType::Cluster, "a".to_owned())];
    assert!(
        refused.to_string().contains("outlier_detection"),
        "{refused}"
    );

    store.apply(&[eds_cluster("a")], &[]);
    assert!(store.accepted.refused.is_empty(), "the old version again");
}

#[test]
fn a_first_version_that_is_bad_leaves_nothing_behind_but_the_reason() {
    let mut store = Store::new();
    let mut bad = static_cluster("a", 80);
    bad.load_assignment = None;
    assert_eq!(store.apply(&[bad], &[]).len(), 1);
    assert!(store.accepted.clusters.is_empty());
    assert_eq!(store.accepted.refused.len(), 1);
    store.apply::<mesh_xds::envoy::cluster::Cluster>(&[], &["a"]);
    assert!(store.accepted.refused.is_empty());
}

#[test]
fn malformed_and_misnamed_resources_are_refused() {
    let mut store = Store::new();
    let mut broken = Resource::new(&eds_cluster("a"));
    broken.any.value = vec![0xff];
    let mut misnamed = Resource::new(&eds_cluster("b"));
    misnamed.name = "c".into();
    let changed = [Arc::new(broken), Arc::new(misnamed)];
    let context = store.context.clone();
    let rejections =
        store
            .accepted
            .apply(ResourceType::Cluster, &changed, &[], &context, store.now);
    assert!(
        rejections[0].reason.contains("well-formed"),
        "{}",
        rejections[0].reason
    );
    assert!(
        rejections[1].reason.contains("sent as \"c\""),
        "{}",
        rejections[1].reason
    );
}

#[test]
fn what_is_wanted_follows_clusters_and_listeners() {
    let mut store = Store::new();
    let mut named = eds_cluster("b");
    named.eds_cluster_config.as_mut().unwrap().service_name = "b-service".into();
    store.apply(&[eds_cluster("a"), named, static_cluster("c", 1)], &[]);
    store.apply(&[listener("l", 80, vec![chain(&manager(rds("r")))])], &[]);
    assert_eq!(
        store.accepted.wanted_endpoints(),
        ["a".to_owned(), "b-service".to_owned()].into()
    );
    assert_eq!(store.accepted.wanted_routes(), ["r".to_owned()].into());

    store.apply(
        &[
            assignment("a", vec![bare("x", 1)]),
            assignment("b-service", vec![]),
        ],
        &[],
    );
    store.apply(&[routes("r", &[("a", 1)])], &[]);
    store.apply::<mesh_xds::envoy::cluster::Cluster>(&[], &["a"]);
    assert_eq!(
        store.accepted.endpoints.keys().collect::<Vec<_>>(),
        ["b-service"]
    );
    store.apply::<mesh_xds::envoy::listener::Listener>(&[], &["l"]);
    assert!(store.accepted.routes.is_empty());
}

#[test]
fn endpoints_and_routes_stay_while_they_are_asked_for() {
    let mut store = Store::new();
    store.apply(&[eds_cluster("a"), eds_cluster("b")], &[]);
    store.apply(&[listener("l", 80, vec![chain(&manager(rds("r")))])], &[]);
    store.apply(&[assignment("a", vec![bare("x", 1)])], &["b"]);
    store.apply(&[routes("r", &[("a", 1)])], &[]);
    store.apply::<mesh_xds::envoy::endpoint::ClusterLoadAssignment>(&[], &["a"]);
    store.apply::<mesh_xds::envoy::route::RouteConfiguration>(&[], &["r"]);
    assert_eq!(store.accepted.endpoints["a"].spec.endpoints.len(), 1);
    assert_eq!(store.accepted.routes["r"].spec.clusters.len(), 1);
    let answered = &store.accepted.endpoints["b"];
    assert!(
        answered.resource.is_none() && answered.spec.endpoints.is_empty(),
        "an answer: none"
    );
}

#[test]
fn a_whole_set_is_taken_in_the_right_order() {
    let mut set = ResourceSet::new();
    set.insert(&eds_cluster("a"));
    set.insert(&assignment("a", vec![bare("x", 1)]));
    set.insert(&assignment("unwanted", vec![]));
    set.insert(&listener("l", 80, vec![chain(&manager(rds("r")))]));
    set.insert(&routes("r", &[("a", 1)]));
    let mut bad = static_cluster("bad", 80);
    bad.load_assignment = None;
    set.insert(&bad);
    let mut store = Store::new();
    let rejections = store.accepted.apply_all(&set, &store.context, store.now);
    assert_eq!(rejections.len(), 1);
    assert_eq!(
        (rejections[0].0, rejections[0].1.name.as_str()),
        (ResourceType::Cluster, "bad")
    );
    assert_eq!(store.accepted.endpoints.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(store.accepted.routes.len(), 1);
}
