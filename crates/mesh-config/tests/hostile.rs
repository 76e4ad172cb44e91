//! Objects made from the tables themselves, and made to hurt: huge lists and maps at every place that takes one, and
//! values of the wrong type at every place. They are read or refused, in time that grows with the text.

use std::path::Path;
use std::time::{Duration, Instant};

use mesh_config::analysis::{Options, analyze};
use mesh_config::schema::{self, Field, Shape, Type};
use mesh_config::{Config, Kind, parse};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A value that may do for a type; `n` makes those of a list differ.
fn sample(kind: Type, n: usize) -> Value {
    match kind {
        Type::Bool => json!(true),
        Type::Integer(from, to) => {
            let n = i64::try_from(n).unwrap_or_default();
            json!(from.saturating_add(n).min(to))
        }
        Type::Number(from, _) => json!(from),
        Type::IntegerOrText => json!(n % 65_535 + 1),
        Type::Duration | Type::DurationOrZero => json!("1s"),
        Type::OneOf(known) => json!(known[n % known.len()]),
        Type::Object(shape) => object(shape, n),
        Type::List(item) | Type::Sized(_, _, item) => json!([sample(*item, n)]),
        Type::Map(item) | Type::Keyed(_, item) => {
            let mut map = Map::new();
            map.insert(format!("k{n}"), sample(*item, n));
            Value::Object(map)
        }
        Type::Data(_) => json!({}),
        _ => json!(format!("a{n}.example.com")),
    }
}

/// The fields that a map must have.
fn object(shape: &Shape, n: usize) -> Value {
    let required = shape.fields.iter().filter(|field| field.required);
    let fields = required.map(|field| {
        let value = match field.name {
            "protocol" => json!("HTTP"),
            "kind" => json!("Service"),
            "name" => json!(format!("a{n}")),
            _ => sample(field.kind, n),
        };
        (field.name.to_owned(), value)
    });
    Value::Object(fields.collect())
}

/// The fields on the way from the top of an object to one of its fields.
type Way = Vec<&'static Field>;

/// The ways to all fields of a table; a shape that stands at several places counts each time.
fn ways(shape: &'static Shape, so_far: &Way, found: &mut Vec<Way>) {
    for field in shape.fields {
        let mut way = so_far.clone();
        way.push(field);
        found.push(way.clone());
        if let Some(inner) = inside(field.kind) {
            ways(inner, &way, found);
        }
    }
}

fn ways_of(kind: Kind) -> Vec<Way> {
    let mut found = Vec::new();
    if let Some(shape) = schema::of(kind) {
        ways(shape, &Vec::new(), &mut found);
    }
    found
}

fn inside(kind: Type) -> Option<&'static Shape> {
    match kind {
        Type::Object(shape) => Some(shape),
        Type::List(item) | Type::Sized(_, _, item) | Type::Map(item) | Type::Keyed(_, item) => {
            inside(*item)
        }
        _ => None,
    }
}

/// A value of a type in which `value` stands at the end of the way.
fn around(kind: Type, way: &[&'static Field], value: &Value) -> Value {
    match kind {
        Type::List(item) | Type::Sized(_, _, item) => json!([around(*item, way, value)]),
        Type::Map(item) | Type::Keyed(_, item) => json!({ "k0": around(*item, way, value) }),
        Type::Object(shape) => {
            let mut map = object(shape, 0);
            if let Some((field, rest)) = way.split_first() {
                map[field.name] = if rest.is_empty() {
                    value.clone()
                } else {
                    around(field.kind, rest, value)
                };
            }
            map
        }
        other => sample(other, 0),
    }
}

/// An object of a kind in which `value` stands at the end of the way.
fn with(kind: Kind, way: &[&'static Field], value: &Value) -> Value {
    let mut root =
        schema::of(kind).map_or(json!({}), |shape| around(Type::Object(shape), way, value));
    root["apiVersion"] = json!(kind.api_version());
    root["kind"] = json!(kind.kind());
    if root["metadata"].is_null() || root["metadata"].is_object() {
        root["metadata"]["name"] = json!("x");
    }
    root
}

fn name_of(kind: Kind, way: &Way) -> String {
    let names: Vec<&str> = way.iter().map(|field| field.name).collect();
    format!("{kind} {}", names.join("."))
}

/// A list or a map of many, where the field takes one.
fn many(kind: Type, count: usize) -> Option<Value> {
    match kind {
        Type::List(item) | Type::Sized(_, _, item) => {
            Some((0..count).map(|n| sample(*item, n)).collect())
        }
        Type::Map(item) | Type::Keyed(_, item) => Some(Value::Object(
            (0..count)
                .map(|n| (format!("k{n}"), sample(*item, n)))
                .collect(),
        )),
        Type::Data(_) => Some(Value::Object(
            (0..count)
                .map(|n| (format!("k{n}"), json!("YQ==")))
                .collect(),
        )),
        _ => None,
    }
}

/// Reads and judges a text, and gives how long that took.
fn judged(text: &str) -> Duration {
    let start = Instant::now();
    if let Ok(parsed) = parse(Path::new("x"), text) {
        let config: Config = parsed.into_iter().map(|one| one.object).collect();
        let findings = analyze(&config, &Options::files());
        assert!(findings.len() <= 202, "{} findings", findings.len());
    }
    start.elapsed()
}

#[test]
fn many_entries_at_any_place_take_their_time_and_no_more() {
    let mut lists = 0;
    for kind in Kind::all() {
        for way in ways_of(kind) {
            let value = way.last().and_then(|field| many(field.kind, 1000));
            if let Some(value) = value {
                lists += 1;
                let took = judged(&with(kind, &way, &value).to_string());
                let name = name_of(kind, &way);
                assert!(took < Duration::from_secs(10), "{name} took {took:?}");
            }
        }
    }
    assert!(lists > 200, "{lists} lists and maps");
}

/// At these places the entries are held against one another, so that so many of them would never end if
/// each were compared with each.
#[test]
fn huge_lists_are_judged_in_time() {
    let spec = |api: &str, kind: &str, spec: Value| {
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, "spec": spec})
            .to_string()
    };
    let hosts = |count: usize| -> Value {
        (0..count)
            .map(|n| json!(format!("a{n}.example.com")))
            .collect()
    };
    let route = json!([{"route": [{"destination": {"host": "a"}}]}]);
    let servers: Value = (0..5_000)
        .map(|n| json!({"port": {"number": 80, "protocol": "HTTP", "name": format!("a{n}")}, "hosts": [format!("a{n}.example.com")]}))
        .collect();
    let labels: Map<String, Value> = (0..20_000).map(|n| (format!("k{n}"), json!("v"))).collect();
    let ports: Value = (0..20_000)
        .map(|n| json!({"name": format!("a{n}"), "port": n + 1}))
        .collect();
    let istio = "networking.istio.io/v1";
    for (what, text) in [
        (
            "hosts",
            spec(
                istio,
                "VirtualService",
                json!({"hosts": hosts(40_000), "http": route}),
            ),
        ),
        (
            "namespaces",
            spec(
                "security.istio.io/v1",
                "AuthorizationPolicy",
                json!({"rules": [{"from": [{"source": {"namespaces": hosts(40_000)}}]}]}),
            ),
        ),
        (
            "servers",
            spec(istio, "Gateway", json!({"servers": servers})),
        ),
        (
            "labels",
            spec(
                istio,
                "WorkloadEntry",
                json!({"address": "10.0.0.1", "labels": labels}),
            ),
        ),
        ("ports", spec("v1", "Service", json!({"ports": ports}))),
    ] {
        let took = judged(&text);
        assert!(took < Duration::from_secs(30), "{what} took {took:?}");
    }
}

/// Values that fit few types, and some that fit none.
fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!("x".repeat(100_000))),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, 1, "a", [], {}])),
        "\\PC{0,20}".prop_map(|key| json!({ key: [{"a": null}] })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_value_at_any_place_is_read_or_refused(
        kind in any::<prop::sample::Index>(),
        way in any::<prop::sample::Index>(),
        value in odd_value(),
    ) {
        let kinds: Vec<Kind> = Kind::all().filter(|kind| schema::of(*kind).is_some()).collect();
        let kind = *kind.get(&kinds);
        let ways = ways_of(kind);
        let object = with(kind, &ways[way.index(ways.len())], &value);
        match parse(Path::new("x"), &object.to_string()) {
            Ok(parsed) => {
                let again = mesh_config::from_value(&parsed[0].object.to_json(), "default");
                prop_assert!(again.is_ok(), "{again:?}");
                let config: Config = parsed.into_iter().map(|one| one.object).collect();
                analyze(&config, &Options::files());
            }
            Err(findings) => {
                prop_assert!(!findings.is_empty());
                let text: String = findings.iter().map(ToString::to_string).collect();
                prop_assert!(text.len() < 200_000, "{} bytes of findings", text.len());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(findings) = mesh_config::parse_bytes(Path::new("x"), &bytes, "default") {
            prop_assert!(!findings.is_empty());
        }
    }
}
