//! Tests of `read::service`.

use super::{finds, outcome, spec};
use crate::finding::Level;
use crate::model::{Spec, TargetPort};

#[test]
fn services() {
    let Spec::Service(service) = spec(
        "Service",
        "{selector: {app: web}, type: ClusterIP, ports: [{name: http, port: 80, targetPort: 8080},
          {name: grpc, port: 81, targetPort: grpc, appProtocol: grpc, protocol: TCP}, {name: c, port: 82}]}",
    ) else {
        panic!("it is a Service")
    };
    let targets: Vec<_> = service
        .ports
        .iter()
        .map(|port| port.target_port.clone())
        .collect();
    assert_eq!(
        targets,
        [
            TargetPort::Number(8080),
            TargetPort::Name("grpc".into()),
            TargetPort::Number(82)
        ]
    );
    assert_eq!(service.ports[1].app_protocol.as_deref(), Some("grpc"));

    finds(
        Level::Error,
        "Service",
        &[
            ("{}", "spec.ports", "a service needs at least one port"),
            (
                "{ports: [{name: a}]}",
                "spec.ports[0].port",
                "required, but missing",
            ),
            ("{ports: [{port: 0}]}", "spec.ports[0].port", "0 is no port"),
            (
                "{ports: [{port: 80, targetPort: 70000}]}",
                "spec.ports[0].targetPort",
                "70000 is no port",
            ),
            (
                "{ports: [{port: 80, targetPort: '80'}]}",
                "spec.ports[0].targetPort",
                "\"80\" is not a port's name",
            ),
            (
                "{ports: [{port: 80, protocol: HTTP}]}",
                "spec.ports[0].protocol",
                "\"HTTP\" is not known here; use TCP",
            ),
            (
                "{ports: [{port: 80, name: Web}]}",
                "spec.ports[0].name",
                "\"Web\" is not a DNS label",
            ),
            (
                "{ports: [{port: 80, name: a}, {port: 81}]}",
                "spec.ports[1].name",
                "name is missing; a service with several",
            ),
            (
                "{ports: [{port: 80, name: a}, {port: 81, name: a}]}",
                "spec.ports[1].name",
                "a is already spec.ports[0].name",
            ),
            (
                "{ports: [{port: 80, name: a}, {port: 80, name: b}]}",
                "spec.ports[1].port",
                "spec.ports[0].port is the same port",
            ),
            (
                "{ports: [{port: 80}], selector: {app: no}}",
                "spec.selector.app",
                "the boolean false (YAML reads no so)",
            ),
            (
                "{ports: [{port: 80}], clusterIP: 127.0.0.256}",
                "spec.clusterIP",
                "\"127.0.0.256\" is not an IP address; write one of 127.0.0.0/8",
            ),
            (
                "{ports: [{port: 80}], clusterIPs: [127.0.0.1, none]}",
                "spec.clusterIPs[1]",
                "\"none\" is not an IP address",
            ),
            (
                "{ports: [{port: 80}], selectors: {}}",
                "spec.selectors",
                "\"selectors\" is not a field here; did you mean selector?",
            ),
        ],
    );
    finds(
        Level::Warning,
        "Service",
        &[
            (
                "{ports: [{port: 80}], type: LoadBalancer}",
                "spec.type",
                "type is accepted but not acted on by this version: the mesh opens no port",
            ),
            (
                "{ports: [{port: 80, nodePort: 30080}]}",
                "spec.ports[0].nodePort",
                "nodePort is accepted",
            ),
            (
                "{ports: [{port: 53, protocol: UDP}]}",
                "spec.ports[0].protocol",
                "protocol is accepted but not acted on by this version: proxies carry TCP only, so the port is not",
            ),
            (
                "{ports: [{port: 53, name: udp-dns}]}",
                "spec.ports[0].name",
                "proxies carry TCP only, and this says UDP, so the port is not served",
            ),
            (
                "{ports: [{port: 53, name: http, appProtocol: udp}]}",
                "spec.ports[0].appProtocol",
                "proxies carry TCP only, and this says UDP, so the port is not served",
            ),
            (
                "{ports: [{port: 80}], clusterIP: None}",
                "spec.clusterIP",
                "there are no headless services in the mesh",
            ),
            (
                "{ports: [{port: 80}], sessionAffinity: ClientIP}",
                "spec.sessionAffinity",
                "sessionAffinity is accepted",
            ),
        ],
    );
    // Two ports with one number are two ports where their protocols differ; only TCP is carried.
    let (Spec::Service(dns), _) = outcome(
        "Service",
        "{ports: [{port: 53, name: t}, {port: 53, name: u, protocol: UDP}, {port: 54, name: udp}]}",
    )
    .expect("it is valid") else {
        panic!("it is a Service")
    };
    assert_eq!(dns.ports.len(), 1);
}

#[test]
fn a_cluster_ip_counts_if_it_is_a_loopback_address() {
    for (written, expected) in [
        ("", None),
        ("clusterIP: '', ", None),
        ("clusterIP: null, ", None),
        (
            "clusterIP: 10.96.0.17, clusterIPs: [10.96.0.17, 'fd00::1'], ",
            None,
        ),
        ("clusterIP: '::1', ", None),
        ("clusterIP: 127.0.0.10, ", Some([127, 0, 0, 10])),
        ("clusterIPs: [127.1.2.3], ", Some([127, 1, 2, 3])),
        (
            "clusterIP: 127.0.0.4, clusterIPs: [127.0.0.4], ",
            Some([127, 0, 0, 4]),
        ),
    ] {
        let spec = format!("{{{written}ports: [{{port: 80}}]}}");
        let (read, warnings) = outcome("Service", &spec).expect(written);
        assert_eq!(warnings, [], "{written}");
        let Spec::Service(service) = read else {
            panic!("it is a Service")
        };
        assert_eq!(service.cluster_ip, expected.map(Into::into), "{written}");
    }
}

#[test]
fn what_a_cluster_adds_to_a_service_is_no_news() {
    let (_, warnings) = outcome(
        "Service",
        "{ports: [{name: web, port: 80, protocol: TCP, targetPort: 80}, {name: tcp-db, port: 5432}, {name: https, port: 443}], selector: {app: a}, type: ClusterIP,
          sessionAffinity: None, internalTrafficPolicy: Cluster, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack}",
    )
    .expect("it is valid");
    assert_eq!(warnings, []);
}
