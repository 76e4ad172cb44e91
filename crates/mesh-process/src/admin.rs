//! What a daemon serves about itself: metrics and health. [`crate::serve()`] serves it.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};

use crate::Readiness;

/// `GET /metrics` and `GET /stats/prometheus`, in Prometheus' text format.
pub fn metrics(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(expose))
        .route("/stats/prometheus", get(expose))
        .with_state(registry)
}

/// `GET /healthz/ready`: 200, or 503 with what is missing. `GET /healthz/live`: 200.
pub fn health(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz/ready", get(ready))
        .route("/healthz/live", get(|| async { "live\n" }))
        .with_state(readiness)
}

async fn expose(State(registry): State<Registry>) -> impl IntoResponse {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain".to_owned())],
            format!("the metrics cannot be written: {error}\n").into_bytes(),
        ),
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let pending = readiness.pending();
    if pending.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {}\n", pending.join(", ")),
        )
    }
}
