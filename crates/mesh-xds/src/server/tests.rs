//! A session by itself, then client against server in random weather.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{DeltaSession, Limits, RequestError, Sync};
use crate::client::{DeltaClient, Rejection, Update};
use crate::envoy::cluster::Cluster;
use crate::envoy::core::Node;
use crate::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::envoy::endpoint::ClusterLoadAssignment;
use crate::envoy::listener::Listener;
use crate::envoy::route::{RouteConfiguration, VirtualHost};
use crate::envoy::tls::{GenericSecret, Secret, secret::Type};
use crate::{Base, ResourceSet, ResourceType};

use ResourceType::{Cluster as C, Endpoint as E, Listener as L, Route as R};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// Adds a resource whose content depends on `content`.
fn insert(set: &mut ResourceSet, kind: ResourceType, name: &str, content: u8) {
    let (name, content) = (name.to_owned(), format!("v{content}"));
    match kind {
        C => set.insert(&Cluster {
            name,
            alt_stat_name: content,
            ..Cluster::default()
        }),
        E => set.insert(&ClusterLoadAssignment {
            cluster_name: name,
            named_endpoints: [(content, Default::default())].into(),
            ..ClusterLoadAssignment::default()
        }),
        L => set.insert(&Listener {
            name,
            stat_prefix: content,
            ..Listener::default()
        }),
        R => set.insert(&RouteConfiguration {
            name,
            virtual_hosts: vec![VirtualHost {
                name: content,
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        }),
        ResourceType::Secret => set.insert(&Secret {
            name,
            r#type: Some(Type::GenericSecret(GenericSecret {
                secret: None,
                secrets: [(content, Default::default())].into(),
            })),
        }),
    }
}

fn set(resources: &[(ResourceType, &str, u8)]) -> ResourceSet {
    let mut set = ResourceSet::new();
    for (kind, name, content) in resources {
        insert(&mut set, *kind, name, *content);
    }
    set
}

fn ask(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().into(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn leave(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().into(),
        resource_names_unsubscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, error: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: error.map(|message| crate::envoy::rpc::Status {
            message: message.into(),
            ..Default::default()
        }),
        ..DeltaDiscoveryRequest::default()
    }
}

/// `CDS +a -b`
fn words(responses: &[DeltaDiscoveryResponse]) -> Vec<String> {
    responses
        .iter()
        .map(|response| {
            let kind = ResourceType::from_type_url(&response.type_url).expect("a known type");
            let added = response.resources.iter().map(|r| format!(" +{}", r.name));
            let removed = response.removed_resources.iter().map(|n| format!(" -{n}"));
            kind.to_string() + &added.chain(removed).collect::<String>()
        })
        .collect()
}

struct Stream(DeltaSession);

impl Stream {
    fn new(resources: &[(ResourceType, &str, u8)]) -> Self {
        Self(DeltaSession::new(set(resources), Limits::default()))
    }

    fn request(&mut self, request: &DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryResponse> {
        self.0.on_request(request, NOW).expect("within the limits")
    }

    /// Sends a request and accepts everything that comes, until nothing comes any more.
    fn settle(&mut self, request: &DeltaDiscoveryRequest) -> Vec<String> {
        let responses = self.request(request);
        self.accept(responses)
    }

    fn change(&mut self, resources: &[(ResourceType, &str, u8)]) -> Vec<String> {
        let responses = self.0.on_resources(set(resources), NOW);
        self.accept(responses)
    }

    fn accept(&mut self, responses: Vec<DeltaDiscoveryResponse>) -> Vec<String> {
        let mut seen = words(&responses);
        let mut queue = VecDeque::from(responses);
        while let Some(response) = queue.pop_front() {
            let more = self.request(&answer(&response, None));
            seen.extend(words(&more));
            queue.extend(more);
        }
        seen
    }

    fn sync(&self, kind: ResourceType) -> Sync {
        self.0.status()[kind as usize].1.sync
    }
}

#[test]
fn a_wildcard_gets_all_then_only_differences() {
    let mut stream = Stream::new(&[(C, "a", 0), (C, "b", 0)]);
    assert_eq!(stream.sync(C), Sync::NotAsked);
    assert_eq!(stream.settle(&ask(C, &[])), ["CDS +a +b"]);
    assert_eq!(stream.sync(C), Sync::Synced);
    assert_eq!(
        stream.change(&[(C, "a", 0), (C, "b", 1), (C, "c", 0)]),
        ["CDS +b +c"]
    );
    assert_eq!(stream.change(&[(C, "b", 1), (C, "c", 0)]), ["CDS -a"]);
    assert!(stream.change(&[(C, "b", 1), (C, "c", 0)]).is_empty());
}

#[test]
fn a_wildcard_that_finds_nothing_is_answered_once() {
    let mut stream = Stream::new(&[]);
    assert_eq!(stream.settle(&ask(L, &[])), ["LDS"]);
    assert!(stream.change(&[]).is_empty());
    // For the other types a request without names asks for nothing.
    assert!(stream.settle(&ask(R, &[])).is_empty());
}

#[test]
fn the_explicit_wildcard_comes_and_goes() {
    let all = [(C, "a", 0), (C, "b", 0)];
    let mut stream = Stream::new(&all);
    assert_eq!(stream.settle(&ask(C, &["a"])), ["CDS +a"]);
    assert_eq!(stream.settle(&ask(C, &["*"])), ["CDS +b"]);
    assert_eq!(
        stream.settle(&leave(C, &["a"])),
        ["CDS +a"],
        "still one of all"
    );
    assert_eq!(stream.settle(&leave(C, &["x"])), ["CDS -x"]);
    assert!(stream.settle(&leave(C, &["*"])).is_empty());
    assert!(
        stream.change(&[(C, "a", 1)]).is_empty(),
        "nothing is wanted"
    );
}

#[test]
fn every_name_that_is_asked_for_is_answered() {
    let mut stream = Stream::new(&[(E, "a", 0)]);
    assert_eq!(stream.settle(&ask(E, &["a", "x"])), ["EDS +a -x"]);
    assert_eq!(
        stream.settle(&ask(E, &["a"])),
        ["EDS +a"],
        "it may have been dropped"
    );
    assert_eq!(stream.change(&[(E, "a", 0), (E, "x", 0)]), ["EDS +x"]);
    assert_eq!(stream.change(&[(E, "a", 0)]), ["EDS -x"]);
    assert!(stream.settle(&leave(E, &["a"])).is_empty());
    assert!(stream.change(&[(E, "a", 1)]).is_empty());
}

#[test]
fn a_reconnecting_proxy_gets_what_it_lacks() {
    let all = [(C, "same", 0), (C, "changed", 1), (C, "new", 0)];
    let mut stream = Stream::new(&all);
    let held = set(&[(C, "same", 0), (C, "changed", 0), (C, "gone", 0)]);
    let mut request = ask(C, &[]);
    request.initial_resource_versions = held
        .iter(C)
        .map(|r| (r.name.clone(), r.version.clone()))
        .collect();
    assert_eq!(stream.settle(&request), ["CDS +changed +new", "CDS -gone"]);

    let mut stream = Stream::new(&all);
    request.resource_names_subscribe = vec!["same".into(), "gone".into()];
    assert_eq!(
        stream.settle(&request),
        ["CDS -gone"],
        "names it does not want are forgotten"
    );
}

#[test]
fn what_is_referred_to_goes_first_and_leaves_last() {
    let mut stream = Stream::new(&[(C, "old", 0), (E, "old", 0), (L, "l", 0), (R, "r", 0)]);
    for request in [ask(C, &[]), ask(E, &["old"]), ask(L, &[]), ask(R, &["r"])] {
        stream.settle(&request);
    }
    let next = set(&[(C, "new", 0), (E, "new", 0), (L, "l", 1), (R, "r", 1)]);
    let clusters = stream.0.on_resources(next, NOW);
    assert_eq!(words(&clusters), ["CDS +new"]);
    let endpoints = stream.request(&ask(E, &["new"]));
    assert_eq!(words(&endpoints), ["EDS +new"]);
    let warm = stream.request(&answer(&clusters[0], None));
    assert_eq!(
        words(&warm),
        ["LDS +l", "RDS +r"],
        "only now that clusters are there"
    );
    assert!(stream.request(&answer(&warm[0], None)).is_empty());
    // The endpoints' answer is still out, so nothing is taken away yet.
    assert!(stream.request(&answer(&warm[1], None)).is_empty());
    assert_eq!(stream.sync(C), Sync::Stale);
    let removal = stream.request(&answer(&endpoints[0], None));
    assert_eq!(words(&removal), ["CDS -old"]);
    assert_eq!(stream.accept(removal)[1..], ["EDS -old"]);
    assert!(
        [C, E, L, R]
            .iter()
            .all(|kind| stream.sync(*kind) == Sync::Synced)
    );
}

#[test]
fn endpoints_follow_a_cluster_that_changed() {
    let mut stream = Stream::new(&[(C, "a", 0), (E, "a", 0)]);
    stream.settle(&ask(C, &[]));
    stream.settle(&ask(E, &["a"]));
    assert_eq!(
        stream.change(&[(C, "a", 1), (E, "a", 0)]),
        ["CDS +a", "EDS +a"]
    );
}

#[test]
fn a_slow_proxy_gets_the_last_state_only() {
    let mut stream = Stream::new(&[(C, "a", 0)]);
    let first = stream.request(&ask(C, &[]));
    for content in 1..50 {
        assert!(
            stream
                .0
                .on_resources(set(&[(C, "a", content)]), NOW)
                .is_empty()
        );
    }
    let mut stale = answer(&first[0], None);
    stale.response_nonce = "no such nonce".into();
    assert!(stream.request(&stale).is_empty());
    let last = stream.request(&answer(&first[0], None));
    assert_eq!(words(&last), ["CDS +a"]);
    assert_eq!(last[0].system_version_info, "50");
}

#[test]
fn a_rejection_is_kept_and_not_argued_with() {
    let mut stream = Stream::new(&[(C, "a", 0), (C, "b", 0)]);
    let sent = stream.request(&ask(C, &[]));
    let later = NOW + Duration::from_secs(1);
    let nack = answer(&sent[0], Some("b: lb_policy: MAGLEV is not supported"));
    let more = stream
        .0
        .on_request(&nack, later)
        .expect("within the limits");
    assert!(more.is_empty());
    let status = stream.0.status()[C as usize].1.clone();
    assert_eq!(status.sync, Sync::Rejected);
    assert_eq!(status.acked, None);
    assert_eq!(status.rejected, BTreeSet::from(["b".to_owned()]));
    let rejection = status.rejection.expect("it was rejected");
    assert_eq!(rejection.mark.at, later);
    assert_eq!(rejection.message, "b: lb_policy: MAGLEV is not supported");

    assert_eq!(stream.change(&[(C, "a", 1), (C, "b", 0)]), ["CDS +a"]);
    assert_eq!(stream.sync(C), Sync::Rejected, "b is still refused");
    assert_eq!(stream.change(&[(C, "a", 1), (C, "b", 1)]), ["CDS +b"]);
    assert_eq!(stream.sync(C), Sync::Synced);
    assert!(
        stream.0.status()[C as usize].1.rejection.is_some(),
        "history"
    );
}

#[test]
fn a_rejected_resource_that_goes_away_is_no_longer_rejected() {
    let mut stream = Stream::new(&[(C, "a", 0)]);
    let sent = stream.request(&ask(C, &[]));
    stream.request(&answer(&sent[0], Some("no")));
    assert_eq!(stream.change(&[]), ["CDS -a"]);
    assert_eq!(stream.sync(C), Sync::Synced);
}

#[test]
fn large_sets_come_in_several_responses() {
    let mut resources = set(&[]);
    for index in 0..10 {
        insert(&mut resources, C, &format!("c{index}"), 0);
    }
    let limits = Limits {
        response_bytes: 25,
        ..Limits::default()
    };
    let mut stream = Stream(DeltaSession::new(resources, limits));
    stream.request(&ask(L, &[]));
    let seen = stream.settle(&ask(C, &[]));
    assert!(seen.len() > 2, "{seen:?}");
    assert_eq!(
        seen.iter().map(|s| s.matches('+').count()).sum::<usize>(),
        10
    );
}

#[test]
fn requests_over_the_limits_change_nothing() {
    let limits = Limits {
        subscriptions: 2,
        name_length: 3,
        ..Limits::default()
    };
    let mut stream = Stream(DeltaSession::new(set(&[(E, "a", 0)]), limits));
    let refused = |stream: &mut Stream, request: &DeltaDiscoveryRequest| {
        stream
            .0
            .on_request(request, NOW)
            .expect_err("over the limit")
    };
    assert_eq!(
        refused(&mut stream, &ask(E, &["long"])).to_string(),
        "EDS: a resource name has 4 bytes, 3 are allowed"
    );
    assert!(matches!(
        refused(&mut stream, &ask(E, &["a", "b", "c"])),
        RequestError::TooManyNames { count: 3, .. }
    ));
    assert_eq!(stream.settle(&ask(E, &["a", "b"])), ["EDS +a -b"]);
    assert!(matches!(
        refused(&mut stream, &ask(E, &["c"])),
        RequestError::TooManyNames { count: 3, .. }
    ));
    let mut claims = ask(L, &[]);
    claims.initial_resource_versions = ["a", "b", "c"]
        .map(|name| (name.to_owned(), String::new()))
        .into();
    assert!(matches!(
        refused(&mut stream, &claims),
        RequestError::TooManyNames { count: 3, .. }
    ));
    let unknown = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime".into(),
        ..DeltaDiscoveryRequest::default()
    };
    assert!(matches!(
        refused(&mut stream, &unknown),
        RequestError::UnknownType(_)
    ));
}

/// (type, name) to content.
type Contents = BTreeMap<(ResourceType, u8), u8>;

/// What can happen in the random test.
#[derive(Clone, Debug)]
enum Event {
    /// The control plane has new resources on the base that there is, or on another one.
    Change(Option<Contents>, Contents),
    /// The proxy wants other endpoints or routes.
    Subscribe(ResourceType, BTreeSet<u8>),
    /// The oldest message on its way to the control plane arrives.
    ToServer,
    /// The oldest message on its way to the proxy arrives.
    ToClient,
    /// The stream breaks; what was on its way is lost.
    Reconnect,
}

fn kinds() -> impl Strategy<Value = ResourceType> {
    prop::sample::select(ResourceType::ALL.to_vec())
}

fn contents() -> impl Strategy<Value = Contents> {
    prop::collection::btree_map((kinds(), 0..5u8), 0..3u8, 0..8)
}

fn base(contents: &Contents) -> Base {
    let mut all = ResourceSet::new();
    for ((kind, index), content) in contents {
        insert(&mut all, *kind, &name(*index), *content);
    }
    let typed = |kind| all.iter(kind).map(move |one| (kind, one.clone()));
    ResourceType::ALL.into_iter().flat_map(typed).collect()
}

fn events() -> impl Strategy<Value = Event> {
    let names = prop::collection::btree_set(0..5u8, 0..5);
    prop_oneof![
        2 => (prop::option::of(contents()), contents())
            .prop_map(|(shared, own)| Event::Change(shared, own)),
        2 => (prop::sample::select(vec![E, R]), names)
            .prop_map(|(kind, names)| Event::Subscribe(kind, names)),
        6 => Just(Event::ToServer),
        6 => Just(Event::ToClient),
        1 => Just(Event::Reconnect),
    ]
}

fn name(index: u8) -> String {
    format!("n{index}")
}

/// Both ends and the two directions between them.
struct World {
    client: DeltaClient,
    server: DeltaSession,
    base: Base,
    present: ResourceSet,
    up: VecDeque<DeltaDiscoveryRequest>,
    down: VecDeque<DeltaDiscoveryResponse>,
    /// Contents that the proxy never accepts, by version.
    poison: BTreeSet<String>,
}

impl World {
    fn new(poison: &BTreeSet<(ResourceType, u8, u8)>) -> Self {
        let mut contents = ResourceSet::new();
        let mut versions = BTreeSet::new();
        for (kind, index, content) in poison {
            insert(&mut contents, *kind, &name(*index), *content);
            versions.extend(
                contents
                    .get(*kind, &name(*index))
                    .map(|r| r.version.clone()),
            );
        }
        let mut client = DeltaClient::new(Node::default());
        let up = client.reconnect().into();
        Self {
            client,
            server: DeltaSession::new(ResourceSet::new(), small()),
            base: Base::default(),
            present: ResourceSet::new(),
            up,
            down: VecDeque::new(),
            poison: versions,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Change(shared, own) => {
                if let Some(shared) = shared {
                    self.base = base(&shared);
                }
                self.present = ResourceSet::with_base(&self.base);
                for ((kind, index), content) in own {
                    insert(&mut self.present, kind, &name(index), content);
                }
                let responses = self.server.on_resources(self.present.clone(), NOW);
                self.down.extend(responses);
            }
            Event::Subscribe(kind, names) => {
                let names = names.into_iter().map(name).collect();
                self.up.extend(self.client.subscribe(kind, names));
            }
            Event::ToServer => {
                if let Some(request) = self.up.pop_front() {
                    let responses = self.server.on_request(&request, NOW);
                    self.down.extend(responses.expect("within the limits"));
                }
            }
            Event::ToClient => {
                if let Some(response) = self.down.pop_front() {
                    let update = self.client.on_response(response).expect("it was asked for");
                    let rejections = self.judge(&update);
                    self.up.push_back(self.client.nack(&update, &rejections));
                }
            }
            Event::Reconnect => {
                self.server = DeltaSession::new(self.present.clone(), small());
                self.down.clear();
                self.up = self.client.reconnect().into();
            }
        }
    }

    fn judge(&self, update: &Update) -> Vec<Rejection> {
        update
            .changed
            .iter()
            .filter(|resource| self.poison.contains(&resource.version))
            .map(|resource| Rejection {
                name: resource.name.clone(),
                reason: "poison".into(),
            })
            .collect()
    }

    /// At most one response of a type is under way, and no listener or route overtakes a cluster.
    fn check_order(&self) {
        let kinds: Vec<_> = self
            .down
            .iter()
            .filter_map(|r| ResourceType::from_type_url(&r.type_url))
            .collect();
        for (index, kind) in kinds.iter().enumerate() {
            assert!(!kinds[..index].contains(kind), "two {kind} under way");
            if matches!(kind, L | R) {
                assert!(!kinds[..index].contains(&C), "{kind} beside CDS");
            }
        }
    }
}

fn small() -> Limits {
    Limits {
        response_bytes: 60,
        ..Limits::default()
    }
}

proptest! {
    /// Whatever happens on the way: once it is quiet, the proxy holds exactly what it wants and there is,
    /// but for contents that it refuses.
    #[test]
    fn client_and_server_converge(
        poison in prop::collection::btree_set((kinds(), 0..5u8, 0..3u8), 0..6),
        events in prop::collection::vec(events(), 0..80),
    ) {
        let mut world = World::new(&poison);
        for event in events {
            world.happen(event);
            world.check_order();
        }
        let mut messages = 0;
        while !(world.up.is_empty() && world.down.is_empty()) {
            world.happen(Event::ToServer);
            world.check_order();
            world.happen(Event::ToClient);
            messages += 1;
            prop_assert!(messages < 500, "they talk without end");
        }
        for kind in ResourceType::ALL {
            for index in 0..5 {
                let name = name(index);
                let wanted = kind.is_wildcard()
                    || world.client.subscriptions(kind).contains(&name);
                let present = world.present.get(kind, &name).filter(|_| wanted);
                let held = world.client.held().get(kind, &name);
                match present {
                    Some(resource) if world.poison.contains(&resource.version) => {
                        prop_assert!(held.is_none_or(|held| held.version != resource.version));
                    }
                    _ => prop_assert_eq!(held, present, "{} {}", kind, name),
                }
            }
            let status = world.server.status()[kind as usize].1.clone();
            let refused = world
                .present
                .iter(kind)
                .filter(|r| status.wildcard || world.client.subscriptions(kind).contains(&r.name))
                .any(|r| world.poison.contains(&r.version));
            match status.sync {
                Sync::NotAsked => prop_assert!(world.client.subscriptions(kind).is_empty()),
                Sync::Synced => prop_assert!(!refused),
                Sync::Rejected => prop_assert!(refused),
                Sync::Stale => prop_assert!(false, "nothing is on its way"),
            }
        }
    }
}

proptest! {
    /// A proxy that takes everything at once is told of what differs and of nothing else, except for the endpoints
    /// of a cluster that it had in another version.
    #[test]
    fn only_differences_are_sent(changes in prop::collection::vec((prop::option::of(contents()), contents()), 1..12)) {
        let mut stream = Stream::new(&[]);
        for kind in ResourceType::ALL {
            stream.settle(&ask(kind, &["*"]));
        }
        let (mut shared, mut before) = (Contents::new(), Contents::new());
        let mut on = Base::default();
        for (other, own) in changes {
            if let Some(other) = other {
                on = base(&other);
                shared = other;
            }
            let mut now = shared.clone();
            let mut set = ResourceSet::with_base(&on);
            for ((kind, index), content) in own {
                insert(&mut set, kind, &name(index), content);
                now.insert((kind, index), content);
            }
            let responses = stream.0.on_resources(set, NOW);
            let mut told = BTreeSet::new();
            for line in stream.accept(responses) {
                let mut words = line.split(' ');
                let kind = words.next().expect("a type").to_owned();
                told.extend(words.map(|name| format!("{kind} {name}")));
            }
            let mut expected = BTreeSet::new();
            for key @ (kind, index) in before.keys().chain(now.keys()).copied() {
                let name = name(index);
                match (before.get(&key), now.get(&key)) {
                    (old, new) if old == new => {}
                    (_, None) => {
                        expected.insert(format!("{kind} -{name}"));
                    }
                    (old, Some(_)) => {
                        expected.insert(format!("{kind} +{name}"));
                        if kind == C && old.is_some() {
                            let sign = if now.contains_key(&(E, index)) { '+' } else { '-' };
                            expected.insert(format!("{E} {sign}{name}"));
                        }
                    }
                }
            }
            prop_assert_eq!(told, expected);
            before = now;
        }
    }
}
