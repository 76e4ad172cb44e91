//! What requests have in common that are to go to the same endpoint, as one number.
//!
//! XXH64 of each thing that the route names, combined as Envoy does it, so that a proxy of either kind makes the
//! same of a request. Worked out once for all attempts, before the request's headers are changed, and only if the
//! cluster chooses by hash.

use std::net::IpAddr;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use twox_hash::XxHash64;

use super::route::{Question, header_value};
use crate::peer::Hello;
use crate::snapshot::{Balance, Cluster, HashCookie, HashPolicy, Hashed, HeaderName};

/// What decides on a request's endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Alike {
    /// `None` leaves it to chance.
    pub(crate) hash: Option<u64>,
    /// Cookies for the response, for a client that did not have them.
    pub(crate) cookies: Vec<HeaderValue>,
}

/// Looks at the request if that decides anything.
pub(crate) fn of(
    policies: &[HashPolicy],
    cluster: &Cluster,
    question: &Question<'_>,
    client: &Hello,
) -> Alike {
    if policies.is_empty() || !matches!(cluster.balance, Balance::Hash(_)) {
        return Alike::default();
    }
    alike(policies, question, client)
}

/// The hash of where a session or request comes from.
pub(crate) fn of_source(address: IpAddr) -> u64 {
    hash(address.to_canonical().to_string().as_bytes())
}

fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

fn alike(policies: &[HashPolicy], question: &Question<'_>, client: &Hello) -> Alike {
    let mut alike = Alike::default();
    for policy in policies {
        let found = match &policy.of {
            Hashed::Header(name) => header(name, question),
            Hashed::Cookie(cookie) => match value_of(question.headers, &cookie.name) {
                Some(value) => Some(hash(value)),
                None => create(cookie, client).map(|(value, cookie)| {
                    alike.cookies.push(cookie);
                    hash(value.as_bytes())
                }),
            },
            Hashed::Source => Some(of_source(client.address.ip())),
            Hashed::QueryParameter(name) => parameter(question, name),
        };
        if let Some(found) = found {
            // Turned, so that two equal policies do not cancel each other out.
            let before = alike.hash.map_or(0, |before| before.rotate_left(1));
            alike.hash = Some(before ^ found);
        }
        if policy.terminal && alike.hash.is_some() {
            break;
        }
    }
    alike
}

fn header(name: &HeaderName, question: &Question<'_>) -> Option<u64> {
    let HeaderName::Field(field) = name else {
        return header_value(name, question).map(|value| hash(&value));
    };
    let lines = question.headers.get_all(field).iter();
    let mut lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return None;
    }
    lines.sort_unstable();
    let chained = |seed, line: &&[u8]| XxHash64::oneshot(seed, line);
    Some(lines.iter().fold(0, chained))
}

/// The first value that is not empty, without quotes around it.
fn value_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter();
    let pairs = pairs.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    for pair in pairs.map(<[u8]>::trim_ascii) {
        let value = pair.strip_prefix(name.as_bytes());
        if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) {
            let bare = value.strip_prefix(b"\"");
            let value = bare.and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
            return (!value.is_empty()).then_some(value);
        }
    }
    None
}

/// The value of a new cookie, and the cookie itself. The value is that of the connection, so that requests that
/// are under way together do not get different ones.
fn create(cookie: &HashCookie, client: &Hello) -> Option<(String, HeaderValue)> {
    let attributes = cookie.attributes.as_deref()?;
    let value = format!("{:016x}", hash(client.address.to_string().as_bytes()));
    let text = format!("{}=\"{value}\"{attributes}", cookie.name);
    Some((value, HeaderValue::try_from(text).ok()?))
}

fn parameter(question: &Question<'_>, name: &str) -> Option<u64> {
    let query = question.uri.query()?;
    let pairs = query.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    Some(hash(value.as_bytes()))
}

#[cfg(test)]
mod tests;
