//! Timeouts, retries, faults and mirrors of HTTP routes, and the annotation for sticky destinations.

use super::Reader;
use crate::model::{Abort, AbortStatus, Delay, Fault, HttpRoute, Mirror, Retries, Share, Sticky};
use crate::rules;
use crate::yaml::{Cursor, Value, quoted};

/// The annotation of a VirtualService whose clients stay where their first request went.
pub(super) const STICKY: &str = "mesh.io/sticky";

/// Names in the order of their numbers.
pub(crate) const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Reader {
    /// Adds these fields of a route to the others.
    pub(super) fn resilience_of(&mut self, at: &Cursor<'_>, route: &mut HttpRoute) {
        route.timeout = length(at, "timeout");
        route.retries = at.get("retries").map(|at| retries_of(&at));
        route.fault = at.get("fault").map(|at| self.fault_of(&at));
        route.mirrors = Self::mirrors_of(at);
    }

    fn fault_of(&mut self, at: &Cursor<'_>) -> Fault {
        let delay = at.get("delay").and_then(|at| {
            let old = integer(&at, "percent").and_then(|percent| i32::try_from(percent).ok());
            let old = old.map(|percent| Share::of_percent(f64::from(percent)));
            Some(Delay {
                time: length(&at, "fixedDelay")?,
                share: share(&at, "percentage").or(old).unwrap_or_default(),
            })
        });
        let abort = at.get("abort").and_then(|at| {
            let http = integer(&at, "httpStatus").and_then(|code| u16::try_from(code).ok());
            let name = at.text("grpcStatus");
            let grpc = GRPC_STATUS.iter().position(|known| *known == name);
            let grpc = grpc.and_then(|code| u8::try_from(code).ok());
            let status = http.map(AbortStatus::Http);
            Some(Abort {
                status: status.or(grpc.map(AbortStatus::Grpc))?,
                share: share(&at, "percentage").unwrap_or_default(),
            })
        });
        for (place, is_never) in [
            ("delay", delay.is_some_and(|delay| delay.share.0 == 0)),
            ("abort", abort.is_some_and(|abort| abort.share.0 == 0)),
        ] {
            let at = at.get(place);
            if let Some(at) = at.filter(|at| {
                is_never && at.get("percentage").is_none() && at.get("percent").is_none()
            }) {
                self.report.warn(
                    &at,
                    "percentage is missing, so this never happens; write percentage: {value: 100} for all requests",
                );
            }
        }
        Fault { delay, abort }
    }

    fn mirrors_of(at: &Cursor<'_>) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        if at.get("mirror").is_some()
            && let Some(destination) = Self::destination_of(at, "mirror")
        {
            let old = ["mirrorPercent", "mirror_percent"];
            let old = old.iter().find_map(|key| integer(at, key));
            let old = old.and_then(|percent| i32::try_from(percent).ok());
            let old = old.map(|percent| Share::of_percent(f64::from(percent)));
            let share = share(at, "mirrorPercentage").or(old);
            mirrors.push(Mirror {
                destination,
                share: share.unwrap_or(Share::ALL),
            });
        }
        for at in at.each("mirrors") {
            if let Some(destination) = Self::destination_of(&at, "destination") {
                mirrors.push(Mirror {
                    destination,
                    share: share(&at, "percentage").unwrap_or(Share::ALL),
                });
            }
        }
        mirrors.retain(|mirror| mirror.share.0 > 0);
        mirrors
    }

    /// The annotation, if it is there: `cookie=NAME`, or `cookie=NAME; ttl=24h`.
    pub(super) fn sticky(&mut self, root: &Cursor<'_>) -> Option<Sticky> {
        let metadata = root.get("metadata")?;
        let (entry, at) = metadata
            .each_entry("annotations")
            .find(|(entry, _)| entry.key == STICKY)?;
        match sticky(at.node.as_str().unwrap_or_default()) {
            Ok(sticky) => Some(sticky),
            Err(message) => {
                self.report.error(&at.at_key(entry), message);
                None
            }
        }
    }
}

pub(super) fn retries_of(at: &Cursor<'_>) -> Retries {
    let on = at.text("retryOn").split(',').map(str::trim);
    Retries {
        attempts: integer(at, "attempts")
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or_default(),
        per_try_timeout: length(at, "perTryTimeout"),
        on: on
            .filter(|condition| !condition.is_empty())
            .map(str::to_owned)
            .collect(),
        remote_localities: flag(at, "retryRemoteLocalities").unwrap_or_default(),
        ignore_previous_hosts: flag(at, "retryIgnorePreviousHosts"),
        backoff: length(at, "backoff"),
    }
}

fn sticky(text: &str) -> Result<Sticky, String> {
    let mut cookie = None;
    let mut ttl = None;
    for part in text.split(';').map(str::trim) {
        match part.split_once('=') {
            Some(("cookie", name)) if is_cookie_name(name) => cookie = Some(name.to_owned()),
            Some(("cookie", name)) => {
                return Err(format!(
                    "{} is no name of a cookie; use letters, digits, - and _",
                    quoted(name)
                ));
            }
            Some(("ttl", time)) => {
                rules::duration(time, false)?;
                ttl = rules::length_of_time(time);
            }
            _ => {
                return Err(format!(
                    "{} is not understood; write cookie=NAME, or cookie=NAME; ttl=24h",
                    quoted(text)
                ));
            }
        }
    }
    let cookie =
        cookie.ok_or("the cookie has no name; write cookie=NAME, or cookie=NAME; ttl=24h")?;
    Ok(Sticky { cookie, ttl })
}

/// What needs no quoting in any header or regular expression.
fn is_cookie_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.bytes().all(is_plain)
}

fn integer(at: &Cursor<'_>, key: &str) -> Option<i64> {
    at.get(key)?.node.as_integer()
}

fn flag(at: &Cursor<'_>, key: &str) -> Option<bool> {
    match at.get(key)?.node.value {
        Value::Bool(flag, _) => Some(flag),
        _ => None,
    }
}

/// A length of time that is there.
fn length(at: &Cursor<'_>, key: &str) -> Option<std::time::Duration> {
    rules::length_of_time(at.text(key))
}

/// `{value: 12.5}` under `key`, if it is there.
fn share(at: &Cursor<'_>, key: &str) -> Option<Share> {
    let fraction = at.get(key)?;
    let value = fraction.get("value");
    let value = value.and_then(|value| match &value.node.value {
        Value::Number(number, _) => number.as_f64(),
        _ => None,
    });
    Some(Share::of_percent(value.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sticky_cookie_has_a_name_and_may_have_a_time() {
        let read = |text| sticky(text).map(|sticky| (sticky.cookie, sticky.ttl));
        assert_eq!(read("cookie=canary"), Ok(("canary".into(), None)));
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(read("cookie=c; ttl=24h"), Ok(("c".into(), Some(day))));
        for wrong in [
            "",
            "canary",
            "cookie=",
            "cookie=a b",
            "ttl=1h",
            "cookie=a; ttl=soon",
        ] {
            read(wrong).expect_err(wrong);
        }
    }
}
