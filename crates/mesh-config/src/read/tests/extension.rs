//! Tests of `read::telemetry` and `read::extension`.

use std::time::Duration;

use super::{finds, outcome};
use crate::finding::Level;
use crate::model::{CustomTag, Side, Spec};

#[test]
fn telemetry() {
    let spec = "{tracing: [{match: {mode: CLIENT}, providers: [{name: otel}], randomSamplingPercentage: 12.5, \
                customTags: {a: {literal: {value: b}}, h: {header: {name: x}}}}], \
                metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {t: {operation: REMOVE}, \
                u: {value: request.host}}}, {match: {metric: ALL_METRICS}, disabled: true}], reportingInterval: 5s}], \
                accessLogging: [{disabled: true, filter: {expression: 'response.code >= 400'}}]}";
    let (meaning, warnings) = outcome("Telemetry", spec).expect(spec);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let Spec::Telemetry(telemetry) = meaning else {
        panic!("it is one")
    };
    let tracing = &telemetry.tracing[0];
    assert_eq!(tracing.side, Side::Client);
    assert_eq!(tracing.sampled_per_million, Some(125_000));
    assert_eq!(tracing.tags["a"], CustomTag::Literal("b".into()));
    assert_eq!(
        tracing.tags["h"],
        CustomTag::Header("x".into(), String::new())
    );
    let metrics = &telemetry.metrics[0];
    assert_eq!(metrics.reporting_interval, Some(Duration::from_secs(5)));
    assert_eq!(
        metrics.overrides[0].metric.as_deref(),
        Some("REQUEST_COUNT")
    );
    assert_eq!(metrics.overrides[0].tags["t"], None);
    assert_eq!(
        metrics.overrides[0].tags["u"].as_deref(),
        Some("request.host")
    );
    assert_eq!(metrics.overrides[1].metric, None);
    assert_eq!(metrics.overrides[1].disabled, Some(true));
    assert_eq!(telemetry.access_logging[0].filter, "response.code >= 400");
    finds(
        Level::Error,
        "Telemetry",
        &[
            (
                "{tracing: [{randomSamplingPercentage: 101}]}",
                "spec.tracing[0].randomSamplingPercentage",
                "101 is out of range",
            ),
            (
                "{metrics: [{providers: [{name: ''}]}]}",
                "spec.metrics[0].providers[0].name",
                "it is empty",
            ),
            (
                "{metrics: [{overrides: [{tagOverrides: {t: {operation: UPSERT}}}]}]}",
                "spec.metrics[0].overrides[0].tagOverrides.t.value",
                "nothing says what the tag is",
            ),
            (
                "{metrics: [{overrides: [{tagOverrides: {t: {operation: REMOVE, value: a}}}]}]}",
                "spec.metrics[0].overrides[0].tagOverrides.t.value",
                "a tag that is removed has no value",
            ),
            (
                "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]}",
                "spec.metrics[0].overrides[0].match",
                "metric and customMetric exclude one another",
            ),
        ],
    );
}

#[test]
fn what_is_kept_for_others_is_checked_all_the_same() {
    for (kind, spec) in [
        (
            "WasmPlugin",
            "{url: 'oci://example.com/a:1', pluginConfig: {a: {b: [1]}}, vmConfig: {env: [{name: A, valueFrom: HOST}]}}",
        ),
        (
            "WasmPlugin",
            "{url: 'private:5000/a:latest', match: [{mode: SERVER, ports: [{number: 80}]}]}",
        ),
        (
            "TrafficExtension",
            "{lua: {inlineCode: 'x()'}, targetRefs: [{kind: Service, name: a}]}",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, match: {cluster: {service: a}}, patch: {operation: MERGE, value: {x: 1}}}]}",
        ),
        (
            "ProxyConfig",
            "{concurrency: 0, environmentVariables: {A: b}, image: {imageType: distroless}}",
        ),
    ] {
        let (meaning, warnings) = outcome(kind, spec).expect(spec);
        assert_eq!(meaning, Spec::Inert);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].message.contains("is kept but not acted on"),
            "{warnings:?}"
        );
    }
    let table = [
        ("WasmPlugin", "{}", "spec.url", "required"),
        (
            "WasmPlugin",
            "{url: 'ftp://a'}",
            "spec.url",
            "\"ftp://a\" is no URL",
        ),
        ("WasmPlugin", "{url: ':a'}", "spec.url", "\":a\" is no URL"),
        (
            "WasmPlugin",
            "{url: a, sha256: abc}",
            "spec.sha256",
            "\"abc\" is no SHA-256",
        ),
        (
            "WasmPlugin",
            "{url: a, vmConfig: {env: [{name: A, valueFrom: HOST, value: b}]}}",
            "spec.vmConfig.env[0].value",
            "the value comes from the host",
        ),
        (
            "WasmPlugin",
            "{url: a, vmConfig: {env: [{name: A}, {name: A}]}}",
            "spec.vmConfig.env[1].name",
            "A is already",
        ),
        (
            "WasmPlugin",
            "{url: a, match: [{ports: [{number: 80}, {number: 80}]}]}",
            "spec.match[0].ports[1].number",
            "this port stands here already",
        ),
        ("TrafficExtension", "{}", "spec", "it says nothing"),
        (
            "TrafficExtension",
            "{lua: {inlineCode: a}, wasm: {url: a}}",
            "spec",
            "wasm and lua exclude one another",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{patch: {operation: REMOVE}}]}",
            "spec.configPatches[0].applyTo",
            "nothing says what",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER}]}",
            "spec.configPatches[0].patch",
            "nothing is patched",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD}}]}",
            "spec.configPatches[0].patch.value",
            "ADD needs a value",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}]}",
            "spec.configPatches[0].match.listener",
            "CLUSTER is found by cluster",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, match: {waypoint: {}}, patch: {operation: REMOVE}}]}",
            "spec.configPatches[0].match.waypoint",
            "waypoint goes with context",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {}}}}, patch: {operation: REMOVE}}]}",
            "spec.configPatches[0].match.listener.filterChain.filter.name",
            "it matches nothing",
        ),
        (
            "ProxyConfig",
            "{concurrency: -1}",
            "spec.concurrency",
            "-1 is below 0",
        ),
    ];
    for (kind, spec, field, message) in table {
        finds(Level::Error, kind, &[(spec, field, message)]);
    }
}
