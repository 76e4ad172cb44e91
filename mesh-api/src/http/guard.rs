//! Who may talk to the config API.
//!
//! Whoever is on this machine's loopback needs no token; there [`mesh_process::guard`] keeps out web pages.
//! Everybody else shows the token ([`super::access`]). Refusals look like all others of this API.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mesh_process::guard::{self, Foreign};

use super::access::{Access, Denied, is_near, is_open};
use super::status::{ApiError, Reason};

/// Lets through who may. Answers are never taken for something that they do not say they are, and no link
/// away from them tells where it was found.
pub(crate) async fn guarded(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check(&access, &request) {
        Ok(None) => next.run(request).await,
        Ok(Some(cookie)) => home_with(cookie),
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    let as_declared = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, as_declared);
    let no_referrer = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, no_referrer);
    response
}

/// Whether a request is served; or a cookie, which it gets instead.
fn check(access: &Access, request: &Request) -> Result<Option<HeaderValue>, Refusal> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let peer = (request.extensions().get::<ConnectInfo<SocketAddr>>()).map(|info| info.0);
    let near = is_near(peer, headers);
    let deny = |denied| {
        access.refuse(denied, peer);
        Refusal::Denied(denied)
    };
    if let Some(login) = access.login(method, uri) {
        return login.map(Some).map_err(deny);
    }
    let proven = access.check(method, headers);
    match proven {
        Ok(()) => Ok(None),
        // What is shown there matters only if it is right: a kubeconfig may have a token of another mesh.
        Err(_) if near => Ok(guard::check(uri, headers).map(|()| None)?),
        Err(_) if is_open(method, uri) => Ok(None),
        Err(denied) => Err(deny(denied)),
    }
}

/// Sends the browser on, so that the token is in its address no more.
fn home_with(cookie: HeaderValue) -> Response {
    let headers = [
        (header::LOCATION, HeaderValue::from_static("/")),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

#[derive(Debug)]
enum Refusal {
    Foreign(Foreign),
    Denied(Denied),
}

impl From<Foreign> for Refusal {
    fn from(foreign: Foreign) -> Self {
        Self::Foreign(foreign)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (reason, message) = match &self {
            Self::Foreign(foreign) => match foreign.status() {
                StatusCode::FORBIDDEN => (Reason::Forbidden, foreign.to_string()),
                _ => (Reason::BadRequest, foreign.to_string()),
            },
            Self::Denied(Denied::ReadOnly) => (Reason::Forbidden, Denied::ReadOnly.to_string()),
            Self::Denied(denied) => (Reason::Unauthorized, denied.to_string()),
        };
        ApiError::new(reason, message).into_response()
    }
}
