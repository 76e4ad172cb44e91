use std::collections::BTreeSet;

use mesh_xds::envoy::listener as lds;
use mesh_xds::envoy::protobuf::{Duration as Length, UInt32Value};

use super::*;
use crate::snapshot::listener::{self, ListenerSpec};
use crate::snapshot::samples::{
    chain, context, downstream_tls, listener, manager, rds, tcp_chain, tls_chain, tls_socket,
};
use crate::snapshot::{Filter, Listener};

fn proxy(cluster: ClusterSpecifier) -> pb::TcpProxy {
    pb::TcpProxy {
        stat_prefix: "db".into(),
        cluster_specifier: Some(cluster),
        ..Default::default()
    }
}

fn to(cluster: &str) -> ClusterSpecifier {
    ClusterSpecifier::Cluster(cluster.into())
}

fn by_weight(targets: &[(&str, u32)]) -> ClusterSpecifier {
    let clusters = targets.iter().map(|(name, weight)| ClusterWeight {
        name: (*name).into(),
        weight: *weight,
        ..Default::default()
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: clusters.collect(),
    })
}

fn read(
    chains: Vec<lds::FilterChain>,
    previous: Option<&ListenerSpec>,
) -> Result<ListenerSpec, Refusal> {
    let message = listener("l", 3306, chains);
    listener::compile(&At::ROOT, &message, previous, &context())
}

fn linked(spec: &ListenerSpec) -> Listener {
    listener::build(spec, spec.address, &Arc::default(), |_| None)
}

fn sessions(listener: &Listener, server_name: Option<&str>) -> Option<Arc<TcpProxy>> {
    match &listener.chain_for(server_name)?.filter {
        Filter::Tcp(proxy) => Some(proxy.clone()),
        Filter::Http(_) => None,
    }
}

#[test]
fn a_chain_of_sessions_has_envoys_defaults_and_waits_for_its_cluster() {
    let spec = read(vec![tcp_chain(&proxy(to("outbound|3306||db")))], None).unwrap();
    assert_eq!(spec.route_names(), BTreeSet::new());
    let clusters: Vec<_> = spec.inline_clusters().map(|name| &**name).collect();
    assert_eq!(clusters, ["outbound|3306||db"]);
    let proxy = sessions(&linked(&spec), None).unwrap();
    assert_eq!(proxy.split.targets, [("outbound|3306||db".into(), 1)]);
    assert_eq!(
        (proxy.attempts, proxy.idle_timeout),
        (3, Some(IDLE_TIMEOUT))
    );
}

#[test]
fn what_it_says_itself_counts() {
    let mut message = proxy(by_weight(&[("a", 9), ("b", 1)]));
    message.max_connect_attempts = Some(UInt32Value { value: 7 });
    message.idle_timeout = Some(Length {
        seconds: 0,
        nanos: 0,
    });
    let spec = read(vec![tcp_chain(&message)], None).unwrap();
    let proxy = sessions(&linked(&spec), None).unwrap();
    assert_eq!(proxy.split.targets, [("a".into(), 9), ("b".into(), 1)]);
    assert_eq!((proxy.attempts, proxy.idle_timeout), (7, None));
}

#[test]
fn one_listener_has_chains_of_both_kinds() {
    let mut opaque = tls_chain(&["db"], &manager(rds("r")));
    opaque.filters = tcp_chain(&proxy(to("inbound|3306||"))).filters;
    opaque.transport_socket = Some(tls_socket(&downstream_tls()));
    let chains = vec![opaque, tls_chain(&["web"], &manager(rds("r")))];
    let listener = linked(&read(chains, None).unwrap());
    assert!(sessions(&listener, Some("db")).is_some());
    assert!(sessions(&listener, Some("web")).is_none());
}

#[test]
fn a_chain_that_goes_on_keeps_its_place_in_the_round() {
    let weighted = |a: u32| tcp_chain(&proxy(by_weight(&[("a", a), ("b", 1)])));
    let before = read(vec![weighted(9)], None).unwrap();
    let place = |chains| {
        let after = read(chains, Some(&before)).unwrap();
        let (before, after) = (linked(&before), linked(&after));
        let (before, after) = (sessions(&before, None), sessions(&after, None));
        Arc::ptr_eq(&before.unwrap(), &after.unwrap())
    };
    assert!(place(vec![weighted(9)]));
    assert!(!place(vec![weighted(8)]));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refused = |change: fn(&mut pb::TcpProxy)| {
        let mut message = proxy(to("db"));
        change(&mut message);
        let field = read(vec![tcp_chain(&message)], None).unwrap_err().field;
        let inside = "filter_chains[0].filters[0].typed_config";
        let field = field.trim_start_matches(inside);
        field.trim_start_matches('.').to_owned()
    };
    assert_eq!(
        refused(|m| m.access_log.push(Default::default())),
        "access_log"
    );
    assert_eq!(
        refused(|m| m.tunneling_config = Some(Default::default())),
        "tunneling_config"
    );
    assert_eq!(
        refused(|m| m.max_connect_attempts = Some(UInt32Value { value: 0 })),
        "max_connect_attempts"
    );
    assert_eq!(
        refused(|m| m.idle_timeout = Some(Length {
            seconds: -1,
            nanos: 0
        })),
        "idle_timeout"
    );
    assert_eq!(refused(|m| m.cluster_specifier = None), "");
    assert_eq!(refused(|m| m.cluster_specifier = Some(to(""))), "");
    assert_eq!(
        refused(|m| m.cluster_specifier = Some(by_weight(&[("a", 0)]))),
        "weighted_clusters"
    );
    assert_eq!(
        refused(|m| m.cluster_specifier = Some(by_weight(&[("", 1)]))),
        "weighted_clusters.clusters[0].name"
    );
    let two = chain(&manager(rds("r"))).filters;
    let mut both = tcp_chain(&proxy(to("db")));
    both.filters.extend(two);
    assert_eq!(
        read(vec![both], None).unwrap_err().field,
        "filter_chains[0].filters"
    );
}
