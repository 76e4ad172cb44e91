//! Promise: with a sticky cookie, weights are for new clients; who has been somewhere stays there.

use std::collections::BTreeSet;

use mesh_tests::{Door, Mesh, Workload};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
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
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

fn weights(v1: u32, v2: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: shop
  annotations: {{mesh.io/sticky: cookie=canary; ttl=1h}}
spec:
  hosts: [shop, shop.example.com]
  gateways: [edge, mesh]
  http:
  - route:
    - destination: {{host: shop, subset: v1}}
      weight: {v1}
    - destination: {{host: shop, subset: v2}}
      weight: {v2}
"
    )
}

/// The app that answered, and the cookie that the answer sets.
async fn ask(door: &Door, host: &str, cookie: Option<&str>) -> (String, Option<String>) {
    let others = cookie.map(|cookie| format!("a=b; {cookie}; c=d"));
    let headers: Vec<(&str, &str)> = others.iter().map(|all| ("cookie", all.as_str())).collect();
    let answer = door.get_with(host, "/", &headers).await;
    let answer = answer.expect("an answer comes");
    let set = answer.header("set-cookie").map(str::to_owned);
    (answer.echo().expect("an app answers").app, set)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_while_weights_change() {
    let shop = |version: &str| {
        Workload::http(&format!("shop-{version}"))
            .label("app", "shop")
            .label("version", version)
    };
    let mesh = Mesh::plan()
        .workload(shop("v1"))
        .workload(shop("v2"))
        .workload(Workload::client("client"))
        .start()
        .await;
    mesh.apply(SERVICE).await.unwrap();
    for (door, host) in [
        (mesh.gateway(80), "shop.example.com"),
        (mesh.from("client"), "shop"),
    ] {
        mesh.apply(&weights(50, 50)).await.unwrap();
        let mut cookies = Vec::new();
        let mut seen = BTreeSet::new();
        for _ in 0..8 {
            let (app, set) = ask(&door, host, None).await;
            let set = set.expect("a new client gets a cookie");
            let (cookie, attributes) = set.split_once(';').unwrap();
            assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
            seen.insert(app.clone());
            cookies.push((app, cookie.to_owned()));
        }
        assert_eq!(seen.len(), 2, "{cookies:?}");
        // Each client stays, however few new ones come its way.
        for (v1, v2) in [(50, 50), (99, 1), (1, 99)] {
            mesh.apply(&weights(v1, v2)).await.unwrap();
            for (app, cookie) in &cookies {
                let (now, set) = ask(&door, host, Some(cookie)).await;
                assert_eq!((&now, set), (app, None), "{v1}:{v2}");
            }
        }
        // What is switched off has nobody left.
        mesh.apply(&weights(100, 0)).await.unwrap();
        for (_, cookie) in &cookies {
            let (now, set) = ask(&door, host, Some(cookie)).await;
            assert_eq!(now, "shop-v1");
            let old = cookies
                .iter()
                .any(|(app, it)| app == "shop-v1" && it == cookie);
            assert_eq!(set.is_none(), old, "the others get a new cookie");
        }
    }
}
