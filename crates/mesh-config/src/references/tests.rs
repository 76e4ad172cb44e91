//! What an object is told about the others that it names.

use std::path::Path;

use super::*;
use crate::parse::parse;

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: other}
spec: {ports: [{port: 80, name: a}, {port: 81, name: b}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: other}
spec: {host: ratings, subsets: [{name: v1}, {name: v2}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {a: b}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}]}
";

fn config(text: &str) -> Config {
    parse(Path::new("shop.yaml"), text)
        .expect(text)
        .into_iter()
        .map(|parsed| parsed.object)
        .collect()
}

/// What is found about a VirtualService in the shop, as `LEVEL field: message`.
fn found(spec: &str) -> Vec<String> {
    let mut all = config(SHOP);
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec: {spec}\n"
    );
    all.extend(
        parse(Path::new("rule.yaml"), &rule)
            .expect(spec)
            .into_iter()
            .map(|parsed| parsed.object),
    );
    check_all(&all)
        .into_iter()
        .map(|finding| format!("{} {}: {}", finding.level, finding.field, finding.message))
        .collect()
}

#[test]
fn what_exists_is_silent() {
    let fine = "{hosts: ['*'], gateways: [edge, default/edge], http: [{match: [{gateways: [edge]}], route: [
        {destination: {host: reviews, port: {number: 80}}, weight: 1},
        {destination: {host: ratings.other.svc.cluster.local, subset: v1, port: {number: 81}}, weight: 1}]}]}";
    assert_eq!(found(fine), Vec::<String>::new());
}

#[test]
fn what_does_not_exist_is_named() {
    let to = |destination: &str| {
        format!("{{hosts: [a], http: [{{route: [{{destination: {destination}}}]}}]}}")
    };
    let at = "spec.http[0].route[0].destination";
    let table = [
        (
            "{host: rewiews}",
            "error",
            "host",
            "no Service has the host rewiews.default.svc.cluster.local; did you mean reviews.default.svc.cluster.local?",
        ),
        (
            "{host: ratings}",
            "error",
            "host",
            "no Service has the host ratings.default.svc.cluster.local; did you mean ratings.other.svc.cluster.local?",
        ),
        (
            "{host: ratings.other}",
            "error",
            "host",
            "no Service has the host ratings.other; did you mean ratings.other.svc.cluster.local?",
        ),
        (
            "{host: warehouse}",
            "error",
            "host",
            "no Service has the host warehouse.default.svc.cluster.local; apply a Service warehouse in the namespace default first",
        ),
        (
            "{host: www.example.com}",
            "error",
            "host",
            "no Service has the host www.example.com; a short name stands for",
        ),
        (
            "{host: reviews, port: {number: 8080}}",
            "error",
            "port.number",
            "reviews.default.svc.cluster.local has no port 8080; it has 80",
        ),
        (
            "{host: reviews, subset: v1}",
            "warning",
            "subset",
            "no DestinationRule defines the subset v1 of reviews.default.svc.cluster.local yet; until one does, requests for it are answered with 503",
        ),
        (
            "{host: ratings.other.svc.cluster.local, subset: v3}",
            "error",
            "subset",
            "ratings.other.svc.cluster.local has no subset v3; its DestinationRules define v1, v2",
        ),
    ];
    for (destination, level, field, message) in table {
        let found = found(&to(destination));
        let expected = format!("{level} {at}.{field}: {message}");
        assert_eq!(found.len(), 1, "{destination}: {found:?}");
        assert!(found[0].starts_with(&expected), "{destination}: {found:?}");
    }
    assert_eq!(
        found("{hosts: [a.b], gateways: [gone, ns/gone], http: [{match: [{gateways: [mesh, g2]}], route: [{destination: {host: reviews}}]}]}")
            .iter()
            .map(|finding| finding.split(';').next().unwrap_or_default())
            .collect::<Vec<_>>(),
        [
            "warning spec.gateways[0]: there is no Gateway default/gone yet",
            "warning spec.gateways[1]: there is no Gateway ns/gone yet",
            "warning spec.http[0].match[0].gateways[1]: there is no Gateway default/g2 yet",
        ]
    );
}

#[test]
fn the_place_is_the_fields_own() {
    let all = config(SHOP);
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [a]\n  http:\n  - route:\n    - destination:\n        host: gone\n";
    let object = parse(Path::new("rule.yaml"), rule)
        .expect(rule)
        .remove(0)
        .object;
    let findings = check_references(&all, &object);
    assert!(
        findings[0].to_string().starts_with(
            "rule.yaml:9:15 (document 1): VirtualService default/x: spec.http[0].route[0].destination.host: \
             no Service has the host gone.default.svc.cluster.local"
        ),
        "{}",
        findings[0]
    );
}

#[test]
fn a_rule_for_nobody_is_warned_about() {
    let all = config(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x}\nspec: {host: gone}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: z}\nspec: {host: '*.com'}\n",
    );
    let findings = check_all(&all);
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].level, findings[0].field.as_str()),
        (Level::Warning, "spec.host")
    );
}

#[test]
fn who_does_not_have_its_address_is_told_so() {
    let service = |name: &str, more: &str, ports: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}{more}}}\n\
             spec: {{clusterIP: 127.0.0.9, ports: [{ports}]}}\n"
        )
    };
    let created = |time: &str| format!(", creationTimestamp: '2024-01-0{time}T00:00:00Z'");
    let told = |text: &str| -> Vec<String> {
        check_all(&config(text))
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let ports = "{port: 70, name: tcp}, {port: 71, name: http}";
    let old = service("z-old", &created("1"), ports);
    let young = service(
        "a-young",
        &created("2"),
        "{port: 72, name: a}, {port: 71, name: b}",
    );
    for text in [old.clone() + &young, young.clone() + &old] {
        let told = told(&text);
        assert_eq!(told.len(), 1, "{told:?}");
        let sentence = "Service default/a-young: spec.ports[1].port: sidecars listen at 127.0.0.9:71 for \
                        z-old.default.svc.cluster.local, which is older, and not for this service; give it \
                        another clusterIP in 127.0.0.0/8";
        assert!(told[0].ends_with(sentence), "{told:?}");
    }
    // What is not stored yet is the youngest; of equal age, the first by name is the older one.
    let told_new = told(&(service("a-new", "", ports) + &young));
    assert!(
        told_new[0].contains("Service default/a-new: spec.ports[1]"),
        "{told_new:?}"
    );
    let told_equal = told(&(service("b", "", "{port: 70}") + &service("a", "", "{port: 70}")));
    assert_eq!(told_equal.len(), 1, "{told_equal:?}");
    assert!(
        told_equal[0].contains("Service default/b: "),
        "{told_equal:?}"
    );

    // A service that is written anew is not in its own way.
    let all = config(&old);
    let again = config(&service("z-old", "", ports));
    for object in again.iter() {
        assert_eq!(check_references(&all, object), []);
    }
}

#[test]
fn http_routes_for_a_service_without_http_are_warned_about() {
    let told = |ports: &str, routes: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: db}}\nspec: {{ports: [{ports}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\n\
             spec: {{hosts: [other, db], {routes}: [{{route: [{{destination: {{host: db, port: {{number: 70}}}}}}]}}]}}\n"
        );
        let findings = check_all(&config(&text));
        let about = findings.iter().map(|f| (f.level, f.field.clone()));
        about.collect::<Vec<_>>()
    };
    let warning = (Level::Warning, "spec.hosts[1]".to_owned());
    assert_eq!(told("{name: tcp, port: 70}", "http"), [warning]);
    assert_eq!(told("{name: tcp, port: 70}", "tcp"), []);
    assert_eq!(
        told("{name: tcp, port: 70}, {name: http, port: 80}", "http"),
        []
    );
}
