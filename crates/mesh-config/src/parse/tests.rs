//! Whole texts: what comes out of them, and where errors are said to be.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::finding::Level;
use crate::model::Spec;

/// The shape of what people apply: a workload, its service, and the rules for it.
const FLEET: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: webapp
spec:
  template:
    spec:
      containers:
      - name: webapp
        command: ["java","-jar","webapp.jar"]
---

apiVersion: v1
kind: Service
metadata:
  name: webapp
  labels:
    app: webapp
spec:
  selector:
    app: webapp
  ports:
    - name: http
      port: 80
      nodePort: 30080
  type: LoadBalancer
---
kind: VirtualService
apiVersion: networking.istio.io/v1alpha3
metadata:
  name: webapp
  namespace: shop
spec:
  hosts:      # a comment
    - "*"
  gateways:
    - edge
  http:
  - route:
    - destination:
        host: webapp
        subset: experimental
      weight: 10
    - destination:
        host: webapp
        subset: original
      weight: 90
"#;

fn parsed(text: &str) -> Vec<Parsed> {
    parse(Path::new("fleet.yaml"), text).expect(text)
}

fn sentences(text: &str) -> Vec<String> {
    parse(Path::new("fleet.yaml"), text)
        .expect_err(text)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_fleet_is_read_unchanged() {
    let objects = parsed(FLEET);
    let keys: Vec<String> = objects
        .iter()
        .map(|parsed| parsed.object.key().to_string())
        .collect();
    assert_eq!(
        keys,
        [
            "Deployment default/webapp",
            "Service default/webapp",
            "VirtualService shop/webapp"
        ]
    );
    let warnings: Vec<String> = objects
        .iter()
        .flat_map(|parsed| &parsed.warnings)
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[0].starts_with(
        "fleet.yaml:2:1 (document 1): Deployment default/webapp: Deployment is kept but not acted on: "
    ));
    assert!(warnings[1].starts_with(
        "fleet.yaml:26:7 (document 2): Service default/webapp: spec.ports[0].nodePort: nodePort is \
         accepted but not acted on by this version: "
    ));
    assert!(
        warnings[2].contains(
            "traffic that enters through a load balancer or a node port goes past the mesh"
        )
    );
    let service = objects[2].object.as_virtual_service().expect("it is one");
    let weights: Vec<u32> = service.http[0].route.iter().map(|to| to.weight).collect();
    assert_eq!(weights, [10, 90]);
    assert_eq!(objects[0].object.spec, Spec::Inert);
    assert_eq!(
        objects[0].object.raw["spec"]["template"]["spec"]["containers"][0]["command"],
        json!(["java", "-jar", "webapp.jar"])
    );
}

#[test]
fn a_finding_is_one_sentence_with_the_place_and_the_way_out() {
    let text = FLEET.replace("weight: 10", "weight: -1");
    assert_eq!(
        sentences(&text),
        [
            "fleet.yaml:44:15 (document 3): VirtualService shop/webapp: spec.http[0].route[0].weight: -1 is \
          below 0; weights are shares, use 0 or more [IST0106]"
        ]
    );
}

#[test]
fn all_errors_of_all_documents_are_told() {
    let text = "kind: Service\napiVersion: v1\nmetadata: {name: A}\nspec: {ports: []}\n---\na: [\n---\njust a text\n---\n\
                apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {ports: [{port: 1}]}\n";
    let sentences = sentences(text);
    assert_eq!(sentences.len(), 5, "{sentences:#?}");
    for (sentence, expected) in sentences.iter().zip([
        "fleet.yaml:3:18 (document 1): Service default/A: metadata.name: \"A\" is not a DNS label",
        "fleet.yaml:4:7 (document 1): Service default/A: spec.ports: a service needs at least one port",
        "fleet.yaml:6:4 (document 2): this is not YAML",
        "fleet.yaml:8:1 (document 3): the text \"just a text\" stands where an object belongs",
        "fleet.yaml:12:11 (document 4): metadata.name: name is missing; every object needs one",
    ]) {
        assert!(sentence.starts_with(expected), "{sentence}");
    }
    // Those that are right can be had all the same.
    let each = parse_each(Path::new("x"), &format!("{FLEET}---\na: [\n"), "default");
    assert_eq!(each.iter().filter(|object| object.is_ok()).count(), 3);
    assert_eq!(each.len(), 4);
}

#[test]
fn kinds_and_versions_that_are_not_there_say_what_is() {
    let table = [
        (
            "kind: Service\nmetadata: {name: a}",
            "apiVersion: apiVersion is missing; a Service takes apiVersion: v1",
        ),
        (
            "apiVersion: v1\nmetadata: {name: a}",
            "kind: kind is missing",
        ),
        (
            "apiVersion: v2\nkind: Service",
            "apiVersion: there is no Service in apiVersion v2; use v1",
        ),
        (
            "apiVersion: networking.istio.io/v1beta2\nkind: VirtualService",
            "apiVersion: there is no VirtualService in apiVersion networking.istio.io/v1beta2; use networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3",
        ),
        (
            "apiVersion: v1\nkind: Gateway",
            "apiVersion: there is no Gateway in apiVersion v1; use networking.istio.io/v1 or gateway.networking.k8s.io/v1",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualSerivce",
            "kind: the kind VirtualSerivce of networking.istio.io/v1 is not known; did you mean VirtualService?",
        ),
        (
            "apiVersion: example.com/v1\nkind: Spaceship",
            "kind: the kind Spaceship of example.com/v1 is not known to the mesh",
        ),
        (
            "apiVersion: 1\nkind: Service",
            "apiVersion: the number 1 stands where the name of an API belongs",
        ),
    ];
    for (text, expected) in table {
        let findings = parse(Path::new("x"), text).expect_err(text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let said = format!("{}: {}", findings[0].field, findings[0].message);
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn every_version_of_every_kind_is_taken() {
    for kind in Kind::all() {
        for version in kind.versions() {
            let group = kind.group();
            assert_eq!(Kind::from_api(group, version, kind.kind()), Some(kind));
            assert_eq!(Kind::from_plural(group, version, kind.plural()), Some(kind));
        }
    }
    assert_eq!(Kind::from_api("networking.istio.io", "v2", "Gateway"), None);
    assert_eq!(Kind::from_plural("", "v1", "virtualservices"), None);
}

#[test]
fn policies_that_are_not_enforced_say_so() {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny-all}\nspec: {}\n";
    let objects = parsed(text);
    let warnings = &objects[0].warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("it is NOT enforced"));
}

#[test]
fn lists_are_their_items() {
    let item =
        |name: &str| format!("{{metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}");
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Service, {}\n- apiVersion: v1\n  kind: ServiceList\n  items: [{}, {}]\n",
        &item("a")[1..],
        item("b"),
        item("c"),
    );
    let objects = parsed(&text);
    let names: Vec<_> = objects
        .iter()
        .map(|parsed| parsed.object.metadata.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(objects[1].object.raw["kind"], json!("Service"));
    assert_eq!(
        objects[0]
            .object
            .origin
            .as_ref()
            .map(|origin| (origin.document, origin.line)),
        Some((1, 4))
    );
    assert!(parsed("apiVersion: v1\nkind: List\nitems: []\n").is_empty());
    let wrong = sentences(&text.replace("port: 80", "port: 0"));
    assert_eq!(wrong.len(), 3);
    assert!(wrong[2].starts_with("fleet.yaml:7:"), "{wrong:?}");
}

#[test]
fn json_is_read_with_places_and_from_values_without() {
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\"},\n \"spec\": {\"ports\": [{\"port\": 0}]}}";
    assert!(sentences(text)[0].starts_with(
        "fleet.yaml:2:30 (document 1): Service default/a: spec.ports[0].port: 0 is no port"
    ));
    let value: Json =
        serde_json::from_str(&text.replace("\"port\": 0", "\"port\": 80")).expect("it is JSON");
    let read = from_value(&value, "shop").expect("it is right");
    assert_eq!(read.object.key().to_string(), "Service shop/a");
    assert_eq!(read.object.origin, None);
    assert_eq!(read.object.raw, value);
    let wrong =
        from_value(&json!({"apiVersion": "v1", "kind": "Service"}), "shop").expect_err("no name");
    assert!(
        wrong.iter().any(|finding| finding
            .to_string()
            .starts_with("metadata: metadata is missing")),
        "{wrong:?}"
    );
}

#[test]
fn bytes_must_be_text() {
    let error =
        parse_bytes(Path::new("x"), b"a: 1\nb: \xff\n", "default").expect_err("it is no text");
    assert_eq!(
        error[0].to_string(),
        "x:2:4 (document 1): this is not UTF-8 text; save the file as UTF-8"
    );
    assert!(parse_bytes(Path::new("x"), FLEET.as_bytes(), "default").is_ok());
}

#[test]
fn an_object_shows_its_identity_and_compares_by_content() {
    let mut one = parsed("apiVersion: v1\nkind: Service\nmetadata: {name: a, resourceVersion: '3', uid: u}\nspec: {ports: [{port: 80}]}\n").remove(0).object;
    assert_eq!(one.metadata.resource_version.as_deref(), Some("3"));
    let two = parsed("kind: Service\napiVersion: v1\nmetadata: {name: a, namespace: default}\nspec:\n  ports:\n  - port: 80\nstatus: {}\n").remove(0).object;
    assert!(one.same_content(&two));
    let other = parsed("kind: Service\napiVersion: v1\nmetadata: {name: a, labels: {a: b}}\nspec: {ports: [{port: 80}]}\n").remove(0).object;
    assert!(!one.same_content(&other));
    one.metadata.resource_version = Some("4".into());
    one.metadata.creation_timestamp = Some("2024-01-01T00:00:00Z".into());
    let shown = one.to_json();
    assert_eq!(
        shown["metadata"],
        json!({"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "4", "creationTimestamp": "2024-01-01T00:00:00Z"})
    );
    let back = from_value(&shown, "elsewhere")
        .expect("it was right")
        .object;
    assert_eq!(
        (back.key(), &back.metadata, &back.spec),
        (one.key(), &one.metadata, &one.spec)
    );
}

#[test]
fn endless_texts_make_no_endless_findings() {
    let long = "1".repeat(1 << 20);
    for text in [
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: '{long}'}}\nspec: {{ports: [{{port: {long}}}], {long}: 1}}\n"
        ),
        format!("apiVersion: '{long}'\nkind: '{long}'\n"),
        format!("a: {long}e{long}\n"),
        long.clone(),
    ] {
        let findings = parse(Path::new("x"), &text).expect_err("it is no object");
        for finding in findings {
            assert!(
                finding.to_string().len() < 10_000,
                "{}",
                finding.to_string().len()
            );
        }
    }
}

#[test]
fn findings_of_one_object_are_bounded() {
    let unknown: String = (0..5000).map(|n| format!("  field{n}: 1\n")).collect();
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n{unknown}"
    );
    let findings = parse(Path::new("x"), &text).expect_err("unknown fields");
    assert_eq!(findings.len(), 101);
    assert!(
        findings[100]
            .message
            .starts_with("4900 more findings are left out"),
        "{}",
        findings[100]
    );
    assert!(findings.iter().all(|finding| finding.level == Level::Error));
}

proptest! {
    /// Whatever is done to a text, it is read or refused, and every place is inside of it.
    #[test]
    fn broken_texts_are_refused_with_a_place(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..30, "[\\PC\n]{0,6}"), 1..4)
    ) {
        let mut text: Vec<char> = FLEET.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        let lines = text.lines().count() + 1;
        for object in parse_each(Path::new("x"), &text, "default") {
            let findings = match object {
                Ok(parsed) => {
                    // What was read once is read again from its JSON.
                    prop_assert!(from_value(&parsed.object.to_json(), "default").is_ok());
                    parsed.warnings
                }
                Err(findings) => {
                    prop_assert!(!findings.is_empty());
                    findings
                }
            };
            for finding in findings {
                let place = finding.origin.expect("it came from a text");
                prop_assert!(place.mark.line <= lines, "{:?}", place);
            }
        }
    }
}
