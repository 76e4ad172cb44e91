//! The Gateway API at gateways: attachment, hosts, precedence, grants, and what users are told.

use std::path::Path;

use mesh_compile::GatewayApiStatuses;
use mesh_config::{Config, Kind, parse_each};
use serde_json::Value;

use super::summary::routes;
use super::support::{config, gateway_of, service, sidecar_of};

/// An object of the Gateway API.
fn api(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A Gateway `gw` in `default` with these listeners, and services `a` and `b`.
fn gateway(listeners: &str) -> String {
    let gateway = format!("{{gatewayClassName: istio, listeners: [{listeners}]}}");
    service("default", "a", 80)
        + &service("default", "b", 80)
        + &api("Gateway", "default", "gw", &gateway)
}

const ANY: &str = "{name: http, port: 80, protocol: HTTP}";

/// An HTTPRoute of `default` for `gw`: hosts, and rules as `matches => service`.
fn route(name: &str, hosts: &str, rules: &[(&str, &str)]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|(matches, to)| {
            format!("{{matches: [{matches}], backendRefs: [{{name: {to}, port: 80}}]}}")
        })
        .collect();
    let spec = format!(
        "{{parentRefs: [{{name: gw}}], hostnames: [{hosts}], rules: [{}]}}",
        rules.join(", ")
    );
    api("HTTPRoute", "default", name, &spec)
}

fn at_80(yaml: &str) -> Vec<String> {
    routes(&gateway_of(yaml), "http.80")
        .iter()
        .map(|line| {
            line.replace("outbound|80||", "")
                .replace(".default.svc.cluster.local", "")
        })
        .collect()
}

#[test]
fn the_most_specific_match_comes_first_whatever_route_it_is_of() {
    let yaml = gateway(ANY)
        + &route(
            "one",
            "x.example",
            &[
                ("{path: {value: /}}", "a"),
                ("{path: {value: /long/path}}", "a"),
            ],
        )
        + &route(
            "two",
            "x.example",
            &[
                ("{path: {type: Exact, value: /long}}", "b"),
                (
                    "{path: {value: /long/}, headers: [{name: X, value: v}]}",
                    "b",
                ),
                ("{path: {value: /long}, method: GET}", "b"),
            ],
        );
    let lines = at_80(&yaml);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let order: Vec<&str> = lines[0].split("; ").collect();
    assert_eq!(order.len(), 5, "{order:?}");
    assert!(
        order[0].contains("/long") && order[0].ends_with('b'),
        "{order:?}"
    );
    assert!(order[1].contains("/long/path"), "{order:?}");
    assert!(
        order[2].contains("GET"),
        "a method before a header: {order:?}"
    );
    assert!(order[4].ends_with('a'), "{order:?}");
}

#[test]
fn hosts_are_what_listener_and_route_have_in_common() {
    let listener = "{name: http, port: 80, protocol: HTTP, hostname: '*.example'}";
    let yaml = gateway(listener)
        + &route("one", "x.example, y.other", &[("", "a")])
        + &route("two", "", &[("", "b")]);
    let lines = at_80(&yaml);
    let hosts: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(hosts, ["x.example", "*.example"]);
    assert!(
        lines[0].contains('a') && lines[1].ends_with('b'),
        "{lines:?}"
    );
}

#[test]
fn what_belongs_to_a_listener_does_not_fall_to_another() {
    let listeners = "{name: all, port: 80, protocol: HTTP}, \
                     {name: one, port: 80, protocol: HTTP, hostname: x.example}";
    let to_all = route("r", "x.example, y.example", &[("", "a")])
        .replace("{name: gw}", "{name: gw, sectionName: all}");
    let lines = at_80(&(gateway(listeners) + &to_all));
    let of = |host: &str| lines.iter().find(|line| line.starts_with(host)).cloned();
    assert!(
        of("y.example").is_some_and(|line| line.ends_with('a')),
        "{lines:?}"
    );
    assert!(
        of("x.example").is_some_and(|line| !line.ends_with('a')),
        "{lines:?}"
    );
}

/// `TYPE=STATUS/REASON` of the conditions of an object: its own, else those of its first parent.
fn conditions(config: &Config, kind: &str, name: &str) -> Vec<String> {
    let kind = Kind::from_api("gateway.networking.k8s.io", "v1", kind).expect("a kind");
    let object = config.find(kind, "default", name).expect("the object");
    let statuses = GatewayApiStatuses::of(config);
    let Some(status) = statuses.get(&object.key()) else {
        return Vec::new();
    };
    let own = status
        .get("conditions")
        .unwrap_or(&status["parents"][0]["conditions"]);
    own.as_array()
        .expect("conditions")
        .iter()
        .map(|one| format!("{}={}/{}", one["type"], one["status"], one["reason"]).replace('"', ""))
        .collect()
}

#[test]
fn another_namespace_is_used_with_a_grant_only() {
    let foreign = service("other", "c", 80)
        + &api(
            "HTTPRoute",
            "default",
            "r",
            "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: c, namespace: other, port: 80}]}]}",
        );
    let grant = |name: &str| {
        let to = format!("{{group: '', kind: Service, name: {name}}}");
        api(
            "ReferenceGrant",
            "other",
            "g",
            &format!(
                "{{from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}}], to: [{to}]}}"
            ),
        )
    };
    let closed = gateway(ANY) + &foreign + &grant("d");
    assert!(!at_80(&closed).concat().contains("c.other"));
    let told = conditions(&config(&closed), "HTTPRoute", "r");
    assert_eq!(
        told,
        [
            "Accepted=True/Accepted",
            "ResolvedRefs=False/RefNotPermitted"
        ]
    );
    let open = gateway(ANY) + &foreign + &grant("c");
    assert!(at_80(&open).concat().contains("c.other"));
    let told = conditions(&config(&open), "HTTPRoute", "r");
    assert_eq!(
        told,
        ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"]
    );
}

#[test]
fn routes_are_told_why_they_are_not_attached() {
    let listener = "{name: http, port: 80, protocol: HTTP, hostname: x.example, \
                    allowedRoutes: {kinds: [{kind: HTTPRoute}]}}";
    let table = [
        (
            route("r", "y.example", &[("", "a")]),
            "HTTPRoute",
            "NoMatchingListenerHostname",
        ),
        (
            route("r", "", &[("", "a")]).replace("{name: gw}", "{name: gw, sectionName: none}"),
            "HTTPRoute",
            "NoMatchingParent",
        ),
        (
            route("r", "", &[("", "a")]).replace("{name: gw}", "{name: gw, port: 81}"),
            "HTTPRoute",
            "NoMatchingParent",
        ),
        (
            api("GRPCRoute", "default", "r", "{parentRefs: [{name: gw}]}"),
            "GRPCRoute",
            "NotAllowedByListeners",
        ),
    ];
    for (route, kind, reason) in table {
        let told = conditions(&config(&(gateway(listener) + &route)), kind, "r");
        assert_eq!(told[0], format!("Accepted=False/{reason}"), "{route}");
    }
}

#[test]
fn a_route_of_the_callers_namespace_is_for_the_callers_there_alone() {
    let to = |namespace: &str, backend: &str| {
        let spec = format!(
            "{{parentRefs: [{{group: '', kind: Service, name: web, namespace: shop}}], \
             rules: [{{backendRefs: [{{name: {backend}, namespace: {namespace}, port: 80}}]}}]}}"
        );
        api("HTTPRoute", namespace, "web", &spec)
    };
    let services =
        service("shop", "web", 80) + &service("shop", "new", 80) + &service("buyers", "mine", 80);
    let (producer, consumer) = (to("shop", "new"), to("buyers", "mine"));
    // Whichever of them is older.
    for both in [producer.clone() + &consumer, consumer.clone() + &producer] {
        let target = |namespace: &str| -> String {
            let lines = routes(
                &sidecar_of(&(services.clone() + &both), namespace, "app"),
                "http_proxy",
            );
            let line = lines.iter().find(|line| line.contains("web.shop"));
            line.expect("the service is routed").clone()
        };
        assert!(
            target("buyers").ends_with("mine.buyers.svc.cluster.local"),
            "{}",
            target("buyers")
        );
        for namespace in ["shop", "others"] {
            assert!(
                target(namespace).ends_with("new.shop.svc.cluster.local"),
                "{}",
                target(namespace)
            );
        }
    }
}

#[test]
fn gateways_of_other_controllers_are_left_alone() {
    let class = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: istio}\n\
                 spec: {controllerName: example.com/other}\n";
    let yaml = gateway(ANY) + class + &route("r", "", &[("", "a")]);
    assert!(gateway_of(&yaml).is_empty());
    assert_eq!(
        conditions(&config(&yaml), "Gateway", "gw"),
        Vec::<String>::new()
    );
    assert_eq!(
        conditions(&config(&yaml), "HTTPRoute", "r"),
        Vec::<String>::new()
    );
}

#[test]
fn a_listener_in_the_way_of_another_is_told() {
    let listeners = "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: TCP}";
    let config = config(&gateway(listeners));
    assert_eq!(
        conditions(&config, "Gateway", "gw"),
        [
            "Accepted=True/ListenersNotValid",
            "Programmed=True/Programmed",
            "ResolvedRefs=True/ResolvedRefs"
        ]
    );
    let none = super::support::config(&gateway("{name: a, port: 80, protocol: UDP}"));
    assert_eq!(
        conditions(&none, "Gateway", "gw")[0],
        "Accepted=False/ListenersNotValid"
    );
}

/// Conditions that the conformance suite waits for and that do not come about here, with the reason.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "BackendTLSPolicyConflictResolution Accepted=False/Conflicted",
        "BackendTLSPolicy is not acted on",
    ),
    (
        "BackendTLSPolicy Accepted=False/NoValidCACertificate",
        "BackendTLSPolicy is not acted on",
    ),
    (
        "BackendTLSPolicy ResolvedRefs=False/InvalidCACertificateRef",
        "BackendTLSPolicy is not acted on",
    ),
    (
        "GatewayInvalidTLSBackendConfiguration ResolvedRefs=False/$tc.resolveRefsReason",
        "the reason is an expression of Go",
    ),
    (
        "GatewayStaticAddresses Accepted=False/UnsupportedAddress",
        "its manifest has placeholders and does not apply",
    ),
    (
        "GatewayStaticAddresses Programmed=False/AddressNotUsable",
        "its manifest has placeholders and does not apply",
    ),
    (
        "UDPRouteReferenceGrant ResolvedRefs=False/RefNotPermitted",
        "it comes after the suite has deleted the grant",
    ),
];

/// The suite's cases are beside the project; without them there is nothing to hold against it.
#[test]
fn conditions_are_those_that_the_conformance_suite_waits_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/gateway-api");
    let Ok(tests) = std::fs::read_to_string(root.join("tests.public.json")) else {
        return;
    };
    let tests: Value = serde_json::from_str(&tests).expect("JSON");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path))
            .expect("a manifest")
            .replace("{GATEWAY_CLASS_NAME}", "istio")
    };
    let base = read("manifests/base/manifests.yaml");
    let mut missing = Vec::new();
    let mut met = 0;
    for test in tests["tests"].as_array().expect("tests") {
        let wanted = test["expected_conditions"].as_array().expect("conditions");
        let own = test["manifests"].as_array().expect("manifests").iter();
        let own: Vec<String> = own
            .map(|path| read(path.as_str().expect("a path")))
            .collect();
        let parsed = parse_each(
            Path::new("corpus"),
            &format!("{base}\n---\n{}", own.join("\n---\n")),
            "default",
        );
        let config: Config = parsed
            .into_iter()
            .flatten()
            .map(|parsed| parsed.object)
            .collect();
        let statuses = GatewayApiStatuses::of(&config);
        let told: Vec<&Value> = config
            .iter()
            .filter_map(|object| statuses.get(&object.key()))
            .flat_map(|status| {
                let parents = status["parents"].as_array().into_iter().flatten();
                let listeners = status["listeners"].as_array().into_iter().flatten();
                std::iter::once(status).chain(parents).chain(listeners)
            })
            .flat_map(|status| status["conditions"].as_array().into_iter().flatten())
            .collect();
        for one in wanted {
            let reason = one["reason"].as_str().unwrap_or_default();
            let is_told = told.iter().any(|told| {
                told["type"] == one["type"]
                    && told["status"] == one["status"]
                    && (reason.is_empty() || told["reason"] == reason)
            });
            let id = format!(
                "{} {}={}/{reason}",
                test["test"], one["type"], one["status"]
            )
            .replace('"', "");
            if is_told {
                met += 1;
            } else if !missing.contains(&id) {
                missing.push(id);
            }
        }
    }
    let listed: Vec<&str> = OTHERWISE.iter().map(|(id, _)| *id).collect();
    println!(
        "{met} conditions as the suite waits for them, {} otherwise",
        missing.len()
    );
    assert_eq!(missing, listed);
}
