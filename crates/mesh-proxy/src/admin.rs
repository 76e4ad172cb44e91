//! What a proxy tells about itself, and the few things it can be told: the admin interface.
//!
//! It asks nobody who they are, so it listens on loopback only and does not serve web pages of others. Reading never changes anything: what does
//! is a POST. Metrics and health are also served on ports of their own, for those who come from outside.

mod dump;

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mesh_identity::{Identity, SvidError};
use mesh_process::{Process, Readiness, guard, logs};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::control::{Freshness, Questions, View};

const HELP: &str = "\
GET  /config_dump       what is in force, and what waits or was refused and why
GET  /listeners         listeners and where they are bound
GET  /clusters          clusters with their endpoints and requests under way
GET  /certs             the certificate in use
GET  /logging           what is logged
POST /logging?level=L   log from level L on, or directives such as info,mesh_proxy=debug
POST /drain             finish what is under way and stop
GET  /stats/prometheus  metrics
GET  /healthz/ready     whether requests can be served
GET  /healthz/live      whether the process lives
";

/// What the admin interface looks at.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) questions: Questions,
    pub(crate) freshness: watch::Receiver<Freshness>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) process: Process,
}

/// Everything.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/", get(HELP))
        .route("/config_dump", get(config_dump))
        .route("/listeners", get(listeners))
        .route("/clusters", get(clusters))
        .route("/certs", get(certs))
        .route("/logging", get(level).post(set_level))
        .route("/drain", post(drain))
        .with_state(admin.clone())
        .merge(mesh_process::admin::metrics(admin.process.registry.clone()))
        .merge(health(admin.process.readiness, admin.freshness))
        .layer(from_fn(guard::local_only))
}

/// `GET /healthz/ready`: 200, or 503 with what is missing. `GET /healthz/live`: 200.
pub(crate) fn health(readiness: Readiness, freshness: watch::Receiver<Freshness>) -> Router {
    let ready = move || {
        let answer = readiness_in_words(&readiness, &freshness.borrow(), SystemTime::now());
        async move { answer }
    };
    Router::new()
        .route("/healthz/ready", get(ready))
        .route("/healthz/live", get("live\n"))
}

fn readiness_in_words(
    readiness: &Readiness,
    freshness: &Freshness,
    now: SystemTime,
) -> (StatusCode, String) {
    let pending = readiness.pending();
    if !pending.is_empty() {
        let text = format!("waiting for {}\n", pending.join(", "));
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let text = match freshness {
        Freshness::Following | Freshness::Never => "ready\n".to_owned(),
        Freshness::AwaySince(since) => format!(
            "ready; the control plane is away, the configuration in force was confirmed {} s ago\n",
            now.duration_since(*since).unwrap_or_default().as_secs()
        ),
    };
    (StatusCode::OK, text)
}

/// Why a question was not answered.
struct Unanswered(StatusCode, String);

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl Admin {
    async fn view(&self) -> Result<View, Unanswered> {
        let stopped = || {
            Unanswered(
                StatusCode::SERVICE_UNAVAILABLE,
                "the proxy is stopping".to_owned(),
            )
        };
        let (question, answer) = oneshot::channel();
        self.questions.send(question).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}

async fn config_dump(State(admin): State<Admin>) -> Result<Json<Value>, Unanswered> {
    let view = admin.view().await?;
    let freshness = admin.freshness.borrow().clone();
    Ok(Json(dump::configuration(&view, &freshness)))
}

async fn listeners(State(admin): State<Admin>) -> Result<Json<Value>, Unanswered> {
    let view = admin.view().await?;
    Ok(Json(dump::listeners(&view)))
}

async fn clusters(State(admin): State<Admin>) -> Result<Json<Value>, Unanswered> {
    let view = admin.view().await?;
    Ok(Json(dump::clusters(&view.linked.snapshot)))
}

async fn certs(State(admin): State<Admin>) -> Result<Json<Value>, Unanswered> {
    certificate(&admin.identity).map(Json).map_err(|error| {
        Unanswered(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot read the certificate: {error}"),
        )
    })
}

fn certificate(identity: &Identity) -> Result<Value, SvidError> {
    let material = identity.current();
    let svid = &material.svid;
    let left = svid
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let roots: Vec<String> = material
        .bundle
        .roots()
        .iter()
        .map(|root| mesh_identity::Fingerprint::of(root).to_string())
        .collect();
    Ok(json!({
        "id": svid.id.as_str(),
        "serial": svid.serial()?,
        "notBefore": dump::time(svid.not_before),
        "notAfter": dump::time(svid.not_after),
        "secondsLeft": left.as_secs(),
        "replaced": material.generation - 1,
        "roots": roots,
    }))
}

async fn level() -> Result<String, Unanswered> {
    logs::level()
        .map(|level| level + "\n")
        .ok_or_else(|| Unanswered(StatusCode::NOT_FOUND, logs::LogsError::NotSetUp.to_string()))
}

#[derive(Deserialize)]
struct LevelQuery {
    level: Option<String>,
}

async fn set_level(Query(query): Query<LevelQuery>) -> Result<String, Unanswered> {
    let Some(level) = query.level else {
        let text = "say which level: POST /logging?level=debug".to_owned();
        return Err(Unanswered(StatusCode::BAD_REQUEST, text));
    };
    logs::set_level(&level)
        .map_err(|error| Unanswered(StatusCode::BAD_REQUEST, error.to_string()))?;
    tracing::info!(level, "logging was changed by the admin interface");
    Ok(level + "\n")
}

async fn drain(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    tracing::info!("a drain was asked for by the admin interface");
    admin.process.shutdown.trigger();
    (StatusCode::ACCEPTED, "draining\n")
}
