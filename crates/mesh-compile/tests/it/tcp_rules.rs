//! `tcp` and `tls` routes of VirtualServices at sidecars that listen at the addresses of services.

use mesh_config::service_address;
use mesh_xds::envoy::listener::{FilterChain, Listener, filter};
use mesh_xds::envoy::tcp_proxy::TcpProxy;
use mesh_xds::envoy::tcp_proxy::tcp_proxy::ClusterSpecifier;
use mesh_xds::node::NodeMetadata;
use mesh_xds::{ResourceSet, unpack};

use super::summary::{endpoints, messages};
use super::support::{group, instance, istio, model, sidecar};

const DB: &str = "db.default.svc.cluster.local";

/// A database in two versions, a TLS port beside it, and two kinds of clients.
fn shop(rules: &str) -> String {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {selector: {app: db}, \
                   ports: [{name: tcp-sql, port: 5432}, {name: tls-sql, port: 5433}, {name: http, port: 80}]}\n";
    let subsets = "{host: db, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}";
    [
        service,
        &istio("DestinationRule", "default", "db", subsets),
        &group("default", "db-v1", "db", "v1"),
        &group("default", "db-v2", "db", "v2"),
        &group("default", "web", "web", "v1"),
        &group("default", "batch", "batch", "v1"),
        &group("other", "web", "web", "v1"),
        rules,
    ]
    .concat()
}

fn rule(spec: &str) -> String {
    istio("VirtualService", "default", "db", spec)
}

fn resources(yaml: &str, namespace: &str, group: &str) -> ResourceSet {
    let instances = [
        instance("default", "db-v1", "10.0.0.1", &[]),
        instance("default", "db-v2", "10.0.0.2", &[]),
    ];
    let node = NodeMetadata {
        listen_services: true,
        ..sidecar(namespace, group)
    };
    model(yaml, &instances).resources_for(&node)
}

/// `server names: SUBSET WEIGHT…` of each chain at a port of the database.
fn chains(set: &ResourceSet, port: u16) -> Vec<String> {
    let name = format!("{}_{port}", service_address(DB));
    let listeners = messages::<Listener>(set);
    let listener = listeners.iter().find(|listener| listener.name == name);
    let listener = listener.expect("a listener at the database's address");
    let by_name = listener
        .filter_chains
        .iter()
        .any(|c| c.filter_chain_match.is_some());
    assert_eq!(
        !listener.listener_filters.is_empty(),
        by_name,
        "who reads server names needs the inspector"
    );
    listener.filter_chains.iter().map(chain).collect()
}

fn chain(message: &FilterChain) -> String {
    let names = message.filter_chain_match.as_ref().map(|criteria| {
        assert_eq!(criteria.transport_protocol, "tls");
        format!("{}: ", criteria.server_names.join(" "))
    });
    let Some(filter::ConfigType::TypedConfig(any)) = &message.filters[0].config_type else {
        panic!("no configuration: {message:?}");
    };
    let proxy: TcpProxy = unpack(any).expect("a TCP proxy");
    let short = |cluster: &str| {
        cluster
            .strip_prefix("outbound|")
            .unwrap_or(cluster)
            .replace(&format!("|{DB}"), "")
    };
    let to = match proxy.cluster_specifier {
        Some(ClusterSpecifier::Cluster(cluster)) => short(&cluster),
        Some(ClusterSpecifier::WeightedClusters(all)) => {
            let clusters = all.clusters.iter();
            let each: Vec<_> = clusters
                .map(|c| format!("{} {}", short(&c.name), c.weight))
                .collect();
            each.join(", ")
        }
        None => panic!("no cluster: {message:?}"),
    };
    names.unwrap_or_default() + &to
}

#[test]
fn without_a_rule_bytes_go_to_their_service() {
    let set = resources(&shop(""), "default", "web");
    assert_eq!(chains(&set, 5432), ["5432|"]);
    assert_eq!(chains(&set, 5433), ["5433|"]);
}

#[test]
fn connections_are_split_by_weight() {
    let split = rule(
        "{hosts: [db], tcp: [{route: [{destination: {host: db, subset: v1}, weight: 3}, \
         {destination: {host: db, subset: v2}, weight: 1}, {destination: {host: db}, weight: 0}]}]}",
    );
    let set = resources(&shop(&split), "other", "web");
    // A destination without a port is that of the listener, since the service has several.
    assert_eq!(chains(&set, 5432), ["5432|v1 3, 5432|v2 1"]);
    assert_eq!(endpoints(&set, &format!("outbound|5432|v2|{DB}")).len(), 1);
    assert_eq!(chains(&set, 5433), ["5433|"], "TLS follows tls routes");
    let large = rule(
        "{hosts: [db], tcp: [{route: [{destination: {host: db, subset: v1}, weight: 2147483646}, \
         {destination: {host: db, subset: v2}, weight: 2147483646}, {destination: {host: db}, weight: 6}]}]}",
    );
    let set = resources(&shop(&large), "default", "web");
    assert_eq!(
        chains(&set, 5432),
        ["5432|v1 1073741823, 5432|v2 1073741823, 5432| 3"]
    );
}

/// Each case: conditions of the first route, and who it is for: `web`, `batch`, `web` of another namespace.
#[test]
fn a_route_is_for_the_clients_and_addresses_that_it_names() {
    let address = service_address(DB);
    let within = format!("destinationSubnets: [10.0.0.0/8, {address}/32]");
    for (conditions, expected) in [
        ("port: 5432", [true, true, true]),
        ("port: 5433", [false, false, false]),
        ("sourceLabels: {app: batch}", [false, true, false]),
        ("sourceNamespace: other", [false, false, true]),
        (
            "gateways: [mesh], sourceLabels: {app: web}",
            [true, false, true],
        ),
        ("gateways: [edge]", [false, false, false]),
        ("destinationSubnets: [10.0.0.0/8]", [false, false, false]),
        (&within, [true, true, true]),
    ] {
        let spec = format!(
            "{{hosts: [db], tcp: [{{match: [{{{conditions}}}], route: [{{destination: {{host: db, subset: v2}}}}]}}, \
             {{route: [{{destination: {{host: db, subset: v1}}}}]}}]}}"
        );
        let yaml = shop(&rule(&spec));
        let clients = [("default", "web"), ("default", "batch"), ("other", "web")];
        for ((namespace, group), is_meant) in clients.into_iter().zip(expected) {
            let set = resources(&yaml, namespace, group);
            let to = if is_meant { "5432|v2" } else { "5432|v1" };
            assert_eq!(chains(&set, 5432), [to], "{conditions} {namespace}/{group}");
        }
    }
}

#[test]
fn a_rule_that_a_client_does_not_see_is_nothing_to_it() {
    let hidden = rule(
        "{hosts: [db], exportTo: [.], tcp: [{route: [{destination: {host: db, subset: v1}}]}]}",
    );
    let yaml = shop(&hidden);
    assert_eq!(
        chains(&resources(&yaml, "default", "web"), 5432),
        ["5432|v1"]
    );
    assert_eq!(chains(&resources(&yaml, "other", "web"), 5432), ["5432|"]);
    let at_the_edge = rule(
        "{hosts: [db], gateways: [edge], tcp: [{route: [{destination: {host: db, subset: v1}}]}]}",
    );
    assert_eq!(
        chains(&resources(&shop(&at_the_edge), "default", "web"), 5432),
        ["5432|"]
    );
}

#[test]
fn tls_is_routed_by_server_name() {
    let spec = "{hosts: [db, '*.db.example.com'], tls: [\
        {match: [{sniHosts: [a.db.example.com], sourceLabels: {app: batch}}], \
         route: [{destination: {host: db, subset: v2, port: {number: 5433}}}]}, \
        {match: [{sniHosts: [a.db.example.com, a.db.example.com]}, {sniHosts: ['*.db.example.com'], port: 5433}], \
         route: [{destination: {host: db, subset: v1}}]}]}";
    let hosts = "---\napiVersion: v1\nkind: Service\nmetadata: {name: unrelated}\nspec: {ports: [{name: tls, port: 1}]}\n";
    let yaml = shop(&(rule(spec) + hosts));
    let web = resources(&yaml, "default", "web");
    assert_eq!(
        chains(&web, 5433),
        ["a.db.example.com: 5433|v1", "*.db.example.com: 5433|v1"]
    );
    assert_eq!(
        chains(&web, 5432),
        ["5432|"],
        "no server name is in plain bytes"
    );
    let batch = resources(&yaml, "default", "batch");
    assert_eq!(
        chains(&batch, 5433),
        ["a.db.example.com: 5433|v2", "*.db.example.com: 5433|v1"]
    );
}
