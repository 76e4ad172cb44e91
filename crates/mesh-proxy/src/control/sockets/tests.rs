use super::*;
use crate::snapshot::compile::{Accepted, Context};
use crate::snapshot::samples::{address, chain, context, listener, manager, rds};
use mesh_xds::{Resource, ResourceType};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A listener's specification.
fn spec(name: &str, port: u16) -> Arc<ListenerSpec> {
    spec_at(name, "127.0.0.1", port)
}

fn spec_at(name: &str, ip: &str, port: u16) -> Arc<ListenerSpec> {
    let context: Context = context();
    let mut message = listener(name, port, vec![chain(&manager(rds("r")))]);
    message.address = address(ip, port);
    let mut accepted = Accepted::default();
    let resource = Arc::new(Resource::new(&message));
    let rejections = accepted.apply(
        ResourceType::Listener,
        &[resource],
        &[],
        &context,
        Instant::now(),
    );
    assert!(rejections.is_empty(), "{rejections:?}");
    Arc::clone(&accepted.listeners[name].spec)
}

fn mapped(mappings: &[&str]) -> Sockets {
    let map = mappings
        .iter()
        .map(|text| text.parse::<crate::settings::PortMapping>().unwrap());
    Sockets::new(Places::Mapped(map.collect()), 2)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(LOOPBACK)
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn step(sockets: &mut Sockets, specs: &[&Arc<ListenerSpec>], now: Instant) -> Vec<Rejection> {
    sockets.keep_in_step(specs.iter().map(|spec| &***spec), now)
}

#[test]
fn every_worker_has_a_socket_on_the_same_port() {
    let bound = bind(LOOPBACK, 3).unwrap();
    assert_eq!(bound.sockets.len(), 3);
    for socket in bound.sockets.iter() {
        assert_eq!(socket.local_addr().unwrap(), bound.address);
    }
    assert_ne!(bound.address.port(), 0);
}

#[test]
fn a_port_of_another_process_is_busy_even_if_it_would_share() {
    let other = share(LOOPBACK, 1).unwrap();
    assert_eq!(
        bind(other.address, 1).unwrap_err().kind(),
        io::ErrorKind::AddrInUse
    );
}

#[test]
fn listeners_are_bound_where_the_map_says_and_kept() {
    let mut sockets = mapped(&["80=127.0.0.1:0"]);
    let l = spec("l", 80);
    assert!(step(&mut sockets, &[&l], Instant::now()).is_empty());
    let bound = sockets.get(&l).unwrap();
    assert_ne!(bound.address.port(), 80);
    assert!(step(&mut sockets, &[&l], Instant::now()).is_empty());
    assert!(Arc::ptr_eq(
        &bound.sockets,
        &sockets.get(&l).unwrap().sockets
    ));
    step(&mut sockets, &[], Instant::now());
    assert!(sockets.get(&l).is_none());
}

#[test]
fn a_busy_port_rejects_the_listener_by_name_and_is_tried_again() {
    let other = TcpListener::bind(LOOPBACK).unwrap();
    let busy = other.local_addr().unwrap();
    let mut sockets = mapped(&[&format!("80={busy}"), "81=127.0.0.1:0"]);
    let (bad, good) = (spec("bad", 80), spec("good", 81));
    let now = Instant::now();
    let rejections = step(&mut sockets, &[&bad, &good], now);
    let [rejection] = rejections.as_slice() else {
        panic!("{rejections:?}")
    };
    assert_eq!(rejection.name, "bad");
    assert!(
        rejection.reason.contains(&busy.to_string()),
        "{}",
        rejection.reason
    );
    assert!(
        rejection.reason.contains("--port-map 80="),
        "{}",
        rejection.reason
    );
    assert_eq!(sockets.failure(&bad), Some(rejection.reason.as_str()));
    assert!(sockets.get(&good).is_some());

    assert_eq!(sockets.next_retry(), Some(now + FIRST_RETRY));
    assert!(
        step(&mut sockets, &[&bad, &good], now).is_empty(),
        "not due yet"
    );
    let now = now + FIRST_RETRY;
    assert_eq!(step(&mut sockets, &[&bad, &good], now).len(), 1);
    assert_eq!(
        sockets.next_retry(),
        Some(now + 2 * FIRST_RETRY),
        "the pause grows"
    );
    drop(other);
    assert!(step(&mut sockets, &[&bad, &good], now + 2 * FIRST_RETRY).is_empty());
    assert_eq!(sockets.get(&bad).unwrap().address, busy);
    assert_eq!(sockets.next_retry(), None);
}

#[test]
fn two_listeners_do_not_share_an_address() {
    let port = free_port();
    let mut sockets = mapped(&[
        &format!("80=127.0.0.1:{port}"),
        &format!("81=127.0.0.1:{port}"),
    ]);
    let rejections = step(
        &mut sockets,
        &[&spec("a", 80), &spec("b", 81)],
        Instant::now(),
    );
    let [rejection] = rejections.as_slice() else {
        panic!("{rejections:?}")
    };
    assert_eq!(rejection.name, "b");
    assert!(
        rejection.reason.contains("listener \"a\""),
        "{}",
        rejection.reason
    );
}

#[test]
fn a_listener_may_take_over_the_address_of_one_that_leaves() {
    let port = free_port();
    let mut sockets = mapped(&[&format!("80=127.0.0.1:{port}")]);
    let (old, new) = (spec("old", 80), spec("new", 80));
    step(&mut sockets, &[&old], Instant::now());
    let still_served = sockets.get(&old).unwrap();
    assert!(step(&mut sockets, &[&new], Instant::now()).is_empty());
    let taken_over = sockets.get(&new).unwrap();
    assert_eq!(taken_over.address, still_served.address);
    assert!(!Arc::ptr_eq(&taken_over.sockets, &still_served.sockets));
}

#[test]
fn a_sidecars_listeners_get_what_was_bound_at_the_start() {
    let before = bind(LOOPBACK, 2).unwrap();
    let places = BTreeMap::from([(SocketAddr::new(LOOPBACK.ip(), 15001), before.clone())]);
    let mut sockets = Sockets::new(Places::Fixed(places), 2);
    let l = spec("virtualOutbound", 15001);
    step(&mut sockets, &[&l], Instant::now());
    assert!(Arc::ptr_eq(
        &before.sockets,
        &sockets.get(&l).unwrap().sockets
    ));
    // A listener that leaves has its sockets shut down; another one gets new ones in the same place.
    step(&mut sockets, &[], Instant::now());
    assert!(step(&mut sockets, &[&l], Instant::now()).is_empty());
    let again = sockets.get(&l).unwrap();
    assert_eq!(again.address, before.address);
    assert!(!Arc::ptr_eq(&before.sockets, &again.sockets));
}

#[test]
fn a_service_with_the_port_of_a_sidecars_own_listener_does_not_get_its_sockets() {
    let inbound = bind(LOOPBACK, 1).unwrap();
    let port = free_port();
    let everywhere = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port);
    let mut sockets = Sockets::new(
        Places::Fixed(BTreeMap::from([(everywhere, inbound.clone())])),
        1,
    );
    // Its name comes first.
    let service = spec_at("127.128.0.1_15006", "127.128.0.1", port);
    let own = spec_at("virtualInbound", "0.0.0.0", port);
    assert!(step(&mut sockets, &[&service, &own], Instant::now()).is_empty());
    let at = |spec| sockets.get(spec).unwrap().address;
    assert_eq!(at(&service), service.address);
    assert_eq!(at(&own), inbound.address);
}

#[test]
fn an_address_of_another_process_is_busy_though_a_neighbour_of_it_is_ours() {
    let mut sockets = Sockets::new(Places::Fixed(BTreeMap::new()), 1);
    let port = free_port();
    // The other process would share its address.
    let other = share(SocketAddr::new([127, 128, 0, 2].into(), port), 1).unwrap();
    let free = spec_at("free", "127.128.0.1", port);
    let taken = spec_at("taken", "127.128.0.2", port);
    let rejections = step(&mut sockets, &[&free, &taken], Instant::now());
    let [rejection] = rejections.as_slice() else {
        panic!("{rejections:?}")
    };
    assert_eq!(rejection.name, "taken");
    drop(other);
}

#[test]
fn a_wildcard_address_is_reached_by_the_advertised_one() {
    let reach = |address: &str, by| reachable(address.parse().unwrap(), by);
    assert_eq!(reach("127.0.0.1:15005", "10.0.0.1"), "127.0.0.1:15005");
    assert_eq!(reach("0.0.0.0:15005", "10.0.0.1"), "10.0.0.1:15005");
    assert_eq!(reach("[::]:15005", "fd00::1"), "[fd00::1]:15005");
    assert_eq!(reach("0.0.0.0:15005", "webapp"), "webapp:15005");
}
