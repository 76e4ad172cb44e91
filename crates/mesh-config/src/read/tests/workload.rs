//! Tests of `read::workload`.

use super::{finds, spec};
use crate::finding::Level;
use crate::model::Spec;

#[test]
fn workloads() {
    let Spec::WorkloadGroup(group) = spec(
        "WorkloadGroup",
        "{metadata: {labels: {app: web, version: v0}}, template: {serviceAccount: web, labels: {version: v1}, ports: {http: 8080}}}",
    ) else {
        panic!("it is a WorkloadGroup")
    };
    assert_eq!(group.service_account, "web");
    assert_eq!(
        (
            group.labels["app"].as_str(),
            group.labels["version"].as_str()
        ),
        ("web", "v1")
    );
    assert_eq!(group.ports["http"], 8080);
    let Spec::WorkloadGroup(bare) = spec("WorkloadGroup", "{template: {}}") else {
        panic!("it is a WorkloadGroup")
    };
    assert_eq!(bare.service_account, "default");
    let Spec::WorkloadEntry(entry) = spec(
        "WorkloadEntry",
        "{address: 10.0.0.1, labels: {app: db}, ports: {tcp: 5432}, serviceAccount: db}",
    ) else {
        panic!("it is a WorkloadEntry")
    };
    assert_eq!(
        (entry.address.as_str(), entry.ports["tcp"]),
        ("10.0.0.1", 5432)
    );

    finds(
        Level::Error,
        "WorkloadGroup",
        &[
            ("{}", "spec.template", "required, but missing"),
            (
                "{template: {ports: {http: 0}}}",
                "spec.template.ports.http",
                "0 is no port",
            ),
            (
                "{template: {ports: {'@': 80}}}",
                "spec.template.ports[\"@\"]",
                "\"@\" is not a port's name",
            ),
            (
                "{template: {serviceAccount: 'a b'}}",
                "spec.template.serviceAccount",
                "\"a b\" is not a name",
            ),
            (
                "{template: {}, probe: {httpGet: {path: /}}}",
                "spec.probe.httpGet.port",
                "required, but missing",
            ),
        ],
    );
    finds(
        Level::Error,
        "WorkloadEntry",
        &[
            ("{}", "spec.address", "address is missing"),
            ("{address: a b}", "spec.address", "\"a b\" is not a host"),
            (
                "{address: 'unix://relative'}",
                "spec.address",
                "\"relative\" is not an absolute path",
            ),
            (
                "{address: a, ports: {http: 65536}}",
                "spec.ports.http",
                "65536 is no port",
            ),
            (
                "{address: a, labels: {app: yes}}",
                "spec.labels.app",
                "the boolean true (YAML reads yes so)",
            ),
        ],
    );
    finds(
        Level::Warning,
        "WorkloadEntry",
        &[(
            "{address: 'unix:///x'}",
            "spec.address",
            "Unix sockets are not called yet",
        )],
    );
}
