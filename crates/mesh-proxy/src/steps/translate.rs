//! From the protocol that a request came in to the one that its endpoint speaks.

use http::header::{self, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Uri, Version};
use http_body::Body;

use super::headers::MESH_WORKLOAD;

/// Where a request is addressed, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The host that the client asked for, checked.
    pub(crate) authority: HeaderValue,
    /// The name of this proxy's workload, told to endpoints that prove who they are.
    pub(crate) caller: Option<HeaderValue>,
}

/// Dresses a request for a connection. It may be undressed from an earlier one.
pub(crate) fn request<B: Body>(request: &mut Request<B>, target: &Target, http2: bool, mtls: bool) {
    match &target.caller {
        Some(caller) if mtls => {
            request.headers_mut().insert(MESH_WORKLOAD, caller.clone());
        }
        _ => {
            request.headers_mut().remove(MESH_WORKLOAD);
        }
    }
    if http2 {
        for_http2(request, target);
    } else {
        for_http1(request, target);
    }
}

/// `:scheme` and `:authority` in the target, no `Host`.
fn for_http2<B>(request: &mut Request<B>, target: &Target) {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    if request.uri().authority().is_none() {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Authority::try_from(target.authority.as_bytes()).ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// `Host`, one line of cookies, and a framing that hyper keeps whatever the method is.
fn for_http1<B: Body>(request: &mut Request<B>, target: &Target) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        (parts.scheme, parts.authority) = (None, None);
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    let unframed =
        !request.body().is_end_stream() && !request.headers().contains_key(header::CONTENT_LENGTH);
    let headers = request.headers_mut();
    headers.insert(header::HOST, target.authority.clone());
    if unframed {
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
    join_cookies(headers);
}

/// HTTP/2 may send cookies in crumbs; HTTP/1 has one line.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Header values joined by a semicolon are a header value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, StreamBody};

    use super::*;

    fn target() -> Target {
        Target {
            authority: HeaderValue::from_static("web:8080"),
            caller: Some(HeaderValue::from_static("shop-v1")),
        }
    }

    fn plain() -> Request<Empty<Bytes>> {
        Request::get("/a?b").body(Empty::new()).expect("a request")
    }

    #[test]
    fn there_and_back_again() {
        let mut request = plain();
        super::request(&mut request, &target(), true, true);
        assert_eq!(request.uri(), "http://web:8080/a?b");
        assert!(!request.headers().contains_key("host"));
        super::request(&mut request, &target(), false, true);
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.headers()["host"], "web:8080");
        assert_eq!(request.version(), Version::HTTP_11);
    }

    #[test]
    fn the_caller_is_told_only_to_who_proves_itself() {
        let mut request = plain();
        super::request(&mut request, &target(), true, true);
        assert_eq!(request.headers()["x-mesh-workload"], "shop-v1");
        super::request(&mut request, &target(), true, false);
        assert!(!request.headers().contains_key("x-mesh-workload"));
    }

    #[test]
    fn crumbs_become_one_line_of_cookies() {
        let mut request = plain();
        for crumb in ["a=1", "b=2", "c=3"] {
            request
                .headers_mut()
                .append("cookie", HeaderValue::from_static(crumb));
        }
        super::request(&mut request, &target(), false, false);
        let lines: Vec<_> = request.headers().get_all("cookie").iter().collect();
        assert_eq!(lines, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_whatever_the_method() {
        let never =
            futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
        let mut request = Request::get("/")
            .body(StreamBody::new(never))
            .expect("a request");
        super::request(&mut request, &target(), false, false);
        assert_eq!(request.headers()["transfer-encoding"], "chunked");
        super::request(&mut request, &target(), true, false);
        assert!(!request.headers().contains_key("transfer-encoding"));
    }
}
