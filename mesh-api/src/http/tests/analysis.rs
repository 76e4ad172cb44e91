//! What contradicts what: over the API's own view, and on a write.

use super::*;

const PUBLISHED: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: web}}]}]
";

/// Code, object and field of all findings.
fn told(answer: &Answer) -> Vec<String> {
    let findings = answer.body["findings"].as_array().expect("a list");
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|finding| {
            ["code", "origin", "field"]
                .map(|key| text(finding, key))
                .join(" ")
        })
        .collect()
}

#[tokio::test]
async fn the_analysis_of_what_is_stored_and_of_what_would_be() {
    let api = Api::new();
    let path = "/api/mesh/analysis";
    assert_eq!(api.call("GET", path, "").await.body["findings"], json!([]));

    // Before anything is written.
    let would_be = api.call("POST", path, PUBLISHED).await;
    let past = "MESH0001 Service default/web spec.type".to_owned();
    assert!(told(&would_be).contains(&past), "{}", would_be.text);
    assert!(api.store.view().config.is_empty());

    let applied = api.call("POST", "/apply", PUBLISHED).await;
    assert_eq!(applied.code, 200, "{}", applied.text);
    let stored = api.call("GET", path, "").await;
    assert_eq!(
        told(&stored),
        [
            past.as_str(),
            "IST0101 VirtualService default/web spec.gateways[0]",
            "IST0132 VirtualService default/web spec.gateways[0]",
        ]
    );
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";
    let mended = api.call("POST", path, gateway).await;
    assert_eq!(told(&mended), [past]);
    // What would be refused is told with its place.
    let wrong = api.call("POST", path, "kind: Service\n").await;
    let first = &wrong.body["findings"][0];
    assert_eq!(
        (&first["code"], &first["line"]),
        (&json!("IST0106"), &json!(1))
    );
}

#[tokio::test]
async fn a_write_is_told_about_its_own_objects_once() {
    let api = Api::new();
    let applied = api.call("POST", "/apply", PUBLISHED).await;
    let warnings = applied.body["warnings"].as_array().expect("a list");
    let with = |word: &str| {
        let has = |warning: &&Value| warning.as_str().is_some_and(|text| text.contains(word));
        warnings.iter().filter(has).count()
    };
    assert_eq!(
        (with("[MESH0001]"), with("[IST0101]")),
        (1, 1),
        "{}",
        applied.text
    );
    // Another object's faults are its own.
    let other = SERVICE.replace("name: web", "name: other");
    let applied = api.call("POST", "/apply", &other).await;
    assert_eq!(applied.body["warnings"], json!([]), "{}", applied.text);
}

#[tokio::test]
async fn what_sends_requests_astray_is_refused_with_its_code() {
    let api = Api::new();
    let astray = ROUTE.replace("host: web", "host: nobody");
    let refused = api
        .call("POST", "/apply", &format!("{SERVICE}---{astray}"))
        .await;
    refused.refused(422, "Invalid", &["nobody", "[IST0101]"]);
    assert!(api.store.view().config.is_empty());
}
