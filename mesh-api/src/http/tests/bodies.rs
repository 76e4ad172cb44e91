//! What is sent: formats, sizes, mistakes, warnings.

use super::*;

#[tokio::test]
async fn bodies_are_taken_as_json_or_yaml() {
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "annotations": { "note": "a/b" } },
        "spec": { "ports": [{ "port": 80, "name": "http" }] },
    });
    // Escapes that JSON has and YAML reads differently.
    let json = value.to_string().replace("a/b", r"\ud83d\ude80\/b");
    for (kind, body) in [
        (None, SERVICE),
        (None, &*json.replace(r"\ud83d\ude80\/", "")),
        (Some("application/json"), &*json),
        (Some("application/json; charset=utf-8"), &*json),
        (Some("application/yaml"), SERVICE),
        (Some("text/yaml"), SERVICE),
        (Some("application/x-www-form-urlencoded"), SERVICE),
    ] {
        let api = Api::new();
        let created = api.call_as("POST", SERVICES, body, kind).await;
        assert_eq!(created.code, 201, "{kind:?}: {}", created.text);
        if body.contains("ud83d") {
            assert_eq!(created.body["metadata"]["annotations"]["note"], "🚀/b");
        }
    }
    let api = Api::new();
    let wrong = api
        .call_as("POST", SERVICES, SERVICE, Some("application/json"))
        .await;
    wrong.refused(400, "BadRequest", &["not JSON", "line 2"]);
    let wrong = api
        .call_as("POST", SERVICES, SERVICE, Some("image/png"))
        .await;
    wrong.refused(
        415,
        "UnsupportedMediaType",
        &["image/png", "application/yaml"],
    );
}

#[tokio::test]
async fn wrong_bodies_are_named() {
    let api = Api::new();
    api.call("POST", SERVICES, SERVICE).await;
    let before = api.store.view().revision;
    let two = format!("{SERVICE}---{SERVICE}");
    let no_host = ROUTE.replace("host: web", "host: nowhere");
    let negative = ROUTE.replace("{host: web}", "{host: web}, weight: -1");
    for (path, body, code, reason, words) in [
        (SERVICES, "", 400, "BadRequest", &["holds no object"][..]),
        (
            SERVICES,
            "a: [b\nc: d",
            400,
            "BadRequest",
            &["request body:"],
        ),
        (SERVICES, &two, 400, "BadRequest", &["2 objects", "/apply"]),
        (
            SERVICES,
            ROUTE,
            400,
            "BadRequest",
            &["VirtualService", "Service"],
        ),
        (
            "/apis/networking.istio.io/v1/namespaces/default/virtualservices",
            ROUTE,
            400,
            "BadRequest",
            &["v1alpha3", "networking.istio.io/v1"],
        ),
        (
            SERVICES,
            &SERVICE.replace("{name: web}", "{name: web, namespace: other}"),
            400,
            "BadRequest",
            &["other", "default"],
        ),
        (
            ROUTES,
            &no_host,
            422,
            "Invalid",
            &["nowhere", "spec.http[0].route[0].destination"],
        ),
        (
            ROUTES,
            &negative,
            422,
            "Invalid",
            &["weight", "-1", "VirtualService default/web"],
        ),
        (
            SERVICES,
            SERVICE,
            409,
            "AlreadyExists",
            &["Service default/web"],
        ),
        (
            "/api/v1/namespaces/default/nothings",
            SERVICE,
            404,
            "NotFound",
            &["nothings"],
        ),
        (
            "/api/v1/services",
            SERVICE,
            405,
            "MethodNotAllowed",
            &["POST"],
        ),
        ("/nowhere", SERVICE, 404, "NotFound", &["/nowhere"]),
    ] {
        api.call("POST", path, body)
            .await
            .refused(code, reason, words);
    }
    assert_eq!(api.store.view().revision, before, "nothing changed");

    let invalid = api.call("POST", ROUTES, &no_host).await;
    let cause = &invalid.body["details"]["causes"][0];
    assert!(
        cause["field"]
            .as_str()
            .unwrap()
            .starts_with("spec.http[0].route[0]")
    );

    let renamed = SERVICE.replace("name: web", "name: other");
    let path = format!("{SERVICES}/web");
    api.call("PUT", &path, &renamed)
        .await
        .refused(400, "BadRequest", &["other", "web"]);
    let patch = api.call("PATCH", &path, "").await;
    patch.refused(405, "MethodNotAllowed", &["PATCH"]);
    assert_eq!(patch.headers[header::ALLOW], "GET, HEAD, PUT, DELETE");
}

#[tokio::test]
async fn large_bodies_are_refused_with_and_without_a_length() {
    let api = Api::new();
    let large = format!("{SERVICE}\n#{}", "x".repeat(4 << 20));
    let answer = api.call("POST", SERVICES, &large).await;
    answer.refused(413, "RequestEntityTooLarge", &["3 MiB"]);

    let pieces = (0..64).map(|_| Ok::<_, std::io::Error>("x".repeat(64 << 10)));
    let request = Request::post(SERVICES)
        .header(header::HOST, "localhost")
        .body(Body::from_stream(futures_util::stream::iter(pieces)))
        .unwrap();
    let answer = api.send(request).await;
    answer.refused(413, "RequestEntityTooLarge", &["3 MiB"]);
}

#[tokio::test]
async fn what_is_not_acted_on_is_named_in_warnings() {
    let api = Api::new();
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 1}
";
    let path = "/apis/apps/v1/namespaces/shop/deployments";
    let created = api.call("POST", path, deployment).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(created.body["metadata"]["namespace"], "shop");
    let warnings = created.warnings();
    assert!(warnings[0].starts_with("299 - \""), "{warnings:?}");
    assert!(warnings[0].contains("Deployment shop/web"), "{warnings:?}");

    api.call("POST", SERVICES, SERVICE).await;
    let missing = ROUTE.replace("hosts: [web]", "hosts: [web]\n  gateways: [edge]");
    let created = api.call("POST", ROUTES, &missing).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let warnings = created.warnings();
    assert!(
        warnings.iter().any(|text| text.contains("default/edge")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn other_names_and_foreign_pages_are_kept_out() {
    let api = Api::new();
    let rebound = Request::get("/apis").header(header::HOST, "evil.example");
    let answer = api.send(rebound.body(Body::empty()).unwrap()).await;
    answer.refused(403, "Forbidden", &["evil.example", "localhost"]);
    let form = Request::post("/apply")
        .header(header::HOST, "localhost:15080")
        .header(header::ORIGIN, "http://evil.example");
    let answer = api.send(form.body(Body::from(SERVICE)).unwrap()).await;
    answer.refused(403, "Forbidden", &["http://evil.example"]);
    assert!(api.store.view().config.is_empty());
}
