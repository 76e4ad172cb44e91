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
            "{host: a, trafficPolicy: {tls: {mode: SIMPLE}}}",
            "spec.trafficPolicy.tls",
            "tls is accepted",
        )],
    );
    spec(
        "DestinationRule",
        "{host: '*.example.com', exportTo: ['*']}",
    );
}
