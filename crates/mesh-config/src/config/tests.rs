//! Sets of objects: what a clone sees, how objects are found, who is older.

use std::path::Path;

use super::*;
use crate::parse::parse;

fn object(kind: &str, namespace: &str, name: &str, created: &str) -> Object {
    let (api, spec) = match kind {
        "Service" => ("v1", "{ports: [{port: 80}]}"),
        _ => (
            "networking.istio.io/v1",
            "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}",
        ),
    };
    let created = match created {
        "" => String::new(),
        time => format!(", creationTimestamp: '{time}'"),
    };
    let text = format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{created}}}\nspec: {spec}\n"
    );
    parse(Path::new("x"), &text).expect(&text).remove(0).object
}

fn names<'a>(objects: impl Iterator<Item = &'a SharedObject>) -> Vec<String> {
    objects.map(|object| object.key().to_string()).collect()
}

#[test]
fn a_clone_does_not_see_later_changes() {
    let mut config = Config::new();
    assert!(config.is_empty());
    assert!(config.insert(object("Service", "shop", "a", "")).is_none());
    let before = config.clone();
    let replaced = config
        .insert(object("Service", "shop", "a", ""))
        .expect("it was there");
    assert!(Arc::ptr_eq(
        &replaced,
        before.get(&replaced.key()).expect("still there")
    ));
    config.insert(object("Service", "shop", "b", ""));
    assert!(config.remove(&replaced.key()).is_some());
    assert!(config.remove(&replaced.key()).is_none());
    assert_eq!(names(before.iter()), ["Service shop/a"]);
    assert_eq!(names(config.iter()), ["Service shop/b"]);
}

#[test]
fn objects_are_found_by_kind_namespace_and_host() {
    let config: Config = [
        object("VirtualService", "shop", "a", ""),
        object("Service", "shop", "b", ""),
        object("Service", "shop", "a", ""),
        object("Service", "bank", "z", ""),
    ]
    .into_iter()
    .collect();
    assert_eq!(config.len(), 4);
    assert_eq!(
        names(config.of_kind(Kind::Service)),
        ["Service bank/z", "Service shop/a", "Service shop/b"]
    );
    assert_eq!(
        names(config.in_namespace(Kind::Service, "shop")),
        ["Service shop/a", "Service shop/b"]
    );
    assert_eq!(
        names(config.in_namespace(Kind::Gateway, "shop")),
        Vec::<String>::new()
    );
    let (service, _) = config
        .service("a.shop.svc.cluster.local")
        .expect("it is there");
    assert_eq!(service.host(), "a.shop.svc.cluster.local");
    for host in [
        "a.shop",
        "a",
        "x.shop.svc.cluster.local",
        "a.b.shop.svc.cluster.local",
        ".shop.svc.cluster.local",
    ] {
        assert!(config.service(host).is_none(), "{host}");
    }
}

#[test]
fn older_rules_come_first() {
    let config: Config = [
        object("VirtualService", "b", "young", "2024-03-01T00:00:00Z"),
        object("VirtualService", "b", "old", "2024-01-01T00:00:00Z"),
        object("VirtualService", "c", "same", "2024-02-01T00:00:00Z"),
        object("VirtualService", "a", "same", "2024-02-01T00:00:00Z"),
        object("VirtualService", "a", "new", ""),
    ]
    .into_iter()
    .collect();
    assert_eq!(
        names(config.virtual_services().map(|(object, _)| object)),
        ["b/old", "a/same", "c/same", "b/young", "a/new"]
            .map(|name| format!("VirtualService {name}"))
    );
}

#[test]
fn short_hosts_belong_to_the_rules_namespace() {
    for (host, full) in [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.bank", "reviews.bank"),
        (
            "Reviews.bank.svc.cluster.local",
            "reviews.bank.svc.cluster.local",
        ),
        ("*", "*"),
        ("*.com", "*.com"),
    ] {
        assert_eq!(resolve_host(host, "shop"), full);
    }
    assert_eq!(
        split_host("reviews.bank.svc.cluster.local"),
        Some(("reviews", "bank"))
    );
}

#[test]
fn addresses_follow_every_change() {
    let place = |name: &str| (crate::service_address(&service_host(name, "shop")), 80);
    let holders = |config: &Config| -> Vec<_> {
        let addresses = config.service_addresses().iter();
        addresses
            .map(|(place, object)| (*place, object.metadata.name.clone()))
            .collect()
    };
    let mut config = Config::new();
    assert_eq!(holders(&config), []);
    let a = object("Service", "shop", "a", "");
    let key = a.key();
    config.insert(a);
    let before = config.clone();
    assert_eq!(holders(&config), [(place("a"), "a".to_owned())]);
    config.extend([object("Service", "shop", "b", "")]);
    assert_eq!(config.service_addresses().len(), 2);
    config.remove(&key);
    assert_eq!(holders(&config), [(place("b"), "b".to_owned())]);
    assert_eq!(holders(&before), [(place("a"), "a".to_owned())]);
}
