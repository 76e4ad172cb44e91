//! Weights hold for requests, not for connections.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_identity::testing::Authority;
use mesh_proxy::snapshot::Direction;

use crate::app::App;
use crate::client::Client;
use crate::mesh::{Proxy, Setup, cluster, endpoint, forward};

async fn canary(workers: usize) -> Proxy {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let identity = Authority::new("cluster.local").identity("default", "shop");
    let mut setup = Setup::new(workers, identity, Direction::Outbound);
    setup.clusters = vec![
        cluster("outbound|80|v1|web", vec![endpoint(v1.address, "v1")]),
        cluster("outbound|80|v2|web", vec![endpoint(v2.address, "v2")]),
    ];
    let weights = [90, 10];
    let targets = setup
        .clusters
        .iter()
        .map(|c| Arc::clone(&c.name))
        .zip(weights);
    setup
        .hosts
        .push(("web", vec![forward(targets.collect(), 2, workers)]));
    Proxy::start(setup)
}

async fn count(clients: &mut [Client], requests: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for i in 0..requests {
        let client = &mut clients[i % 3 % clients.len()];
        let answer = client.get("/").await;
        *counts.entry(answer.text().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn ninety_to_ten_in_every_hundred_over_one_kept_connection() {
    let proxy = canary(1).await;
    let mut clients = [Client::http1(proxy.address).await];
    for _ in 0..3 {
        let counts = count(&mut clients, 100).await;
        assert_eq!((counts["v1"], counts["v2"]), (90, 10));
    }
    let edges = proxy.finish().await;
    let mut shares: Vec<_> = edges.iter().map(|e| e.requests).collect();
    shares.sort_unstable();
    assert_eq!(shares, [30, 270], "the metrics say the same");
}

#[tokio::test]
async fn two_workers_are_off_by_one_each_at_most() {
    let proxy = canary(2).await;
    let mut clients = [
        Client::http1(proxy.address).await,
        Client::http2(proxy.address).await,
        Client::http1(proxy.address).await,
    ];
    let counts = count(&mut clients, 500).await;
    assert!(counts["v1"].abs_diff(450) <= 2, "{counts:?}");
    proxy.finish().await;
}
