//! Tests of `read::sidecar`.

use super::{finds, spec};
use crate::finding::Level;
use crate::model::{EgressNamespace, OutboundPolicy, Spec};

#[test]
fn a_sidecar_means_what_istio_says() {
    let Spec::Sidecar(sidecar) = spec(
        "Sidecar",
        "{workloadSelector: {labels: {app: web}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}, \
         ingress: [{port: {number: 9080, protocol: HTTP, name: web}, defaultEndpoint: '127.0.0.1:8080'}], \
         egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: [./Api]}, {hosts: ['*/*', '~prod/*', 'istio-system/*', '~/*']}]}",
    ) else {
        panic!("it is a Sidecar")
    };
    assert_eq!(sidecar.selector["app"], "web");
    assert_eq!(sidecar.outbound, Some(OutboundPolicy::RegistryOnly));
    assert_eq!(
        (sidecar.ingress[0].port, sidecar.ingress[0].app_port),
        (9080, Some(8080))
    );
    assert_eq!(
        (
            sidecar.egress[0].port,
            sidecar.egress[0].hosts[0].host.as_str()
        ),
        (Some(80), "api")
    );
    let namespaces: Vec<_> = sidecar.egress[1]
        .hosts
        .iter()
        .map(|host| host.namespace.clone())
        .collect();
    assert_eq!(
        namespaces,
        [
            EgressNamespace::Any,
            EgressNamespace::Not("prod".into()),
            EgressNamespace::Named("istio-system".into()),
            EgressNamespace::None,
        ]
    );
    assert_eq!(sidecar.egress[1].port, None);
}

#[test]
fn what_the_webhook_refuses() {
    finds(
        Level::Error,
        "Sidecar",
        &[
            ("{}", "spec", "it says nothing"),
            (
                "{egress: [{hosts: []}]}",
                "spec.egress[0].hosts",
                "a listener needs",
            ),
            (
                "{egress: [{hosts: ['*']}]}",
                "spec.egress[0].hosts[0]",
                "\"*\" does not say whose",
            ),
            (
                "{egress: [{hosts: ['*/*x.com']}]}",
                "spec.egress[0].hosts[0]",
                "\"*x.com\" covers a part",
            ),
            (
                "{egress: [{hosts: ['a/*']}, {hosts: ['b/*']}]}",
                "spec.egress[0]",
                "a listener without port",
            ),
            (
                "{egress: [{port: {number: 80}, hosts: ['a/*']}, {port: {number: 80}, hosts: ['b/*']}]}",
                "spec.egress[1]",
                "port 80 is there already",
            ),
            (
                "{ingress: [{port: {number: 90}, defaultEndpoint: '1.1.1.1:90'}]}",
                "spec.ingress[0].defaultEndpoint",
                "\"1.1.1.1:90\" is no endpoint",
            ),
            (
                "{ingress: [{port: {number: 90}, defaultEndpoint: 127.0.0.1}]}",
                "spec.ingress[0].defaultEndpoint",
                "\"127.0.0.1\" is no endpoint",
            ),
            (
                "{ingress: [{port: {number: 90}}, {port: {number: 90}}]}",
                "spec.ingress[1].port",
                "port 90 is there already",
            ),
            (
                "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b}}}",
                "spec.outboundTrafficPolicy.egressProxy.port",
                "port is missing",
            ),
        ],
    );
}
