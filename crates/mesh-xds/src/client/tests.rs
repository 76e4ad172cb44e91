//! A client by itself; `server/tests.rs` lets it talk to a server.

use super::{DeltaClient, Rejection, UnknownType, Update};
use crate::envoy::cluster::Cluster;
use crate::envoy::core::Node;
use crate::envoy::discovery::{DeltaDiscoveryResponse, Resource as Sent};
use crate::{Discoverable, Resource, ResourceType};
use std::collections::BTreeSet;

fn node() -> Node {
    Node {
        id: "sidecar~~a.b~".into(),
        ..Node::default()
    }
}

fn sent(name: &str) -> Sent {
    let resource = Resource::new(&Cluster {
        name: name.into(),
        ..Cluster::default()
    });
    Sent {
        name: resource.name,
        version: resource.version,
        resource: Some(resource.any),
        ..Sent::default()
    }
}

fn response(resources: Vec<Sent>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: Cluster::TYPE.type_url().into(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        nonce: "7".into(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn names(update: &Update) -> Vec<&str> {
    update.changed.iter().map(|r| r.name.as_str()).collect()
}

#[test]
fn a_stream_opens_with_the_wildcard_types_and_one_node() {
    let mut client = DeltaClient::new(node());
    assert_eq!(
        client.subscribe(ResourceType::Route, ["r".to_owned()].into()),
        None
    );
    let requests = client.reconnect();
    let types: Vec<_> = requests
        .iter()
        .map(|r| ResourceType::from_type_url(&r.type_url))
        .collect();
    assert_eq!(
        types,
        [
            Some(ResourceType::Cluster),
            Some(ResourceType::Listener),
            Some(ResourceType::Route)
        ]
    );
    assert_eq!(requests[0].node, Some(node()));
    assert!(requests[1..].iter().all(|r| r.node.is_none()));
    assert!(requests[0].resource_names_subscribe.is_empty());
    assert_eq!(requests[2].resource_names_subscribe, ["r"]);
}

#[test]
fn subscriptions_are_sent_as_differences() {
    let mut client = DeltaClient::new(node());
    client.reconnect();
    let set = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let first = client.subscribe(ResourceType::Endpoint, set(&["a", "b"]));
    assert_eq!(
        first.map(|r| r.resource_names_subscribe),
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    let second = client
        .subscribe(ResourceType::Endpoint, set(&["b", "c"]))
        .expect("two names changed");
    assert_eq!(second.resource_names_subscribe, ["c"]);
    assert_eq!(second.resource_names_unsubscribe, ["a"]);
    assert_eq!(
        client.subscribe(ResourceType::Endpoint, set(&["b", "c"])),
        None
    );
    assert_eq!(client.subscribe(ResourceType::Cluster, set(&["x"])), None);
}

#[test]
fn only_what_was_accepted_is_held() {
    let mut client = DeltaClient::new(node());
    client.reconnect();
    let update = client
        .on_response(response(vec![sent("good"), sent("bad")], &[]))
        .expect("clusters were asked for");
    assert_eq!(names(&update), ["bad", "good"]);
    assert!(client.held().is_empty(), "not before it is acknowledged");
    let answer = client.nack(
        &update,
        &[Rejection {
            name: "bad".into(),
            reason: "lb_policy: not supported".into(),
        }],
    );
    assert_eq!(answer.response_nonce, "7");
    assert_eq!(
        answer.error_detail.map(|detail| detail.message).as_deref(),
        Some("bad: lb_policy: not supported")
    );
    let reconnect = client.reconnect();
    let versions: Vec<_> = reconnect[0].initial_resource_versions.keys().collect();
    assert_eq!(versions, ["good"]);
}

#[test]
fn removals_and_replacements_take_effect_with_the_acknowledgement() {
    let mut client = DeltaClient::new(node());
    client.reconnect();
    let both = client
        .on_response(response(vec![sent("a"), sent("b")], &[]))
        .expect("clusters were asked for");
    assert_eq!(client.ack(&both).error_detail, None);
    let gone = client
        .on_response(response(vec![], &["a", "unknown"]))
        .expect("clusters were asked for");
    assert_eq!(gone.removed, ["a", "unknown"]);
    assert_eq!(client.held().len(ResourceType::Cluster), 2);
    client.ack(&gone);
    assert_eq!(client.held().len(ResourceType::Cluster), 1);
}

#[test]
fn resources_of_the_wrong_type_are_refused_by_name() {
    let mut client = DeltaClient::new(node());
    client.reconnect();
    let mut wrong = sent("a");
    if let Some(any) = wrong.resource.as_mut() {
        any.type_url = ResourceType::Listener.type_url().into();
    }
    let update = client
        .on_response(response(vec![wrong, sent("b")], &[]))
        .expect("clusters were asked for");
    assert_eq!(names(&update), ["b"]);
    let message = client
        .ack(&update)
        .error_detail
        .map(|detail| detail.message)
        .unwrap_or_default();
    assert!(
        message.starts_with("a: expected a resource of type"),
        "{message}"
    );
    assert_eq!(client.held().len(ResourceType::Cluster), 1);
}

#[test]
fn types_that_were_not_asked_for_are_refused() {
    let mut client = DeltaClient::new(node());
    client.reconnect();
    for url in ["", ResourceType::Endpoint.type_url()] {
        let unasked = DeltaDiscoveryResponse {
            type_url: url.into(),
            ..DeltaDiscoveryResponse::default()
        };
        assert_eq!(
            client.on_response(unasked),
            Err(UnknownType(url.to_owned()))
        );
    }
}

#[test]
fn what_is_no_longer_wanted_is_neither_held_nor_taken() {
    let mut client = DeltaClient::new(node());
    client.subscribe(ResourceType::Endpoint, ["a".to_owned()].into());
    client.reconnect();
    let mut late = response(vec![sent("a")], &["b"]);
    late.type_url = ResourceType::Endpoint.type_url().into();
    if let Some(any) = late.resources[0].resource.as_mut() {
        any.type_url = late.type_url.clone();
    }
    let update = client.on_response(late).expect("endpoints were asked for");
    assert_eq!(names(&update), ["a"]);
    assert!(update.removed.is_empty(), "b was never asked for");
    client.subscribe(ResourceType::Endpoint, BTreeSet::new());
    client.ack(&update);
    assert!(client.held().is_empty());
}
