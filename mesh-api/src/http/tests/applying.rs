//! Whole texts at once.

use super::*;

#[tokio::test]
async fn apply_takes_everything_or_nothing() {
    let api = Api::new();
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
";
    let wrong = format!(
        "{SERVICE}---{rule}---{}",
        ROUTE.replace("host: web", "host: web, subset: v2")
    );
    let refused = api.call("POST", "/apply", &wrong).await;
    refused.refused(422, "Invalid", &["v2", "document 3"]);
    assert!(api.store.view().config.is_empty());

    // The route comes before what it needs.
    let right = format!(
        "{}---{rule}---{SERVICE}",
        ROUTE.replace("host: web", "host: web, subset: v1")
    );
    let applied = api.call("POST", "/apply", &right).await;
    assert_eq!(applied.code, 200, "{}", applied.text);
    let row = |kind: &str, action: &str| json!({ "kind": kind, "namespace": "default", "name": "web", "action": action });
    assert_eq!(
        applied.body["applied"],
        json!([
            row("VirtualService", "created"),
            row("DestinationRule", "created"),
            row("Service", "created")
        ])
    );
    let changed = right.replace("port: 80", "port: 81");
    let applied = api.call("POST", "/apply", &changed).await;
    assert_eq!(
        applied.body["applied"],
        json!([
            row("VirtualService", "unchanged"),
            row("DestinationRule", "unchanged"),
            row("Service", "configured")
        ])
    );
    let dry = api.call("POST", "/apply?dryRun=All", SERVICE).await;
    assert_eq!(dry.body["applied"], json!([row("Service", "configured")]));
    let view = api.store.view();
    let service = view.list(mesh_config::Kind::Service, None);
    assert_eq!(service[0].raw["spec"]["ports"][0]["port"], 81, "a dry run");
    api.call("POST", "/apply", "a: [")
        .await
        .refused(400, "BadRequest", &[]);
    api.call("GET", "/apply", "")
        .await
        .refused(405, "MethodNotAllowed", &[]);
}

#[tokio::test]
async fn in_a_text_that_says_something_twice_the_last_counts() {
    let api = Api::new();
    let twice = format!("{SERVICE}---{SERVICE}");
    let applied = api.call("POST", "/apply", &twice).await;
    assert_eq!(
        applied.body["applied"].as_array().unwrap().len(),
        1,
        "{}",
        applied.text
    );
    let warnings = applied.body["warnings"].as_array().unwrap().len();

    let twice = format!("{SERVICE}---{}", SERVICE.replace("port: 80", "port: 81"));
    let applied = api.call("POST", "/apply", &twice).await;
    let said = applied.body["warnings"].as_array().unwrap();
    assert_eq!(said.len(), warnings + 1, "{}", applied.text);
    assert!(
        applied.text.contains("documents 1 and 2"),
        "{}",
        applied.text
    );
    let service = api.call("GET", &format!("{SERVICES}/web"), "").await;
    assert_eq!(service.body["spec"]["ports"][0]["port"], 81);
}

#[tokio::test]
async fn one_bad_object_of_many_is_named_and_nothing_is_written() {
    let api = Api::new();
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\ndata: {tls.key: 'hunter2 hunter2'}\n";
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny}\n\
                  spec: {action: DENY}\n";
    for (bad, words) in [
        (secret, ["Secret default/key", "tls.key"]),
        (policy, ["AuthorizationPolicy default/deny", "spec.rules"]),
    ] {
        let many = SERVICE.replace("name: web", "name: other");
        let text = format!("{SERVICE}---\n{bad}---{many}");
        let refused = api.call("POST", "/apply", &text).await;
        refused.refused(422, "Invalid", &["document 2", words[0], words[1]]);
        assert!(!refused.text.contains("hunter2"), "{}", refused.text);
        assert!(api.store.view().config.is_empty());
    }
}
