//! Promise: the fleet in containers is there with one command, is scraped and drawn, and mends itself whichever of its
//! containers is killed and started again.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mesh_tests::compose::{DemoFleet, ONE_SHOTS, START};
use mesh_tests::load::Load;
use mesh_tests::{SCENARIO, edges, eventually, tool};
use serde_json::Value;

/// How long a part of the fleet may take to be whole again: a lease of 10 s, a renewal of the health check, and the
/// back-off of whoever lost it.
const MENDED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_up_shows_its_traffic_and_leaves_nothing() {
    let began = Instant::now();
    let fleet = DemoFleet::up("mesh-tests-traffic", START).await;
    eprintln!("up within {:?}", began.elapsed());
    for manifests in SCENARIO {
        fleet.api.apply(manifests).await.unwrap();
    }
    open(&fleet).await;
    let load = Load::start(&fleet.state.gateway, 2, Duration::from_millis(5));
    load.more(1_000).await;

    eventually("Prometheus has 9 to 1", MENDED, || async {
        let query = "sum by (destination_version) (istio_requests_total\
                     {reporter=\"source\",source_workload=\"istio-ingressgateway\"})";
        let original = scalar(&fleet, &format!("{query} and on(destination_version) label_replace(vector(1),\
                     \"destination_version\",\"original\",\"\",\"\")")).await?;
        let all = scalar(&fleet, "sum(istio_requests_total{reporter=\"source\",source_workload=\"istio-ingressgateway\"})").await?;
        ensure!(all > 500.0, "only {all} requests were scraped");
        let share = original / all;
        ensure!((0.89..0.91).contains(&share), "{share} of {all} went to the original");
        Ok(())
    })
    .await;

    let graph = graph(&fleet).await.unwrap();
    let to_webapp = |version: &str| {
        let edge = edges(&graph)
            .find(|(from, edge, to)| {
                from["app"] == "istio-ingressgateway"
                    && to["version"] == version
                    && edge["traffic"]["protocol"] == "http"
            })
            .unwrap_or_else(|| panic!("no edge from the gateway to {version}: {graph:#}"));
        let share = edge.1["traffic"]["rates"]["httpPercentReq"].as_str();
        share
            .and_then(|share| share.parse::<f64>().ok())
            .expect("a share")
    };
    assert!((85.0..95.0).contains(&to_webapp("original")), "{graph:#}");
    assert!(
        (5.0..15.0).contains(&to_webapp("experimental")),
        "{graph:#}"
    );
    for (from, edge, to) in edges(&graph) {
        if from["nodeType"] != "unknown" {
            assert_eq!(edge["isMTLS"], "100", "{from} to {to}: {edge}");
        }
    }
    load.stop().await;
    fleet.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_comes_back_by_itself() {
    let fleet = DemoFleet::up("mesh-tests-drill", START).await;
    for manifests in SCENARIO {
        fleet.api.apply(manifests).await.unwrap();
    }
    open(&fleet).await;
    let load = Load::start(&fleet.state.gateway, 2, Duration::from_millis(10));
    for service in fleet.project.services().await.unwrap() {
        if ONE_SHOTS.contains(&service.as_str()) {
            continue;
        }
        let last = last_event(&fleet).await.unwrap();
        fleet.project.kill(&service).await.unwrap();
        fleet.project.start(&service).await.unwrap();
        let began = Instant::now();
        fleet.project.well(MENDED).await;
        whole(&fleet).await;
        eprintln!("{service} is whole again after {:?}", began.elapsed());
        // Who has an identity is missed, and the page says so. mesh-api itself says that it is new.
        let workload = service.strip_suffix("-agent").unwrap_or(&service);
        let is_about = |event: &Value| match workload {
            "mesh-api" => event["kind"] == "api-started",
            "mesh-gateway" => event["subject"]
                .to_string()
                .contains("istio-ingressgateway"),
            workload => event["subject"].to_string().contains(workload),
        };
        if matches!(workload, "mesh-ca" | "loadbalancer" | "prometheus") {
            continue;
        }
        // An agent whose app nobody calls may still be on its way into the new network.
        eventually("the page says so", MENDED, || async {
            let said = events_after(&fleet, last).await?;
            ensure!(
                said.iter().any(is_about),
                "nothing is said about {service}: {said:#?}"
            );
            Ok(())
        })
        .await;
    }
    // All is well in the end, also for those who were there all the time.
    load.more(200).await;
    let tally = load.stop().await;
    eprintln!(
        "{} good answers; while parts were away: {:?}",
        tally.good, tally.bad
    );
    fleet.down().await.unwrap();
}

/// Returns when a hundred requests in a row came to a good end, through the webapp and all that is behind it, in both
/// versions.
async fn whole(fleet: &DemoFleet) {
    eventually("the fleet is whole", MENDED, || async {
        let url = format!("{}/?n=[1-100]", fleet.state.gateway);
        let pages = tool::run("curl", &["-sS", "--fail", "--max-time", "60", &url]).await?;
        let experimental = pages
            .matches("<title>Fleet Management (experimental)")
            .count();
        ensure!(
            (9..=11).contains(&experimental),
            "{experimental} of 100 are experimental"
        );
        Ok(())
    })
    .await;
}

async fn open(fleet: &DemoFleet) {
    eventually("the gateway opens", MENDED, || async {
        let gateway = &fleet.state.gateway;
        tool::run("curl", &["-sS", "--fail", "--max-time", "5", gateway])
            .await
            .map(drop)
    })
    .await;
}

async fn last_event(fleet: &DemoFleet) -> anyhow::Result<u64> {
    let events = events_after(fleet, 0).await?;
    Ok(events
        .last()
        .and_then(|event| event["id"].as_u64())
        .unwrap_or_default())
}

async fn events_after(fleet: &DemoFleet, id: u64) -> anyhow::Result<Vec<Value>> {
    let answer = fleet
        .api
        .get(&format!("/api/mesh/events?after={id}"))
        .await?;
    Ok(answer["events"].as_array().cloned().unwrap_or_default())
}

async fn graph(fleet: &DemoFleet) -> anyhow::Result<Value> {
    let path =
        "/api/namespaces/graph?namespaces=default,istio-system&graphType=versionedApp&duration=60s";
    fleet.api.get(path).await
}

/// The one number that a query gives.
async fn scalar(fleet: &DemoFleet, query: &str) -> anyhow::Result<f64> {
    let url = format!("{}/api/v1/query", fleet.state.prometheus);
    let query = format!("query={query}");
    let text = tool::run(
        "curl",
        &["-sS", "--fail", "-G", "--data-urlencode", &query, &url],
    )
    .await?;
    let answer: Value = serde_json::from_str(&text)?;
    let number = answer["data"]["result"][0]["value"][1]
        .as_str()
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| anyhow::anyhow!("no number: {text}"))
}
