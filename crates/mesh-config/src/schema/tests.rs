//! The tables themselves, and what an object that does not fit its table is told.

use std::collections::BTreeSet;

use super::*;
use crate::finding::{Level, Report};
use crate::yaml::{Cursor, Limits, read};

/// Every shape that can be reached from a kind's table, with its path.
fn shapes(
    shape: &'static Shape,
    path: &str,
    seen: &mut BTreeSet<usize>,
    out: &mut Vec<(String, &'static Shape)>,
) {
    fn inside(kind: Type) -> Option<&'static Shape> {
        match kind {
            Type::List(item) | Type::Sized(_, _, item) | Type::Map(item) | Type::Keyed(_, item) => {
                inside(*item)
            }
            Type::Object(shape) => Some(shape),
            _ => None,
        }
    }
    if !seen.insert(std::ptr::from_ref(shape) as usize) {
        return;
    }
    out.push((path.to_owned(), shape));
    for field in shape.fields {
        if let Some(inner) = inside(field.kind) {
            shapes(inner, &format!("{path}.{}", field.name), seen, out);
        }
    }
}

#[test]
fn tables_are_consistent() {
    for kind in Kind::TYPED {
        let mut all = Vec::new();
        shapes(
            of(*kind).expect("typed kinds have a table"),
            kind.kind(),
            &mut BTreeSet::new(),
            &mut all,
        );
        for (path, shape) in all {
            let names: BTreeSet<&str> = shape.fields.iter().map(|field| field.name).collect();
            assert_eq!(
                names.len(),
                shape.fields.len(),
                "{path} names a field twice"
            );
            for name in shape.at_most_one.iter().copied().flatten() {
                assert!(names.contains(name), "{path} has no field {name}");
            }
        }
    }
}

#[test]
fn every_kind_of_istio_has_the_fields_of_an_object() {
    for kind in Kind::TYPED.iter().filter(|kind| !kind.group().is_empty()) {
        let shape = of(*kind).expect("typed kinds have a table");
        let names: Vec<&str> = shape.fields.iter().map(|field| field.name).collect();
        assert_eq!(names, ["apiVersion", "kind", "metadata", "spec", "status"]);
    }
}

static SAMPLE: Shape = choice(
    &[&["left", "right"]],
    &[
        acted("name", Type::Text).required(),
        acted("port", PORT),
        acted("share", PERCENT),
        acted("ratio", Type::Number(0.0, 1.0)),
        acted("flag", Type::Bool),
        acted("mode", Type::OneOf(&["SIMPLE", "MUTUAL"])),
        acted("wait", Type::Duration),
        acted("labels", LABELS),
        acted("hosts", TEXTS),
        acted("target", Type::IntegerOrText),
        acted("left", Type::Any),
        acted("right", Type::Any),
        acted("inner", Type::Object(&INNER)),
        noted("later", Type::Object(&INNER), "it waits"),
        accepted("type", Type::Text).unless(&["Plain"]),
        accepted("lists", TEXTS).unless(&["*"]),
        accepted("keep", Type::Bool).unless(&["false"]),
        quiet("noise", Type::Text),
    ],
);

static INNER: Shape = shape(&[acted("depth", INT32), accepted("colour", Type::Text)]);

/// `LEVEL path: message` of everything that is found in a text by the sample table.
fn found(text: &str) -> Vec<String> {
    let documents = read(text, Limits::DEFAULT);
    let root = documents[0].root.as_ref().expect(text);
    let mut report = Report::new(None);
    check(&Cursor::root(root), &SAMPLE, &mut report);
    report
        .into_findings()
        .into_iter()
        .map(|finding| {
            let level = match finding.level {
                Level::Error => "E",
                Level::Warning => "W",
                Level::Info => "I",
            };
            format!("{level} {}: {}", finding.field, finding.message)
        })
        .collect()
}

#[test]
fn what_fits_the_table_is_silent() {
    let text = "{name: a, port: 80, share: 100, ratio: 0.5, flag: false, mode: SIMPLE, wait: 1.5s,\n\
                labels: {app.kubernetes.io/name: web}, hosts: [a], target: http, left: [1, {x: 2}],\n\
                inner: {depth: -3}, type: Plain, lists: ['*'], keep: no, noise: x}";
    assert_eq!(found(text), Vec::<String>::new());
    assert_eq!(
        found("{name: a, target: 80, port: 80.0, ratio: 1, right: null, later: null}"),
        Vec::<String>::new()
    );
}

#[test]
fn what_does_not_fit_is_told_in_one_sentence() {
    let table = [
        ("{}", "E name: required, but missing; add it"),
        ("{name: null}", "E name: required, but missing; add it"),
        (
            "{name: a, nam: b}",
            "E nam: \"nam\" is not a field here; did you mean name?",
        ),
        (
            "{name: a, zzz: b}",
            "E zzz: \"zzz\" is not a field here; remove it, or use one of name, port",
        ),
        (
            "{name: 1.10}",
            "E name: the number 1.10 stands where a text belongs; quote it: \"1.10\"",
        ),
        (
            "{name: no}",
            "E name: the boolean false (YAML reads no so) stands where a text belongs; quote it: \"no\"",
        ),
        ("{name: [a]}", "E name: a list stands where a text belongs"),
        (
            "{name: a, port: 0}",
            "E port: 0 is no port; ports are 1 to 65535",
        ),
        ("{name: a, port: 65536}", "E port: 65536 is no port"),
        (
            "{name: a, port: 80.5}",
            "E port: 80.5 is not a whole number",
        ),
        (
            "{name: a, port: '80'}",
            "E port: the text \"80\" stands where a port number belongs; write 80 without quotes",
        ),
        (
            "{name: a, port: http}",
            "E port: the text \"http\" stands where a port number belongs; correct it",
        ),
        (
            "{name: a, share: -1}",
            "E share: -1 is below 0; use 0 or more",
        ),
        (
            "{name: a, share: 101}",
            "E share: 101 is out of range; use 0 to 100",
        ),
        (
            "{name: a, share: 99999999999999999999}",
            "E share: 99999999999999999999 is not a whole number",
        ),
        (
            "{name: a, ratio: 1.5}",
            "E ratio: 1.5 is out of range; use 0 to 1",
        ),
        (
            "{name: a, flag: 'true'}",
            "E flag: the text \"true\" stands where true or false belongs; write true without quotes",
        ),
        (
            "{name: a, mode: MUTAL}",
            "E mode: \"MUTAL\" is not known here; did you mean MUTUAL?",
        ),
        (
            "{name: a, mode: x}",
            "E mode: \"x\" is not known here; use SIMPLE, MUTUAL",
        ),
        (
            "{name: a, wait: 5}",
            "E wait: the number 5 stands where a text belongs; quote it: \"5\"",
        ),
        (
            "{name: a, wait: soon}",
            "E wait: \"soon\" is no length of time",
        ),
        (
            "{name: a, labels: {version: 1.10}}",
            "E labels.version: the number 1.10 stands where a text belongs; quote it: \"1.10\"",
        ),
        (
            "{name: a, labels: {app: on}}",
            "E labels.app: the boolean true (YAML reads on so) stands where",
        ),
        (
            "{name: a, labels: {'a b': c}}",
            "E labels[\"a b\"]: \"a b\" is not a label's key",
        ),
        (
            "{name: a, labels: {a: 'b c'}}",
            "E labels.a: \"b c\" is not a label's value",
        ),
        (
            "{name: a, labels: {a: null}}",
            "E labels.a: null stands where the value of a label belongs",
        ),
        (
            "{name: a, labels: [a]}",
            "E labels: a list stands where a map belongs",
        ),
        (
            "{name: a, hosts: a}",
            "E hosts: the text \"a\" stands where a list belongs",
        ),
        (
            "{name: a, hosts: [a, 5]}",
            "E hosts[1]: the number 5 stands where a text belongs",
        ),
        (
            "{name: a, target: [1]}",
            "E target: a list stands where a port number or a port name belongs",
        ),
        (
            "{name: a, left: 1, right: 2}",
            "E : left and right exclude one another; keep one",
        ),
        (
            "{name: a, inner: {deph: 1}}",
            "E inner.deph: \"deph\" is not a field here; did you mean depth?",
        ),
        (
            "{name: a, inner: {colour: red}}",
            "W inner.colour: colour is accepted but not acted on by this version",
        ),
        (
            "{name: a, later: {colour: red}}",
            "W later: later is accepted but not acted on by this version: it waits",
        ),
        (
            "{name: a, later: {colour: 5}}",
            "E later.colour: the number 5",
        ),
        (
            "{name: a, type: Fancy}",
            "W type: type is accepted but not acted on by this version",
        ),
        ("{name: a, lists: [a, '*']}", "W lists: lists is accepted"),
        ("{name: a, keep: yes}", "W keep: keep is accepted"),
    ];
    for (text, expected) in table {
        let found = found(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
    }
}
