//! Who stands behind a service, and how it is reached.

use mesh_compile::Protocol;
use mesh_xds::envoy::endpoint::ClusterLoadAssignment;

use super::summary::{endpoints, messages, summary};
use super::support::{group, instance, istio, model, service, sidecar};

const CLUSTER: &str = "outbound|80||a.default.svc.cluster.local";

#[test]
fn endpoints_are_the_instances_whose_group_is_selected() {
    let yaml = [
        service("default", "a", 80),
        group("default", "g", "a", "v1"),
        group("default", "h", "b", "v1"),
        group("other", "g", "a", "v1"),
    ]
    .concat();
    let instances = [
        instance("default", "g", "10.0.0.3", &[]),
        instance("default", "g", "10.0.0.2", &[("80", 8080)]),
        instance("default", "g", "10.0.0.4", &[("metrics", 9090)]),
        instance("default", "h", "10.0.0.5", &[]),
        instance("other", "g", "10.0.0.6", &[]),
        instance("default", "no-such-group", "10.0.0.7", &[]),
    ];
    let set = model(&yaml, &instances).resources_for(&sidecar("default", "g"));
    assert_eq!(
        endpoints(&set, CLUSTER),
        [
            "10.0.0.2:15006 tls default/g v1",
            "10.0.0.3:15006 tls default/g v1"
        ],
        "by name; who lacks the port is left out"
    );
    let assignment = messages::<ClusterLoadAssignment>(&set).remove(0);
    assert!(assignment.endpoints[0].locality.is_some());
    assert_eq!(
        assignment.endpoints[0]
            .load_balancing_weight
            .map(|w| w.value),
        Some(2)
    );
}

#[test]
fn a_service_without_instances_has_a_locality_all_the_same() {
    let set = model(&service("default", "a", 80), &[]).resources_for(&sidecar("default", "g"));
    let assignment = messages::<ClusterLoadAssignment>(&set).remove(0);
    assert_eq!(assignment.endpoints.len(), 1);
    assert!(endpoints(&set, CLUSTER).is_empty());
}

#[test]
fn workload_entries_are_reached_in_plain_text_at_their_own_ports() {
    let yaml = [
        service("default", "a", 80),
        group("default", "g", "a", "v1"),
        istio(
            "WorkloadEntry",
            "default",
            "vm-1",
            "{address: 10.1.0.1, labels: {app: a, version: v2}, ports: {http: 8080}}",
        ),
        istio(
            "WorkloadEntry",
            "default",
            "vm-2",
            "{address: vm.example.com, labels: {app: a, service.istio.io/workload-name: vms}}",
        ),
        istio(
            "WorkloadEntry",
            "default",
            "vm-3",
            "{address: 10.1.0.3, labels: {app: b}}",
        ),
        // Proxies cannot connect to these.
        istio(
            "WorkloadEntry",
            "default",
            "vm-4",
            "{address: 'unix:///run/a.sock', labels: {app: a}}",
        ),
        istio(
            "WorkloadEntry",
            "default",
            "vm-5",
            "{network: elsewhere, labels: {app: a}}",
        ),
    ]
    .concat();
    let instances = [instance("default", "g", "10.0.0.2", &[])];
    let set = model(&yaml, &instances).resources_for(&sidecar("default", "g"));
    assert_eq!(
        endpoints(&set, CLUSTER),
        [
            "10.0.0.2:15006 tls default/g v1",
            "10.1.0.1:8080 plain default/vm-1 v2",
            "vm.example.com:80 plain default/vms",
        ]
    );
    insta::assert_yaml_snapshot!(summary(&set)["clusters"][CLUSTER]);
}

#[test]
fn grpc_is_http2_everywhere() {
    let yaml = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n\
                spec: {selector: {app: a}, ports: [{name: grpc, port: 80}]}\n"
        .to_owned()
        + &group("default", "g", "a", "v1");
    let set = model(&yaml, &[]).resources_for(&sidecar("default", "g"));
    let clusters = &summary(&set)["clusters"];
    assert_eq!(clusters[CLUSTER]["protocol"], "HTTP/2");
    assert_eq!(clusters["inbound|80||"]["protocol"], "HTTP/2");
}

#[test]
fn services_are_to_be_looked_at() {
    let yaml = [
        service("default", "a", 80),
        group("default", "g", "a", "v1"),
        istio(
            "WorkloadEntry",
            "default",
            "vm-1",
            "{address: 10.1.0.1, labels: {app: a}}",
        ),
    ]
    .concat();
    let services = model(&yaml, &[instance("default", "g", "10.0.0.2", &[])]).services();
    assert_eq!(services.len(), 1);
    assert_eq!(services[0].host, "a.default.svc.cluster.local");
    let port = &services[0].ports[0];
    assert_eq!(
        (port.name.as_str(), port.number, port.protocol),
        ("http", 80, Protocol::Http)
    );
    let seen: Vec<_> = port
        .endpoints
        .iter()
        .map(|endpoint| {
            let (address, number) = &endpoint.address;
            let plain = endpoint.plain_address.map(|address| address.to_string());
            let workload = endpoint.workload.name.as_str();
            (
                endpoint.name.as_str(),
                workload,
                format!("{address}:{number}"),
                endpoint.mutual_tls,
                plain,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "g-2",
                "g",
                "10.0.0.2:15006".to_owned(),
                true,
                Some("10.0.0.2:30080".to_owned())
            ),
            (
                "vm-1",
                "vm-1",
                "10.1.0.1:80".to_owned(),
                false,
                Some("10.1.0.1:80".to_owned())
            ),
        ]
    );
}
