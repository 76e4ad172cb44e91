//! Promise: a Sidecar narrows what a workload's agent knows, and `exportTo` who sees a service.

use mesh_tests::{Mesh, Workload};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
";

const SCOPE: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow}
spec:
  workloadSelector: {labels: {app: narrow}}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress:
  - hosts: [./a.default.svc.cluster.local]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_knows_what_its_sidecar_lists() {
    let app = |name: &str| Workload::http(name).label("app", name);
    let mesh = Mesh::plan()
        .workload(app("a"))
        .workload(app("b"))
        .workload(Workload::client("narrow").label("app", "narrow"))
        .workload(Workload::client("wide").label("app", "wide"))
        .start()
        .await;
    mesh.apply(SERVICES).await.unwrap();
    for client in ["narrow", "wide"] {
        let b = mesh.from(client).get("b", "/").await.unwrap();
        assert_eq!(b.echo().unwrap().app, "b");
    }
    mesh.apply(SCOPE).await.unwrap();
    let narrow = mesh.from("narrow");
    assert_eq!(narrow.get("a", "/").await.unwrap().echo().unwrap().app, "a");
    assert_eq!(narrow.get("b", "/").await.unwrap().status, 502);
    let wide = mesh.from("wide").get("b", "/").await.unwrap();
    assert_eq!(wide.echo().unwrap().app, "b");

    mesh.apply(&SERVICES.replace(
        "{name: b}",
        "{name: b, annotations: {networking.istio.io/exportTo: elsewhere}}",
    ))
    .await
    .unwrap();
    let wide = mesh.from("wide").get("b", "/").await.unwrap();
    assert!(wide.echo().is_err(), "{}", wide.text());
}
