//! Which header fields pass, and which this proxy adds.
//!
//! Fields that belong to one hop end here, both ways. Strangers at the edge cannot claim what only the
//! mesh may say.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::intake::KEPT;
use crate::fail::{Fail, Flag};
use crate::grpc::is_grpc;

/// Whose request it was.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The caller's workload, told from proxy to proxy over mTLS.
pub(crate) const MESH_WORKLOAD: HeaderName = HeaderName::from_static("x-mesh-workload");
/// Why the mesh answered instead of the application.
pub(crate) const MESH_ERROR: HeaderName = HeaderName::from_static("x-mesh-error");

/// The number of the try that brought a request here.
pub(crate) const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What the client at the edge, or the app, has spoken: `http` or `https`.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// From a stranger.
    pub(crate) edge: bool,
    pub(crate) tls: bool,
    /// The client's address.
    pub(crate) client: &'a HeaderValue,
    /// What it says of certificates stays: it is a proxy of the mesh.
    pub(crate) keeps_certificate: bool,
    /// Its certificate, if it is to be told.
    pub(crate) certificate: Option<&'a HeaderValue>,
}

/// An address as `x-forwarded-for` has it.
pub(crate) fn address(client: IpAddr) -> HeaderValue {
    let text = client.to_canonical().to_string();
    HeaderValue::try_from(text).expect("an IP address is a header value")
}

/// Makes a request's fields fit for the next hop.
pub(crate) fn request(head: &mut Parts, origin: Origin<'_>) {
    let headers = &mut head.headers;
    let wants_trailers = headers.get_all(header::TE).iter().any(|line| {
        let mut codings = line.as_bytes().split(|b| *b == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    hop_by_hop(headers);
    for name in [
        header::TE,
        header::PROXY_AUTHORIZATION,
        HTTP2_SETTINGS,
        MESH_WORKLOAD,
    ] {
        headers.remove(name);
    }
    if wants_trailers && is_grpc(headers) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let expects = headers.get(header::EXPECT);
    if expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        // Answered here, as soon as the body is asked for.
        headers.remove(header::EXPECT);
    }
    if origin.edge || !origin.keeps_certificate {
        headers.remove(CLIENT_CERT);
    }
    if let Some(certificate) = origin.certificate {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
    let scheme = HeaderValue::from_static(if origin.tls { "https" } else { "http" });
    if origin.edge {
        strip_claims(headers);
        forwarded_for(headers, origin.client);
        headers.insert(FORWARDED_PROTO, scheme);
    } else if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    headers.entry(REQUEST_ID).or_insert_with(request_id);
}

/// Makes a response's fields fit for the client, if it is one that can be passed on.
pub(crate) fn response<B>(response: &mut Response<B>) -> Result<(), Fail> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fail::new(
            Flag::BadResponse,
            "the service changed the protocol without being asked",
        ));
    }
    let mut codings = response.headers().get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|coding| !chunked(coding)) || codings.next().is_some() {
        return Err(Fail::new(
            Flag::BadResponse,
            "the service's response has a transfer coding other than chunked",
        ));
    }
    *response.version_mut() = http::Version::HTTP_11;
    hop_by_hop(response.headers_mut());
    Ok(())
}

/// The names that `Connection` lists.
pub(super) fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::CONNECTION).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    names.map(<[u8]>::trim_ascii)
}

/// Removes what belongs to one hop, and what `Connection` adds to it.
fn hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let usual = |name: &[u8]| {
            let usual = ["close", "keep-alive", "upgrade", "te"];
            usual
                .iter()
                .any(|u| name.eq_ignore_ascii_case(u.as_bytes()))
        };
        let named: Vec<HeaderName> = connection_names(headers)
            .filter(|name| !usual(name))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// What a stranger says in the mesh's name.
fn strip_claims(headers: &mut HeaderMap) {
    let is_claim = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-mesh-") || name.starts_with("x-envoy-")
    };
    let claims: Vec<_> = headers
        .keys()
        .filter(|name| is_claim(name))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

fn forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    if !headers.contains_key(FORWARDED_FOR) {
        headers.insert(FORWARDED_FOR, client.clone());
        return;
    }
    let mut list: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    list.push(client.as_bytes());
    // Header values joined by commas are a header value.
    if let Ok(list) = HeaderValue::from_bytes(&list.join(&b","[..])) {
        headers.insert(FORWARDED_FOR, list);
    }
}

/// A random UUID.
fn request_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // Version 4, variant 1.
    let bits = (fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let mut text = BytesMut::with_capacity(36);
    for (i, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.put_u8(b'-');
        }
        text.put_u8(HEX[usize::from(byte >> 4)]);
        text.put_u8(HEX[usize::from(byte & 0xf)]);
    }
    HeaderValue::from_maybe_shared(text.freeze()).expect("hexadecimal digits are a header value")
}

#[cfg(test)]
mod tests;
