//! `/api/mesh/analysis`: what is found in the configuration that is in force, or in what would be with these objects.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use mesh_config::analysis::{self, Options};
use mesh_config::{DEFAULT_NAMESPACE, Finding};
use serde_json::{Value, json};

use super::body;
use super::status::{ApiError, Reason};
use crate::store::Store;

/// The findings about the stored objects and those of the configuration directory.
pub(crate) async fn get(State(store): State<Arc<Store>>) -> Result<Json<Value>, ApiError> {
    let config = store.view().config.clone();
    analysed(move || analysis::analyze(&config, &Options::running())).await
}

/// The findings as they would be if the objects of the body were written. Nothing is; objects that would be refused
/// are looked at, too.
pub(crate) async fn post(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = body::read(&headers, body).await?;
    let text = String::from_utf8(bytes).map_err(|error| {
        ApiError::new(
            Reason::BadRequest,
            format!("the body is not UTF-8: {error}"),
        )
    })?;
    let mut config = store.view().config.clone();
    analysed(move || {
        let (objects, found) = analysis::read(Path::new(body::ORIGIN), &text, DEFAULT_NAMESPACE);
        config.extend(objects);
        analysis::joined(found, analysis::analyze(&config, &Options::running()))
    })
    .await
}

/// Analyses where it delays nobody.
async fn analysed(
    analyse: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    let findings = tokio::task::spawn_blocking(analyse).await;
    let findings = findings.map_err(|error| {
        let message = format!("the analysis broke off: {error}");
        ApiError::new(Reason::InternalError, message)
    })?;
    let findings: Vec<Value> = findings.iter().map(Finding::to_json).collect();
    Ok(Json(json!({ "findings": findings })))
}
