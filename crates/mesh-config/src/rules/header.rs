//! Names of HTTP headers.

use super::Verdict;
use crate::yaml::quoted;

/// The name of an HTTP header (a token of RFC 9110).
pub(crate) fn header_name(text: &str) -> Verdict {
    if text.is_empty() {
        return Err("a header has no name; write it in front of the colon".to_owned());
    }
    let is_token = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if is_token {
        return Ok(());
    }
    Err(format!(
        "{} is not a header's name; use letters, digits and - only",
        quoted(text)
    ))
}

/// A header that may be changed: not a pseudo-header, not `Host`.
pub(crate) fn changeable_header(text: &str) -> Verdict {
    if text.starts_with(':') || text.eq_ignore_ascii_case("host") {
        return Err(format!(
            "{} cannot be changed here; it belongs to the request itself",
            quoted(text)
        ));
    }
    header_name(text)
}

/// The same for what requests get: their host may be set.
pub(crate) fn changeable_request_header(text: &str) -> Verdict {
    if is_authority(text) {
        return Ok(());
    }
    changeable_header(text)
}

/// Whether a header belongs to a connection or says where a message ends: no proxy lets a route change it.
pub(crate) fn is_framing(header: &str) -> bool {
    const FRAMING: [&str; 5] = [
        "connection",
        "content-length",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.iter().any(|name| header.eq_ignore_ascii_case(name))
}

/// A host that can be asked for, with or without a port.
pub(crate) fn is_authority_text(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Whether a header names the host that a request is for.
pub(crate) fn is_authority(header: &str) -> bool {
    header.eq_ignore_ascii_case("host") || header.eq_ignore_ascii_case(":authority")
}

/// A header of a readiness probe, which is stricter than HTTP.
pub(crate) fn probe_header(text: &str) -> Verdict {
    let fine = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fine {
        return Ok(());
    }
    Err(format!(
        "{} is not a header's name; use letters, digits, - and _",
        quoted(text)
    ))
}
