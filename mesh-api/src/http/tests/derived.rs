//! Status that is derived: shown where objects are read, never stored, and judged once for one configuration.

use super::*;

const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways";

fn gateway(listener: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{gatewayClassName: istio, listeners: [{listener}]}}
"
    )
}

fn word(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| one["status"].to_string())
}

#[tokio::test]
async fn objects_that_are_read_have_their_status() {
    let api = Api::new();
    let http = gateway("{name: http, port: 80, protocol: HTTP}");
    let created = api.call("POST", GATEWAYS, &http).await;
    assert_eq!(created.code, 201, "{}", created.text);

    let read = api.call("GET", &format!("{GATEWAYS}/edge"), "").await;
    assert_eq!(word(&read.body, "Accepted"), "\"True\"", "{}", read.text);
    assert_eq!(read.body["status"]["listeners"][0]["name"], "http");
    let list = api.call("GET", GATEWAYS, "").await;
    assert_eq!(list.body["items"], json!([read.body]));

    // What follows from the objects changes with them.
    let udp = gateway("{name: udp, port: 80, protocol: UDP}");
    let changed = api.call("POST", "/apply", &udp).await;
    assert_eq!(changed.code, 200, "{}", changed.text);
    let read = api.call("GET", &format!("{GATEWAYS}/edge"), "").await;
    assert_eq!(word(&read.body, "Accepted"), "\"False\"", "{}", read.text);
}

#[tokio::test]
async fn a_configuration_is_judged_once() {
    let api = Api::new();
    api.call(
        "POST",
        GATEWAYS,
        &gateway("{name: http, port: 80, protocol: HTTP}"),
    )
    .await;
    let (one, other) = (api.store.view(), api.store.view());
    assert!(std::ptr::eq(one.statuses(), other.statuses()));
    api.call("POST", SERVICES, SERVICE).await;
    assert!(!std::ptr::eq(one.statuses(), api.store.view().statuses()));
}
