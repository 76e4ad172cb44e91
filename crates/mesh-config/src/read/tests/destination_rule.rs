//! Tests of `read::destination_rule`.

use super::{finds, spec};
use crate::finding::Level;
use crate::model::Spec;

#[test]
fn destination_rules() {
    let Spec::DestinationRule(rule) = spec(
        "DestinationRule",
        "{host: Reviews, subsets: [{name: v1, labels: {version: v1}}, {name: all}]}",
    ) else {
        panic!("it is a DestinationRule")
    };
    assert_eq!(rule.host, "reviews");
    assert_eq!(rule.subsets[0].labels["version"], "v1");
    assert!(rule.subsets[1].labels.is_empty());

    finds(
        Level::Error,
        "DestinationRule",
        &[
            ("{subsets: []}", "spec.host", "required, but missing"),
            ("{host: ''}", "spec.host", "\"\" is not a host: it is empty"),
            ("{host: a_b}", "spec.host", "\"a_b\" is not a host"),
            (
                "{host: a, subsets: [{labels: {}}]}",
                "spec.subsets[0].name",
                "required, but missing",
            ),
            (
                "{host: a, subsets: [{name: v1}, {name: v1}]}",
                "spec.subsets[1].name",
                "v1 is already spec.subsets[0].name",
            ),
            (
                "{host: a, subsets: [{name: v1, labels: {version: 1.10}}]}",
                "spec.subsets[0].labels.version",
                "the number 1.10 stands where a text belongs; quote it: \"1.10\"",
            ),
            (
                "{host: a, trafficPolicy: {}}",
                "spec.trafficPolicy",
                "it says nothing",
            ),
            (
                "{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
                "spec.trafficPolicy.outlierDetection.maxEjectionPercent",
                "101 is out of range",
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {simple: ROUNDROBIN}}}",
                "spec.trafficPolicy.loadBalancer.simple",
                "\"ROUNDROBIN\" is not known here; did you mean ROUND_ROBIN?",
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 1000}}}}}",
                "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
                "1000 is no size of a Maglev table",
            ),
            // A prime number whose root is far away.
            (
                "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 9223372036854775783}}}}}",
                "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
                "9223372036854775783 is no size of a Maglev table",
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {}}}}}",
                "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
                "a Maglev table needs its size",
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {minimumRingSize: 9, ringHash: {}}}}}",
                "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize",
                "the size stands in ringHash or maglev",
            ),
            (
                "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 5}}}",
                "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
                "it counts only with splitExternalLocalOriginErrors",
            ),
            (
                "{host: a, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}}",
                "spec.trafficPolicy.connectionPool.http.useClientProtocol",
                "h2UpgradePolicy: UPGRADE chooses another protocol",
            ),
            (
                "{host: a, trafficPolicy: {tunnel: {targetHost: '*.a', targetPort: 1}}}",
                "spec.trafficPolicy.tunnel.targetHost",
                "\"*.a\" is not a host",
            ),
            (
                "{host: a, trafficPolicy: {tunnel: {targetHost: a, targetPort: 1}, proxyProtocol: {}}}",
                "spec.trafficPolicy",
                "tunnel and proxyProtocol exclude one another",
            ),
            (
                "{host: a, exportTo: ['~']}",
                "spec.exportTo[0]",
                "~ is for a ServiceEntry",
            ),
            (
                "{host: a, exportTo: [., default]}",
                "spec.exportTo",
                "default stands here twice",
            ),
            (
                "{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [other]}",
                "spec.exportTo",
                "a rule with a workloadSelector is for its own namespace",
            ),
            (
                "{host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: c}}}",
                "spec.trafficPolicy.tls.privateKey",
                "privateKey is missing",
            ),
        ],
    );
    finds(
        Level::Warning,
        "DestinationRule",
        &[(
            "{host: a, trafficPolicy: {tls: {mode: SIMPLE, caCrl: /a}}}",
            "spec.trafficPolicy.tls.caCrl",
            "caCrl is accepted",
        )],
    );
    spec(
        "DestinationRule",
        "{host: '*.example.com', exportTo: ['*']}",
    );
}

#[test]
fn localities() {
    let setting = |inner: &str| {
        let balancer = format!("{{localityLbSetting: {{{inner}}}}}");
        format!(
            "{{host: a, trafficPolicy: {{loadBalancer: {balancer}, outlierDetection: {{interval: 1s}}}}}}"
        )
    };
    for fine in [
        "distribute: [{from: us/*, to: {us/a/b: 30, us/*: 70}}, {from: '*', to: {eu: 100}}]",
        "failover: [{from: us, to: eu}], failoverPriority: [topology.istio.io/network]",
    ] {
        spec("DestinationRule", &setting(fine));
    }
    let at = "spec.trafficPolicy.loadBalancer.localityLbSetting";
    for (wrong, field, message) in [
        (
            "distribute: [{from: a, to: {}}]",
            ".distribute[0].to",
            "shares are percentages",
        ),
        (
            "distribute: [{from: a//b, to: {c: 100}}]",
            ".distribute[0].from",
            "\"a//b\" has an empty part",
        ),
        (
            "distribute: [{from: '*/b', to: {c: 100}}]",
            ".distribute[0].from",
            "in \"*/b\" the *",
        ),
        (
            "distribute: [{from: a, to: {c: 100}}, {from: a/b, to: {c: 100}}]",
            ".distribute[1].from",
            "\"a/b\" is covered by one before it",
        ),
        (
            "distribute: [{from: a, to: {b/*: 50, b/c: 50}}]",
            ".distribute[0].to[\"b/c\"]",
            "\"b/c\" is covered",
        ),
        (
            "failover: [{from: '*', to: eu}]",
            ".failover[0]",
            "a failover is between two regions",
        ),
        (
            "failover: [{from: us, to: eu}], failoverPriority: [topology.kubernetes.io/zone]",
            ".failoverPriority[0]",
            "failover orders the localities already",
        ),
    ] {
        let field = format!("{at}{field}");
        finds(
            Level::Error,
            "DestinationRule",
            &[(&setting(wrong), &field, message)],
        );
    }
}
