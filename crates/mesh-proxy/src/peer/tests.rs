//! What connections are told as time goes by, and for what their clients do.

use super::*;
use crate::snapshot::{FilterChains, Http, Split, TcpProxy};

fn peer(http2: bool) -> Peer {
    peer_of(http2, true, None)
}

fn peer_of(http2: bool, edge: bool, principal: Option<&str>) -> Peer {
    let protocol = if http2 {
        Protocol::Http2
    } else {
        Protocol::Http1
    };
    peer_at(Filter::Http(Http::default()), protocol, edge, principal)
}

/// A session that may be idle for a minute.
fn session() -> Peer {
    let proxy = TcpProxy {
        split: Split::new(vec![("db".into(), 1)], 1),
        attempts: 1,
        idle_timeout: Some(std::time::Duration::from_secs(60)),
        by_source: false,
    };
    peer_at(Filter::Tcp(Arc::new(proxy)), Protocol::Tcp, true, None)
}

fn peer_at(filter: Filter, protocol: Protocol, edge: bool, principal: Option<&str>) -> Peer {
    let hello = Hello {
        certificate: None,
        listener: "listener".into(),
        server_name: None,
        caller: None,
        address: ([127, 0, 0, 1], 1).into(),
        tls: false,
        clients: None,
        principal: principal.map(Arc::from),
        proven_until: None,
        protocol,
    };
    let listener = Listener {
        name: "listener".into(),
        address: ([127, 0, 0, 1], 2).into(),
        sockets: Arc::default(),
        direction: Direction::Outbound,
        edge,
        chains: FilterChains::default(),
        workload: Arc::default(),
        peers: Arc::default(),
    };
    let standing = Standing {
        version: 1,
        snapshot: Arc::default(),
        listener: Arc::new(listener),
        filter,
        own_principal: "".into(),
        caller: None,
        candidates: None,
        unknown: Arc::default(),
    };
    Peer::new(hello, standing, Arc::new(AtomicU64::new(1)))
}

/// What the peer has been told after so many more seconds.
fn after(peer: &Peer, seconds: u64) -> Order {
    peer.clock.fetch_add(seconds, Relaxed);
    peer.tick();
    peer.orders()
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let peer = peer(false);
    peer.heard();
    assert_eq!(after(&peer, limits::HEADER_SECONDS), Order::None);
    // A byte now and then buys no time.
    peer.heard();
    assert_eq!(after(&peer, 1), Order::Close);
}

#[test]
fn a_request_may_take_its_time() {
    let peer = peer(false);
    peer.heard();
    peer.begin();
    peer.heard();
    assert_eq!(after(&peer, limits::IDLE_SECONDS * 2), Order::None);
    peer.end(false);
    assert_eq!(after(&peer, limits::IDLE_SECONDS), Order::None);
    assert_eq!(after(&peer, 1), Order::Drain);
    assert_eq!(after(&peer, limits::HEADER_SECONDS), Order::Close);
}

#[test]
fn a_stranger_who_stands_still_is_not_waited_for_but_an_application_is() {
    let began = || {
        let peer = peer(true);
        let progress = peer.watch(&peer.standing().listener);
        peer.begin();
        (peer, progress.expect("strangers are watched"))
    };
    // The body does not go on, however often it is asked for.
    let (client, progress) = began();
    progress.read(false);
    assert_eq!(after(&client, limits::STALL_SECONDS), Order::None);
    progress.read(false);
    assert_eq!(after(&client, 1), Order::Close);
    // The answer is not taken.
    let (client, progress) = began();
    progress.offered(true);
    assert_eq!(after(&client, limits::STALL_SECONDS), Order::None);
    progress.offered(true);
    assert_eq!(after(&client, limits::STALL_SECONDS), Order::None);
    assert_eq!(after(&client, 1), Order::Close);
    // The application takes its time: with its answer, and with the rest of it.
    let (client, progress) = began();
    progress.read(true);
    assert_eq!(after(&client, limits::STALL_SECONDS * 2), Order::None);
    progress.read(false);
    progress.offered(false);
    assert_eq!(after(&client, limits::STALL_SECONDS * 2), Order::None);
    // What has ended is not held against the next.
    let (client, progress) = began();
    progress.offered(true);
    client.unwatch(&progress);
    assert_eq!(after(&client, limits::STALL_SECONDS * 2), Order::None);
    // The mesh's own are not watched.
    let proxy = peer_of(true, false, None);
    assert!(proxy.watch(&proxy.standing().listener).is_none());
}

#[test]
fn a_proof_of_identity_holds_until_it_ends_also_under_load() {
    let mut peer = peer_of(true, false, Some("spiffe://cluster.local/ns/a/sa/b"));
    peer.begin();
    let minute = std::time::Duration::from_secs(60);
    peer.hello.proven_until = Some(SystemTime::now() + minute);
    assert_eq!(after(&peer, 1), Order::None);
    peer.hello.proven_until = Some(SystemTime::now() - minute);
    assert_eq!(after(&peer, 1), Order::Drain);
}

#[test]
fn a_session_ends_when_nothing_moves_or_its_proof_is_over() {
    let peer = session();
    assert_eq!(after(&peer, 60), Order::None);
    peer.moved();
    assert_eq!(after(&peer, 60), Order::None);
    assert_eq!(after(&peer, 1), Order::Close);

    let mut peer = session();
    let second = std::time::Duration::from_secs(1);
    peer.hello.proven_until = Some(SystemTime::now() - second);
    assert_eq!(after(&peer, 1), Order::Close, "it has no end to wait for");
}

#[test]
fn pings_are_no_heads() {
    let peer = peer(true);
    peer.heard();
    assert_eq!(after(&peer, limits::HEADER_SECONDS * 2), Order::None);
}

#[test]
fn calling_off_is_cheap_for_a_client_only_so_often() {
    let peer = peer(true);
    let cancel = || {
        peer.begin();
        peer.end(true);
    };
    (0..limits::CANCELS_PER_SECOND).for_each(|_| cancel());
    assert_eq!(peer.orders(), Order::None);
    peer.tick();
    (0..limits::CANCELS_PER_SECOND).for_each(|_| cancel());
    assert_eq!(peer.orders(), Order::None);
    cancel();
    assert_eq!(peer.orders(), Order::Close);
}

#[test]
fn what_the_clients_of_a_proxy_call_off_does_not_cut_the_others_off() {
    let id = Some("spiffe://cluster.local/ns/istio-system/sa/gateway");
    let call_off = |peer: &Peer, times: u32| {
        for _ in 0..times {
            peer.begin();
            peer.end(true);
        }
        peer.orders()
    };
    let proxy = peer_of(true, false, id);
    let many = limits::MESH_CANCELS_PER_SECOND;
    assert_eq!(call_off(&proxy, many), Order::None);
    assert_eq!(call_off(&proxy, many), Order::Drain);
    let few = limits::CANCELS_PER_SECOND + 1;
    // A certificate makes no proxy of a stranger at the edge, nor an inner port of the unproven.
    assert_eq!(call_off(&peer_of(true, true, id), few), Order::Close);
    assert_eq!(call_off(&peer_of(true, false, None), few), Order::Close);
}

#[test]
fn a_milder_order_does_not_take_a_sharper_one_back() {
    let peer = peer(false);
    peer.order(Order::Close);
    peer.order(Order::Drain);
    assert_eq!(peer.orders(), Order::Close);
}
