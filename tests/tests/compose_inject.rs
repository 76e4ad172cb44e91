//! Promise: somebody else's Compose file is in the mesh by its labels alone, TCP included, and out of it again to the
//! byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use mesh_tests::compose::{Api, Project, START};
use mesh_tests::fleet::{binary, free_ports};
use mesh_tests::{edges, eventually, tool};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_fleet_is_in_the_mesh_by_labels_alone() {
    let voting = Path::new(env!("CARGO_MANIFEST_DIR")).join("voting");
    let original = voting.join("docker-compose.yml");
    let directory = tempfile::tempdir().unwrap();
    let injected = directory.path().join("docker-compose.mesh.yml");
    meshctl(&["inject", "-f", utf8(&original), "-o", utf8(&injected)]).await;

    let port = free_ports(3);
    let env = [
        ("VOTE_PORT", port),
        ("RESULT_PORT", port + 1),
        ("MESH_API_PORT", port + 2),
    ];
    let env: BTreeMap<String, String> = env
        .iter()
        .map(|(name, port)| ((*name).to_owned(), port.to_string()))
        .collect();
    let project = Project::new("mesh-tests-voting", &injected, &voting, env);
    project.compose(&["build", "--quiet"]).await.unwrap();
    project
        .compose(&["up", "--detach", "--no-build"])
        .await
        .unwrap();
    project.well(START).await;

    let vote = format!("http://127.0.0.1:{port}/cats");
    let result = format!("http://127.0.0.1:{}/", port + 1);
    for _ in 0..20 {
        let answer = tool::curl(&["-X", "POST", &vote]).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    eventually("the votes are counted", Duration::from_secs(30), || async {
        let answer = tool::curl(&[&result]).await?;
        ensure!(answer.body.trim() == r#"{"cats": 20}"#, "{}", answer.body);
        Ok(())
    })
    .await;
    // One more way: from page to page, over HTTP.
    let page = tool::curl(&[&format!("http://127.0.0.1:{port}/")])
        .await
        .unwrap();
    assert!(page.body.contains(r#"{"cats": 20}"#), "{}", page.body);

    let token = project
        .compose(&["exec", "-T", "mesh-api", "mesh-api", "token"])
        .await
        .unwrap();
    let api = Api::new(&format!("http://127.0.0.1:{}", port + 2), &token);
    let path = "/api/namespaces/graph?namespaces=default&graphType=app&duration=60s&injectServiceNodes=false";
    for (from, to, protocol) in [
        ("vote", "redis", "tcp"),
        ("worker", "redis", "tcp"),
        ("worker", "db", "tcp"),
        ("result", "db", "tcp"),
        ("vote", "result", "http"),
    ] {
        eventually(
            "an edge with a padlock",
            Duration::from_secs(30),
            || async {
                let graph = api.get(path).await?;
                let locked =
                    edge(&graph, from, to, protocol).is_some_and(|edge| edge["isMTLS"] == "100");
                ensure!(locked, "{from} to {to} ({protocol}) has none in {graph:#}");
                Ok(())
            },
        )
        .await;
    }
    // What came through the published ports is seen too, as what it is.
    let graph = api.get(path).await.unwrap();
    let outside = edge(&graph, "unknown", "vote", "http").unwrap_or_else(|| panic!("{graph:#}"));
    assert!(outside["isMTLS"].is_null(), "{outside}");
    let svg = api.text("/graph.svg?graphType=app").await.unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("redis"), "{svg}");

    let restored = directory.path().join("docker-compose.yml");
    meshctl(&["uninject", "-f", utf8(&injected), "-o", utf8(&restored)]).await;
    assert_eq!(
        std::fs::read(&restored).unwrap(),
        std::fs::read(&original).unwrap()
    );
    project
        .compose(&["down", "--volumes", "--timeout", "2"])
        .await
        .unwrap();
    assert!(project.left().await.unwrap().is_empty());
}

fn edge<'g>(graph: &'g Value, from: &str, to: &str, protocol: &str) -> Option<&'g Value> {
    edges(graph)
        .find(|(source, edge, target)| {
            source["app"] == from && target["app"] == to && edge["traffic"]["protocol"] == protocol
        })
        .map(|(_, edge, _)| edge)
}

async fn meshctl(arguments: &[&str]) {
    let meshctl = binary("meshctl");
    let arguments = [&["compose"], arguments].concat();
    tool::run(utf8(&meshctl), &arguments)
        .await
        .expect("meshctl does it");
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("paths of this repository are text")
}
