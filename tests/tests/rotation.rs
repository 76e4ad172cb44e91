//! Promise: certificates renew themselves, and nobody notices: no request, no registration, no proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_tests::load::Load;
use mesh_tests::{Fleet, SCENARIO, eventually, tool};
use serde_json::Value;

/// What would be told if a proxy were ever without its streams.
const FLAPS: [&str; 6] = [
    "workload-left",
    "workload-lost",
    "workload-gone",
    "workload-back",
    "workload-replaced",
    "proxy-disconnected",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_proxy_renews_twice_under_load() {
    let fleet = Fleet::up_with(&["--leaf-lifetime", "10s"]).await;
    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let load = Load::start(&fleet.state.gateway, 4, Duration::from_millis(10));
    let connected = since(&fleet).await.unwrap();
    let endpoints = endpoints(&fleet).await.unwrap();
    assert!(!endpoints.is_empty() && !connected.is_empty());

    let proxies = ["mesh-gateway", "webapp-original-agent", "api-gateway-agent"];
    for proxy in proxies {
        let admin = fleet.state.commands[proxy].address("--listen-admin");
        let mut serials = BTreeSet::new();
        // A leaf of 10 s is renewed after 5 to 7 s: three of them fit well into this.
        while serials.len() < 3 {
            let known = serials.clone();
            let serial = eventually("another certificate", Duration::from_secs(15), || async {
                let serial = serial(admin).await?;
                anyhow::ensure!(!known.contains(&serial), "still {serial}");
                assert_eq!(self::endpoints(&fleet).await?, endpoints);
                Ok(serial)
            })
            .await;
            serials.insert(serial);
        }
    }

    // By now each connection of the beginning has outlived its certificate, and has been ended by mesh-api or left.
    // That everybody has opened another one in time, is told by what has not happened.
    let renewed = since(&fleet).await.unwrap();
    assert_eq!(
        connected.keys().collect::<Vec<_>>(),
        renewed.keys().collect::<Vec<_>>()
    );
    for (proxy, before) in &connected {
        assert_ne!(before, &renewed[proxy], "{proxy} has its first stream");
    }
    let told = ask(&fleet, "/api/mesh/events").await.unwrap();
    let told = told["events"].as_array().unwrap();
    let flaps: Vec<&Value> = told
        .iter()
        .filter(|event| FLAPS.iter().any(|kind| event["kind"] == *kind))
        .collect();
    assert!(flaps.is_empty(), "{flaps:#?}");
    assert!(told.iter().any(|event| event["kind"] == "workload-joined"));

    load.more(100).await;
    let tally = load.stop().await;
    assert!(tally.bad.is_empty(), "{tally:?}");
}

/// Since when each proxy has its discovery stream.
async fn since(fleet: &Fleet) -> anyhow::Result<BTreeMap<String, String>> {
    let view = ask(fleet, "/api/mesh/proxies").await?;
    let proxies = view["proxies"].as_array().cloned().unwrap_or_default();
    Ok(proxies
        .iter()
        .map(|proxy| (proxy["id"].to_string(), proxy["connectedSince"].to_string()))
        .collect())
}

/// Service to the workloads behind it, with their addresses.
async fn endpoints(fleet: &Fleet) -> anyhow::Result<BTreeMap<String, Value>> {
    let view = ask(fleet, "/api/mesh/services").await?;
    let services = view["services"].as_array().cloned().unwrap_or_default();
    Ok(services
        .into_iter()
        .map(|service| (service["host"].to_string(), service["endpoints"].clone()))
        .collect())
}

async fn ask(fleet: &Fleet, path: &str) -> anyhow::Result<Value> {
    let url = format!("{}{path}", fleet.state.api);
    let text = tool::run("curl", &["-sS", "--fail", &url]).await?;
    Ok(serde_json::from_str(&text)?)
}

/// The serial number of the certificate that a proxy shows now.
async fn serial(admin: &str) -> anyhow::Result<String> {
    let text = tool::run("curl", &["-sS", "--fail", &format!("http://{admin}/certs")]).await?;
    let certificates: Value = serde_json::from_str(&text)?;
    find(&certificates, "serial").ok_or_else(|| anyhow::anyhow!("no serial in {text}"))
}

/// The first value under a key, however deep.
fn find(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let text = value.as_str().filter(|_| name == key).map(str::to_owned);
            text.or_else(|| find(value, key))
        }),
        Value::Array(values) => values.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}
