//! What an HTTP route does besides sending requests on. It is not acted on yet, but what Istio
//! refuses is refused here too.

use super::{Reader, is_set};
use crate::model::HttpRoute;
use crate::rules;
use crate::yaml::{Cursor, Value, quoted};

/// Conditions on which Envoy tries again, besides status codes.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

impl Reader {
    pub(super) fn route_policies(&mut self, at: &Cursor<'_>, route: &HttpRoute) {
        if let Some(retries) = at.get("retries") {
            self.retries(&retries);
        }
        if let Some(rewrite) = at.get("rewrite") {
            self.needs_one_of(&rewrite, &["uri", "authority", "uriRegexRewrite"]);
            if let Some(regex) = rewrite.get("uriRegexRewrite") {
                for field in ["match", "rewrite"] {
                    if regex.get(field).is_some() && !is_set(&regex, field) {
                        let message = format!(
                            "{field} is empty; write what it says, or remove uriRegexRewrite"
                        );
                        self.report.error(&regex, message);
                    }
                }
            }
        }
        if let Some(redirect) = at.get("redirect") {
            self.redirect(&redirect, route);
        }
        if let Some(cors) = at.get("corsPolicy") {
            self.cors(&cors);
        }
        if let Some(fault) = at.get("fault") {
            self.needs_one_of(&fault, &["delay", "abort"]);
            if let Some(delay) = fault.get("delay") {
                self.fault_is_something(&delay, &["fixedDelay"]);
            }
            if let Some(abort) = fault.get("abort") {
                self.fault_is_something(&abort, &["httpStatus", "grpcStatus"]);
            }
        }
        self.one_authority(at);
    }

    /// A fault says what happens, and how often.
    fn fault_is_something(&mut self, fault: &Cursor<'_>, fields: &[&str]) {
        if !fields.iter().any(|field| is_set(fault, field)) {
            let message = format!(
                "nothing says what happens, so nothing does; give {}",
                fields[0]
            );
            self.report.warn(fault, message);
        }
        let share = fault.get("percentage").and_then(|share| share.get("value"));
        if let Some(at) = share
            && let Value::Number(number, _) = &at.node.value
            && number
                .as_f64()
                .is_some_and(|share| share > 0.0 && share < 0.0001)
        {
            let message = "the smallest share above 0 is 0.0001, one request of a million";
            self.report.error(&at, message);
        }
    }

    fn retries(&mut self, retries: &Cursor<'_>) {
        let attempts = retries.get("attempts");
        let is_off = attempts.is_none_or(|attempts| attempts.node.as_integer() == Some(0));
        let told = ["perTryTimeout", "retryOn", "retryRemoteLocalities"];
        if is_off && told.iter().any(|field| is_set(retries, field)) {
            self.report.error(
                retries,
                "attempts is 0, so nothing is tried again; give attempts, or remove the rest",
            );
        }
        if let Some(at) = retries
            .get("retryOn")
            .filter(|_| is_set(retries, "retryOn"))
        {
            for condition in retries.text("retryOn").split(',').map(str::trim) {
                let is_status = condition
                    .parse::<u16>()
                    .is_ok_and(|status| (100..600).contains(&status));
                if !is_status && !RETRY_ON.contains(&condition) {
                    let message = format!(
                        "{} is no reason to try again; use a status code or one of {}",
                        quoted(condition),
                        RETRY_ON.join(", ")
                    );
                    self.report.error(&at, message);
                }
            }
        }
    }

    fn redirect(&mut self, redirect: &Cursor<'_>, route: &HttpRoute) {
        self.needs_one_of(
            redirect,
            &[
                "uri",
                "prefixRewrite",
                "authority",
                "port",
                "derivePort",
                "scheme",
            ],
        );
        let scheme = redirect.text("scheme");
        if !matches!(scheme, "" | "http" | "https")
            && let Some(at) = redirect.get("scheme")
        {
            let message = format!(
                "{} is no scheme to redirect to; use http or https",
                quoted(scheme)
            );
            self.report.error(&at, message);
        }
        let by_regex = route
            .matches
            .iter()
            .any(|entry| matches!(entry.uri, Some(crate::model::StringMatch::Regex(_))));
        if by_regex && let Some(at) = redirect.get("prefixRewrite") {
            self.report.error(
                &at,
                "a regular expression has no prefix to rewrite; match by prefix or exact, or use uri",
            );
        }
    }

    fn cors(&mut self, cors: &Cursor<'_>) {
        for origin in cors.each("allowOrigins") {
            self.needs_one_of(&origin, &["exact", "prefix", "regex"]);
            if let Some(regex) = origin.get("regex").filter(|_| is_set(&origin, "regex")) {
                self.check(&regex, rules::regular_expression(origin.text("regex")));
            }
        }
        if let Some(age) = cors.get("maxAge")
            && !rules::whole_seconds(cors.text("maxAge"))
        {
            self.report
                .error(&age, "browsers count in seconds; use whole ones, like 2s");
        }
    }

    /// The host of a request can be rewritten in one place only.
    fn one_authority(&mut self, at: &Cursor<'_>) {
        let rewritten = at
            .get("rewrite")
            .is_some_and(|rewrite| is_set(&rewrite, "authority"));
        let request = at.get("headers").and_then(|headers| headers.get("request"));
        let mut count = usize::from(rewritten);
        for change in ["set", "add"] {
            for (entry, value) in request
                .iter()
                .flat_map(|request| request.each_entry(change))
            {
                let is_empty = matches!(&value.node.value, Value::String(text) if text.is_empty());
                if rules::is_authority(&entry.key) && !is_empty {
                    count += 1;
                    if count > 1 {
                        self.report.error(
                            &value.at_key(entry),
                            "the host is rewritten a second time here; keep one place",
                        );
                    }
                }
            }
        }
    }
}
