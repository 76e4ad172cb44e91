//! `POST /apply`: all objects of a text at once, or none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use mesh_config::analysis::{WRITTEN_TWICE, joined};
use mesh_config::model::{Object, ObjectKey};
use mesh_config::{DEFAULT_NAMESPACE, Finding};
use serde_json::{Value, json};

use super::body;
use super::query::Options;
use super::resources::{answer, blocking};
use super::status::ApiError;
use crate::store::{Store, Written};

/// Creates what is not there and replaces what differs. The objects are checked together, so that their
/// order does not matter.
pub(crate) async fn apply(
    State(store): State<Arc<Store>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let options = Options::parse(query.as_deref())?;
    let bytes = body::read(&headers, body).await?;
    let parsed = body::parse(headers, bytes, DEFAULT_NAMESPACE.to_owned()).await?;
    let mut warnings = Vec::new();
    let mut objects = Vec::with_capacity(parsed.len());
    for one in parsed {
        warnings.extend(one.warnings);
        objects.push(one.object);
    }
    let objects = last_of_each(objects, &mut warnings);
    let apply = move |store: &Store| {
        let written = store.apply(objects, options.dry_run)?;
        Ok((written, store.view().revision))
    };
    let (written, revision) = blocking(store, apply).await?;
    let applied: Vec<Value> = written.iter().map(describe).collect();
    let analysed = written.into_iter().flat_map(|one| one.warnings).collect();
    let warnings = joined(warnings, analysed);
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let result = json!({ "applied": applied, "warnings": texts, "revision": revision });
    Ok(answer(StatusCode::OK, result, &warnings))
}

fn describe(written: &Written) -> Value {
    let object = &written.object;
    json!({
        "kind": object.kind.kind(),
        "namespace": object.metadata.namespace,
        "name": object.metadata.name,
        "action": written.action.as_str(),
    })
}

/// An object that is written more than once counts as it is written last, as if the documents had been
/// applied one after the other.
fn last_of_each(objects: Vec<Object>, warnings: &mut Vec<Finding>) -> Vec<Object> {
    let mut place_of: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    let mut kept: Vec<Object> = Vec::with_capacity(objects.len());
    for object in objects {
        let key = object.key();
        let Some(&place) = place_of.get(&key) else {
            place_of.insert(key, kept.len());
            kept.push(object);
            continue;
        };
        let earlier = std::mem::replace(&mut kept[place], object);
        let later = &kept[place];
        if !later.same_content(&earlier) {
            let document =
                |object: &Object| object.origin.as_ref().map_or(0, |origin| origin.document);
            let message = format!(
                "it is written differently in documents {} and {}, and the last one counts; remove the other",
                document(&earlier),
                document(later)
            );
            warnings.push(Finding::of(&WRITTEN_TWICE, key, message));
        }
    }
    kept
}
