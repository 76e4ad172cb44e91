//! Promise: what a DestinationRule says about balancing, limits, ejection and localities holds at the gateway and
//! between agents.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_tests::{Mesh, Workload, eventually};
use serde_json::Value;

const BASE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.example.com]
  gateways: [edge]
  http:
  - route:
    - destination: {host: reviews}
";

const CLUSTER: &str = "outbound|80||reviews.default.svc.cluster.local";

fn rule(policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\n\
         spec: {{host: reviews, trafficPolicy: {policy}}}\n"
    )
}

/// The group of a workload again, with a place.
fn placed(version: &str, locality: &str, weight: u32) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: reviews-{version}}}\n\
         spec:\n  metadata: {{labels: {{app: reviews, version: {version}}}}}\n  \
         template: {{serviceAccount: reviews-{version}, locality: {locality}, weight: {weight}}}\n"
    )
}

async fn mesh() -> Mesh {
    let reviews = |version: &str| {
        Workload::http(&format!("reviews-{version}"))
            .label("app", "reviews")
            .label("version", version)
    };
    Mesh::plan()
        .workload(reviews("v1"))
        .workload(reviews("v2"))
        .workload(Workload::client("client").arg("--locality=eu/a"))
        .gateway_arg("--locality=eu/a")
        .start()
        .await
}

fn shares(v1: u32, v2: u32) -> BTreeMap<String, u32> {
    let shares = [("reviews-v1", v1), ("reviews-v2", v2)];
    let given = shares.into_iter().filter(|(_, count)| *count > 0);
    given
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// Both ways into the service: its door and the host to ask for.
fn ways(mesh: &Mesh) -> [(mesh_tests::Door, &'static str); 2] {
    [
        (mesh.gateway(80), "reviews.example.com"),
        (mesh.from("client"), "reviews"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_take_turns_by_weight() {
    let mesh = mesh().await;
    let in_turn = rule("{loadBalancer: {simple: ROUND_ROBIN}}");
    mesh.apply(&[BASE, &in_turn].concat()).await.unwrap();
    for (door, host) in ways(&mesh) {
        assert_eq!(door.shares(host, "/", 20).await.unwrap(), shares(10, 10));
    }
    let weighted = [placed("v1", "eu/a", 3), placed("v2", "eu/a", 1)].concat();
    mesh.apply(&weighted).await.unwrap();
    for (door, host) in ways(&mesh) {
        let shares = door.shares(host, "/", 100).await.unwrap();
        assert!((73..=77).contains(&shares["reviews-v1"]), "{shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_limit_is_answered_at_once() {
    let mesh = mesh().await;
    let one = rule("{connectionPool: {http: {http2MaxRequests: 1}}}");
    mesh.apply(&[BASE, &one].concat()).await.unwrap();
    for (door, host) in ways(&mesh) {
        let slow = door.get(host, "/?delay=700ms");
        let quick = async {
            // The slow one has the limit to itself once its app has seen it.
            let seen = || async {
                let apps = ["reviews-v1", "reviews-v2"];
                let seen = apps.iter().any(|app| !mesh.app(app).seen().is_empty());
                anyhow::ensure!(seen, "no app has seen a request");
                Ok(())
            };
            eventually("the slow request", Duration::from_secs(5), seen).await;
            door.get(host, "/").await
        };
        let (slow, quick) = tokio::join!(slow, quick);
        assert_eq!(slow.unwrap().status, 200);
        let quick = quick.unwrap();
        assert_eq!(quick.status, 503);
        assert_eq!(quick.header("x-envoy-overloaded"), Some("true"));
        assert_eq!(door.get(host, "/").await.unwrap().status, 200);
        for app in ["reviews-v1", "reviews-v2"] {
            mesh.app(app).forget();
        }
    }
}

/// Which endpoints of the service a proxy has ejected.
async fn ejected(mesh: &Mesh, proxy: &str) -> anyhow::Result<usize> {
    let admin = mesh_tests::Door::new(mesh.proxy(proxy).address("admin"));
    let clusters: Value = serde_json::from_str(&admin.get("localhost", "/clusters").await?.text())?;
    let clusters = clusters.as_array().into_iter().flatten();
    let cluster = clusters
        .into_iter()
        .find(|cluster| cluster["name"] == CLUSTER);
    let endpoints = cluster.and_then(|cluster| cluster["endpoints"].as_array());
    let endpoints = endpoints.ok_or_else(|| anyhow::anyhow!("no cluster {CLUSTER}"))?;
    Ok(endpoints
        .iter()
        .filter(|one| one["ejected"] == true)
        .count())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_left_alone_and_comes_back() {
    let mut mesh = mesh().await;
    let policy = "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: \
                  {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 1s}}";
    mesh.apply(&[BASE, &rule(policy)].concat()).await.unwrap();
    mesh.kill_app("reviews-v1");
    for ((door, host), proxy) in ways(&mesh)
        .into_iter()
        .zip(["istio-ingressgateway", "client"])
    {
        let mut failures = 0;
        while failures == 0 {
            let status = door.get(host, "/").await.unwrap().status;
            failures += u32::from(status == 503);
        }
        assert_eq!(ejected(&mesh, proxy).await.unwrap(), 1, "{proxy}");
        let back = || async {
            let ejected = ejected(&mesh, proxy).await?;
            anyhow::ensure!(ejected == 0, "{ejected} are ejected");
            Ok(())
        };
        eventually("its return", Duration::from_secs(6), back).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_near_comes_first_and_fails_over() {
    let mut mesh = mesh().await;
    let places = [placed("v1", "eu/a", 1), placed("v2", "us/b", 1)].concat();
    let split = "{loadBalancer: {localityLbSetting: {distribute: [{from: 'eu/*', to: {'eu/*': 80, 'us/*': 20}}]}}}";
    mesh.apply(&[BASE, &places, &rule(split)].concat())
        .await
        .unwrap();
    for (door, host) in ways(&mesh) {
        let shares = door.shares(host, "/", 100).await.unwrap();
        assert!((78..=82).contains(&shares["reviews-v1"]), "{shares:?}");
    }
    // By nearness, which needs outlier detection to know when to leave.
    let near = "{outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}}";
    mesh.apply(&rule(near)).await.unwrap();
    for (door, host) in ways(&mesh) {
        assert_eq!(door.shares(host, "/", 20).await.unwrap(), shares(20, 0));
    }
    mesh.kill_app("reviews-v1");
    for (door, host) in ways(&mesh) {
        assert_eq!(door.get(host, "/").await.unwrap().status, 503);
        assert_eq!(door.shares(host, "/", 20).await.unwrap(), shares(0, 20));
    }
}
