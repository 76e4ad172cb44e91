//! Documents, keys, anchors, limits, and what a broken text says.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::yaml::{Cursor, to_json};

fn documents(text: &str) -> Vec<(usize, Result<serde_json::Value, Vec<String>>)> {
    read(text, Limits::DEFAULT)
        .into_iter()
        .map(|document| {
            let root = document.root.as_ref().map(to_json).map_err(|faults| {
                faults
                    .iter()
                    .map(|fault| {
                        format!(
                            "{}:{} {}",
                            fault.mark.line, fault.mark.column, fault.message
                        )
                    })
                    .collect()
            });
            (document.number, root)
        })
        .collect()
}

/// The only document of a text.
fn one(text: &str) -> serde_json::Value {
    let mut documents = documents(text);
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).1.expect(text)
}

/// The faults of the only document of a text.
fn faults(text: &str) -> Vec<String> {
    let mut documents = documents(text);
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).1.expect_err(text)
}

#[test]
fn documents_are_counted_and_empty_ones_left_out() {
    let text = "# only a comment\n---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n";
    assert_eq!(
        documents(text),
        [(1, Ok(json!({"a": 1}))), (4, Ok(json!({"b": 2})))]
    );
    for nothing in [
        "",
        "\n\n",
        "# words\n",
        "---\n",
        "---\n---\n",
        "\u{feff}",
        "...\n",
    ] {
        assert_eq!(documents(nothing), [], "{nothing:?}");
    }
    assert_eq!(one("\u{feff}a: 1\n"), json!({"a": 1}));
    assert_eq!(one("a: 1\r\nb: 2\r\n"), json!({"a": 1, "b": 2}));
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    let text = "a: [1\n---\nb: 2\n---\nc: {\n---\nd: 4\n";
    let documents = documents(text);
    let numbers: Vec<_> = documents.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert!(documents[0].1.is_err() && documents[2].1.is_err());
    assert_eq!(documents[1].1, Ok(json!({"b": 2})));
    assert_eq!(documents[3].1, Ok(json!({"d": 4})));
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"a\": [1, 2.5, true, null, \"x\\u00e9\\/\\n\"],\n\t\"b\": {\"c\": {}}\n}\n";
    assert_eq!(
        one(text),
        json!({"a": [1, 2.5, true, null, "xé/\n"], "b": {"c": {}}})
    );
    let long = "k".repeat(5000);
    let text = format!("{{\"{long}\":1}}");
    assert_eq!(one(&text)[&long], json!(1));
}

#[test]
fn tags_choose_a_meaning() {
    assert_eq!(
        one("[!!str 1.10, !!int \"5\", ! yes, !!bool \"no\", !!null x, !!float \"2\"]"),
        json!(["1.10", 5, "yes", false, null, 2])
    );
    assert_eq!(one("!!map {a: !!seq [1]}"), json!({"a": [1]}));
    for (text, part) in [
        ("a: !secret x", "the tag !secret has no meaning here"),
        ("a: !!binary aGk=", "!!binary"),
        ("a: !!int x", "this is no number, as its tag says"),
        ("a: !thing [1]", "!thing"),
        ("a: .inf", "a number that JSON cannot say"),
    ] {
        let faults = faults(text);
        assert!(faults[0].contains(part), "{faults:?}");
    }
}

#[test]
fn keys_are_unique_texts() {
    assert_eq!(one("80: a\n0x10: b\n"), json!({"80": "a", "16": "b"}));
    for (text, expected) in [
        (
            "a: 1\nb: 2\na: 3\n",
            "3:1 the key \"a\" stands here a second time, first in line 1",
        ),
        (
            "{\"a\": 1, \"a\": 2}",
            "1:10 the key \"a\" stands here a second time",
        ),
        (
            "on: 1\n",
            "1:1 this key is the boolean true (YAML reads on so); quote it",
        ),
        ("1.10: 1\n", "1:1 this key is the number 1.10; quote it"),
        ("~: 1\n", "1:1 this key is empty"),
        ("? [a]\n: 1\nb: 2\n", "1:3 a key must be a text"),
        ("host: {{ .Values.host }}\n", "1:8 a key must be a text"),
    ] {
        let faults = faults(text);
        assert!(faults[0].starts_with(expected), "{text}: {faults:?}");
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    }
}

#[test]
fn several_faults_of_a_document_are_told_at_once() {
    assert_eq!(faults("a: 1\na: 2\nb: !x y\nb: 3\n").len(), 3);
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let text = "base: &base {a: 1, b: 2}\nother: &other {b: 3, z: 4}\n\
                one: {<<: *base, b: 9}\nboth:\n  <<: [*other, *base]\n  w: 0\nlist: [*base, *base]\n";
    let root = one(text);
    assert_eq!(root["one"], json!({"b": 9, "a": 1}));
    assert_eq!(root["both"], json!({"w": 0, "b": 3, "z": 4, "a": 1}));
    assert_eq!(root["list"], json!([{"a": 1, "b": 2}, {"a": 1, "b": 2}]));
    assert_eq!(one("{\"<<\": {a: 1}}"), json!({"<<": {"a": 1}}));
    for (text, part) in [
        ("a: *b\n", "unknown anchor"),
        ("a: &a [*a]\n", "stands inside the very thing that it names"),
        ("a: {<<: 5}\n", "<< takes a map"),
        ("a: {<<: [5]}\n", "<< takes maps only"),
        ("a: &x 1\n---\nb: *x\n", "unknown anchor"),
    ] {
        let all: Vec<_> = documents(text)
            .into_iter()
            .filter_map(|(_, root)| root.err())
            .flatten()
            .collect();
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].contains(part), "{all:?}");
    }
}

#[test]
fn syntax_errors_name_the_place_and_the_way_out() {
    for (text, place, hint) in [
        ("a:\n\tb: 1\n", "2:", "indent with spaces"),
        ("a: b: c\n", "1:", "quote a value that contains a colon"),
        ("a: \"open\n", "1:", "close it"),
        ("a: @x\n", "1:4", "quote the value"),
        ("a: \"\u{7f}\"\n", "1:5", "write it in double quotes as \\u"),
        ("a: 1\n b: 2\n", "2:", ""),
    ] {
        let faults = faults(text);
        assert!(faults[0].starts_with(place), "{text:?}: {faults:?}");
        assert!(faults[0].contains(hint), "{text:?}: {faults:?}");
    }
}

/// Texts that ask for much more than their length.
fn bombs() -> Vec<(&'static str, String)> {
    let laughs: String = std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned())
        .chain((1..12).map(|n| {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            format!("a{n}: &a{n} [{aliases}]\n")
        }))
        .collect();
    let wide = format!(
        "big: &big \"{}\"\nmany: [{}]\n",
        "x".repeat(1 << 20),
        "*big, ".repeat(100_000)
    );
    let anchors: String = (0..60).map(|n| format!("&a{n} [")).collect();
    let merges: String = std::iter::once("m0: &m0 {k0: 0, l0: 0}\n".to_owned())
        .chain((1..200).map(|n| format!("m{n}: &m{n} {{<<: *m{0}, k{n}: {{<<: *m{0}}}}}\n", n - 1)))
        .collect();
    vec![
        ("a billion laughs", laughs),
        ("a text that is aliased often", wide),
        (
            "nested anchors of much",
            format!("{anchors}{}", "x,".repeat(400_000)),
        ),
        ("merges of merges", merges),
        ("deep brackets", "[".repeat(1 << 20)),
        ("deep braces", "{a: ".repeat(1 << 18)),
        ("deep dashes", "- ".repeat(1 << 18)),
        (
            "deep indentation",
            (0..2000)
                .map(|n| format!("{}a:\n", " ".repeat(n)))
                .collect(),
        ),
        ("many values", format!("[{}]", "1,".repeat(4 << 20))),
        ("a long scalar", "x".repeat(4 << 20)),
        ("a long text", "# x\n".repeat(5 << 20)),
        ("a long key", format!("{}: 1\n", "k".repeat(4 << 20))),
        (
            "an unclosed quote",
            format!("a: \"{}", "x\n ".repeat(1 << 20)),
        ),
        ("question marks", "? ".repeat(1 << 18)),
    ]
}

#[test]
fn bombs_are_refused_in_time() {
    for (name, text) in bombs() {
        let start = Instant::now();
        let documents = read(&text, Limits::DEFAULT);
        let took = start.elapsed();
        assert!(
            documents.iter().any(|document| document.root.is_err()),
            "{name}"
        );
        assert!(took < Duration::from_secs(10), "{name} took {took:?}");
    }
}

#[test]
fn many_small_documents_are_fine() {
    let text = "---\nmetadata: {name: a, labels: {app: a, version: v1}}\nspec: {hosts: [a]}\n"
        .repeat(2000);
    let documents = read(&text, Limits::DEFAULT);
    assert_eq!(documents.len(), 2000);
    assert!(documents.iter().all(|document| document.root.is_ok()));
}

/// Every node's path and place.
fn places(at: &Cursor<'_>, out: &mut Vec<(String, Mark)>) {
    out.push((at.path(), at.mark()));
    at.items().for_each(|item| places(&item, out));
    at.entries().for_each(|(_, value)| places(&value, out));
}

/// A small tree, to be written as a text of which we know where everything is.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(String),
    List(Vec<Tree>),
    Map(Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = "[a-z]{1,8}".prop_map(|text| Tree::Leaf(format!("x{text}")));
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(Tree::List),
            prop::collection::vec(inner, 1..5).prop_map(Tree::Map),
        ]
    })
}

/// Writes a tree in block style; notes where each node begins.
fn write(
    tree: &Tree,
    path: &str,
    indent: usize,
    out: &mut String,
    places: &mut Vec<(String, Mark)>,
) {
    let pad = " ".repeat(indent);
    let here = |out: &str| {
        let line_start = out.rfind('\n').map_or(0, |at| at + 1);
        Mark {
            line: out.matches('\n').count() + 1,
            column: out.len() - line_start + 1,
        }
    };
    let child = |tree: &Tree, path: &str, out: &mut String, places: &mut Vec<(String, Mark)>| {
        match tree {
            Tree::Leaf(_) => out.push(' '),
            _ => {
                out.push('\n');
                out.push_str(&" ".repeat(indent + 2));
            }
        }
        write(tree, path, indent + 2, out, places);
    };
    places.push((path.to_owned(), here(out)));
    match tree {
        Tree::Leaf(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Tree::List(items) => {
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push_str(&pad);
                }
                out.push('-');
                child(item, &format!("{path}[{n}]"), out, places);
            }
        }
        Tree::Map(values) => {
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push_str(&pad);
                }
                out.push_str(&format!("k{n}:"));
                let dot = if path.is_empty() { "" } else { "." };
                child(value, &format!("{path}{dot}k{n}"), out, places);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_node_knows_its_path_and_place(tree in tree()) {
        let (mut text, mut expected) = (String::new(), Vec::new());
        write(&tree, "", 0, &mut text, &mut expected);
        let documents = read(&text, Limits::DEFAULT);
        let root = documents[0].root.as_ref().expect(&text);
        let mut found = Vec::new();
        places(&Cursor::root(root), &mut found);
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        read(&text, Limits::DEFAULT);
    }

    #[test]
    fn any_text_of_yamls_own_signs_is_read_or_refused(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b: ", ": ", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", "&x ", "*x", "<<: ",
                "---\n", "...\n", "? ", "! ", "!!str ", "'", "\"", "|\n", ">-\n", "# c", "%YAML 1.2\n",
                "\t", "0x1", "~", "é", "\\",
            ]),
            0..40,
        )
    ) {
        read(&parts.concat(), Limits::DEFAULT);
    }

    #[test]
    fn json_reads_as_itself(
        texts in prop::collection::vec("[\\PC\n\t\"]{0,12}", 1..6),
        numbers in prop::collection::vec(any::<i64>(), 0..4),
    ) {
        let value = json!({"texts": texts, "numbers": numbers, "nested": {"flag": true}});
        prop_assert_eq!(one(&value.to_string()), value.clone());
        prop_assert_eq!(one(&serde_json::to_string_pretty(&value).expect("it is JSON")), value);
    }
}
