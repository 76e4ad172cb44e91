//! Promise: every process's metrics please promtool, and a real Prometheus sees the split.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use mesh_tests::load::Load;
use mesh_tests::{Fleet, SCENARIO, eventually, tool};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn promtool_and_prometheus_are_content() {
    let fleet = Fleet::up().await;
    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let load = Load::start(&fleet.state.gateway, 2, Duration::from_millis(10));
    load.more(100).await;

    for (name, url) in &fleet.state.metrics {
        let text = tool::run("curl", &["-sS", "--fail", url]).await.unwrap();
        let verdict = tool::output("promtool", &["check", "metrics"], &text)
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&verdict.stderr);
        // Istio gave this metric its name, and its boards ask for it by that name.
        let rest: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("istio_request_duration_milliseconds use base unit"))
            .collect();
        assert!(rest.is_empty(), "{name}: {rest:?}");
        assert!(verdict.stdout.is_empty(), "{name}: {verdict:?}");
    }

    let prometheus = Prometheus::start(&fleet);
    eventually(
        "Prometheus scrapes every process",
        Duration::from_secs(30),
        || async {
            let up = prometheus.query("up == 1").await?;
            anyhow::ensure!(up.len() == fleet.state.metrics.len(), "{up:?}");
            Ok(())
        },
    )
    .await;

    let split = r#"sum by (destination_version) (rate(istio_requests_total{reporter="source",source_workload="istio-ingressgateway"}[1m]))"#;
    eventually(
        "Prometheus sees 9 to 1",
        Duration::from_secs(60),
        || async {
            let rates = prometheus.query(split).await?;
            let rate = |version: &str| {
                rates
                    .iter()
                    .find(|(labels, _)| labels["destination_version"] == version)
                    .map(|(_, rate)| *rate)
                    .ok_or_else(|| anyhow::anyhow!("no {version} in {rates:?}"))
            };
            let (original, experimental) = (rate("original")?, rate("experimental")?);
            let share = original / (original + experimental);
            anyhow::ensure!((share - 0.9).abs() < 0.02, "{share}");
            Ok(())
        },
    )
    .await;

    // The server's side of the same edge knows its caller by its certificate.
    let mutual = r#"sum(istio_requests_total{reporter="destination",source_workload="istio-ingressgateway",source_principal="spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",destination_app="webapp",connection_security_policy="mutual_tls"})"#;
    let seen = prometheus.query(mutual).await.unwrap();
    assert!(
        seen.first().is_some_and(|(_, count)| *count >= 100.0),
        "{seen:?}"
    );

    let tally = load.stop().await;
    assert!(tally.bad.is_empty(), "{tally:?}");
}

/// Debian's Prometheus, scraping a fleet each second.
struct Prometheus {
    port: u16,
    _process: tokio::process::Child,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(fleet: &Fleet) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
        for (name, url) in &fleet.state.metrics {
            let (address, path) = url
                .strip_prefix("http://")
                .and_then(|rest| rest.split_once('/'))
                .unwrap();
            writeln!(
                config,
                "- {{job_name: {name}, metrics_path: /{path}, static_configs: [{{targets: ['{address}']}}]}}"
            )
            .unwrap();
        }
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = tokio::process::Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("tests/run installs Prometheus");
        Self {
            port,
            _process: process,
            _directory: directory,
        }
    }

    /// The vector that an expression gives now.
    async fn query(&self, expression: &str) -> anyhow::Result<Vec<(Value, f64)>> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let argument = format!("query={expression}");
        let text = tool::run("curl", &["-sS", "-G", "--data-urlencode", &argument, &url]).await?;
        let answer: Value = serde_json::from_str(&text)?;
        let rows = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let value = row["value"][1].as_str()?.parse().ok()?;
                Some((row["metric"].clone(), value))
            })
            .collect())
    }
}
