//! The config API as a client sees it, over the router itself.

use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ROUTES: &str = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
";

const ROUTE: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: web}}]}]
";

struct Api {
    store: Arc<Store>,
    router: Router,
    _state: tempfile::TempDir,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Api {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(state.path()).unwrap());
        let router = closed(config_api(Arc::clone(&store), Readiness::new()));
        Self {
            store,
            router,
            _state: state,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            code: head.status.as_u16(),
            headers: head.headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_as(method, path, body, None).await
    }

    async fn call_as(&self, method: &str, path: &str, body: &str, kind: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:15080");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }
}

impl Answer {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    fn warnings(&self) -> Vec<&str> {
        let all = self.headers.get_all(header::WARNING).iter();
        all.map(|value| str::from_utf8(value.as_bytes()).unwrap())
            .collect()
    }

    #[track_caller]
    fn refused(&self, code: u16, reason: &str, words: &[&str]) {
        assert_eq!((self.code, self.reason()), (code, reason), "{}", self.text);
        assert_eq!(self.body["kind"], "Status");
        assert_eq!(self.body["status"], "Failure");
        assert_eq!(self.body["code"], code);
        for word in words {
            assert!(self.text.contains(word), "{word:?} is not in {}", self.text);
        }
    }
}

#[tokio::test]
async fn create_read_update_list_delete() {
    let api = Api::new();
    let created = api.call("POST", SERVICES, SERVICE).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(created.body["metadata"]["namespace"], "default");

    let path = format!("{SERVICES}/web");
    let read = api.call("GET", &path, "").await;
    assert_eq!((read.code, &read.body), (200, &created.body));

    let mut changed = read.body.clone();
    changed["spec"]["ports"][0]["port"] = json!(81);
    let json = Some("application/json");
    let updated = api.call_as("PUT", &path, &changed.to_string(), json).await;
    assert_eq!(updated.code, 200, "{}", updated.text);
    assert_ne!(
        updated.body["metadata"]["resourceVersion"],
        created.body["metadata"]["resourceVersion"]
    );
    let stale = api.call_as("PUT", &path, &changed.to_string(), json).await;
    stale.refused(409, "Conflict", &["read it again"]);
    assert_eq!(stale.body["details"]["name"], "web");
    assert_eq!(stale.body["details"]["kind"], "services");

    let list = api.call("GET", SERVICES, "").await;
    assert_eq!(list.body["kind"], "ServiceList");
    assert_eq!(list.body["apiVersion"], "v1");
    assert_eq!(list.body["items"], json!([updated.body]));
    assert_eq!(
        list.body["metadata"]["resourceVersion"],
        updated.body["metadata"]["resourceVersion"]
    );
    let everywhere = api.call("GET", "/api/v1/services", "").await;
    assert_eq!(everywhere.body["items"], list.body["items"]);
    let elsewhere = api
        .call("GET", "/api/v1/namespaces/other/services", "")
        .await;
    assert_eq!(elsewhere.body["items"], json!([]));

    let deleted = api.call("DELETE", &path, "").await;
    assert_eq!(
        (deleted.code, &deleted.body["status"]),
        (200, &json!("Success"))
    );
    api.call("GET", &path, "")
        .await
        .refused(404, "NotFound", &["Service default/web"]);
    api.call("DELETE", &path, "")
        .await
        .refused(404, "NotFound", &[]);
    api.call("PUT", &path, SERVICE)
        .await
        .refused(404, "NotFound", &[]);
}

#[tokio::test]
async fn an_object_is_readable_under_every_version_of_its_kind() {
    let api = Api::new();
    api.call("POST", SERVICES, SERVICE).await;
    let created = api.call("POST", ROUTES, ROUTE).await;
    assert_eq!(created.code, 201, "{}", created.text);
    for version in ["v1alpha3", "v1beta1", "v1"] {
        let version = format!("networking.istio.io/{version}");
        let collection = format!("/apis/{version}/namespaces/default/virtualservices");
        let list = api.call("GET", &collection, "").await;
        assert_eq!(list.body["apiVersion"], json!(version));
        assert_eq!(list.body["items"][0]["apiVersion"], json!(version));
        let path = format!("{collection}/web");
        let mut read = api.call("GET", &path, "").await.body;
        assert_eq!(read["apiVersion"], json!(version));
        // Written back as it was read, it is no change.
        let same = api.call("PUT", &path, &read.to_string()).await;
        assert_eq!(same.body, read);
        read["apiVersion"] = created.body["apiVersion"].clone();
        assert_eq!(read, created.body);
    }
}

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
async fn objects_of_the_directory_are_read_only() {
    let api = Api::new();
    let parsed = mesh_config::parse("mesh/web.yaml".as_ref(), SERVICE).unwrap();
    let objects = parsed.into_iter().map(|one| one.object).collect();
    api.store.replace_directory(objects).unwrap();
    let path = format!("{SERVICES}/web");
    assert_eq!(api.call("GET", &path, "").await.code, 200);
    api.call("DELETE", &path, "")
        .await
        .refused(403, "Forbidden", &["mesh/web.yaml:2"]);
    api.call("PUT", &path, SERVICE)
        .await
        .refused(403, "Forbidden", &["mesh/web.yaml:2"]);
    api.call("POST", "/apply", SERVICE)
        .await
        .refused(403, "Forbidden", &["mesh/web.yaml:2"]);
    let again = api.call("POST", SERVICES, SERVICE).await;
    again.refused(409, "AlreadyExists", &["mesh/web.yaml:2"]);
}

#[tokio::test]
async fn discovery_names_every_kind() {
    let api = Api::new();
    let groups = api.call("GET", "/apis", "").await.body;
    let istio = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["name"] == "networking.istio.io")
        .unwrap();
    assert_eq!(istio["preferredVersion"]["version"], "v1");
    let named = istio["versions"].as_array().unwrap();
    for version in named {
        let path = format!("/apis/{}", version["groupVersion"].as_str().unwrap());
        let resources = api.call("GET", &path, "").await.body;
        let names: Vec<&str> = resources["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|resource| resource["name"].as_str())
            .collect();
        assert!(names.contains(&"virtualservices"), "{path}: {names:?}");
    }
    let core = api.call("GET", "/api/v1", "").await.body;
    let service = &core["resources"].as_array().unwrap()[0];
    assert_eq!(service["name"], "services");
    assert_eq!(service["namespaced"], true);
    assert_eq!(
        api.call("GET", "/api", "").await.body["versions"],
        json!(["v1"])
    );
    assert_eq!(
        api.call("GET", "/apis/networking.istio.io", "").await.body["kind"],
        "APIGroup"
    );
    assert!(api.call("GET", "/version", "").await.body["gitVersion"].is_string());
    api.call("GET", "/apis/nothing", "")
        .await
        .refused(404, "NotFound", &["nothing"]);
    api.call("GET", "/apis/apps/v9", "")
        .await
        .refused(404, "NotFound", &["apps/v9"]);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(api.call("GET", path, "").await.text, "ok");
    }
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
