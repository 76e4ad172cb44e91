//! A client of mesh-api's config API: one request on one connection, with bounds on its time.
//!
//! Only what the API itself offers: plain HTTP/1.1, and a bearer token where it wants one. What an answer
//! means is the commands' business, see [`crate::apply`].

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: longer than any work of the API's on a largest body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const LARGEST_ANSWER: usize = 16 << 20;
/// Where the config API is, unless its address names another port.
const DEFAULT_PORT: u16 = 15080;

/// Where the config API is: `http://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

/// Why an address is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// It is no `http://HOST[:PORT]`.
    #[error("{0:?} is not the address of a config API; write it like http://127.0.0.1:15080")]
    Form(String),
    /// It wants TLS.
    #[error(
        "the config API speaks plain HTTP, and {0:?} asks for TLS; write http:// and reach it over loopback or a tunnel"
    )]
    Tls(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody answers at the address.
    #[error(
        "cannot reach the config API at {address}: {reason}; start mesh-api, or name its address with --api or MESH_API"
    )]
    OutOfReach {
        /// The address.
        address: String,
        /// The system's reason.
        reason: String,
    },
}

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the token file {}: {reason}; check --token-file", file.display())]
pub(crate) struct TokenError {
    file: PathBuf,
    reason: String,
}

/// The bearer token of a file.
pub(crate) fn read_token(file: &Path) -> Result<HeaderValue, TokenError> {
    let wrong = |reason: String| TokenError {
        file: file.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| wrong("it is more than one line of text".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the API said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| form())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(AddressError::Tls(text.to_owned())),
            _ => return Err(form()),
        }
        let authority = uri.authority().ok_or_else(form)?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !is_bare || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(form());
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(DEFAULT_PORT),
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Sends `body` as YAML to `path`, with the bearer token where there is one.
    pub(crate) async fn post_yaml(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/yaml");
        self.send(request, token, body).await
    }

    /// Asks for what is at `path`, with the bearer token where there is one.
    pub(crate) async fn get(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
    ) -> Result<Answer, CallError> {
        self.send(Request::get(path), token, Bytes::new()).await
    }

    async fn send(
        &self,
        request: request::Builder,
        token: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let lost = |reason: String| CallError::OutOfReach {
            address: self.to_string(),
            reason,
        };
        let no_answer = |_| lost(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
        let mut request = request.header(header::HOST, format!("{}:{}", self.host, self.port));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| lost(error.to_string()))?;

        // An IPv6 address stands in brackets in a URL, and without them for the system.
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, self.port)))
            .await
            .map_err(|_| {
                lost(format!(
                    "no connection within {} s",
                    CONNECT_TIMEOUT.as_secs()
                ))
            })?
            .map_err(|error| lost(error.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let exchange = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| lost(error.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST_ANSWER)
                .collect()
                .await
                .map_err(|error| lost(format!("the answer broke off: {error}")))?
                .to_bytes();
            Ok(Answer { status, body })
        };
        let answer = timeout(ANSWER_TIMEOUT, exchange).await.map_err(no_answer)?;
        driver.abort();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_http_with_a_host_and_perhaps_a_port() {
        let address = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        let same = |text: &str| assert_eq!(address(text).as_deref(), Ok(text));
        same("http://127.0.0.1:15080");
        same("http://[::1]:8080");
        assert_eq!(
            address("http://mesh-api/").as_deref(),
            Ok("http://mesh-api:15080")
        );
        for wrong in [
            "127.0.0.1:15080",
            "mesh-api",
            "ftp://mesh-api",
            "http://mesh-api/apply",
            "http://mesh-api/?a=b",
            "http://me@mesh-api",
            "",
        ] {
            let error = address(wrong).unwrap_err();
            assert_eq!(error, AddressError::Form(wrong.to_owned()));
        }
        let tls = address("https://mesh-api").unwrap_err();
        assert!(tls.to_string().contains("plain HTTP"), "{tls}");
    }
}
