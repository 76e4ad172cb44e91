//! Promise: timeouts, retries, faults and mirrors of a VirtualService hold at the gateway and between agents.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mesh_tests::{Door, Mesh, Workload, eventually};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: copy}
spec:
  selector: {app: copy}
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
";

/// A route to `shop` with these fields besides.
fn rule(fields: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [shop, shop.example.com]
  gateways: [edge, mesh]
  http:
  - route: [{{destination: {{host: shop}}}}]
{fields}
"
    )
}

async fn mesh() -> Mesh {
    let mesh = Mesh::plan()
        .workload(Workload::http("shop").label("app", "shop"))
        .workload(Workload::http("copy").label("app", "copy"))
        .workload(Workload::client("client"))
        .start()
        .await;
    mesh.apply(SERVICES).await.expect("the rules are taken");
    mesh
}

/// The same way in twice: from outside and from a workload.
fn doors(mesh: &Mesh) -> [(Door, &'static str); 2] {
    [
        (mesh.gateway(80), "shop.example.com"),
        (mesh.from("client"), "shop"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_tries() {
    let mesh = mesh().await;
    mesh.apply(&rule("    timeout: 200ms")).await.unwrap();
    for (door, host) in doors(&mesh) {
        assert_eq!(door.get(host, "/").await.unwrap().status, 200);
        let late = door.get(host, "/?delay=20s").await.unwrap();
        assert_eq!(late.status, 504, "{late:?}");
        assert_eq!(late.header("x-mesh-error"), Some("UT"));
    }

    mesh.apply(&rule(
        "    retries: {attempts: 2, retryOn: '5xx,418', backoff: 1ms}",
    ))
    .await
    .unwrap();
    for (n, (door, host)) in doors(&mesh).into_iter().enumerate() {
        for (status, tries) in [(503, "3"), (418, "3")] {
            let path = format!("/?status={status}&times=2&key={n}-{status}");
            let answer = door.get(host, &path).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let echo = answer.echo().unwrap();
            assert_eq!(echo.header("x-envoy-attempt-count").as_deref(), Some(tries));
        }
        let path = format!("/?status=404&times=1&key={n}-404");
        assert_eq!(door.get(host, &path).await.unwrap().status, 404);
    }

    mesh.apply(&rule(
        "    retries: {attempts: 1, retryOn: reset, perTryTimeout: 150ms}",
    ))
    .await
    .unwrap();
    for (door, host) in doors(&mesh) {
        mesh.app("shop").forget();
        let late = door.get(host, "/?delay=20s").await.unwrap();
        assert_eq!(late.status, 504, "{late:?}");
        assert_eq!(late.header("x-mesh-error"), Some("UT,URX"));
        assert_eq!(mesh.app("shop").seen().len(), 2);
    }

    // By default nothing that an app has had is sent again.
    mesh.apply(&rule("")).await.unwrap();
    for (n, (door, host)) in doors(&mesh).into_iter().enumerate() {
        let path = format!("/?status=503&times=1&key={n}-default");
        assert_eq!(door.get(host, &path).await.unwrap().status, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_purpose() {
    let mesh = mesh().await;
    let all = "percentage: {value: 100}";
    mesh.apply(&rule(&format!(
        "    fault: {{delay: {{fixedDelay: 300ms, {all}}}, abort: {{httpStatus: 418, {all}}}}}\n    timeout: 50ms"
    )))
    .await
    .unwrap();
    mesh.app("shop").forget();
    for (door, host) in doors(&mesh) {
        let began = Instant::now();
        let answer = door.get(host, "/").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (418, "fault filter abort")
        );
        assert_eq!(answer.header("x-mesh-error"), Some("DI,FI"));
    }
    mesh.apply(&rule(&format!(
        "    fault: {{abort: {{grpcStatus: RESOURCE_EXHAUSTED, {all}}}}}"
    )))
    .await
    .unwrap();
    for (door, host) in doors(&mesh) {
        assert_eq!(door.get(host, "/").await.unwrap().status, 429);
        let grpc = [("content-type", "application/grpc")];
        let answer = door.get_with(host, "/", &grpc).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.header("grpc-status")),
            (200, Some("8"))
        );
    }
    assert!(mesh.app("shop").seen().is_empty(), "nobody was asked");

    // Without a share it never happens.
    mesh.apply(&rule("    fault: {abort: {httpStatus: 418}}"))
        .await
        .unwrap();
    for (door, host) in doors(&mesh) {
        assert_eq!(door.get(host, "/").await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_go_to_mirrors() {
    let mesh = mesh().await;
    mesh.apply(&rule("    mirror: {host: copy}")).await.unwrap();
    for (door, host) in doors(&mesh) {
        mesh.app("copy").forget();
        let request = http::Request::post("/pay?status=500&times=1&key=none&delay=1ms");
        let request = request.header("host", host).body("42".into());
        let answer = door.send(request.unwrap()).await.unwrap();
        assert_eq!(answer.header("x-mesh-error"), None);
        let copied = async {
            loop {
                if let Some(copy) = mesh.app("copy").seen().pop() {
                    return copy;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let copy = tokio::time::timeout(Duration::from_secs(20), copied)
            .await
            .expect("a copy");
        assert_eq!(
            (copy.host, copy.body),
            (format!("{host}-shadow"), "42".to_owned())
        );
    }
    // One that is switched off, and one that is nowhere, are no bother.
    mesh.apply(&rule(
        "    mirrors: [{destination: {host: copy}, percentage: {value: 0}}, {destination: {host: nobody}}]",
    ))
    .await
    .unwrap();
    mesh.app("copy").forget();
    for (door, host) in doors(&mesh) {
        assert_eq!(door.get(host, "/").await.unwrap().status, 200);
    }
    assert!(mesh.app("copy").seen().is_empty());
}

/// How many copies a proxy has counted with this result.
async fn copies(mesh: &Mesh, proxy: &str, result: &str) -> anyhow::Result<f64> {
    let all = mesh.metrics(proxy, "mesh_mirrored_requests_total").await?;
    let with = all
        .iter()
        .filter(|(labels, _)| labels.contains(&format!("result=\"{result}\"")));
    Ok(with.map(|(_, count)| count).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_hangs_bothers_nobody() {
    /// Far below a copy's patience, far above what a request takes on a machine that is busy.
    const SOON: Duration = Duration::from_secs(5);
    /// So many copies may be on their way from one worker.
    const ROOM: usize = 256;
    const MORE: usize = 24;
    let mesh = mesh().await;
    let hanging = "/?delay=600s&at=copy";
    let proxies = ["istio-ingressgateway", "client"];

    // A copy has no longer than its request.
    mesh.apply(&rule("    mirror: {host: copy}\n    timeout: 1s"))
        .await
        .unwrap();
    for ((door, host), proxy) in doors(&mesh).into_iter().zip(proxies) {
        assert_eq!(door.get(host, hanging).await.unwrap().status, 200);
        let limit = Duration::from_secs(20);
        eventually("the copy is given up", limit, || async {
            let timeouts = copies(&mesh, proxy, "timeout").await?;
            ensure!(timeouts == 1.0, "{timeouts} timeouts");
            Ok(())
        })
        .await;
    }

    // However many hang, requests go on; those for whose copies there is no room have none.
    mesh.apply(&rule("    mirror: {host: copy}")).await.unwrap();
    for ((door, host), proxy) in doors(&mesh).into_iter().zip(proxies) {
        mesh.app("shop").forget();
        mesh.app("copy").forget();
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..ROOM + MORE {
            if asked.len() >= 40 {
                asked.join_next().await.unwrap().unwrap();
            }
            let door = door.clone();
            asked.spawn(async move {
                let began = Instant::now();
                let answer = door.get(host, hanging).await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            });
        }
        while let Some(done) = asked.join_next().await {
            done.unwrap();
        }
        assert_eq!(mesh.app("shop").seen().len(), ROOM + MORE);
        let left_out = copies(&mesh, proxy, "overflow").await.unwrap();
        assert_eq!(left_out, MORE as f64);
        assert!(mesh.app("copy").seen().len() <= ROOM);
        assert_eq!(copies(&mesh, proxy, "answered").await.unwrap(), 0.0);
    }
}
