//! Who may use the config API from beyond loopback: whoever has the [`Token`].
//!
//! Programs send it (`Authorization: Bearer`, or as the password of `Authorization: Basic`, which is all that
//! kubectl sends without TLS). A browser trades it once, at `/?token=…`, for a cookie. What a browser sends
//! along by itself, whichever page asked for it, may only read; so no foreign page changes anything.
//! [`super::guard`] asks here.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use prometheus::IntCounterVec;

use crate::token::{Token, hex};

/// The cookie's name.
const COOKIE: &str = "mesh-api";

/// Paths that say nothing but whether the program runs.
const OPEN: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Headers with which proxies say that a request comes from somebody else.
const PASSED_ON: [HeaderName; 3] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
];

/// At most one line of the log about wrong tokens in this time.
const QUIET: Duration = Duration::from_secs(10);

/// Why a request from beyond loopback is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// It shows nothing.
    #[error(
        "{}",
        with_hint("this address is served only to those who have the token of this mesh-api")
    )]
    NoToken,
    /// What it shows is not the token.
    #[error("{}", with_hint("the token is not that of this mesh-api"))]
    WrongToken,
    /// It would change something, and shows what a browser sends by itself.
    #[error(
        "a browser may read here and change nothing; send the change with `Authorization: Bearer TOKEN`"
    )]
    ReadOnly,
}

/// The token, in forms that requests are compared with, and what was refused.
pub(crate) struct Access {
    token: digest::Digest,
    session: digest::Digest,
    /// What the browser keeps. It proves the token and does not tell it, since a browser sends a cookie to
    /// every port of this host.
    cookie: String,
    refused: IntCounterVec,
    complained: Mutex<Option<Instant>>,
}

/// How a request proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// A program put it there on purpose.
    Sent,
    /// A browser may have put it there by itself.
    Ambient,
}

impl Access {
    /// Asks for `token`; `refused` counts, by reason, who has none.
    pub(crate) fn new(token: &Token, refused: IntCounterVec) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_str().as_bytes());
        let cookie = hex(hmac::sign(&key, b"mesh-api cookie").as_ref());
        for denied in [Denied::NoToken, Denied::WrongToken, Denied::ReadOnly] {
            refused.with_label_values(&[denied.as_str()]);
        }
        Self {
            token: sha256(token.as_str()),
            session: sha256(&cookie),
            cookie,
            refused,
            complained: Mutex::new(None),
        }
    }

    /// Whether a request proves that it has the token. What only a browser would send proves it for reading.
    ///
    /// # Errors
    ///
    /// [`Denied`]; it is not counted yet, since on loopback it does not matter.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Denied> {
        let proof = self.proof(headers)?;
        let reads = method.is_safe();
        if proof == Proof::Sent || reads {
            Ok(())
        } else {
            Err(Denied::ReadOnly)
        }
    }

    /// Counts a refusal, and tells of wrong tokens in the log, now and then.
    pub(crate) fn refuse(&self, denied: Denied, peer: Option<SocketAddr>) {
        self.refused.with_label_values(&[denied.as_str()]).inc();
        if denied != Denied::WrongToken {
            return;
        }
        let mut complained = (self.complained.lock()).unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|last| last.elapsed() >= QUIET) {
            *complained = Some(Instant::now());
            let peer = peer.map(|peer| peer.ip().to_canonical().to_string());
            let total = self.refused.with_label_values(&[denied.as_str()]).get();
            tracing::warn!(
                peer,
                total,
                "a request with a wrong token was refused; more within the next seconds are only counted"
            );
        }
    }

    /// The cookie for a browser that asks for `/?token=…`; `None` for every other request.
    ///
    /// # Errors
    ///
    /// If it is not the token.
    pub(crate) fn login(&self, method: &Method, uri: &Uri) -> Option<Result<HeaderValue, Denied>> {
        if method != Method::GET || uri.path() != "/" {
            return None;
        }
        let pairs = uri.query()?.split('&');
        let mut tokens = pairs.filter_map(|pair| pair.strip_prefix("token="));
        let token = tokens.next()?;
        if !equal(token, &self.token) {
            return Some(Err(Denied::WrongToken));
        }
        let cookie = format!(
            "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict",
            self.cookie
        );
        let mut cookie = HeaderValue::try_from(cookie).ok()?;
        cookie.set_sensitive(true);
        Some(Ok(cookie))
    }

    fn proof(&self, headers: &HeaderMap) -> Result<Proof, Denied> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let value = value.to_str().map_err(|_| Denied::WrongToken)?;
            let (scheme, credentials) = value.split_once(' ').ok_or(Denied::WrongToken)?;
            let credentials = credentials.trim();
            if scheme.eq_ignore_ascii_case("bearer") && equal(credentials, &self.token) {
                return Ok(Proof::Sent);
            }
            if scheme.eq_ignore_ascii_case("basic")
                && password(credentials).is_some_and(|password| equal(&password, &self.token))
            {
                // Browsers name where a request comes from whenever it could change something.
                let browser = ["origin", "sec-fetch-site"];
                let by_browser = browser.iter().any(|name| headers.contains_key(*name));
                return Ok(if by_browser {
                    Proof::Ambient
                } else {
                    Proof::Sent
                });
            }
            return Err(Denied::WrongToken);
        }
        let mut denied = Denied::NoToken;
        for cookies in headers.get_all(header::COOKIE) {
            for cookie in cookies.to_str().unwrap_or_default().split(';') {
                let Some((COOKIE, value)) = cookie.trim().split_once('=') else {
                    continue;
                };
                if equal(value, &self.session) {
                    return Ok(Proof::Ambient);
                }
                denied = Denied::WrongToken;
            }
        }
        Err(denied)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Denied {
    /// As the metric has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::ReadOnly => "read_only",
        }
    }
}

/// Whether a request is answered to everybody.
pub(crate) fn is_open(method: &Method, uri: &Uri) -> bool {
    method.is_safe() && OPEN.contains(&uri.path())
}

/// Whether the client is on this machine, in this network namespace. Nobody whose address is unknown is, nor
/// whoever sends requests through a proxy that says so.
pub(crate) fn is_near(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let passed_on = PASSED_ON.iter().any(|name| headers.contains_key(name));
    !passed_on && peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// Takes the same time wherever the difference is, and whatever the lengths are.
fn equal(shown: &str, expected: &digest::Digest) -> bool {
    verify_slices_are_equal(sha256(shown).as_ref(), expected.as_ref()).is_ok()
}

fn sha256(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

fn password(credentials: &str) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    Some(password.to_owned())
}

fn with_hint(what: &str) -> String {
    format!(
        "{what}; get it with `docker compose exec mesh-api mesh-api token` (or `mesh-api token` on its machine), and send `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser; kubectl takes --server http://mesh:TOKEN@HOST:PORT"
    )
}
