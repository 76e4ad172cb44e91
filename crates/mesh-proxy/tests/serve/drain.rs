//! Going away in peace: of the process, of a listener, of an endpoint.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use mesh_identity::testing::Authority;
use mesh_proxy::snapshot::{Direction, Snapshot};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::app::{App, full};
use crate::client::{Client, nothing};
use crate::mesh::{Proxy, Setup, cluster, endpoint, soon};

/// An application that answers when it is let, and says when it was asked.
struct Slow {
    app: App,
    asked: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl Slow {
    async fn start() -> Self {
        let (asked, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (a, g) = (asked.clone(), go.clone());
        let app = App::start(move |_| {
            let (asked, go) = (a.clone(), g.clone());
            async move {
                asked.add_permits(1);
                go.acquire().await.expect("never closed").forget();
                Response::new(full("done"))
            }
        })
        .await;
        Self { app, asked, go }
    }

    async fn asked(&self) {
        soon(self.asked.acquire())
            .await
            .expect("never closed")
            .forget();
    }
}

#[tokio::test]
async fn requests_under_way_are_finished_and_new_connections_refused() {
    for http2 in [false, true] {
        let slow = Slow::start().await;
        let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(slow.app.address, "v1")]));
        let address = proxy.address;
        let mut client = if http2 {
            Client::http2(address).await
        } else {
            Client::http1(address).await
        };
        let answer = tokio::spawn(async move { client.get("/").await });
        slow.asked().await;
        let drained = tokio::spawn(proxy.finish());
        // Refused as soon as the workers have heard of it.
        soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
        assert!(!drained.is_finished(), "it waits for the request");
        slow.go.add_permits(1);
        let answer = answer.await.expect("no panic");
        assert_eq!(answer.text(), "done");
        if !http2 {
            assert_eq!(answer.header("connection"), "close");
        }
        let [edge] = drained
            .await
            .expect("no panic")
            .try_into()
            .expect("one edge");
        assert_eq!(
            (edge.response_code, edge.response_flags.as_str()),
            (200, "-")
        );
    }
}

/// The kernel spreads connections over the workers; none may be left in the queue of an idle one.
#[tokio::test]
async fn an_idle_worker_refuses_while_another_drains() {
    let slow = Slow::start().await;
    let identity = Authority::new("cluster.local").identity("default", "web");
    let setup = Setup::new(2, identity, Direction::Inbound);
    let proxy = Proxy::start(setup.to(vec![endpoint(slow.app.address, "v1")]));
    let address = proxy.address;
    let mut client = Client::http1(address).await;
    let answer = tokio::spawn(async move { client.get("/").await });
    slow.asked().await;
    let drained = tokio::spawn(proxy.finish());
    let refused = async {
        let mut in_a_row = 0;
        while in_a_row < 64 {
            in_a_row = match TcpStream::connect(address).await {
                Ok(_) => 0,
                Err(_) => in_a_row + 1,
            };
        }
    };
    soon(refused).await;
    assert!(!drained.is_finished(), "it waits for the request");
    slow.go.add_permits(1);
    assert_eq!(answer.await.expect("no panic").text(), "done");
    assert_eq!(drained.await.expect("no panic").len(), 1);
}

/// An application that is asked may have to ask others before it can answer.
#[tokio::test]
async fn the_workload_can_ask_others_until_its_callers_have_their_answers() {
    let slow = Slow::start().await;
    let other = App::named("other").await;
    let authority = Authority::new("cluster.local");
    let identity = authority.identity("default", "web");
    let inbound = Setup::new(1, identity.clone(), Direction::Inbound);
    let inbound = inbound.to(vec![endpoint(slow.app.address, "v1")]);
    let mut outbound = Setup::new(1, identity.clone(), Direction::Outbound);
    outbound.listener.name = "outbound".into();
    let (to_web, to_others) = (inbound.listener.address, outbound.listener.address);
    let mut snapshot = inbound.snapshot();
    let others = cluster("outbound|80||other", vec![endpoint(other.address, "v1")]);
    let outbound = outbound.through(others).snapshot();
    snapshot.listeners.extend(outbound.listeners);
    snapshot.clusters.extend(outbound.clusters);
    let proxy = Proxy::serve(to_web, 1, identity, snapshot);

    let mut caller = Client::http1(to_web).await;
    let answer = tokio::spawn(async move { caller.get("/").await });
    slow.asked().await;
    let drained = tokio::spawn(proxy.finish());
    soon(async { while TcpStream::connect(to_web).await.is_ok() {} }).await;
    let mut asking = Client::http1(to_others).await;
    assert_eq!(asking.get("/").await.text(), "other");
    slow.go.add_permits(1);
    assert_eq!(answer.await.expect("no panic").text(), "done");
    assert_eq!(drained.await.expect("no panic").len(), 2);
    assert!(TcpStream::connect(to_others).await.is_err());
}

#[tokio::test]
async fn idle_connections_do_not_hold_a_drain_up() {
    let app = App::named("web").await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(app.address, "v1")]));
    let mut clients = [
        Client::http1(proxy.address).await,
        Client::http2(proxy.address).await,
    ];
    for client in &mut clients {
        assert!(client.get("/").await.status.is_success());
    }
    let edges = proxy.finish().await;
    assert_eq!(edges.iter().map(|edge| edge.requests).sum::<u64>(), 2);
}

#[tokio::test]
async fn the_deadline_cuts_off_what_never_ends() {
    let slow = Slow::start().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(slow.app.address, "v1")]));
    let mut client = Client::http1(proxy.address).await;
    let request = Request::get("/")
        .header("host", "web")
        .body(nothing())
        .expect("a request");
    let (workers, telemetry) = {
        tokio::select! {
            _ = client.send(request) => panic!("nobody answers"),
            () = slow.asked() => proxy.into_workers(),
        }
    };
    soon(workers.drain(Duration::from_millis(50))).await;
    let [edge] = telemetry.take_edges().try_into().expect("one edge");
    assert_eq!((edge.requests, edge.response_code), (1, 0));
}

#[tokio::test]
async fn a_listener_that_vanishes_lets_its_requests_finish() {
    let slow = Slow::start().await;
    let proxy = Proxy::start(Setup::outbound().to(vec![endpoint(slow.app.address, "v1")]));
    let address = proxy.address;
    let mut client = Client::http1(address).await;
    let answer = tokio::spawn(async move { client.get("/").await });
    slow.asked().await;
    proxy.snapshots.send_replace(Arc::new(Snapshot::default()));
    soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    slow.go.add_permits(1);
    let answer = answer.await.expect("no panic");
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("done", "close")
    );
    proxy.finish().await;
}

#[tokio::test]
async fn a_new_snapshot_holds_for_the_next_request_of_an_old_connection() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let setup = Setup::outbound().to(vec![endpoint(old.address, "v1")]);
    let proxy = Proxy::start(setup);
    let mut client = Client::http1(proxy.address).await;
    assert_eq!(client.get("/").await.text(), "old");
    let before = proxy.snapshots.borrow().clone();
    let moved = cluster("outbound|80||web", vec![endpoint(new.address, "v2")]);
    let after = Snapshot {
        version: before.version + 1,
        listeners: before.listeners.clone(),
        clusters: [(moved.name.clone(), Arc::new(moved))].into(),
    };
    proxy.snapshots.send_replace(Arc::new(after));
    // The workers hear of it on their own threads.
    soon(async { while client.get("/").await.text() != "new" {} }).await;
    proxy.finish().await;
}
