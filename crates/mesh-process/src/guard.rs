//! Keeps web pages away from ports that ask nobody who they are.
//!
//! Such ports listen on loopback, and that alone does not keep out web pages: a browser on this machine
//! reaches loopback too. A page's name resolved to 127.0.0.1 arrives with that name as the Host, and a form
//! of a foreign page with that page's Origin; both are refused here.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// HTTP wants exactly one.
    #[error("the request has two Host headers")]
    TwoHosts,
    /// HTTP wants one.
    #[error("the request has no Host header")]
    NoHost,
    /// It cannot be read.
    #[error("the Host header is not a host")]
    BadHost,
    /// It is addressed to a name that is not this machine's own.
    #[error("this port is not served as {0}; address it as localhost or by its IP address")]
    Host(String),
    /// It comes from a page of somebody else.
    #[error("requests from pages of another origin ({0}) are not served")]
    Origin(String),
}

impl Foreign {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TwoHosts | Self::NoHost | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::Host(_) | Self::Origin(_) => StatusCode::FORBIDDEN,
        }
    }
}

impl IntoResponse for Foreign {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}

/// Lets through what is addressed to this machine and does not come from a foreign page; for
/// [`axum::middleware::from_fn`]. Answers are never taken for something that they do not say they are.
pub async fn local_only(request: Request, next: Next) -> Response {
    let mut response = match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(foreign) => foreign.into_response(),
    };
    let as_declared = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, as_declared);
    response
}

/// Whether a request is addressed to this machine and does not come from a foreign page.
///
/// # Errors
///
/// If it is not.
pub fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Foreign::TwoHosts),
        (Some(host), None) => host
            .to_str()
            .ok()
            .and_then(|host| host.parse::<Authority>().ok())
            .ok_or(Foreign::BadHost)?,
        (None, _) => match uri.authority() {
            Some(authority) => authority.clone(),
            None => return Err(Foreign::NoHost),
        },
    };
    if !is_local(host.host()) {
        return Err(Foreign::Host(host.host().to_owned()));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let same = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://"))
        .is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()));
    if same {
        Ok(())
    } else {
        let origin = origin.to_str().unwrap_or("an unreadable one");
        Err(Foreign::Origin(origin.to_owned()))
    }
}

fn is_local(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || bare.unwrap_or(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(host: &str, origin: Option<&str>) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        check(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn this_machine_and_its_own_pages_only() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:15080",
            "[::1]:1",
            "10.0.0.1",
        ] {
            assert_eq!(code(host, None), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:15080",
            "127.0.0.1.nip.io",
            "x@evil",
        ] {
            assert!(code(host, None).is_err(), "{host}");
        }
        assert_eq!(
            code("localhost:15080", Some("http://localhost:15080")),
            Ok(())
        );
        for origin in [
            "http://evil.example",
            "http://localhost:1",
            "null",
            "https://localhost:15080",
        ] {
            assert!(code("localhost:15080", Some(origin)).is_err(), "{origin}");
        }
    }

    #[test]
    fn exactly_one_host() {
        assert!(check(&Uri::from_static("/"), &HeaderMap::new()).is_err());
        assert!(check(&Uri::from_static("http://localhost/"), &HeaderMap::new()).is_ok());
        let mut two = HeaderMap::new();
        two.append(header::HOST, HeaderValue::from_static("localhost"));
        two.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(check(&Uri::from_static("/"), &two).is_err());
    }
}
