//! ServiceEntries and other names that lead out of the mesh.

use mesh_xds::ResourceSet;
use mesh_xds::envoy::cluster::Cluster;
use mesh_xds::envoy::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_xds::envoy::core::address::Address;
use mesh_xds::envoy::core::socket_address::PortSpecifier;
use mesh_xds::envoy::endpoint::ClusterLoadAssignment;
use mesh_xds::envoy::endpoint::lb_endpoint::HostIdentifier;

use super::summary::{endpoints, messages, routes_at};
use super::support::{group, instance, istio, model, service, sidecar, sidecar_of};

fn entry(spec: &str) -> String {
    istio("ServiceEntry", "default", "e", spec)
}

fn cluster(set: &ResourceSet, name: &str) -> Cluster {
    let found = messages::<Cluster>(set)
        .into_iter()
        .find(|c| c.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

/// The type of a cluster, and the `host:port` of the endpoints that are a part of it.
fn found_by(set: &ResourceSet, name: &str) -> (Option<DiscoveryType>, Vec<String>) {
    let cluster = cluster(set, name);
    let kind = match cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).ok(),
        _ => None,
    };
    let assignment: ClusterLoadAssignment = cluster.load_assignment.unwrap_or_default();
    let endpoints = assignment
        .endpoints
        .into_iter()
        .flat_map(|l| l.lb_endpoints);
    let addresses = endpoints.filter_map(|endpoint| match endpoint.host_identifier? {
        HostIdentifier::Endpoint(endpoint) => match endpoint.address?.address? {
            Address::SocketAddress(address) => {
                let PortSpecifier::PortValue(port) = address.port_specifier? else {
                    return None;
                };
                Some(format!("{}:{port}", address.address))
            }
            _ => None,
        },
        HostIdentifier::EndpointName(_) => None,
    });
    (kind, addresses.collect())
}

#[test]
fn names_are_resolved_by_the_proxy() {
    const NAME: &str = "outbound|80||api.example.com";
    for (spec, kind, addresses) in [
        (
            "resolution: DNS",
            DiscoveryType::StrictDns,
            &["api.example.com:80"][..],
        ),
        (
            "resolution: DNS_ROUND_ROBIN",
            DiscoveryType::LogicalDns,
            &["api.example.com:80"],
        ),
        // An app names a host to its proxy, not an address.
        (
            "resolution: NONE",
            DiscoveryType::StrictDns,
            &["api.example.com:80"],
        ),
        (
            "resolution: DNS, endpoints: [{address: a.example.com, ports: {http: 8080}}, {address: 10.0.0.9}]",
            DiscoveryType::StrictDns,
            &["a.example.com:8080", "10.0.0.9:80"],
        ),
    ] {
        let yaml = entry(&format!(
            "{{hosts: [api.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}"
        ));
        let set = sidecar_of(&yaml, "default", "w");
        let addresses: Vec<String> = addresses.iter().map(|a| (*a).to_owned()).collect();
        assert_eq!(found_by(&set, NAME), (Some(kind), addresses), "{spec}");
        assert_eq!(
            routes_at(&set, "http_proxy", "api.example.com"),
            [format!("default: /* => {NAME}")]
        );
    }
}

#[test]
fn hosts_with_a_wildcard_are_asked_as_they_are_named() {
    for resolution in ["NONE", "DYNAMIC_DNS"] {
        let yaml = entry(&format!(
            "{{hosts: ['*.example.com'], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: {resolution}}}"
        ));
        let set = sidecar_of(&yaml, "default", "w");
        let kind = cluster(&set, "outbound|80||*.example.com").cluster_discovery_type;
        let Some(ClusterDiscoveryType::ClusterType(custom)) = kind else {
            panic!("{kind:?}")
        };
        assert_eq!(custom.name, "envoy.clusters.dynamic_forward_proxy");
        assert_eq!(routes_at(&set, "http_proxy", "*.example.com").len(), 1);
    }
}

#[test]
fn endpoints_are_written_down_or_selected() {
    let fixed = entry(
        "{hosts: [db.example.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 81}], \
         endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, ports: {http: 82}}]}",
    );
    let set = sidecar_of(&fixed, "default", "w");
    let found = endpoints(&set, "outbound|80||db.example.com");
    let addresses: Vec<&str> = found.iter().filter_map(|e| e.split(' ').next()).collect();
    assert_eq!(addresses, ["10.0.0.1:81", "10.0.0.2:82"], "{found:?}");

    let selected = [
        entry(
            "{hosts: [db.example.com], location: MESH_INTERNAL, resolution: STATIC, \
             ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: db}}}",
        ),
        group("default", "db", "db", "v1"),
    ]
    .concat();
    let instances = [instance("default", "db", "10.0.0.3", &[])];
    let model = model(&selected, &instances);
    let set = model.resources_for(&sidecar("default", "w"));
    assert_eq!(
        endpoints(&set, "outbound|80||db.example.com"),
        ["10.0.0.3:15006 tls default/db v1"]
    );
    // What is said to be outside of the mesh is called in plain text, past its agent.
    let external = selected.replace("MESH_INTERNAL", "MESH_EXTERNAL");
    let set = super::support::model(&external, &instances).resources_for(&sidecar("default", "w"));
    assert_eq!(
        endpoints(&set, "outbound|80||db.example.com"),
        ["10.0.0.3:80 plain default/db v1"]
    );
    let own = model.resources_for(&sidecar("default", "db"));
    let takes = messages::<mesh_xds::envoy::listener::Listener>(&own)
        .into_iter()
        .flat_map(|listener| listener.filter_chains)
        .filter_map(|chain| chain.filter_chain_match)
        .any(|wanted| {
            let names = &wanted.server_names;
            names.contains(&"outbound_.80_._.db.example.com".to_owned())
        });
    assert!(
        takes,
        "the selected workload takes what is meant for the host"
    );
}

#[test]
fn an_external_name_is_resolved_or_is_another_name_for_a_service() {
    let external = "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\n\
                    spec: {type: ExternalName, externalName: api.example.com, ports: [{name: http, port: 80}]}\n";
    let set = sidecar_of(external, "default", "w");
    assert_eq!(
        found_by(&set, "outbound|80||x.default.svc.cluster.local"),
        (
            Some(DiscoveryType::StrictDns),
            vec!["api.example.com:80".to_owned()]
        )
    );
    let alias = external.replace(
        "api.example.com, ports: [{name: http, port: 80}]",
        "a.default.svc.cluster.local",
    );
    let set = sidecar_of(
        &[service("default", "a", 80), alias].concat(),
        "default",
        "w",
    );
    assert_eq!(
        routes_at(&set, "http_proxy", "x.default.svc.cluster.local"),
        ["default: /* => outbound|80||a.default.svc.cluster.local"]
    );
}

#[test]
fn a_service_keeps_its_host() {
    let yaml = [
        service("default", "a", 80),
        entry("{hosts: [a.default.svc.cluster.local], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}"),
    ]
    .concat();
    let (kind, _) = found_by(
        &sidecar_of(&yaml, "default", "w"),
        "outbound|80||a.default.svc.cluster.local",
    );
    assert_eq!(kind, Some(DiscoveryType::Eds));
}
