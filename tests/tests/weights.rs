//! Promise: a 90/10 split is 90/10 at the gateway and between agents.

use std::collections::BTreeMap;

use mesh_tests::{Mesh, Workload};

const RULES: &str = "
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
  hosts: [reviews, reviews.example.com]
  gateways: [edge, mesh]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
      weight: 90
    - destination: {host: reviews, subset: v2}
      weight: 10
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_split_holds_at_the_edge_and_inside() {
    let reviews = |version: &str| {
        Workload::http(&format!("reviews-{version}"))
            .label("app", "reviews")
            .label("version", version)
    };
    let mesh = Mesh::plan()
        .workload(reviews("v1"))
        .workload(reviews("v2"))
        .workload(Workload::client("client"))
        .start()
        .await;
    mesh.apply(RULES).await.unwrap();

    let expected = BTreeMap::from([("reviews-v1".to_owned(), 90), ("reviews-v2".to_owned(), 10)]);
    let edge = mesh.gateway(80);
    let shares = edge.shares("reviews.example.com", "/", 100).await.unwrap();
    assert_eq!(shares, expected);
    let shares = mesh
        .from("client")
        .shares("reviews", "/", 100)
        .await
        .unwrap();
    assert_eq!(shares, expected);
}
