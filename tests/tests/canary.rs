//! Promise: the article's YAML, unchanged, makes 9 to 1 at the gateway, and nothing past the mesh.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::time::Duration;

use mesh_tests::{EXPERIMENTAL, Fleet, ORIGINAL, SCENARIO, eventually, tool};

#[tokio::test(flavor = "multi_thread")]
async fn weights_hold_through_the_gateway_and_nowhere_else() {
    let fleet = Fleet::up().await;
    closed(&fleet).await;
    for file in &SCENARIO[..2] {
        fleet.apply(file).await.unwrap();
    }
    half_and_half(&fleet).await;
    closed(&fleet).await;

    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let titles = fleet.titles(&fleet.state.gateway, 1000).await.unwrap();
    assert!(titles[ORIGINAL].abs_diff(900) <= 10, "{titles:?}");
    assert!(titles[EXPERIMENTAL].abs_diff(100) <= 10, "{titles:?}");
    half_and_half(&fleet).await;

    the_graph_tells_it(&fleet).await;
    fleet.down().unwrap();
}

/// The same story by a client that knows only the Kubernetes API: one object at a time, in the files' order.
#[tokio::test(flavor = "multi_thread")]
async fn the_files_apply_object_by_object() {
    let fleet = Fleet::up().await;
    for document in SCENARIO.iter().flat_map(|file| file.split("\n---")) {
        let field = |name: &str| {
            let line = document.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {document}"))
                .trim()
        };
        let (version, kind) = (field("apiVersion:"), field("kind:"));
        let root = if version.contains('/') { "apis" } else { "api" };
        let plural = format!("{}s", kind.to_ascii_lowercase());
        let collection = format!(
            "{}/{root}/{version}/namespaces/default/{plural}",
            fleet.state.api
        );
        let created = tool::curl_with_body(&["-X", "POST", &collection], document)
            .await
            .unwrap();
        if created.status == 409 {
            let name = field("  name:");
            let updated =
                tool::curl_with_body(&["-X", "PUT", &format!("{collection}/{name}")], document)
                    .await
                    .unwrap();
            assert_eq!(updated.status, 200, "{kind}: {}", updated.body);
        } else {
            assert_eq!(created.status, 201, "{kind}: {}", created.body);
        }
    }
    fleet.gateway_open().await;
    let titles = fleet.titles(&fleet.state.gateway, 100).await.unwrap();
    assert!(titles[ORIGINAL].abs_diff(90) <= 2, "{titles:?}");
}

/// A split between services, where the caller's own agent applies it.
#[tokio::test(flavor = "multi_thread")]
async fn weights_hold_between_services() {
    let fleet = Fleet::up().await;
    fleet.apply(SCENARIO[1]).await.unwrap();
    let inside = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inside}
spec:
  hosts: [fleetman-webapp]
  http:
  - route:
    - {destination: {host: fleetman-webapp, subset: experimental}, weight: 25}
    - {destination: {host: fleetman-webapp, subset: original}, weight: 75}
";
    fleet.apply(inside).await.unwrap();
    let proxy = fleet.state.commands["api-gateway-agent"].address("--listen-outbound");
    // As an explicit proxy, and as a plain request by its Host.
    let explicit = [
        "-sS",
        "--fail",
        "-x",
        proxy,
        "http://fleetman-webapp/?n=[1-100]",
    ];
    let url = format!("http://{proxy}/?n=[1-100]");
    let by_host = ["-sS", "--fail", "-H", "host: fleetman-webapp.default", &url];
    for arguments in [&explicit, &by_host] {
        eventually("the split is 75 to 25", Duration::from_secs(20), || async {
            let pages = tool::run("curl", arguments).await?;
            let count = |title: &str| pages.matches(&format!("<title>{title}")).count();
            let (original, experimental) = (count(ORIGINAL), count(EXPERIMENTAL));
            anyhow::ensure!(
                original.abs_diff(75) <= 1 && original + experimental == 100,
                "{original} to {experimental}"
            );
            Ok(())
        })
        .await;
    }
}

async fn closed(fleet: &Fleet) {
    let gateway = &fleet.state.gateway;
    let refused = tool::run("curl", &["-sS", "--max-time", "5", gateway])
        .await
        .expect_err("no Gateway: nothing listens")
        .to_string();
    assert!(refused.contains("onnect"), "{refused}");
}

async fn half_and_half(fleet: &Fleet) {
    let titles = fleet.titles(&fleet.state.loadbalancer, 100).await.unwrap();
    assert!(titles[ORIGINAL].abs_diff(50) <= 1, "{titles:?}");
    assert!(titles[EXPERIMENTAL].abs_diff(50) <= 1, "{titles:?}");
}

async fn the_graph_tells_it(fleet: &Fleet) {
    eventually(
        "the graph shows the split",
        Duration::from_secs(20),
        || async {
            let graph = fleet.graph().await?;
            let list = |name: &str| {
                graph["elements"][name]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            };
            let (nodes, edges) = (list("nodes"), list("edges"));
            let id = |field: &str, value: &str| {
                nodes
                    .iter()
                    .map(|node| &node["data"])
                    .find(|data| data[field] == value && data["isBox"].is_null())
                    .and_then(|data| data["id"].as_str())
                    .ok_or_else(|| anyhow::anyhow!("no node with {field} {value}"))
            };
            let between = |from: &str, to: &str| {
                edges
                    .iter()
                    .map(|edge| &edge["data"])
                    .find(|data| data["source"] == from && data["target"] == to)
                    .ok_or_else(|| anyhow::anyhow!("no edge from {from} to {to}"))
            };
            let gateway = id("workload", "istio-ingressgateway")?;
            let outside = id("nodeType", "unknown")?;
            for (version, share) in [("original", 90.0), ("experimental", 10.0)] {
                let webapp = id("workload", &format!("webapp-{version}"))?;
                let edge = between(gateway, webapp)?;
                let percent: f64 = edge["traffic"]["rates"]["httpPercentReq"]
                    .as_str()
                    .unwrap_or("0")
                    .parse()?;
                anyhow::ensure!((percent - share).abs() <= 2.0, "{version}: {percent} %");
                between(outside, webapp)?;
            }
            for edge in &edges {
                let mutual = edge["data"]["isMTLS"] == "100";
                let past = edge["data"]["source"] == outside;
                anyhow::ensure!(mutual != past, "padlock of {edge}");
            }
            for ending in ["svg", "dot", "mmd"] {
                let url = format!("{}/graph.{ending}", fleet.state.api);
                let drawing = tool::run("curl", &["-sS", "--fail", &url]).await?;
                anyhow::ensure!(
                    drawing.contains("istio-ingressgateway"),
                    "{ending}: {drawing}"
                );
                if ending == "dot" {
                    tool::run_with_input("dot", &["-Tsvg"], &drawing).await?;
                }
            }
            Ok(())
        },
    )
    .await;
}
