//! Promise: a mistake gets one clear sentence that names it, and changes nothing.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::process::Command;

use mesh_tests::fleet::binary;
use mesh_tests::{Fleet, ORIGINAL, SCENARIO, tool};

#[tokio::test(flavor = "multi_thread")]
async fn the_config_api_names_what_is_wrong() {
    let fleet = Fleet::up().await;
    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let changed = |from: &str, to: &str| SCENARIO[1].replace(from, to);
    let cases = [
        (
            "a broken YAML",
            "kind: [VirtualService\n".to_owned(),
            400,
            "request body:1:7",
        ),
        (
            "a weight below 0",
            changed("weight: 10", "weight: -1"),
            422,
            "spec.http[0].route[0].weight",
        ),
        (
            "an unknown subset",
            changed("subset: experimental", "subset: risky"),
            422,
            "risky",
        ),
        (
            "an unknown host",
            changed("  host: fleetman-webapp", "  host: fleetman-nobody"),
            422,
            "fleetman-nobody",
        ),
        (
            "an unknown field",
            changed("weight: 10", "wieght: 10"),
            422,
            "wieght",
        ),
    ];
    let url = format!("{}/apply", fleet.state.api);
    for (what, manifests, status, word) in &cases {
        let answer = tool::curl_with_body(&["-X", "POST", &url], manifests)
            .await
            .unwrap();
        assert_eq!(answer.status, *status, "{what}: {}", answer.body);
        assert!(answer.body.contains(word), "{what}: {}", answer.body);
    }
    let titles = fleet.titles(&fleet.state.gateway, 100).await.unwrap();
    assert!(titles[ORIGINAL].abs_diff(90) <= 1, "{titles:?}");

    // A conflict: the second to create, and the one who read too early.
    let collection = format!(
        "{}/apis/networking.istio.io/v1beta1/namespaces/default/gateways",
        fleet.state.api
    );
    let gateway = SCENARIO[2].split("\n---").next().unwrap();
    let gateway = gateway.replace("v1alpha3", "v1beta1");
    let again = tool::curl_with_body(&["-X", "POST", &collection], &gateway)
        .await
        .unwrap();
    assert_eq!(again.status, 409, "{}", again.body);
    let stale = gateway.replace("metadata:", "metadata:\n  resourceVersion: \"1\"");
    let one = format!("{collection}/ingress-gateway-configuration");
    let stale = tool::curl_with_body(&["-X", "PUT", &one], &stale)
        .await
        .unwrap();
    assert_eq!(stale.status, 409, "{}", stale.body);

    // A valid field that is not acted on is named.
    let named = changed("  - route:", "  - match: [{statPrefix: shop}]\n    route:");
    let warned = tool::curl_with_body(&["-X", "POST", &url], &named)
        .await
        .unwrap();
    assert_eq!(warned.status, 200, "{}", warned.body);
    assert!(
        warned.body.contains("spec.http[0].match[0].statPrefix"),
        "{}",
        warned.body
    );
}

#[test]
fn daemons_say_what_stops_them() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("ca");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ca = |more: &[&str]| {
        let mut words = vec![
            "--state-dir",
            state.to_str().unwrap(),
            "--listen-metrics",
            "127.0.0.1:0",
        ];
        words.extend(more);
        failing("mesh-ca", &words)
    };

    let busy = ca(&["--listen", &address]);
    assert!(
        busy.contains(&address) && busy.contains("--listen"),
        "{busy}"
    );
    let short = ca(&["--listen", "127.0.0.1:0", "--leaf-lifetime", "5s"]);
    assert!(short.contains("10s") || short.contains("10 s"), "{short}");

    // The root that a token's making creates, torn in the middle.
    let token = [
        "--state-dir",
        state.to_str().unwrap(),
        "token",
        "create",
        "--service-account",
        "webapp",
    ];
    let made = Command::new(binary("mesh-ca"))
        .args(token)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (file, text) = std::fs::read_dir(&state)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).ok()?;
            text.contains("-----BEGIN").then_some((path, text))
        })
        .next()
        .expect("the root is on disk");
    let torn = &text[..text.len() / 2];
    std::fs::write(&file, torn).unwrap();
    let corrupt = ca(&["--listen", "127.0.0.1:0"]);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(corrupt.contains(name), "{corrupt}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), torn);

    let locked = failing("mesh-api", &["--token-file", "/nowhere/token"]);
    assert!(locked.contains("/nowhere/token"), "{locked}");
}

/// Runs a program that must fail, and returns what it said.
fn failing(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(binary(program))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        !output.status.success(),
        "{program} {arguments:?} succeeded"
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}
