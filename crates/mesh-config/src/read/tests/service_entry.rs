//! Tests of `read::service_entry`.

use super::{finds, spec};
use crate::finding::Level;
use crate::model::{Location, Protocol, Resolution, Spec};

#[test]
fn a_service_entry_means_what_istio_says() {
    let Spec::ServiceEntry(entry) = spec(
        "ServiceEntry",
        "{hosts: [API.example.com], addresses: [10.0.0.0/8], location: MESH_INTERNAL, resolution: STATIC, \
         ports: [{number: 443, name: https, protocol: https}, {number: 80, name: web, protocol: HTTP, targetPort: 8080}], \
         endpoints: [{address: 10.0.0.1, ports: {web: 81}, labels: {v: a}, serviceAccount: api}], exportTo: [.]}",
    ) else {
        panic!("it is a ServiceEntry")
    };
    assert_eq!(entry.hosts, ["api.example.com"]);
    assert_eq!(entry.location, Location::Internal);
    assert_eq!(entry.resolution, Resolution::Static);
    let ports: Vec<_> = entry
        .ports
        .iter()
        .map(|port| (port.number, port.protocol, port.is_tls, port.target_port))
        .collect();
    assert_eq!(
        ports,
        [
            (443, Protocol::Opaque, true, None),
            (80, Protocol::Http, false, Some(8080))
        ]
    );
    assert_eq!(entry.endpoints[0].ports["web"], 81);
    assert_eq!(entry.endpoints[0].labels["v"], "a");
    assert_eq!(entry.export_to, ["."]);

    let Spec::ServiceEntry(bare) = spec("ServiceEntry", "{hosts: [example.com]}") else {
        panic!("it is a ServiceEntry")
    };
    assert_eq!(bare.location, Location::External);
    assert_eq!(bare.resolution, Resolution::None);
}

#[test]
fn what_the_webhook_refuses() {
    finds(
        Level::Error,
        "ServiceEntry",
        &[
            ("{}", "spec.hosts", "required, but missing"),
            ("{hosts: []}", "spec.hosts", "a service entry needs"),
            ("{hosts: ['*']}", "spec.hosts[0]", "* is no host"),
            ("{hosts: ['-']}", "spec.hosts[0]", "\"-\" is not a host"),
            (
                "{hosts: ['*.a.com'], resolution: DNS}",
                "spec.hosts[0]",
                "\"*.a.com\" is no name",
            ),
            (
                "{hosts: [a.com], resolution: DYNAMIC_DNS}",
                "spec.hosts[0]",
                "resolution DYNAMIC_DNS is for",
            ),
            (
                "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{number: 1, name: a, protocol: TCP}]}",
                "spec.ports[0].protocol",
                "with resolution DYNAMIC_DNS",
            ),
            (
                "{hosts: [a.com], addresses: [10.0.0.0/8], resolution: DNS}",
                "spec.addresses[0]",
                "a subnet goes with",
            ),
            (
                "{hosts: [a.com], ports: [{number: 1, name: a}, {number: 1, name: b}]}",
                "spec.ports[1].number",
                "port 1 is there already",
            ),
            (
                "{hosts: [a.com], ports: [{number: 1, name: a}, {number: 2, name: a}]}",
                "spec.ports[1].name",
                "a is already",
            ),
            (
                "{hosts: [a.com], ports: [{number: 1, name: a, protocol: FOO}]}",
                "spec.ports[0].protocol",
                "\"FOO\" is not a protocol",
            ),
            (
                "{hosts: [a.com], endpoints: [{address: 1.2.3.4}]}",
                "spec.endpoints",
                "with resolution NONE",
            ),
            (
                "{hosts: [a.com], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.com}, {address: c.com}]}",
                "spec.endpoints",
                "resolution DNS_ROUND_ROBIN takes one",
            ),
            (
                "{hosts: [a.com], resolution: STATIC, endpoints: [{address: b.com}]}",
                "spec.endpoints[0].address",
                "\"b.com\" is no IP address",
            ),
            (
                "{hosts: [a.com], resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {x: 1}}]}",
                "spec.endpoints[0].ports.x",
                "\"x\" is none of",
            ),
            (
                "{hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.2.3.4}]}",
                "spec",
                "workloadSelector and endpoints exclude",
            ),
            (
                "{hosts: [a.com, b.com], resolution: DNS, ports: [{number: 1, name: a, protocol: TCP}]}",
                "spec.hosts",
                "connections to a port that is neither",
            ),
        ],
    );
}

#[test]
fn what_is_valid_and_does_less_than_it_says() {
    finds(
        Level::Warning,
        "ServiceEntry",
        &[
            (
                "{hosts: ['*x.com']}",
                "spec.hosts[0]",
                "\"*x.com\" covers a part",
            ),
            (
                "{hosts: [a.com], workloadSelector: {}}",
                "spec.workloadSelector",
                "a selector without labels",
            ),
            (
                "{hosts: [a.com], workloadSelector: {labels: {a: b}}}",
                "spec.workloadSelector",
                "a workloadSelector acts with",
            ),
            (
                "{hosts: [a.com], ports: [{number: 80, name: a, targetPort: 81}]}",
                "spec.ports[0].targetPort",
                "targetPort has no effect",
            ),
        ],
    );
}
