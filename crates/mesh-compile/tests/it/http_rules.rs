//! Which of a VirtualService's routes a proxy gets, and what they do.

use super::summary::routes_at;
use super::support::{gateway_of, group, istio, service, sidecar_of};

const A: &str = "a.default.svc.cluster.local";

fn virtual_service(namespace: &str, name: &str, spec: &str) -> String {
    istio("VirtualService", namespace, name, spec)
}

/// The routes for `a` that a sidecar of this workload gets.
fn seen_by(yaml: &str, namespace: &str, group: &str) -> Vec<String> {
    routes_at(&sidecar_of(yaml, namespace, group), "http_proxy", A)
}

fn to_a() -> String {
    format!("outbound|80||{A}")
}

#[test]
fn each_caller_gets_the_routes_that_are_meant_for_it() {
    let yaml = [
        service("default", "a", 80),
        group("default", "web", "web", "v1"),
        group("default", "job", "job", "v1"),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [
              {name: web, match: [{sourceLabels: {app: web}}], route: [{destination: {host: a}}]},
              {name: other, match: [{sourceNamespace: other}], route: [{destination: {host: a}}]},
              {name: port, match: [{port: 81}], route: [{destination: {host: a}}]},
              {name: query, match: [{queryParams: {q: {exact: ''}, r: {}}}], route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    let query = format!("query: /* [?q =] [?r present] => {}", to_a());
    assert_eq!(
        seen_by(&yaml, "default", "web"),
        [format!("web: /* => {}", to_a())]
    );
    assert_eq!(
        seen_by(&yaml, "default", "job"),
        std::slice::from_ref(&query)
    );
    assert_eq!(
        seen_by(&yaml, "other", "x"),
        [format!("other: /* => {}", to_a())]
    );
}

#[test]
fn a_caller_for_whom_no_rule_is_meant_goes_the_default_way() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [{match: [{sourceLabels: {app: web}}], redirect: {uri: /x}}]}",
        ),
    ]
    .concat();
    assert_eq!(
        seen_by(&yaml, "default", "job"),
        [format!("default: /* => {}", to_a())]
    );
}

#[test]
fn only_namespaces_that_a_rule_is_exported_to_follow_it() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], exportTo: ['.', other], http: [{name: r, route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    let ruled = [format!("r: /* => {}", to_a())];
    assert_eq!(seen_by(&yaml, "default", "w"), ruled);
    assert_eq!(seen_by(&yaml, "other", "w"), ruled);
    assert_eq!(
        seen_by(&yaml, "third", "w"),
        [format!("default: /* => {}", to_a())]
    );
}

#[test]
fn the_first_rule_of_a_host_wins_on_sidecars() {
    let rule = |name: &str| {
        let spec = format!(
            "{{hosts: [a], http: [{{name: {name}, route: [{{destination: {{host: a}}}}]}}]}}"
        );
        virtual_service("default", name, &spec)
    };
    let yaml = [service("default", "a", 80), rule("one"), rule("two")].concat();
    assert_eq!(
        seen_by(&yaml, "default", "w"),
        [format!("one: /* => {}", to_a())]
    );
}

#[test]
fn rules_of_one_host_are_joined_at_gateways_with_the_catch_all_last() {
    let yaml = [
        service("default", "a", 80),
        istio(
            "Gateway",
            "default",
            "edge",
            "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
        ),
        virtual_service(
            "default",
            "one",
            "{hosts: [x.example], gateways: [edge], http: [{name: all, route: [{destination: {host: a}}]}]}",
        ),
        virtual_service(
            "default",
            "two",
            "{hosts: [x.example], gateways: [edge], http: [{name: api, match: [{uri: {prefix: /api}}], route: [{destination: {host: a}}]}]}",
        ),
    ]
    .concat();
    assert_eq!(
        routes_at(&gateway_of(&yaml), "http.80", "x.example"),
        [
            format!("api: /api* => {}", to_a()),
            format!("all: /* => {}", to_a())
        ]
    );
}

#[test]
fn a_delegate_speaks_for_what_its_root_leaves_to_it() {
    let yaml = [
        service("team", "b", 80),
        virtual_service(
            "default",
            "root",
            "{hosts: [x.example], http: [
              {name: team, match: [{uri: {prefix: /team}}], delegate: {name: theirs, namespace: team}},
              {match: [{uri: {prefix: /nobody}}], delegate: {name: nobody}},
              {match: [{uri: {prefix: /secret}}], delegate: {name: hidden, namespace: team}},
              {name: rest, directResponse: {status: 404}}]}",
        ),
        virtual_service(
            "team",
            "theirs",
            "{http: [
              {name: in, match: [{uri: {prefix: /team/in}}], route: [{destination: {host: b}}]},
              {name: out, match: [{uri: {prefix: /other}}], route: [{destination: {host: b}}]},
              {route: [{destination: {host: b}}]}]}",
        ),
        virtual_service(
            "team",
            "hidden",
            "{exportTo: ['.'], http: [{route: [{destination: {host: b}}]}]}",
        ),
    ]
    .concat();
    let set = sidecar_of(&yaml, "default", "w");
    let b = "outbound|80||b.team.svc.cluster.local";
    assert_eq!(
        routes_at(&set, "http_proxy", "x.example"),
        [
            format!("team-in: /team/in* => {b}"),
            format!("team: /team* => {b}"),
            "rest: /* => 404 \"\"".to_owned(),
        ]
    );
}

#[test]
fn clients_are_redirected() {
    let yaml = [
        service("default", "a", 80),
        virtual_service(
            "default",
            "r",
            "{hosts: [a], http: [{redirect: {authority: b.example, uri: /new, port: 80, redirectCode: 308}}]}",
        ),
    ]
    .concat();
    assert_eq!(
        seen_by(&yaml, "default", "w"),
        ["/* => PERMANENT_REDIRECT to \"b.example\" port 0 path Some(PathRedirect(\"/new\"))"]
    );
}
