//! The config API over HTTP, in the Kubernetes API's paths and shapes.
//!
//! [`resources`] is create, read, update, delete and list for every kind; [`apply`] takes whole texts,
//! [`mod@analysis`] says what contradicts what in them;
//! [`discovery`] says what there is; [`mod@views`], [`graph`] and [`mod@page`] show what the mesh does.
//! [`mod@scraping`] tells Prometheus where they are measured. [`guard`] says who may talk to it, [`access`] what the token is for.

mod access;
mod analysis;
mod apply;
mod body;
mod derived;
mod discovery;
mod graph;
mod guard;
mod live;
mod page;
mod path;
mod query;
mod resources;
mod scraping;
mod status;
#[cfg(test)]
mod tests;
mod views;
mod warning;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use http::{Method, StatusCode, Uri};
use mesh_process::Readiness;

pub(crate) use access::Access;
pub(crate) use graph::{Graphs, graphs};
pub(crate) use page::{Page, page};
pub(crate) use scraping::{Scraping, scraping};
use status::{ApiError, Reason};
pub(crate) use views::{Views, views};

use crate::store::Store;

/// The config API's routes.
pub(crate) fn config_api(store: Arc<Store>, readiness: Readiness) -> Router {
    let health = Router::new()
        .route("/healthz", get("ok"))
        .route("/livez", get("ok"))
        .route("/readyz", get(ready))
        .with_state(readiness);
    Router::new()
        .route("/version", get(discovery::version))
        .route("/api", get(discovery::core_versions))
        .route("/api/v1", get(discovery::core_resources))
        .route("/api/v1/{*rest}", any(resources::core))
        .route("/apis", get(discovery::groups))
        .route("/apis/{group}", get(discovery::group))
        .route("/apis/{group}/{version}", get(discovery::group_resources))
        .route("/apis/{group}/{version}/{*rest}", any(resources::grouped))
        .route("/apply", post(apply::apply))
        .route(
            "/api/mesh/analysis",
            get(analysis::get).post(analysis::post),
        )
        .with_state(store)
        .merge(health)
}

/// Closes a set of routes: answers for what is not there, and the guard in front of everything.
pub(crate) fn closed(routes: Router, access: Arc<Access>) -> Router {
    routes
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(access, guard::guarded))
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let pending = readiness.pending();
    if pending.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let text = format!("waiting for {}", pending.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

async fn no_such_path(uri: Uri) -> ApiError {
    let message = format!(
        "there is nothing at {}; the config API is at /api and /apis, the graph at /graph.svg",
        uri.path()
    );
    ApiError::new(Reason::NotFound, message)
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(Reason::MethodNotAllowed, message)
}
