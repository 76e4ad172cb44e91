//! From a request's body to objects: JSON or YAML, one or several, and what is wrong with them.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use mesh_config::{Finding, Parsed};

use super::status::{ApiError, Reason};

/// The largest body, as Kubernetes has it.
const LARGEST: usize = 3 << 20;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// What findings name as the file.
pub(super) const ORIGIN: &str = "request body";

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    /// Also for a body without a telling content type: JSON is YAML, too.
    Yaml,
}

/// Takes in the whole body within the limits of size and time.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = format!(
            "the body is larger than {} MiB; send it in parts",
            LARGEST >> 20
        );
        ApiError::new(Reason::RequestEntityTooLarge, message)
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > LARGEST) {
        return Err(too_large());
    }
    match tokio::time::timeout(PATIENCE, to_bytes(body, LARGEST)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            if let Some(cause) = error.source()
                && cause.is::<LengthLimitError>()
            {
                return Err(too_large());
            }
            let message = format!("the body broke off: {error}");
            Err(ApiError::new(Reason::BadRequest, message))
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} s", PATIENCE.as_secs());
            Err(ApiError::new(Reason::Timeout, message))
        }
    }
}

/// The objects of a body. Those that name no namespace get `namespace`. A large text takes a while, and so it
/// is read where it delays nobody.
pub(crate) async fn parse(
    headers: HeaderMap,
    bytes: Vec<u8>,
    namespace: String,
) -> Result<Vec<Parsed>, ApiError> {
    let parsing = tokio::task::spawn_blocking(move || parse_now(&headers, &bytes, &namespace));
    parsing.await.unwrap_or_else(|error| {
        let message = format!("reading the body broke off: {error}");
        Err(ApiError::new(Reason::InternalError, message))
    })
}

fn parse_now(headers: &HeaderMap, bytes: &[u8], namespace: &str) -> Result<Vec<Parsed>, ApiError> {
    let bad = |message: String| ApiError::new(Reason::BadRequest, message);
    let format = format_of(headers)?;
    let text =
        str::from_utf8(bytes).map_err(|error| bad(format!("the body is not UTF-8: {error}")))?;
    let written_anew;
    let text = match format {
        Format::Yaml => text,
        Format::Json => {
            let value: serde_json::Value = serde_json::from_str(text)
                .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
            if text.contains("\\u") || text.contains("\\/") {
                // YAML reads some of JSON's escapes differently: write the text without them.
                written_anew = format!("{value:#}");
                &written_anew
            } else {
                text
            }
        }
    };
    let parsed = mesh_config::parse_in(Path::new(ORIGIN), text, namespace).map_err(|findings| {
        // A finding without object and field is about the text itself.
        let about_text = |finding: &Finding| finding.object.is_none() && finding.field.is_empty();
        let reason = if findings.iter().all(about_text) {
            Reason::BadRequest
        } else {
            Reason::Invalid
        };
        ApiError::findings(reason, &findings)
    })?;
    if parsed.is_empty() {
        return Err(bad("the body holds no object".to_owned()));
    }
    Ok(parsed)
}

fn format_of(headers: &HeaderMap) -> Result<Format, ApiError> {
    let Some(written) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Format::Yaml);
    };
    let written = written.to_str().unwrap_or_default();
    let media_type = written.split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/json" | "text/json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(Format::Yaml),
        // What says nothing, and what curl says when it is told nothing.
        ""
        | "*/*"
        | "text/plain"
        | "application/octet-stream"
        | "application/x-www-form-urlencoded" => Ok(Format::Yaml),
        _ => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            format!(
                "the content type {written} is not taken; send application/json or application/yaml"
            ),
        )),
    }
}
