//! Opaque TCP, and services at their own loopback addresses.

use std::collections::BTreeSet;

use mesh_compile::{Instance, Model, Settings};
use mesh_config::service_address;
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::listener::Listener;
use mesh_xds::node::NodeMetadata;
use mesh_xds::{ResourceSet, ResourceType, metadata};
use proptest::prelude::*;
use serde_json::Value;

use super::summary::{endpoints, messages, names, routes_at, summary};
use super::support::{config, group, instance, istio, model, service, sidecar, sidecar_of};

const DB: &str = "db.default.svc.cluster.local";
const DB_CLUSTER: &str = "outbound|5432||db.default.svc.cluster.local";

/// YAML of a Service whose `spec` ends in this.
fn service_with(name: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {name}}}, {rest}}}\n"
    )
}

/// A shop with a database behind it.
fn shop() -> String {
    [
        service("default", "web", 80),
        service_with(
            "db",
            "ports: [{name: tcp-postgres, port: 5432}, {name: http-metrics, port: 9187}, \
             {name: quic, port: 443, protocol: UDP}]",
        ),
        group("default", "web", "web", "v1"),
        group("default", "db", "db", "v1"),
    ]
    .concat()
}

fn by_name(group: &str) -> NodeMetadata {
    NodeMetadata {
        listen_services: true,
        ..sidecar("default", group)
    }
}

fn listening(set: &ResourceSet) -> Vec<String> {
    let mut names = names::<Listener>(set);
    names.retain(|name| !name.starts_with("virtual"));
    names
}

/// `ADDRESS_PORT` of a service of the namespace `default`.
fn at(name: &str, port: u16) -> String {
    let address = service_address(&format!("{name}.default.svc.cluster.local"));
    format!("{address}_{port}")
}

fn sorted<const N: usize>(mut names: [String; N]) -> Vec<String> {
    names.sort();
    names.to_vec()
}

#[test]
fn a_sidecar_listens_at_the_addresses_of_services_if_it_is_asked_to() {
    let instances = [
        instance("default", "db", "10.0.0.3", &[]),
        instance("default", "web", "10.0.0.2", &[]),
    ];
    let model = model(&shop(), &instances);
    let with = model.resources_for(&by_name("web"));
    insta::assert_yaml_snapshot!(summary(&with));

    let without = model.resources_for(&sidecar("default", "web"));
    assert_eq!(listening(&without), Vec::<String>::new());
    assert!(!names::<Cluster>(&without).contains(&DB_CLUSTER.to_owned()));
    for kind in ResourceType::ALL {
        for resource in without.iter(kind) {
            assert_eq!(with.get(kind, &resource.name), Some(resource), "{kind}");
        }
    }
}

#[test]
fn a_database_takes_bytes_by_mutual_tls() {
    let node = NodeMetadata {
        plain_listener: true,
        ..sidecar("default", "db")
    };
    let set = model(&shop(), &[]).resources_for(&node);
    let all = summary(&set);
    insta::assert_yaml_snapshot!(all["listeners"]["virtualInbound"]);
    insta::assert_yaml_snapshot!(all["clusters"]["inbound|5432||"]);
    assert_eq!(
        all["listeners"]["inboundPlain"]["chains"][0]["tcp"], "inbound|5432||",
        "its first port is opaque"
    );
    for listener in messages::<Listener>(&set) {
        let data = listener.metadata.unwrap_or_default();
        let is_inbound = listener.name != "virtualOutbound";
        assert_eq!(!metadata::peers(&data).is_empty(), is_inbound);
    }
}

#[test]
fn where_no_agent_is_bytes_go_in_plain_text() {
    let entry = istio(
        "WorkloadEntry",
        "default",
        "vm",
        "{address: 10.1.0.1, labels: {app: db}, ports: {tcp-postgres: 6432}}",
    );
    let instances = [instance("default", "db", "10.0.0.3", &[])];
    let set = model(&(shop() + &entry), &instances).resources_for(&by_name("web"));
    assert_eq!(
        endpoints(&set, DB_CLUSTER),
        [
            "10.0.0.3:15006 tls default/db v1",
            "10.1.0.1:6432 plain default/vm"
        ]
    );
    let transports = summary(&set)["clusters"][DB_CLUSTER]["transports"].clone();
    let transports: Vec<_> = transports
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(transports.len(), 2);
    assert!(transports[0].contains("alpn ,"), "{transports:?}");
    assert_eq!(transports[1], "tlsMode-disabled: raw_buffer");
}

#[test]
fn a_request_that_a_rule_sends_to_an_opaque_port_is_http_1_over_the_same_cluster() {
    let rule = istio(
        "VirtualService",
        "default",
        "r",
        "{hosts: [web], http: [{route: [{destination: {host: db, port: {number: 5432}}}]}]}",
    );
    let set = sidecar_of(&(shop() + &rule), "default", "web");
    let routes = routes_at(&set, "http_proxy", "web.default.svc.cluster.local");
    assert_eq!(routes, [format!("/* => {DB_CLUSTER}")]);
    assert_eq!(summary(&set)["clusters"][DB_CLUSTER]["protocol"], "bytes");
}

#[test]
fn an_inbound_cluster_for_bytes_and_requests_speaks_http() {
    let yaml = service_with(
        "a",
        "ports: [{name: tcp, port: 80, targetPort: 8080}, {name: grpc, port: 81, targetPort: 8080}]",
    ) + &group("default", "g", "a", "v1");
    let set = sidecar_of(&yaml, "default", "g");
    let clusters = &summary(&set)["clusters"];
    assert_eq!(clusters["inbound|8080||"]["protocol"], "HTTP/2");
}

#[test]
fn ports_that_the_application_has_are_its_own() {
    let yaml = [
        service("default", "a", 80),
        service("default", "b", 80),
        service("default", "c", 8080),
        service("default", "d", 9000),
        service("default", "e", 9001),
        group("default", "a", "a", "v1"),
        istio(
            "WorkloadGroup",
            "default",
            "f",
            "{metadata: {labels: {app: f}}, template: {ports: {http: 9000, admin: 9001}}}",
        ),
    ]
    .concat();
    let model = model(&yaml, &[]);
    assert_eq!(
        listening(&model.resources_for(&by_name("a"))),
        sorted([at("c", 8080), at("d", 9000), at("e", 9001)]),
        "who declares none has those that services lead to"
    );
    let told = NodeMetadata {
        app_ports: [("80".to_owned(), 8080)].into(),
        ..by_name("a")
    };
    assert_eq!(
        listening(&model.resources_for(&told)),
        sorted([at("a", 80), at("b", 80), at("d", 9000), at("e", 9001)])
    );
    let moved = NodeMetadata {
        app_ports: [("http".to_owned(), 7000)].into(),
        ..by_name("f")
    };
    assert_eq!(
        listening(&model.resources_for(&moved)),
        sorted([at("a", 80), at("b", 80), at("c", 8080), at("d", 9000)]),
        "what the instance says of a name replaces what its group says"
    );
}

#[test]
fn the_older_of_two_services_has_the_address() {
    let at =
        |name: &str| service_with(name, "clusterIP: 127.0.0.9, ports: [{name: tcp, port: 70}]");
    let more = service_with(
        "young",
        "clusterIP: 127.0.0.9, ports: [{name: tcp, port: 70}, {name: http, port: 71}]",
    );
    let served = |yaml: &[String]| {
        let listeners = summary(&sidecar_of_by_name(&yaml.concat()))["listeners"].clone();
        let tcp = &listeners["127.0.0.9_70"]["chains"][0]["tcp"];
        let cluster = tcp.as_str().map(str::to_owned).unwrap_or_default();
        (cluster, listeners.get("127.0.0.9_71").is_some())
    };
    let old = "outbound|70||old.default.svc.cluster.local";
    let young = "outbound|70||young.default.svc.cluster.local";
    assert_eq!(served(&[at("old"), more.clone()]), (old.to_owned(), true));
    assert_eq!(served(&[more, at("old")]), (young.to_owned(), true));
}

fn sidecar_of_by_name(yaml: &str) -> ResourceSet {
    model(yaml, &[]).resources_for(&by_name("w"))
}

#[test]
fn the_sidecars_own_address_is_no_services() {
    let yaml = service_with(
        "greedy",
        "clusterIP: 127.0.0.1, ports: [{name: tcp-a, port: 15001}, {name: tcp-b, port: 15002}]",
    );
    assert_eq!(listening(&sidecar_of_by_name(&yaml)), ["127.0.0.1_15002"]);
}

#[test]
fn the_sidecars_of_a_workload_share_their_listeners() {
    let model = model(&shop(), &[]);
    let [first, second] = ["web-1", "web-2"].map(|name| {
        model.resources_for(&NodeMetadata {
            workload_name: name.into(),
            ..by_name("web")
        })
    });
    let name = at("db", 5432);
    for (kind, name) in [
        (ResourceType::Listener, name.as_str()),
        (ResourceType::Cluster, DB_CLUSTER),
        (ResourceType::Endpoint, DB_CLUSTER),
    ] {
        let both = [&first, &second].map(|set| set.get(kind, name).expect("it is there"));
        assert!(std::sync::Arc::ptr_eq(both[0], both[1]), "{kind}");
    }
    let other = model.resources_for(&by_name("db"));
    let listener = messages::<Listener>(&first)
        .into_iter()
        .find(|listener| listener.name == at("web", 80));
    assert!(listener.is_none(), "web has port 80 itself");
    let listener = messages::<Listener>(&other)
        .into_iter()
        .find(|listener| listener.name == at("web", 80))
        .expect("db reaches web");
    let own = metadata::workload(&listener.metadata.unwrap_or_default());
    assert_eq!(own.map(|own| own.name), Some("db".to_owned()));
}

#[test]
fn services_show_their_addresses() {
    let yaml = shop() + &service_with("here", "clusterIP: 127.1.2.3, ports: [{port: 80}]");
    let seen: Vec<_> = model(&yaml, &[])
        .services()
        .into_iter()
        .map(|service| (service.host, service.address))
        .collect();
    let host = |name: &str| format!("{name}.default.svc.cluster.local");
    assert_eq!(
        seen,
        [
            (host("db"), service_address(DB)),
            (host("here"), [127, 1, 2, 3].into()),
            (host("web"), service_address(&host("web"))),
        ]
    );
}

/// A service by its clusterIP's last byte, if any, and its ports.
fn services() -> impl Strategy<Value = Vec<(Option<u8>, BTreeSet<u16>)>> {
    let ports = prop::collection::btree_set(prop::sample::select(vec![80, 81, 5432, 15001]), 1..4);
    prop::collection::vec((prop::option::of(1..4_u8), ports), 1..6)
}

proptest! {
    #[test]
    fn every_free_port_is_listened_on_once_and_leads_somewhere(
        services in services(),
        app_port in prop::option::of(prop::sample::select(vec![80_u16, 81, 7000])),
    ) {
        let yaml: String = services
            .iter()
            .enumerate()
            .map(|(index, (last, ports))| {
                let ports: Vec<_> = ports
                    .iter()
                    .map(|port| {
                        let word = if port % 2 == 0 { "tcp" } else { "http" };
                        format!("{{name: {word}-{port}, port: {port}}}")
                    })
                    .collect();
                let address = last.map(|last| format!("clusterIP: 127.0.0.{last}, "));
                let rest = format!("{}ports: [{}]", address.unwrap_or_default(), ports.join(", "));
                service_with(&format!("s{index}"), &rest)
            })
            .collect();
        let node = NodeMetadata {
            app_ports: app_port.map(|port| ("own".to_owned(), port)).into_iter().collect(),
            ..by_name("w")
        };
        let instances: [Instance; 0] = [];
        let set = Model::build(&config(&yaml), &instances, &Settings::default()).resources_for(&node);

        let mut meant = BTreeSet::new();
        for (index, (last, ports)) in services.iter().enumerate() {
            let host = format!("s{index}.default.svc.cluster.local");
            let address = last.map_or(service_address(&host), |last| [127, 0, 0, last].into());
            meant.extend(ports.iter().map(|port| (format!("{address}_{port}"), *port)));
        }
        let meant: BTreeSet<String> = meant
            .into_iter()
            .filter(|(name, port)| Some(*port) != app_port && name != "127.0.0.1_15001")
            .map(|(name, _)| name)
            .collect();
        let found: BTreeSet<String> = listening(&set).into_iter().collect();
        prop_assert_eq!(&found, &meant);

        let all = summary(&set);
        for name in &found {
            let listener = &all["listeners"][name];
            let chain = &listener["chains"][0];
            prop_assert_eq!(&listener["address"], &name.replace('_', ":"));
            match chain["tcp"].as_str() {
                Some(cluster) => {
                    prop_assert!(name.ends_with("_80") || name.ends_with("_5432"));
                    prop_assert!(all["clusters"].get(cluster).is_some(), "{}", cluster);
                    prop_assert!(all["endpoints"].get(cluster).is_some(), "{}", cluster);
                }
                None => prop_assert_eq!(chain["http"]["routes"].as_str(), Some("RDS http_proxy")),
            }
        }
    }
}
