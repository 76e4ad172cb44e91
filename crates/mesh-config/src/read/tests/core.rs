//! Tests of `read::core`.

use std::path::Path;

use crate::model::{Object, Spec};
use crate::parse::parse;

fn object(kind: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: web}}\n{rest}\n")
}

fn read(kind: &str, rest: &str) -> Object {
    let mut parsed = parse(Path::new("x.yaml"), &object(kind, rest)).expect(rest);
    parsed.remove(0).object
}

/// `field: message` of each error.
fn errors(kind: &str, rest: &str) -> Vec<String> {
    let findings = parse(Path::new("x.yaml"), &object(kind, rest)).expect_err(rest);
    findings
        .iter()
        .map(|finding| format!("{}: {}", finding.field, finding.message))
        .collect()
}

#[test]
fn a_secret_is_decoded() {
    let text = "type: kubernetes.io/tls\ndata:\n  tls.crt: |\n    Q0VS\n    VA==\n  tls.key: S0VZ\nstringData: {tls.key: newer}";
    let object = read("Secret", text);
    let secret = object.as_secret().expect("it is one");
    assert_eq!(secret.secret_type, "kubernetes.io/tls");
    let (chain, key) = secret.key_pair().expect("it has one");
    assert_eq!(chain.expose(), b"CERT");
    assert_eq!(key.expose(), b"newer");

    let empty = read("Secret", "data: {token: null, other: ''}");
    let secret = empty.as_secret().expect("it is one");
    assert_eq!(secret.secret_type, "Opaque");
    assert_eq!(secret.data["token"].expose(), b"");
}

#[test]
fn what_is_wrong_with_a_secret_is_named_without_its_value() {
    let table = [
        (
            "data: {tls.key: 'hunter2 hunter2'}",
            "data[\"tls.key\"]: this is not base64",
        ),
        (
            "data: {tls.key: 70073}",
            "data[\"tls.key\"]: a text belongs here",
        ),
        (
            "data: {tls.key: [hunter2]}",
            "data[\"tls.key\"]: a text belongs here",
        ),
        ("data: hunter2", "data: a map of texts belongs here"),
        (
            "stringData: [hunter2]",
            "stringData: a map of texts belongs here",
        ),
        (
            "stringData: {'a/b': hunter2}",
            "stringData[\"a/b\"]: \"a/b\" is not a key of data",
        ),
        (
            "stringData: {'..': hunter2}",
            "stringData[\"..\"]: \"..\" is not a key of data",
        ),
        ("token: hunter2", "token: \"token\" is not a field here"),
        (
            "type: kubernetes.io/tls\nstringData: {tls.crt: hunter2}",
            "data: tls.key is missing; a secret of type kubernetes.io/tls needs it",
        ),
    ];
    for (rest, expected) in table {
        let errors = errors("Secret", rest);
        assert_eq!(errors.len(), 1, "{rest}: {errors:?}");
        assert!(errors[0].starts_with(expected), "{rest}: {errors:?}");
        assert!(
            !errors[0].contains("hunter2") && !errors[0].contains("70073"),
            "{errors:?}"
        );
    }
}

#[test]
fn debug_of_a_secret_shows_no_value() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: web\n  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{hunter2}'}\nstringData: {password: hunter2}\n";
    let parsed = parse(Path::new("x.yaml"), text).expect(text);
    let shown = format!("{parsed:?}");
    assert!(shown.contains("Secret default/web"), "{shown}");
    assert!(shown.contains("password"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    // Whoever asks for the object itself gets it.
    let object = parsed[0].object.to_json();
    assert_eq!(object["stringData"]["password"], "hunter2");
}

#[test]
fn namespaces_and_config_maps() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, namespace: x, labels: {team: a}}\nspec: {finalizers: [kubernetes]}\n";
    let parsed = parse(Path::new("x.yaml"), text).expect(text);
    let namespace = &parsed[0].object;
    assert_eq!(namespace.key().to_string(), "Namespace shop");
    assert_eq!(namespace.metadata.labels["team"], "a");
    assert_eq!(namespace.spec, Spec::Namespace);

    let map = read(
        "ConfigMap",
        "data: {mesh: 'a: b', empty: null}\nbinaryData: {bin: AAE=}",
    );
    let Spec::ConfigMap(map) = map.spec else {
        panic!("it is one")
    };
    assert_eq!(map.data["mesh"], "a: b");
    assert_eq!(map.data["empty"], "");
    assert_eq!(map.binary_data["bin"], [0, 1]);
    assert_eq!(errors("ConfigMap", "binaryData: {bin: '?'}").len(), 1);
}
