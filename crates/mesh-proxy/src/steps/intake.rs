//! Is this a request that can be taken, and which host does it ask for?
//!
//! hyper has checked the framing; here is what a proxy has to check on top, so that everybody behind
//! it reads the same host, the same path and the same end of the request.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::headers::connection_names;
use crate::fail::Fail;

/// Checks a request and brings its target into origin form. Returns the host that is asked for, with
/// its port if it has one; `Host` is removed, so that there is one place to read it from.
pub(crate) fn check(head: &mut Parts) -> Result<HeaderValue, Fail> {
    if head.method == Method::CONNECT {
        return Err(Fail::refused(
            StatusCode::NOT_IMPLEMENTED,
            "CONNECT is not supported: ask for http:// URLs and leave the encryption to the mesh",
        ));
    }
    if wants_upgrade(head) {
        return Err(Fail::refused(
            StatusCode::NOT_IMPLEMENTED,
            "upgrading a connection, as WebSocket does, is not supported: use HTTP/2 streams or plain requests",
        ));
    }
    framing(&head.headers)?;
    forwards(head)?;
    let authority = authority(head)?;
    if !is_host(authority.as_bytes()) {
        return Err(bad(
            "the request's host is not a host name or IP address with an optional port",
        ));
    }
    head.uri = origin_form(head)?;
    Ok(authority)
}

fn bad(sentence: &'static str) -> Fail {
    Fail::refused(StatusCode::BAD_REQUEST, sentence)
}

/// An upgrade to HTTP/2 is an offer that may be ignored; any other is a wish that cannot be met.
fn wants_upgrade(head: &Parts) -> bool {
    let is_h2c = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"h2c");
    let mut upgrades = head.headers.get_all(header::UPGRADE).iter();
    head.version == Version::HTTP_11
        && head.headers.contains_key(header::UPGRADE)
        && !upgrades.all(is_h2c)
        && connection_names(&head.headers).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
}

/// hyper takes any list of transfer codings that ends in `chunked` and decodes only that one.
fn framing(headers: &HeaderMap) -> Result<(), Fail> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Fail::refused(
            StatusCode::NOT_IMPLEMENTED,
            "no transfer coding but chunked is supported: send the body chunked or with its Content-Length",
        ));
    }
    Ok(())
}

/// A client that traces its request's way may say how far it goes.
fn forwards(head: &mut Parts) -> Result<(), Fail> {
    let Some(left) = head.headers.get(header::MAX_FORWARDS) else {
        return Ok(());
    };
    if head.method != Method::OPTIONS && head.method != Method::TRACE {
        return Ok(());
    }
    let left: u32 = left
        .to_str()
        .ok()
        .and_then(|left| left.parse().ok())
        .ok_or_else(|| bad("Max-Forwards is not a number"))?;
    let left = left.checked_sub(1).ok_or_else(|| {
        Fail::refused(
            StatusCode::NOT_IMPLEMENTED,
            "the request ends at this proxy, as its Max-Forwards says: allow one more to reach the service",
        )
    })?;
    head.headers
        .insert(header::MAX_FORWARDS, HeaderValue::from(left));
    Ok(())
}

/// The one host of the request: the target's own in absolute form and in HTTP/2, else `Host`.
fn authority(head: &mut Parts) -> Result<HeaderValue, Fail> {
    let host = match head.headers.entry(header::HOST) {
        header::Entry::Occupied(entry) => Some(entry),
        header::Entry::Vacant(_) => None,
    };
    let host = match host {
        Some(entry) if entry.iter().count() > 1 => {
            return Err(bad("the request has several Host lines: send one"));
        }
        Some(entry) => Some(entry.remove()),
        None => None,
    };
    let Some(target) = head.uri.authority() else {
        return host.ok_or_else(|| bad("the request names no host: send a Host header"));
    };
    let differs = |host: &HeaderValue| {
        !host
            .as_bytes()
            .eq_ignore_ascii_case(target.as_str().as_bytes())
    };
    if head.version == Version::HTTP_2 && host.as_ref().is_some_and(differs) {
        return Err(bad(
            "the request's Host and :authority differ: send the same in both",
        ));
    }
    if head.version < Version::HTTP_2 && head.uri.scheme_str() != Some("http") {
        return Err(bad(
            "the request's target is neither a path nor an http:// URL: the mesh itself encrypts what it carries",
        ));
    }
    HeaderValue::from_str(target.as_str()).map_err(|_| bad("the request's host is not plain text"))
}

/// Path and query alone.
fn origin_form(head: &Parts) -> Result<Uri, Fail> {
    let origin = match head.uri.path_and_query() {
        Some(path) if head.uri.authority().is_none() => {
            let is_path = path.as_str().starts_with('/');
            if is_path || (path.as_str() == "*" && head.method == Method::OPTIONS) {
                return Ok(head.uri.clone());
            }
            None
        }
        Some(path) if path.as_str() == "*" && head.method != Method::OPTIONS => None,
        path => path,
    };
    let origin = origin.ok_or_else(|| bad("the request's target is not a path"))?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(origin.clone());
    Uri::from_parts(parts).map_err(|_| bad("the request's target is not a path"))
}

/// `name`, `name:port`, `1.2.3.4`, `[v6]:port`. Stricter than the grammar of URIs, which would let
/// commas, semicolons and quotes through to parsers that give them a meaning.
fn is_host(authority: &[u8]) -> bool {
    let (host, port) = match authority.iter().rposition(|b| *b == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => {
            (&authority[..colon], &authority[colon + 1..])
        }
        _ => (authority, &[][..]),
    };
    let is_port = port.is_empty()
        || std::str::from_utf8(port).is_ok_and(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
    let is_name = match host {
        [b'[', address @ .., b']'] => std::str::from_utf8(address)
            .is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        [] => false,
        name => name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~')),
    };
    is_name && is_port
}

/// Headers that are never taken for a hop's own, whatever `Connection` says.
pub(super) const KEPT: [HeaderName; 4] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(request: http::request::Builder) -> Result<(String, String), StatusCode> {
        let (mut head, ()) = request.body(()).expect("a request").into_parts();
        let host = check(&mut head).map_err(|fail| fail.status)?;
        assert!(
            !head.headers.contains_key(header::HOST),
            "the host has one place"
        );
        Ok((
            host.to_str().expect("text").to_owned(),
            head.uri.to_string(),
        ))
    }

    fn get(target: &str) -> http::request::Builder {
        Request::get(target)
    }

    fn taken(host: &str, target: &str) -> Result<(String, String), StatusCode> {
        Ok((host.to_owned(), target.to_owned()))
    }

    const BAD: Result<(String, String), StatusCode> = Err(StatusCode::BAD_REQUEST);

    #[test]
    fn origin_form_takes_its_host_from_the_header() {
        assert_eq!(
            checked(get("/a?b").header("host", "web:80")),
            taken("web:80", "/a?b")
        );
    }

    #[test]
    fn absolute_form_overrides_the_header() {
        let request = get("http://web:8080/a?b").header("host", "other");
        assert_eq!(checked(request), taken("web:8080", "/a?b"));
        assert_eq!(checked(get("http://web?q")), taken("web", "/?q"));
    }

    #[test]
    fn an_encrypted_url_is_not_for_us() {
        assert_eq!(checked(get("https://web/a")), BAD);
    }

    #[test]
    fn a_missing_or_second_host_is_refused() {
        assert_eq!(checked(get("/")), BAD);
        assert_eq!(
            checked(get("/").header("host", "a").header("host", "a")),
            BAD
        );
    }

    #[test]
    fn http2_names_one_host() {
        let request = || get("http://web/a").version(Version::HTTP_2);
        assert_eq!(checked(request()), taken("web", "/a"));
        assert_eq!(checked(request().header("host", "WEB")), taken("web", "/a"));
        assert_eq!(checked(request().header("host", "other")), BAD);
    }

    #[test]
    fn only_hosts_are_hosts() {
        for host in [
            "a",
            "a.b-c_d",
            "10.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "a:",
            "A.B.",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a:b", "a:70000", "u@a", "a,b", "a b", "a/b", "[::1", "[x]", "a:80:81",
            "\"a\"",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn tunnels_and_upgrades_are_named() {
        let connect = Request::connect("web:80").header("host", "web:80");
        assert_eq!(checked(connect), Err(StatusCode::NOT_IMPLEMENTED));
        let upgrade = |to: &str| get("/").header("host", "a").header("upgrade", to);
        let wish = upgrade("websocket").header("connection", "keep-alive, Upgrade");
        assert_eq!(checked(wish), Err(StatusCode::NOT_IMPLEMENTED));
        assert_eq!(checked(upgrade("websocket")), taken("a", "/"));
        let offer = upgrade("h2c").header("connection", "Upgrade, HTTP2-Settings");
        assert_eq!(checked(offer), taken("a", "/"));
    }

    #[test]
    fn chunked_is_the_only_coding() {
        let coded = |coding: &str| {
            get("/")
                .header("host", "a")
                .header("transfer-encoding", coding)
        };
        assert_eq!(checked(coded("Chunked")), taken("a", "/"));
        assert_eq!(
            checked(coded("gzip, chunked")),
            Err(StatusCode::NOT_IMPLEMENTED)
        );
        let twice = coded("chunked").header("transfer-encoding", "chunked");
        assert_eq!(checked(twice), Err(StatusCode::NOT_IMPLEMENTED));
    }

    #[test]
    fn a_traced_request_goes_as_far_as_it_may() {
        let options = |left: &str| {
            Request::options("/")
                .header("host", "a")
                .header("max-forwards", left)
        };
        assert_eq!(checked(options("1")), taken("a", "/"));
        assert_eq!(checked(options("0")), Err(StatusCode::NOT_IMPLEMENTED));
        assert_eq!(checked(options("x")), BAD);
        assert_eq!(
            checked(get("/").header("host", "a").header("max-forwards", "0")),
            taken("a", "/")
        );
    }

    #[test]
    fn only_options_asks_for_the_server_itself() {
        assert_eq!(
            checked(Request::options("*").header("host", "a")),
            taken("a", "*")
        );
        assert_eq!(checked(get("*").header("host", "a")), BAD);
    }
}
