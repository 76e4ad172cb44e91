//! What gRPC adds to HTTP: its content type, and a status of its own.

use std::fmt::Write;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// Is this gRPC's content type?
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content
        .and_then(|content| content.strip_prefix(b"application/grpc"))
        .is_some_and(
            // Not `application/grpc-web`.
            |rest| matches!(rest, [] | [b'+' | b';', ..]),
        )
}

/// Makes a failure one that gRPC's clients understand: 200, no body, and their own status.
pub(crate) fn refuse(response: &mut Response<()>, code: u8, sentence: &str) {
    let headers = response.headers_mut();
    let content = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, content);
    headers.insert(STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(sentence)) {
        headers.insert(MESSAGE, message);
    }
}

/// gRPC's status in trailers, or in the headers of a response without a body.
pub(crate) fn status(headers: &HeaderMap) -> Option<u8> {
    let status = headers.get(STATUS)?.to_str().ok()?;
    // Anything else counts as UNKNOWN, as gRPC's own clients do.
    Some(status.parse().ok().filter(|code| *code <= 16).unwrap_or(2))
}

/// The gRPC status for an HTTP status, as gRPC's specification maps them.
pub(crate) fn code(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 501 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The HTTP status for a gRPC status, for who does not speak gRPC.
pub(crate) fn http_status(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// As `grpc-message` has to be.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(content: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        headers
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for content in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
        ] {
            assert!(is_grpc(&typed(content)), "{content}");
        }
        for content in ["application/grpc-web", "application/grpcx", "text/plain"] {
            assert!(!is_grpc(&typed(content)), "{content}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_status_is_a_small_number_or_unknown() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(STATUS, text.parse().expect("a value"));
            status(&headers)
        };
        assert_eq!(
            (with("0"), with("16"), with("17"), with("x")),
            (Some(0), Some(16), Some(2), Some(2))
        );
        assert_eq!(status(&HeaderMap::new()), None);
    }

    #[test]
    fn a_message_is_plain_ascii() {
        assert_eq!(
            percent_encoded("100% für alle\n"),
            "100%25 f%C3%BCr alle%0A"
        );
    }
}
