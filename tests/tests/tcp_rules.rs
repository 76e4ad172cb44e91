//! Promise: connections are routed by the `tcp` and `tls` rules of VirtualServices, between agents, at the gateway
//! and out of the mesh, and TLS stays what it was.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use mesh_tests::echo::App;
use mesh_tests::session::{name, shares, tls_name};
use mesh_tests::{Mesh, Workload, eventually};
use tokio::net::TcpStream;

/// No other service or test listens at these addresses.
const DB: ([u8; 4], u16) = ([127, 77, 1, 1], 5432);
const SECURE: ([u8; 4], u16) = ([127, 77, 1, 2], 5433);
const OUTSIDE: ([u8; 4], u16) = ([127, 77, 1, 3], 5434);

const DATABASE: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: 127.77.1.1
  selector: {app: db}
  ports: [{name: tcp-sql, port: 5432, targetPort: 9000}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

const GATEWAY: &str = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: ['*']}
  - {port: {number: 5433, name: tls, protocol: TLS}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}
";

const SPLIT: &str = "
- route:
  - {destination: {host: db, subset: v1}, weight: 3}
  - {destination: {host: db, subset: v2}, weight: 1}
";

fn rule(name: &str, hosts: &str, kind: &str, routes: &str) -> String {
    let routes = routes.trim().replace('\n', "\n  ");
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec:\n  hosts: [{hosts}]\n  gateways: [mesh, edge]\n  {kind}:\n  {routes}\n"
    )
}

fn counts<const N: usize>(counts: [(&str, u32); N]) -> BTreeMap<String, u32> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

fn db(version: &str) -> Workload {
    Workload::tcp(&format!("db-{version}"))
        .label("app", "db")
        .label("version", version)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_split_and_matched() {
    let mesh = Mesh::plan()
        .workload(db("v1"))
        .workload(db("v2"))
        .workload(Workload::client("client").arg("--listen-services"))
        .gateway_port(5432)
        .start()
        .await;
    let inside = SocketAddr::from(DB);
    mesh.apply(&[DATABASE, GATEWAY, &rule("db", "db", "tcp", SPLIT)].concat())
        .await
        .unwrap();
    // The weights hold for each connection in turn, not by chance.
    for address in [inside, mesh.gateway_address(5432)] {
        let shares = shares(address, 8).await.unwrap();
        assert_eq!(shares, counts([("db-v1", 6), ("db-v2", 2)]), "{address}");
    }

    let matched = "
- match: [{sourceLabels: {app: somebody-else}}, {port: 1}]
  route: [{destination: {host: db, subset: v1}}]
- match: [{sourceLabels: {app: client}, sourceNamespace: default, destinationSubnets: [127.77.1.0/24]}]
  route: [{destination: {host: db, subset: v2}}]
";
    mesh.apply(&rule("db", "db", "tcp", matched)).await.unwrap();
    let found = shares(inside, 4).await.unwrap();
    assert_eq!(found, counts([("db-v2", 4)]));
    // At the edge nobody asks whose workload the client is.
    let found = shares(mesh.gateway_address(5432), 4).await.unwrap();
    assert_eq!(found, counts([("db-v1", 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_goes_by_its_server_name_and_is_not_opened() {
    let secure = |name: &str| {
        Workload::tls(name)
            .label("app", "secure")
            .label("which", name)
    };
    let mesh = Mesh::plan()
        .workload(secure("one"))
        .workload(secure("two"))
        .workload(Workload::client("client").arg("--listen-services"))
        .gateway_port(5433)
        .start()
        .await;
    let services = "
apiVersion: v1
kind: Service
metadata: {name: secure}
spec:
  clusterIP: 127.77.1.2
  selector: {app: secure}
  ports: [{name: tls-sql, port: 5433, targetPort: 443}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure}
spec:
  host: secure
  subsets:
  - {name: one, labels: {which: one}}
  - {name: two, labels: {which: two}}
";
    let routes = "
- match: [{sniHosts: [one.example.com]}]
  route: [{destination: {host: secure, subset: one}}]
- match: [{sniHosts: ['*.example.com'], port: 5433}]
  route: [{destination: {host: secure, subset: two}}]
";
    let rules = rule("secure", "secure, '*.example.com'", "tls", routes);
    mesh.apply(&[services, GATEWAY, &rules].concat())
        .await
        .unwrap();
    let (one, two) = (mesh.app("one"), mesh.app("two"));
    for address in [SocketAddr::from(SECURE), mesh.gateway_address(5433)] {
        for _ in 0..4 {
            // Each shows its own certificate, so nobody stood between.
            let found = tls_name(address, "one.example.com", &[one]).await.unwrap();
            assert_eq!(found, "one", "{address}");
            let found = tls_name(address, "two.example.com", &[two]).await.unwrap();
            assert_eq!(found, "two", "{address}");
        }
        let unknown = tls_name(address, "one.example.org", &[one, two]).await;
        assert!(unknown.is_err(), "{address}: {unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_outside_are_reached_as_their_entry_says() {
    let mesh = Mesh::plan()
        .workload(Workload::client("client").arg("--listen-services"))
        .start()
        .await;
    let (one, two) = (App::tcp("one").await, App::tcp("two").await);
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: outside}}\n\
         spec: {{hosts: [sql.example.com], addresses: [127.77.1.3], resolution: STATIC, \
         ports: [{{number: 5434, name: tcp, protocol: TCP}}], \
         endpoints: [{{address: 127.0.0.1, ports: {{tcp: {}}}, weight: 3}}, {{address: 127.0.0.1, ports: {{tcp: {}}}}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: outside}}\n\
         spec: {{host: sql.example.com, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}}}\n",
        one.address.port(),
        two.address.port()
    );
    mesh.apply(&entry).await.unwrap();
    // By the endpoints' weights: 150 are to be expected, and a fair share of six standard deviations.
    let found = shares(SocketAddr::from(OUTSIDE), 200).await.unwrap();
    assert!((114..=186).contains(&found["one"]), "{found:?}");
    let gone = one.address;
    drop(one);
    let deadline = Duration::from_secs(10);
    eventually("the first server is gone", deadline, || async {
        ensure!(TcpStream::connect(gone).await.is_err(), "it still listens");
        Ok(())
    })
    .await;
    assert_eq!(
        name(SocketAddr::from(OUTSIDE)).await.unwrap(),
        "two",
        "one is gone"
    );
}
