//! One object at a time: create, read, update, list, delete.

use super::*;

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
