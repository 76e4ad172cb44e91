//! Who may talk to the config API.
//!
//! It has no authentication yet, so it listens on loopback only, and [`mesh_process::guard`] keeps out web
//! pages. Refusals look like all others of this API.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mesh_process::guard;

use super::status::{ApiError, Reason};

/// Lets through what is addressed to this machine and does not come from a foreign page. Answers are never
/// taken for something that they do not say they are.
pub(crate) async fn local_only(request: Request, next: Next) -> Response {
    let mut response = match guard::check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(foreign) => {
            let reason = match foreign.status() {
                StatusCode::FORBIDDEN => Reason::Forbidden,
                _ => Reason::BadRequest,
            };
            ApiError::new(reason, foreign.to_string()).into_response()
        }
    };
    let as_declared = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, as_declared);
    response
}
