//! Promise: a workload is an endpoint while it runs: gone at once when it leaves, within 15 s when it dies.

use std::time::{Duration, Instant};

use mesh_tests::{Fleet, eventually, tool};

#[tokio::test(flavor = "multi_thread")]
async fn leaving_is_seen_at_once_and_death_in_time() {
    let fleet = Fleet::up().await;
    assert_eq!(members(&fleet).await.unwrap().len(), 2);

    let pid = fleet.state.pids["webapp-original-agent"].to_string();
    let left = Instant::now();
    tool::run("kill", &["-TERM", &pid]).await.unwrap();
    gone(&fleet, "webapp-original").await;
    assert!(
        left.elapsed() < Duration::from_secs(5),
        "{:?}",
        left.elapsed()
    );

    let died = Instant::now();
    fleet.kill("webapp-experimental-agent").await;
    gone(&fleet, "webapp-experimental").await;
    assert!(
        died.elapsed() < Duration::from_secs(15),
        "{:?}",
        died.elapsed()
    );
}

async fn gone(fleet: &Fleet, workload: &str) {
    eventually(workload, Duration::from_secs(20), || async {
        let members = members(fleet).await?;
        anyhow::ensure!(!members.contains(&workload.to_owned()), "{members:?}");
        Ok(())
    })
    .await;
}

/// The workloads behind `fleetman-webapp`.
async fn members(fleet: &Fleet) -> anyhow::Result<Vec<String>> {
    let url = format!("{}/api/mesh/services", fleet.state.api);
    let text = tool::run("curl", &["-sS", "--fail", &url]).await?;
    let view: serde_json::Value = serde_json::from_str(&text)?;
    let services = view["services"].as_array().cloned().unwrap_or_default();
    let webapp = services
        .iter()
        .find(|service| service["name"] == "fleetman-webapp")
        .ok_or_else(|| anyhow::anyhow!("no fleetman-webapp in {view}"))?;
    let endpoints = webapp["endpoints"].as_array().cloned().unwrap_or_default();
    Ok(endpoints
        .iter()
        .filter_map(|endpoint| endpoint["workload"].as_str().map(str::to_owned))
        .collect())
}
