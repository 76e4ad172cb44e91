//! Promise: with consistentHash, requests and sessions that are alike go to the same endpoint, and most stay
//! there when another endpoint leaves.

use std::collections::{BTreeMap, BTreeSet};

use mesh_tests::{Door, Mesh, Workload};

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

fn rule(hash: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\n\
         spec: {{host: reviews, trafficPolicy: {{loadBalancer: {{consistentHash: {{{hash}}}}}}}}}\n"
    )
}

async fn mesh() -> Mesh {
    let mut plan = Mesh::plan();
    for version in ["v1", "v2", "v3"] {
        let workload = Workload::http(&format!("reviews-{version}"));
        plan = plan.workload(workload.label("app", "reviews").label("version", version));
    }
    plan.workload(Workload::client("client")).start().await
}

/// Both ways into the service: its door and the host to ask for.
fn ways(mesh: &Mesh) -> [(Door, &'static str); 2] {
    [
        (mesh.gateway(80), "reviews.example.com"),
        (mesh.from("client"), "reviews"),
    ]
}

/// Who answers each of two hundred users, who ask twice.
async fn homes(door: &Door, host: &str) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for user in (0..200).map(|n| format!("user-{n}")) {
        for _ in 0..2 {
            let answer = door.get_with(host, "/", &[("x-user", &user)]).await;
            let echo = answer.and_then(|answer| answer.echo());
            let app = echo.expect("an app answers").app;
            let first = homes.entry(user.clone()).or_insert_with(|| app.clone());
            assert_eq!(*first, app, "{user} was somewhere else before");
        }
    }
    homes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_has_one_endpoint_and_most_stay_when_another_leaves() {
    let mesh = mesh().await;
    for table in [
        "ringHash: {minimumRingSize: 4096}",
        "maglev: {tableSize: 1009}",
    ] {
        let by_user = rule(&format!("httpHeaderName: X-User, {table}"));
        mesh.apply(&[BASE, &by_user].concat()).await.unwrap();
        let mut all = Vec::new();
        for (door, host) in ways(&mesh) {
            let homes = homes(&door, host).await;
            let apps: BTreeSet<_> = homes.values().collect();
            assert_eq!(apps.len(), 3, "{table}: {homes:?}");
            all.push(homes);
        }
        assert_eq!(
            all[0], all[1],
            "{table}: every proxy makes the same of a request"
        );
        // One of the three is no endpoint any more.
        let fewer = BASE.replace("{app: reviews}", "{app: reviews, part: stays}");
        let stays = ["v1", "v2"].map(|version| group(version, ", part: stays"));
        mesh.apply(&[fewer, by_user, stays.concat()].concat())
            .await
            .unwrap();
        for (door, host) in ways(&mesh) {
            let after = homes(&door, host).await;
            assert!(after.values().all(|home| home != "reviews-v3"), "{after:?}");
            let stayed: Vec<_> = all[0]
                .iter()
                .filter(|(_, home)| *home != "reviews-v3")
                .collect();
            let moved = stayed
                .iter()
                .filter(|(user, home)| after[*user] != **home)
                .count();
            // The fewer the endpoints, the more places of a table has each, so about a sixth of them moves, as with Envoy's
            // tables. By chance it would be half.
            assert!(
                moved * 3 < stayed.len(),
                "{table}: {moved} of {} moved",
                stayed.len()
            );
        }
    }
}

/// The group of a workload again, with more labels.
fn group(version: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: reviews-{version}}}\n\
         spec:\n  metadata: {{labels: {{app: reviews, version: {version}{labels}}}}}\n  \
         template: {{serviceAccount: reviews-{version}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_made_once_and_leads_back() {
    let mesh = mesh().await;
    let cookie =
        "httpCookie: {name: user, path: /, ttl: 60s, attributes: [{name: SameSite, value: Lax}]}";
    mesh.apply(&[BASE, &rule(cookie)].concat()).await.unwrap();
    for way in 0..2 {
        let mut apps = BTreeSet::new();
        for _ in 0..20 {
            // A connection of its own: the requests of one get the same cookie.
            let (door, host) = &ways(&mesh)[way];
            let answer = door.get(host, "/").await.unwrap();
            let set = answer.header("set-cookie").unwrap().to_owned();
            let attributes = "; Max-Age=60; Path=/; SameSite=Lax; HttpOnly";
            assert!(set.ends_with(attributes), "{set}");
            let app = answer.echo().unwrap().app;
            let own = set.split(';').next().unwrap();
            for _ in 0..3 {
                let again = door.get_with(host, "/", &[("cookie", own)]).await;
                let again = again.unwrap();
                assert_eq!(again.header("set-cookie"), None);
                assert_eq!(again.echo().unwrap().app, app);
            }
            apps.insert(app);
        }
        assert!(apps.len() > 1, "new clients all went to {apps:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_parameters_have_one_endpoint() {
    let mesh = mesh().await;
    mesh.apply(&[BASE, &rule("useSourceIp: true")].concat())
        .await
        .unwrap();
    for (door, host) in ways(&mesh) {
        let shares = door.shares(host, "/", 12).await.unwrap();
        assert_eq!(shares.values().collect::<Vec<_>>(), [&12], "{shares:?}");
    }
    mesh.apply(&[BASE, &rule("httpQueryParameterName: user")].concat())
        .await
        .unwrap();
    for (door, host) in ways(&mesh) {
        let mut apps = BTreeSet::new();
        for user in 0..20 {
            let path = format!("/?user={user}");
            let shares = door.shares(host, &path, 3).await.unwrap();
            assert_eq!(shares.len(), 1, "{path}: {shares:?}");
            apps.extend(shares.into_keys());
        }
        assert_eq!(apps.len(), 3);
        // Without the parameter chance decides.
        let shares = door.shares(host, "/", 60).await.unwrap();
        assert_eq!(shares.len(), 3, "{shares:?}");
    }
}
