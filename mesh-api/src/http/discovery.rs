//! What this API has, in the documents in which Kubernetes' clients look for it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use mesh_config::model::Kind;
use serde_json::{Value, json};

use super::status::{ApiError, Reason};

/// `GET /version`
pub(crate) async fn version() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    Json(json!({
        "major": parts.next(),
        "minor": parts.next(),
        "gitVersion": format!("v{version}"),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    }))
}

/// `GET /api`
pub(crate) async fn core_versions() -> Json<Value> {
    Json(json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    }))
}

/// `GET /apis`
pub(crate) async fn groups() -> Json<Value> {
    let groups: Vec<Value> = versions_by_group()
        .iter()
        .map(|(group, versions)| group_document(group, versions))
        .collect();
    Json(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
}

/// `GET /apis/GROUP`
pub(crate) async fn group(Path(group): Path<String>) -> Result<Json<Value>, ApiError> {
    let groups = versions_by_group();
    let versions = groups.get(group.as_str()).ok_or_else(|| absent(&group))?;
    let mut document = group_document(&group, versions);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Ok(Json(document))
}

/// `GET /api/v1`
pub(crate) async fn core_resources() -> Json<Value> {
    Json(resources("", "v1"))
}

/// `GET /apis/GROUP/VERSION`
pub(crate) async fn group_resources(
    Path((group, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let groups = versions_by_group();
    let known = groups.get(group.as_str());
    if !known.is_some_and(|versions| versions.contains(&version.as_str())) {
        return Err(absent(&format!("{group}/{version}")));
    }
    Ok(Json(resources(&group, &version)))
}

/// The versions of each named group, the preferred one first.
fn versions_by_group() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in Kind::all().filter(|kind| !kind.group().is_empty()) {
        let versions = groups.entry(kind.group()).or_default();
        for version in kind.versions() {
            if !versions.contains(version) {
                versions.push(version);
            }
        }
    }
    groups
}

fn group_document(group: &str, versions: &[&str]) -> Value {
    let documents: Vec<Value> = versions
        .iter()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    json!({ "name": group, "versions": documents, "preferredVersion": documents.first() })
}

fn resources(group: &str, version: &str) -> Value {
    let resources: Vec<Value> = Kind::all()
        .filter(|kind| kind.group() == group && kind.versions().contains(&version))
        .map(|kind| {
            json!({
                "name": kind.plural(),
                "singularName": kind.singular(),
                "namespaced": kind.namespaced(),
                "kind": kind.kind(),
                "verbs": ["create", "delete", "get", "list", "update"],
            })
        })
        .collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

fn absent(what: &str) -> ApiError {
    let message = format!("there is no {what} here; GET /apis lists the groups and their versions");
    ApiError::new(Reason::NotFound, message)
}
