use mesh_xds::envoy::cluster::Cluster as ClusterMessage;
use mesh_xds::envoy::http_connection_manager::http_connection_manager::RouteSpecifier;
use mesh_xds::envoy::listener::Listener as ListenerMessage;
use mesh_xds::{Discoverable, Resource};

use super::*;
use crate::snapshot::Action;
use crate::snapshot::compile::Context;
use crate::snapshot::samples::{
    assignment, chain, context, eds_cluster, endpoint, listener, manager, rds, routes,
    static_cluster,
};

/// A proxy's configuration, without sockets and control plane.
struct Proxy {
    accepted: Accepted,
    linked: Linked,
    context: Context,
    now: Instant,
    unbound: Option<SocketAddr>,
    sockets: Arc<Vec<TcpListener>>,
}

impl Proxy {
    fn new() -> Self {
        Self {
            accepted: Accepted::default(),
            linked: Linked::default(),
            context: context(),
            now: Instant::now(),
            unbound: None,
            sockets: Arc::default(),
        }
    }

    /// One that serves `v1` on port 80.
    fn serving() -> Self {
        let mut proxy = Self::new();
        proxy
            .put(&[eds_cluster("v1")])
            .put(&[assignment("v1", vec![endpoint("a", 1)])]);
        proxy.put(&[listener("l", 80, vec![chain(&manager(rds("r")))])]);
        proxy.put(&[routes("r", &[("v1", 1)])]).link();
        assert_eq!(proxy.targets(), ["v1"]);
        proxy
    }

    fn update<M: Discoverable>(&mut self, messages: &[M], removed: &[&str]) -> &mut Self {
        let changed: Vec<_> = messages
            .iter()
            .map(|message| Arc::new(Resource::new(message)))
            .collect();
        let removed: Vec<_> = removed.iter().map(|name| (*name).to_owned()).collect();
        let rejections = self
            .accepted
            .apply(M::TYPE, &changed, &removed, &self.context, self.now);
        assert!(rejections.is_empty(), "{rejections:?}");
        self
    }

    fn put<M: Discoverable>(&mut self, messages: &[M]) -> &mut Self {
        self.update(messages, &[])
    }

    fn remove<M: Discoverable>(&mut self, names: &[&str]) -> &mut Self {
        self.update::<M>(&[], names)
    }

    fn link(&mut self) -> &mut Self {
        let bound = |spec: &ListenerSpec| {
            (self.unbound != Some(spec.address)).then(|| Bound {
                address: spec.address,
                sockets: Arc::clone(&self.sockets),
            })
        };
        self.linked = self.linked.link(&self.accepted, bound, 2, self.now);
        self
    }

    fn later(&mut self, by: Duration) -> &mut Self {
        self.now += by;
        self.link()
    }

    /// Where requests to port 80 go.
    fn targets(&self) -> Vec<String> {
        let Some(listener) = self.linked.snapshot.listeners.get("l") else {
            return vec![];
        };
        let router = listener.chain_for(None).unwrap().router().unwrap();
        let Some(host) = &router.any else {
            return vec![];
        };
        match &host.routes[0].action {
            Action::Forward(forward) => forward
                .split
                .targets
                .iter()
                .map(|(name, _)| name.to_string())
                .collect(),
            Action::Direct { .. } | Action::Redirect(_) => panic!("a direct response"),
        }
    }

    fn waits_for(&self) -> Vec<&str> {
        self.linked
            .waiting
            .values()
            .map(|waiting| waiting.reason.as_str())
            .collect()
    }

    fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.linked.snapshot.clusters.get(name)
    }
}

#[test]
fn nothing_new_is_the_same_snapshot() {
    let mut proxy = Proxy::serving();
    let before = Arc::clone(&proxy.linked.snapshot);
    proxy.link();
    assert!(Arc::ptr_eq(&before, &proxy.linked.snapshot));
    proxy.put(&[eds_cluster("v2")]).link();
    let unanswered = Arc::clone(&proxy.linked.snapshot);
    assert_eq!(unanswered.version, before.version + 1);
    proxy.link();
    assert!(Arc::ptr_eq(&unanswered, &proxy.linked.snapshot));
}

#[test]
fn an_endpoint_change_rebuilds_one_cluster_and_shares_the_rest() {
    let mut proxy = Proxy::serving();
    proxy
        .put(&[eds_cluster("v2")])
        .put(&[assignment("v2", vec![])])
        .link();
    let before = Arc::clone(&proxy.linked.snapshot);
    proxy
        .put(&[assignment("v2", vec![endpoint("b", 1)])])
        .link();
    let after = &proxy.linked.snapshot;
    assert!(Arc::ptr_eq(&before.clusters["v1"], &after.clusters["v1"]));
    assert!(!Arc::ptr_eq(&before.clusters["v2"], &after.clusters["v2"]));
    assert!(Arc::ptr_eq(
        &before.clusters["v2"].state,
        &after.clusters["v2"].state
    ));
    assert!(Arc::ptr_eq(&before.listeners["l"], &after.listeners["l"]));
}

#[test]
fn a_route_change_keeps_sockets_and_clusters() {
    let mut proxy = Proxy::serving();
    proxy
        .put(&[eds_cluster("v2")])
        .put(&[assignment("v2", vec![])])
        .link();
    let before = Arc::clone(&proxy.linked.snapshot);
    proxy.put(&[routes("r", &[("v1", 9), ("v2", 1)])]).link();
    let after = &proxy.linked.snapshot;
    assert_eq!(proxy.targets(), ["v1", "v2"]);
    assert!(Arc::ptr_eq(&before.clusters["v2"], &after.clusters["v2"]));
    assert!(Arc::ptr_eq(
        &before.listeners["l"].sockets,
        &after.listeners["l"].sockets
    ));
}

#[test]
fn routes_wait_for_the_endpoints_of_new_clusters() {
    let mut proxy = Proxy::serving();
    proxy
        .put(&[eds_cluster("v2")])
        .put(&[routes("r", &[("v2", 1)])])
        .link();
    assert_eq!(proxy.targets(), ["v1"]);
    assert_eq!(proxy.waits_for(), ["endpoints of v2"]);
    assert_eq!(proxy.linked.next, Some(proxy.now + WARMING));
    proxy
        .put(&[assignment("v2", vec![endpoint("b", 1)])])
        .link();
    assert_eq!(proxy.targets(), ["v2"]);
    assert_eq!(proxy.waits_for(), [""; 0]);
    assert_eq!(proxy.linked.next, None);
}

#[test]
fn an_answer_without_endpoints_is_an_answer() {
    let mut proxy = Proxy::serving();
    proxy
        .put(&[eds_cluster("v2")])
        .put(&[routes("r", &[("v2", 1)])]);
    proxy
        .remove::<mesh_xds::envoy::endpoint::ClusterLoadAssignment>(&["v2"])
        .link();
    assert_eq!(proxy.targets(), ["v2"]);
}

#[test]
fn a_wait_has_an_end_which_newer_versions_do_not_put_off() {
    let mut proxy = Proxy::serving();
    proxy
        .put(&[eds_cluster("v2")])
        .put(&[routes("r", &[("v2", 1)])])
        .link();
    proxy.later(WARMING - Duration::from_secs(1));
    proxy.put(&[routes("r", &[("v2", 2)])]).link();
    assert_eq!(proxy.targets(), ["v1"]);
    proxy.later(Duration::from_secs(1));
    assert_eq!(proxy.targets(), ["v2"]);
    assert!(
        proxy
            .cluster("v2")
            .is_some_and(|cluster| cluster.endpoints.is_empty())
    );
}

#[test]
fn clusters_that_do_not_exist_hold_nothing_up() {
    let mut proxy = Proxy::serving();
    proxy.put(&[routes("r", &[("nowhere", 1)])]).link();
    assert_eq!(proxy.targets(), ["nowhere"]);
    assert!(proxy.cluster("nowhere").is_none());
}

#[test]
fn a_cluster_that_is_gone_stays_while_routes_name_it() {
    let mut proxy = Proxy::serving();
    let v1 = Arc::clone(proxy.cluster("v1").unwrap());
    proxy
        .put(&[eds_cluster("v2")])
        .remove::<ClusterMessage>(&["v1"]);
    proxy.put(&[routes("r", &[("v2", 1)])]).link();
    assert_eq!(proxy.targets(), ["v1"], "v2 has no endpoints yet");
    assert!(Arc::ptr_eq(&v1, proxy.cluster("v1").unwrap()));
    proxy
        .put(&[assignment("v2", vec![endpoint("b", 1)])])
        .link();
    assert_eq!(proxy.targets(), ["v2"]);
    assert!(proxy.cluster("v1").is_none());
}

#[test]
fn a_cluster_that_is_gone_does_not_stay_forever() {
    let mut proxy = Proxy::serving();
    proxy.remove::<ClusterMessage>(&["v1"]).link();
    assert!(proxy.cluster("v1").is_some());
    proxy.later(Duration::from_secs(5));
    assert!(proxy.cluster("v1").is_some());
    let end = proxy.linked.next.unwrap() - proxy.now;
    assert_eq!(end, WARMING - Duration::from_secs(5));
    proxy.later(end);
    assert!(proxy.cluster("v1").is_none());
    assert_eq!(proxy.targets(), ["v1"], "503 NC says what is missing");
    assert_eq!(proxy.linked.next, None);
}

#[test]
fn endpoints_stay_until_those_from_elsewhere_come() {
    let mut proxy = Proxy::serving();
    let mut moved = eds_cluster("v1");
    moved.eds_cluster_config.as_mut().unwrap().service_name = "elsewhere".into();
    proxy.put(&[moved]).link();
    assert_eq!(&*proxy.cluster("v1").unwrap().endpoints[0].address, "a:1");
    proxy
        .put(&[assignment("elsewhere", vec![endpoint("b", 1)])])
        .link();
    assert_eq!(&*proxy.cluster("v1").unwrap().endpoints[0].address, "b:1");
}

#[test]
fn a_new_listener_waits_for_its_routes() {
    let mut proxy = Proxy::new();
    proxy
        .put(&[listener("l", 80, vec![chain(&manager(rds("r")))])])
        .link();
    assert!(proxy.linked.snapshot.listeners.is_empty());
    assert_eq!(proxy.waits_for(), ["routes r"]);
    proxy.later(WARMING);
    assert_eq!(
        proxy.linked.snapshot.listeners.len(),
        1,
        "it then answers 404 NR"
    );
    assert!(proxy.targets().is_empty());
    proxy.put(&[routes("r", &[("v1", 1)])]).link();
    assert_eq!(proxy.targets(), ["v1"]);
}

#[test]
fn a_listener_waits_for_the_clusters_of_its_own_routes() {
    let mut proxy = Proxy::new();
    let own = |cluster: &str| {
        manager(RouteSpecifier::RouteConfig(routes(
            "inline",
            &[(cluster, 1)],
        )))
    };
    proxy
        .put(&[static_cluster("app", 80)])
        .put(&[listener("l", 80, vec![chain(&own("app"))])]);
    assert_eq!(proxy.link().targets(), ["app"]);
    proxy
        .put(&[eds_cluster("v2")])
        .put(&[listener("l", 80, vec![chain(&own("v2"))])]);
    assert_eq!(proxy.link().targets(), ["app"]);
    assert_eq!(proxy.waits_for(), ["endpoints of v2"]);
    proxy.put(&[assignment("v2", vec![])]);
    assert_eq!(proxy.link().targets(), ["v2"]);
}

#[test]
fn a_listener_that_waits_for_new_routes_keeps_its_old_ones() {
    let mut proxy = Proxy::serving();
    proxy
        .put(&[listener("l", 80, vec![chain(&manager(rds("other")))])])
        .link();
    assert_eq!(proxy.targets(), ["v1"]);
    assert_eq!(proxy.waits_for(), ["routes other"]);
    proxy.put(&[routes("other", &[("v1", 1)])]).link();
    assert_eq!(proxy.waits_for(), [""; 0]);
    let router = proxy.linked.snapshot.listeners["l"]
        .chain_for(None)
        .unwrap()
        .router()
        .unwrap();
    assert_eq!(&*router.name, "other");
}

#[test]
fn a_listener_without_a_socket_stays_where_it_was() {
    let mut proxy = Proxy::serving();
    proxy.unbound = Some(([127, 0, 0, 1], 81).into());
    proxy
        .put(&[listener("l", 81, vec![chain(&manager(rds("r")))])])
        .link();
    assert_eq!(proxy.waits_for(), ["a socket on 127.0.0.1:81"]);
    proxy.later(WARMING * 2);
    assert_eq!(proxy.linked.snapshot.listeners["l"].address.port(), 80);
    assert_eq!(proxy.targets(), ["v1"]);
    proxy.unbound = None;
    proxy.link();
    assert_eq!(proxy.linked.snapshot.listeners["l"].address.port(), 81);
    assert_eq!(proxy.waits_for(), [""; 0]);
}

#[test]
fn a_listener_that_is_gone_is_gone_at_once() {
    let mut proxy = Proxy::serving();
    proxy.remove::<ListenerMessage>(&["l"]).link();
    assert!(proxy.linked.snapshot.listeners.is_empty());
}

#[test]
fn a_hundred_canary_steps_never_name_a_cluster_without_endpoints() {
    let mut proxy = Proxy::serving();
    let mut current = "v1".to_owned();
    for step in 2..102 {
        let next = format!("v{step}");
        // The worst order: old clusters go and routes change before new endpoints come.
        let steps: [&dyn Fn(&mut Proxy); 4] = [
            &|proxy| _ = proxy.update(&[eds_cluster(&next)], &[current.as_str()]),
            &|proxy| _ = proxy.put(&[routes("r", &[(current.as_str(), 1), (next.as_str(), 1)])]),
            &|proxy| _ = proxy.put(&[routes("r", &[(next.as_str(), 1)])]),
            &|proxy| _ = proxy.put(&[assignment(&next, vec![endpoint("x", 1)])]),
        ];
        for change in steps {
            change(&mut proxy);
            proxy.later(Duration::from_millis(10));
            for target in proxy.targets() {
                let cluster = proxy.cluster(&target);
                assert!(
                    cluster.is_some_and(|cluster| !cluster.endpoints.is_empty()),
                    "step {step}: {target} has no endpoints"
                );
            }
        }
        assert_eq!(proxy.targets(), [next.as_str()]);
        current = next;
    }
}
