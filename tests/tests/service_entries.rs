//! Promise: hosts outside the mesh are reached as their ServiceEntry says, and unknown ones as the mesh allows.

use std::net::SocketAddr;

use mesh_tests::echo::App;
use mesh_tests::{Mesh, Workload};

fn entry(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// Everybody finds each other: two endpoints by address, a name that the proxy resolves, any host below a
/// wildcard, and what is not known at all, as long as that is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn requests_leave_the_mesh_as_service_entries_say() {
    let mesh = Mesh::plan()
        .workload(Workload::client("client"))
        .start()
        .await;
    let one = App::http("one").await;
    let two = App::http("two").await;
    let ports: Vec<u16> = [&one, &two].map(|app| app.address.port()).into();
    let rules = [
        entry(
            "fixed",
            &format!(
                "{{hosts: [fixed.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC, \
                 endpoints: [{{address: 127.0.0.1, ports: {{http: {}}}}}, {{address: 127.0.0.1, ports: {{http: {}}}}}]}}",
                ports[0], ports[1]
            ),
        ),
        entry(
            "named",
            &format!(
                "{{hosts: [named.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: DNS, \
                 endpoints: [{{address: localhost, ports: {{http: {}}}}}]}}",
                ports[0]
            ),
        ),
    ]
    .concat();
    mesh.apply(&rules).await.unwrap();
    let client = mesh.from("client");
    let shares = client.shares("fixed.example.com", "/", 40).await.unwrap();
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["one", "two"]);
    let named = client.get("named.example.com", "/").await.unwrap();
    assert_eq!(named.echo().unwrap().app, "one");

    // Unknown: the host that was asked for is resolved and asked.
    let host = format!("localhost:{}", ports[1]);
    let unknown = client.get(&host, "/").await.unwrap();
    assert_eq!(unknown.echo().unwrap().app, "two");
    // But not the proxy itself, which would ask itself for ever.
    let own: SocketAddr = mesh.proxy("client").address("outbound");
    let itself = client.get(&own.to_string(), "/").await.unwrap();
    assert_eq!(itself.status, 404);

    mesh.apply(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\n\
         spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n",
    )
    .await
    .unwrap();
    assert_eq!(client.get(&host, "/").await.unwrap().status, 502);
    let named = client.get("named.example.com", "/").await.unwrap();
    assert_eq!(named.echo().unwrap().app, "one");
}
