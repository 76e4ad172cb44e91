//! Promise: certificates renew themselves, and no request notices.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_tests::load::Load;
use mesh_tests::{Fleet, SCENARIO, eventually, tool};

#[tokio::test(flavor = "multi_thread")]
async fn every_proxy_renews_twice_under_load() {
    let fleet = Fleet::up_with(&["--leaf-lifetime", "10s"]).await;
    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let load = Load::start(&fleet.state.gateway, 4, Duration::from_millis(10));

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
                Ok(serial)
            })
            .await;
            serials.insert(serial);
        }
    }

    load.more(100).await;
    let tally = load.stop().await;
    assert!(tally.bad.is_empty(), "{tally:?}");
}

/// The serial number of the certificate that a proxy shows now.
async fn serial(admin: &str) -> anyhow::Result<String> {
    let text = tool::run("curl", &["-sS", "--fail", &format!("http://{admin}/certs")]).await?;
    let certificates: serde_json::Value = serde_json::from_str(&text)?;
    find(&certificates, "serial").ok_or_else(|| anyhow::anyhow!("no serial in {text}"))
}

/// The first value under a key, however deep.
fn find(value: &serde_json::Value, key: &str) -> Option<String> {
    match value {
        serde_json::Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let text = value.as_str().filter(|_| name == key).map(str::to_owned);
            text.or_else(|| find(value, key))
        }),
        serde_json::Value::Array(values) => values.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}
