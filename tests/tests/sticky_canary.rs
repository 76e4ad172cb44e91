//! Promise: with a sticky cookie, weights are for new clients; who has been somewhere stays there.

use std::collections::BTreeSet;

use mesh_tests::papers::Papers;
use mesh_tests::{Door, Mesh, Workload, tool};

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
    ask_for(door, host, "/", cookie).await
}

async fn ask_for(
    door: &Door,
    host: &str,
    path: &str,
    cookie: Option<&str>,
) -> (String, Option<String>) {
    let others = cookie.map(|cookie| format!("a=b; {cookie}; c=d"));
    let headers: Vec<(&str, &str)> = others.iter().map(|all| ("cookie", all.as_str())).collect();
    let answer = door
        .get_with(host, path, &headers)
        .await
        .expect("an answer");
    let set = answer.header("set-cookie").map(str::to_owned);
    (answer.echo().expect("an app answers").app, set)
}

async fn mesh() -> Mesh {
    let shop = |version: &str| {
        Workload::http(&format!("shop-{version}"))
            .label("app", "shop")
            .label("version", version)
    };
    let mesh = Mesh::plan()
        .workload(shop("v1"))
        .workload(shop("v2"))
        .workload(Workload::client("client"))
        .gateway_port(443)
        .start()
        .await;
    mesh.apply(SERVICE).await.expect("the rules are taken");
    mesh
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_while_weights_change() {
    let mesh = mesh().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn merged_rules_have_a_cookie_each() {
    const BASKET: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: basket
  annotations: {mesh.io/sticky: cookie=basket}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /basket}}]
    route:
    - destination: {host: shop, subset: v1}
      weight: 50
    - destination: {host: shop, subset: v2}
      weight: 50
";
    let mesh = mesh().await;
    // The rule for every path comes first, and yet hides nothing of the other.
    mesh.apply(&weights(50, 50)).await.unwrap();
    mesh.apply(BASKET).await.unwrap();
    let (door, host) = (mesh.gateway(80), "shop.example.com");
    let mut apps = BTreeSet::new();
    for _ in 0..8 {
        let (app, set) = ask(&door, host, None).await;
        let set = set.unwrap();
        let (canary, _) = set.split_once(';').unwrap();
        assert!(canary.starts_with("canary="), "{canary}");

        let (filled, set) = ask_for(&door, host, "/basket/1", Some(canary)).await;
        let set = set.expect("this cookie is not that rule's");
        let (basket, attributes) = set.split_once(';').unwrap();
        assert!(basket.starts_with("basket="), "{basket}");
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");

        let both = format!("{canary}; {basket}");
        for _ in 0..3 {
            let (now, set) = ask_for(&door, host, "/basket/2", Some(&both)).await;
            assert_eq!((&now, set), (&filled, None));
            let (now, set) = ask(&door, host, Some(&both)).await;
            assert_eq!((&now, set), (&app, None));
        }
        apps.insert((app, filled));
    }
    assert!(apps.len() > 1, "each drew its own lot: {apps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_for_tls_only() {
    const DOOR: &str = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
";
    let mesh = mesh().await;
    let host = "shop.example.com";
    let papers = Papers::new();
    for (name, whose) in [("ca", "Authority"), ("shop", host)] {
        papers.issue(name, whose, None).await;
    }
    let rules = papers.secret("shop", "shop") + DOOR + "---" + &weights(50, 50);
    mesh.apply(&rules).await.unwrap();
    let port = mesh.gateway_address(443).port();
    let (resolve, url) = (
        format!("{host}:{port}:127.0.0.1"),
        format!("https://{host}:{port}/"),
    );
    // The secret may come after the rules.
    let patience: &[&str] = &[
        "-k",
        "--retry",
        "20",
        "--retry-all-errors",
        "--retry-delay",
        "1",
        "--resolve",
        &resolve,
    ];
    let asked = async |more: &[&str]| {
        let arguments = [patience, more, &[url.as_str()]].concat();
        tool::curl(&arguments).await.unwrap()
    };
    let answer = asked(&[]).await;
    let set = answer
        .headers
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .expect("a new client gets a cookie");
    let (cookie, attributes) = set.split_once(';').unwrap();
    let expected = " path=/; httponly; samesite=lax; max-age=3600; secure";
    assert_eq!(attributes, expected);
    let app = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["app"].clone();
    for _ in 0..4 {
        let again = asked(&["-H", &format!("cookie: {cookie}")]).await;
        assert_eq!(app(&again.body), app(&answer.body));
        assert!(!again.headers.contains("set-cookie"), "{}", again.headers);
    }
    let (_, set) = ask(&mesh.gateway(80), host, None).await;
    assert!(
        !set.unwrap().contains("Secure"),
        "in plain text nobody would keep it"
    );
}
