//! Promise: a browser shows the mesh as it is, within seconds, without reloading and without complaint.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::time::{Duration, Instant};

use mesh_tests::browser::Browser;
use mesh_tests::load::Load;
use mesh_tests::{Fleet, SCENARIO};
use serde_json::Value;

/// Returns when an expression is true in the page.
async fn becomes_true(browser: &mut Browser, expression: &str, limit: Duration) {
    let deadline = Instant::now() + limit;
    while browser.evaluate(expression).await.unwrap() != Value::Bool(true) {
        let text = "document.body.innerText";
        if Instant::now() >= deadline {
            let shown = browser.evaluate(text).await.unwrap();
            panic!("{expression}: not within {limit:?}; the page shows {shown}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_follows_the_mesh() {
    let fleet = Fleet::up().await;
    let mut browser = Browser::start().await.unwrap();
    browser
        .open(&format!("{}/?duration=300s", fleet.state.api))
        .await
        .unwrap();
    let patience = Duration::from_secs(30);

    // The demo's own traffic is there soon; nobody has come through the gateway yet.
    let live = "document.getElementById('state')?.textContent === 'Live'";
    becomes_true(&mut browser, live, patience).await;
    let tracker = "[...document.querySelectorAll('#graph g[id^=n-]')]
        .find(node => node.textContent.includes('position-tracker'))";
    becomes_true(&mut browser, &format!("!!({tracker})"), patience).await;
    let seen = format!(
        "window.seen = {tracker}; document.getElementById('graph').textContent.includes('istio-ingressgateway')"
    );
    assert_eq!(browser.evaluate(&seen).await.unwrap(), false);

    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let load = Load::start(&fleet.state.gateway, 1, Duration::from_millis(20));
    for expression in [
        "document.getElementById('graph').textContent.includes('istio-ingressgateway')",
        "/90% · [0-9.]+ rps/.test(document.getElementById('graph').textContent)",
        "document.querySelectorAll('#graph .lock-body').length > 5",
        "/istio-ingressgateway.*mutual TLS/.test(document.getElementById('table').innerText)",
        "document.getElementById('happened').textContent.includes('Gateway default/ingress-gateway-configuration was created')",
    ] {
        becomes_true(&mut browser, expression, patience).await;
    }
    // What is there twice is the same thing, not a new one in its place.
    assert_eq!(
        browser.evaluate("window.seen.isConnected").await.unwrap(),
        true
    );
    let tally = load.stop().await;
    assert!(tally.bad.is_empty(), "{tally:?}");

    // A lease runs ten seconds; then the page says it.
    fleet.kill("webapp-original-agent").await;
    let gone = "document.getElementById('happened').textContent.includes('webapp-original (default) is gone')";
    becomes_true(&mut browser, gone, patience).await;
    let marked = "[...document.querySelectorAll('#graph .badge-text')].some(badge => badge.textContent === 'gone')";
    becomes_true(&mut browser, marked, patience).await;

    let ground = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.querySelector('.picture .bg')).fill";
    browser.prefer("light").await.unwrap();
    let light = browser.evaluate(ground).await.unwrap();
    browser.prefer("dark").await.unwrap();
    assert_ne!(browser.evaluate(ground).await.unwrap(), light);
    // Everything fits the screen's width, and what is chosen is in the address.
    let fits = "document.documentElement.scrollWidth <= innerWidth && location.search === '?duration=300s'";
    assert_eq!(browser.evaluate(fits).await.unwrap(), true);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);

    // A page that cannot follow says so.
    fleet.kill("mesh-api").await;
    let late = "document.getElementById('state').textContent.startsWith('Out of date')";
    becomes_true(&mut browser, late, patience).await;
}
