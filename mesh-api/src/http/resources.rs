//! Create, read, update, delete and list, for every kind alike.
//!
//! [`super::path`] says what a URL means, [`super::body`] what a body holds, [`crate::store`] what may be
//! written. Here they meet, following the Kubernetes API: shapes, status codes and warnings.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use mesh_config::analysis::joined;
use mesh_config::model::{Object, ObjectKey};
use mesh_config::{DEFAULT_NAMESPACE, Finding, Parsed};
use serde_json::{Value, json};

use super::derived::put_status;
use super::path::ResourcePath;
use super::query::Options;
use super::status::{ApiError, Reason, deleted};
use super::{body, warning};
use crate::store::{Precondition, Refusal, Store, shown_as, text};

/// Everything below `/api/v1/`.
pub(crate) async fn core(
    State(store): State<Arc<Store>>,
    Path(rest): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let path = ResourcePath::parse("", "v1", &rest)?;
    serve(store, path, query.as_deref(), method, headers, body).await
}

/// Everything below `/apis/GROUP/VERSION/`.
pub(crate) async fn grouped(
    State(store): State<Arc<Store>>,
    Path((group, version, rest)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let path = ResourcePath::parse(&group, &version, &rest)?;
    serve(store, path, query.as_deref(), method, headers, body).await
}

async fn serve(
    store: Arc<Store>,
    path: ResourcePath,
    query: Option<&str>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let options = Options::parse(query)?;
    match (path.key(), method) {
        (Some(key), Method::GET | Method::HEAD) => get(&store, &path, &key),
        (None, Method::GET | Method::HEAD) => Ok(list(&store, &path)),
        (Some(key), Method::PUT) => {
            let bytes = body::read(&headers, body).await?;
            let (object, warnings) = one_object(headers, bytes, &path).await?;
            if object.metadata.name != key.name {
                let message = format!(
                    "the body's metadata.name is {}, the URL names {}",
                    object.metadata.name, key.name
                );
                return Err(ApiError::new(Reason::BadRequest, message));
            }
            let update = move |store: &Store| store.update(object, options.dry_run);
            let written = blocking(store, update).await?;
            let warnings = joined(warnings, written.warnings);
            let shown = shown_as(&written.object, &path.api_version);
            Ok(answer(StatusCode::OK, shown, &warnings))
        }
        (Some(key), Method::DELETE) => {
            let bytes = body::read(&headers, body).await?;
            let (precondition, dry_run) = delete_options(&bytes)?;
            let dry_run = dry_run || options.dry_run;
            let delete = move |store: &Store| {
                let written = store.delete(&key, &precondition, dry_run)?;
                Ok((key, written))
            };
            let (key, written) = blocking(store, delete).await?;
            let status = deleted(&key, text(&written.object, "uid"));
            Ok(answer(StatusCode::OK, status, &written.warnings))
        }
        (None, Method::POST) if path.namespace.is_some() || !path.kind.namespaced() => {
            let bytes = body::read(&headers, body).await?;
            let (object, warnings) = one_object(headers, bytes, &path).await?;
            let create = move |store: &Store| store.create(object, options.dry_run);
            let written = blocking(store, create).await?;
            let warnings = joined(warnings, written.warnings);
            let shown = shown_as(&written.object, &path.api_version);
            Ok(answer(StatusCode::CREATED, shown, &warnings))
        }
        (key, method) => Ok(not_allowed(&path, key.is_some(), &method)),
    }
}

fn get(store: &Store, path: &ResourcePath, key: &ObjectKey) -> Result<Response, ApiError> {
    let view = store.view();
    match view.config.get(key) {
        Some(object) => {
            let mut shown = shown_as(object, &path.api_version);
            put_status(&view, object, &mut shown);
            Ok(Json(shown).into_response())
        }
        None => Err(Refusal::NotFound(key.clone()).into()),
    }
}

fn list(store: &Store, path: &ResourcePath) -> Response {
    let view = store.view();
    let items: Vec<Value> = view
        .list(path.kind, path.namespace.as_deref())
        .iter()
        .map(|object| {
            let mut shown = shown_as(object, &path.api_version);
            put_status(&view, object, &mut shown);
            shown
        })
        .collect();
    let list = json!({
        "apiVersion": path.api_version,
        "kind": format!("{}List", path.kind),
        "metadata": { "resourceVersion": view.revision.to_string() },
        "items": items,
    });
    Json(list).into_response()
}

/// The only object of a body, as the URL's kind, version and namespace ask for it.
async fn one_object(
    headers: HeaderMap,
    bytes: Vec<u8>,
    path: &ResourcePath,
) -> Result<(Object, Vec<Finding>), ApiError> {
    let bad = |message: String| Err(ApiError::new(Reason::BadRequest, message));
    let namespace = path.namespace.as_deref();
    let default = namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned();
    let mut parsed = body::parse(headers, bytes, default).await?;
    let count = parsed.len();
    let Some(Parsed { object, warnings }) = parsed.pop().filter(|_| count == 1) else {
        return bad(format!(
            "the body holds {count} objects and this URL takes one; POST several to /apply"
        ));
    };
    if object.kind != path.kind {
        return bad(format!(
            "the body is a {}, the URL takes a {}; POST it to its own collection, or to /apply",
            object.kind, path.kind
        ));
    }
    if object.api_version != path.api_version {
        return bad(format!(
            "the body's apiVersion is {}, the URL's is {}; make them equal",
            object.api_version, path.api_version
        ));
    }
    let written = &object.metadata.namespace;
    if let Some(namespace) = namespace
        && written != namespace
    {
        return bad(format!(
            "the body's metadata.namespace is {written}, the URL names {namespace}"
        ));
    }
    Ok((object, warnings))
}

/// Kubernetes' DeleteOptions, as far as they mean something here.
fn delete_options(bytes: &[u8]) -> Result<(Precondition, bool), ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok((Precondition::default(), false));
    }
    let options: Value = serde_json::from_slice(bytes).map_err(|error| {
        let message =
            format!("the body of a DELETE must be empty or DeleteOptions in JSON: {error}");
        ApiError::new(Reason::BadRequest, message)
    })?;
    let precondition = |field: &str| {
        let value = options.get("preconditions")?.get(field)?;
        value.as_str().map(str::to_owned)
    };
    let dry_run = options.get("dryRun").and_then(Value::as_array);
    Ok((
        Precondition {
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
        },
        dry_run.is_some_and(|runs| !runs.is_empty()),
    ))
}

/// Runs a write where it may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    store: Arc<Store>,
    write: impl FnOnce(&Store) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(move || write(&store)).await {
        Ok(result) => result.map_err(|refusal| {
            if matches!(refusal, Refusal::Disk(_)) {
                tracing::error!(error = %refusal, "a change was not stored");
            }
            refusal.into()
        }),
        Err(error) => Err(ApiError::new(
            Reason::InternalError,
            format!("the write broke off: {error}"),
        )),
    }
}

pub(super) fn answer(code: StatusCode, body: Value, warnings: &[Finding]) -> Response {
    let mut response = (code, Json(body)).into_response();
    warning::add(response.headers_mut(), warnings);
    response
}

fn not_allowed(path: &ResourcePath, object: bool, method: &Method) -> Response {
    let (what, allowed) = if object {
        ("an object", "GET, HEAD, PUT, DELETE")
    } else if path.namespace.is_none() && path.kind.namespaced() {
        ("the collection of all namespaces", "GET, HEAD")
    } else {
        ("a collection", "GET, HEAD, POST")
    };
    let message = format!("{method} is not served for {what}; it takes {allowed}");
    let mut response = ApiError::new(Reason::MethodNotAllowed, message).into_response();
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
