//! What an object is told about the others: here what it names, and ways past the mesh; the rest in `families`.

mod families;

use std::path::Path;

use super::*;
use crate::finding::Level;
use crate::parse::parse;

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: other}
spec: {ports: [{port: 80, name: http-a}, {port: 81, name: http-b}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: other}
spec: {host: ratings, subsets: [{name: v1}, {name: v2}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}]}
";

fn config(text: &str) -> Config {
    parse(Path::new("shop.yaml"), text)
        .expect(text)
        .into_iter()
        .map(|parsed| parsed.object)
        .collect()
}

fn analysed(text: &str) -> Vec<Finding> {
    analyze(&config(text), &Options::running())
}

/// The ids of all that is found, with their objects and fields.
fn told(text: &str) -> Vec<String> {
    analysed(text).iter().map(short).collect()
}

fn short(finding: &Finding) -> String {
    let object = finding.object.as_ref().map(ToString::to_string);
    format!(
        "{} {} {}",
        finding.code.map_or("", |code| code.id),
        object.unwrap_or_default(),
        finding.field
    )
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
    analyze(&all, &Options::running())
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
            "{host: ratings.other.svc.cluster.local, subset: v3, port: {number: 80}}",
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
            "error spec.gateways[0]: there is no Gateway default/gone yet",
            "warning spec.gateways[0]: nothing comes in for a.b: the Gateway default/gone opens nothing to VirtualServices of the namespace default",
            "error spec.gateways[1]: there is no Gateway ns/gone yet",
            "warning spec.gateways[1]: nothing comes in for a.b: the Gateway ns/gone opens nothing to VirtualServices of the namespace default",
            "error spec.http[0].match[0].gateways[1]: there is no Gateway default/g2 yet",
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
    let options = Options::running();
    let findings = Analysis::new(&all, &options).object(&object);
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
    let findings = analyze(&all, &Options::running());
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
        analysed(text)
            .iter()
            .filter(|finding| finding.code == Some(&ADDRESS_TAKEN))
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
                        another clusterIP in 127.0.0.0/8 [MESH0004]";
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
    let options = Options::running();
    let analysis = Analysis::new(&all, &options);
    for object in again.iter() {
        assert_eq!(analysis.object(object), []);
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
        let findings = analysed(&text);
        let about = findings
            .iter()
            .filter(|finding| finding.code == Some(&OPAQUE_PORTS))
            .map(|finding| (finding.level, finding.field.clone()));
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

/// A Service that clients reach past the mesh, and rules for a gateway alone.
const FLEET: &str = "
apiVersion: v1
kind: Service
metadata: {name: webapp}
spec: {type: LoadBalancer, selector: {app: webapp}, ports: [{port: 80, name: http, nodePort: 30080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: webapp}
spec: {metadata: {labels: {app: webapp, version: original}}, template: {serviceAccount: webapp}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: webapp}
spec: {hosts: ['*'], gateways: [edge], http: [{route: [
  {destination: {host: webapp, subset: original}, weight: 90},
  {destination: {host: webapp, subset: experimental}, weight: 10}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: webapp}
spec: {host: webapp, subsets: [
  {name: original, labels: {version: original}}, {name: experimental, labels: {version: experimental}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";

#[test]
fn a_published_port_goes_past_the_rules() {
    let findings = analysed(FLEET);
    assert_eq!(
        findings.iter().map(short).collect::<Vec<_>>(),
        [
            "MESH0001 Service default/webapp spec.type",
            "IST0173 DestinationRule default/webapp spec.subsets[1]",
        ]
    );
    let message = &findings[0].message;
    assert!(
        message.starts_with(
            "requests that come in through its load balancer pass no proxy of the mesh: the rules of VirtualService \
             default/webapp have no effect on them"
        ),
        "{message}"
    );

    // In front of a gateway it is the way in.
    let gateway = FLEET.replace(
        "selector: {app: webapp}",
        "selector: {istio: ingressgateway}",
    );
    assert!(!told(&gateway).iter().any(|one| one.starts_with("MESH0001")));
    // Without rules, reading it has said what is to be said.
    let alone = FLEET.split("---").next().expect("the first document");
    assert_eq!(told(alone), Vec::<String>::new());
}

#[test]
fn both_ways_of_saying_it_are_told_once() {
    let parsed = parse(Path::new("fleet.yaml"), FLEET).expect(FLEET);
    let read: Vec<Finding> = parsed
        .iter()
        .flat_map(|parsed| parsed.warnings.clone())
        .collect();
    assert!(read.iter().any(|one| one.code == Some(&PAST_THE_MESH)));
    let all = joined(read, analysed(FLEET));
    let past = all.iter().filter(|one| one.code == Some(&PAST_THE_MESH));
    assert_eq!(past.count(), 1, "{all:?}");
}

#[test]
fn rules_for_gateways_do_not_rule_callers_in_the_mesh() {
    let caller = "---\napiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: caller}\n\
                  spec: {metadata: {labels: {app: caller}}, template: {serviceAccount: caller}}\n";
    let with_caller = format!("{FLEET}{caller}");
    let expected = "MESH0002 VirtualService default/webapp spec.gateways".to_owned();
    assert!(told(&with_caller).contains(&expected));
    assert!(!told(FLEET).contains(&expected));
    let for_both = with_caller.replace(
        "hosts: ['*'], gateways: [edge]",
        "hosts: [webapp], gateways: [edge, mesh]",
    );
    assert!(!told(&for_both).contains(&expected));
}

#[test]
fn what_is_suppressed_is_not_told_and_still_refuses() {
    let annotated = |codes: &str| {
        FLEET.replace(
            "kind: Service\nmetadata: {name: webapp}",
            &format!(
                "kind: Service\nmetadata: {{name: webapp, annotations: {{galley.istio.io/analyze-suppress: '{codes}'}}}}"
            ),
        )
    };
    for codes in ["MESH0001", "IST0118, MESH0001", "*"] {
        let told = told(&annotated(codes));
        assert!(
            !told.iter().any(|one| one.starts_with("MESH0001")),
            "{told:?}"
        );
    }
    assert!(told(&annotated("MESH0002"))[0].starts_with("MESH0001"));

    let astray = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                  metadata: {name: x, annotations: {galley.istio.io/analyze-suppress: '*'}}\n\
                  spec: {hosts: [x], http: [{route: [{destination: {host: gone}}]}]}\n";
    assert_eq!(
        told(astray),
        ["IST0101 VirtualService default/x spec.http[0].route[0].destination.host"]
    );
}

#[test]
fn hosts_outside_the_mesh_are_known_by_their_service_entries() {
    let to = |host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: out, namespace: other}}\n\
             spec: {{hosts: [api.example.com, '*.wild.org'], exportTo: [default], resolution: DNS,\n\
             \x20 ports: [{{number: 443, name: https, protocol: HTTPS}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\n\
             spec: {{hosts: [x.com], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}\n"
        )
    };
    let options = Options::running();
    for (host, is_refused, is_told) in [
        ("api.example.com", false, false),
        ("a.b.wild.org", false, false),
        ("wild.org", true, true),
        ("www.example.com", true, true),
    ] {
        let text = to(host);
        // A wildcard without DNS is refused by itself; here it is about the host.
        let (objects, _) = read(Path::new("out.yaml"), &text, "default");
        let all: Config = objects.into_iter().collect();
        let rule = all
            .find(Kind::VirtualService, "default", "x")
            .expect("it is there");
        let analysis = Analysis::new(&all, &options);
        assert_eq!(!analysis.refusals(rule).is_empty(), is_refused, "{host}");
        let told = analysis.object(rule);
        assert_eq!(
            told.iter().any(|one| one.code == Some(&NOT_FOUND)),
            is_told,
            "{host}: {told:?}"
        );
    }
    // What is not exported to a namespace is told there, and refuses nothing: it was known before.
    let hidden = to("api.example.com").replace("exportTo: [default]", "exportTo: [.]");
    let (objects, _) = read(Path::new("out.yaml"), &hidden, "default");
    let all: Config = objects.into_iter().collect();
    let rule = all
        .find(Kind::VirtualService, "default", "x")
        .expect("it is there");
    let (refusals, others) = Analysis::new(&all, &options).split(rule);
    assert_eq!(refusals, []);
    assert!(others[0].message.contains("is not exported"), "{others:?}");
}

#[test]
fn objects_that_are_refused_are_looked_at_too() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n\
                spec: {hosts: [x], http: [{route: [{destination: {host: gone}, weight: -1}]}]}\n---\na: [\n";
    let (objects, findings) = read(Path::new("x.yaml"), text, "default");
    let codes: Vec<_> = findings
        .iter()
        .map(|one| one.code.map(|code| code.id))
        .collect();
    assert_eq!(codes, [Some("IST0106"), None]);
    let all: Config = objects.into_iter().collect();
    let found = analyze(&all, &Options::files());
    assert_eq!(
        found.iter().map(short).collect::<Vec<_>>(),
        ["IST0101 VirtualService default/x spec.http[0].route[0].destination.host"]
    );
}

#[test]
fn two_rules_for_one_host_in_the_mesh_are_named() {
    let rule = |name: &str, more: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [reviews], {more}http: [{{route: [{{destination: {{host: reviews}}}}]}}]}}\n"
        )
    };
    let conflicts = |second: &str| {
        let all = told(&format!("{SHOP}{}{}", rule("one", ""), rule("two", second)));
        all.into_iter()
            .filter(|one| one.starts_with("IST0109"))
            .count()
    };
    assert_eq!(conflicts(""), 2);
    assert_eq!(conflicts("exportTo: [.], "), 2);
    assert_eq!(conflicts("gateways: [edge], "), 0);
}

#[test]
fn the_codes_are_listed_once_and_in_order() {
    let ids: Vec<&str> = CODES.iter().map(|code| code.id).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(ids, sorted);
}
