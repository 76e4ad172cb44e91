//! Kubernetes' `Status` object: how the config API says no, and that something is gone.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use mesh_config::Finding;
use mesh_config::model::{Kind, ObjectKey};
use serde_json::{Value, json};

use crate::store::Refusal;

/// Kubernetes' machine-readable reasons, as far as this API has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The request cannot be understood.
    BadRequest,
    /// Who asks does not show the token.
    Unauthorized,
    /// Not from here, or not this object.
    Forbidden,
    /// No such object or path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Create, and there is one.
    AlreadyExists,
    /// Based on an outdated version.
    Conflict,
    /// The body took too long to arrive.
    Timeout,
    /// There are as many of these as there may be.
    TooManyRequests,
    /// The body is too large.
    RequestEntityTooLarge,
    /// The body is neither JSON nor YAML.
    UnsupportedMediaType,
    /// The object is wrong.
    Invalid,
    /// The server could not do its work.
    InternalError,
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    reason: Reason,
    message: String,
    /// The object that it is about.
    subject: Option<(Kind, String)>,
    /// What is wrong, field by field: (field, message).
    causes: Vec<(String, String)>,
}

impl Reason {
    fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::AlreadyExists | Self::Conflict => StatusCode::CONFLICT,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ApiError {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            subject: None,
            causes: Vec::new(),
        }
    }

    /// Names the object that the error is about.
    pub(crate) fn about(mut self, kind: Kind, name: &str) -> Self {
        self.subject = Some((kind, name.to_owned()));
        self
    }

    /// Findings, each a cause with its field. Their sentences make the message.
    pub(crate) fn findings(reason: Reason, findings: &[Finding]) -> Self {
        let messages: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let mut error = Self::new(reason, messages.join("\n"));
        error.causes = findings
            .iter()
            .zip(messages)
            .map(|(finding, message)| (finding.field.clone(), message))
            .collect();
        if let [only] = findings
            && let Some(key) = &only.object
        {
            error = error.about(key.kind, &key.name);
        }
        error
    }

    fn body(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": format!("{:?}", self.reason),
        });
        let mut details = serde_json::Map::new();
        if let Some((kind, name)) = &self.subject {
            details.insert("name".to_owned(), name.clone().into());
            if !kind.group().is_empty() {
                details.insert("group".to_owned(), kind.group().into());
            }
            details.insert("kind".to_owned(), kind.plural().into());
        }
        if !self.causes.is_empty() {
            let cause = |(field, message): &(String, String)| json!({ "reason": "FieldValueInvalid", "message": message, "field": field });
            let causes = self.causes.iter().map(cause).collect();
            details.insert("causes".to_owned(), Value::Array(causes));
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status["code"] = self.reason.code().as_u16().into();
        status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.reason.code();
        let mut response = (code, Json(self.body())).into_response();
        if self.reason == Reason::Unauthorized {
            let bearer = http::HeaderValue::from_static("Bearer realm=\"mesh-api\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        if self.reason == Reason::Timeout {
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let about =
            |reason, key: &ObjectKey| Self::new(reason, message.clone()).about(key.kind, &key.name);
        match &refusal {
            Refusal::AlreadyExists { key, .. } => about(Reason::AlreadyExists, key),
            Refusal::NotFound(key) => about(Reason::NotFound, key),
            Refusal::Conflict { key, .. } | Refusal::Needed { key, .. } => {
                about(Reason::Conflict, key)
            }
            Refusal::ReadOnly { key, .. } => about(Reason::Forbidden, key),
            Refusal::Invalid(findings) => Self::findings(Reason::Invalid, findings),
            Refusal::Disk(_) => Self::new(Reason::InternalError, message),
        }
    }
}

/// The answer to a deletion.
pub(crate) fn deleted(key: &ObjectKey, uid: Option<&str>) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "message": format!("{} deleted", key),
        "details": {
            "name": key.name,
            "group": key.kind.group(),
            "kind": key.kind.plural(),
            "uid": uid,
        },
    })
}
