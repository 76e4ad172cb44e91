//! The routes: parents, rules, matches, backends.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;

use super::Reader;
use crate::model::gateway_api::Kind;
use crate::rules;
use crate::schema::path_value;
use crate::yaml::{Cursor, Value, quoted};

/// The most matches that all rules of a route have together.
const MOST_MATCHES: usize = 128;

impl Reader {
    pub(super) fn kube_http_route(&mut self, spec: &Cursor<'_>) {
        self.section_names(spec, "parentRefs");
        self.no_repeats(spec, "rules");
        self.count_matches(spec);
        for rule in spec.each("rules") {
            for entry in rule.each("matches") {
                self.kube_http_match(&entry);
            }
            self.kube_filters(&rule, &rule);
            for backend in rule.each("backendRefs") {
                self.kube_backend(&backend);
                self.kube_filters(&backend, &rule);
            }
            self.redirect_alone(&rule);
            self.kube_timeouts(&rule);
            self.kube_retry_codes(&rule);
            self.persistence(&rule);
        }
    }

    pub(super) fn grpc_route(&mut self, spec: &Cursor<'_>) {
        self.section_names(spec, "parentRefs");
        self.no_repeats(spec, "rules");
        self.count_matches(spec);
        for rule in spec.each("rules") {
            for entry in rule.each("matches") {
                self.value_matches(&entry, "headers");
                if let Some(method) = entry.get("method") {
                    self.grpc_method(&method);
                }
            }
            self.kube_filters(&rule, &rule);
            for backend in rule.each("backendRefs") {
                self.kube_backend(&backend);
                self.kube_filters(&backend, &rule);
            }
            self.persistence(&rule);
        }
    }

    pub(super) fn bytes_route(&mut self, root: &Cursor<'_>, spec: &Cursor<'_>, kind: Kind) {
        self.section_names(spec, "parentRefs");
        self.no_repeats(spec, "rules");
        let is_stable = root.text("apiVersion").ends_with("/v1");
        if is_stable
            && spec.each("rules").count() > 1
            && let Some(rules) = spec.get("rules")
        {
            self.report.error(
                &rules,
                "one rule is all that a connection can be told by; keep one",
            );
        }
        if kind == Kind::TlsRoute {
            if is_stable && spec.each("hostnames").next().is_none() {
                self.report.missing(
                    spec,
                    "hostnames",
                    "required, but missing; add the server names",
                );
            }
            for host in spec.each("hostnames") {
                let text = host.node.as_str().unwrap_or_default();
                if text.parse::<IpAddr>().is_ok() {
                    let message =
                        format!("{text} is an address, and server names are none; name the host");
                    self.report.error(&host, message);
                }
            }
        }
        for backend in spec.each("rules").flat_map(|rule| rule.each("backendRefs")) {
            self.kube_backend(&backend);
        }
    }

    fn count_matches(&mut self, spec: &Cursor<'_>) {
        let count: usize = spec
            .each("rules")
            .map(|rule| rule.each("matches").count())
            .sum();
        if count > MOST_MATCHES
            && let Some(rules) = spec.get("rules")
        {
            let message = format!(
                "the rules have {count} matches together, at most {MOST_MATCHES} are taken; split the route"
            );
            self.report.error(&rules, message);
        }
    }

    fn kube_http_match(&mut self, at: &Cursor<'_>) {
        self.value_matches(at, "headers");
        self.value_matches(at, "queryParams");
        let Some(path) = at.get("path") else {
            return;
        };
        let place = path.get("value").unwrap_or_else(|| path.clone());
        let value = path
            .get("value")
            .map_or("/", |value| value.node.as_str().unwrap_or_default());
        match path.text("type") {
            "RegularExpression" => self.check(&place, rules::regular_expression(value)),
            _ => self.kube_path(&place, value),
        }
    }

    fn kube_path(&mut self, at: &Cursor<'_>, value: &str) {
        const INSIDE: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "#"];
        if !value.starts_with('/') {
            let message = format!("{} must begin with /", quoted(value));
            self.report.error(at, message);
        } else if let Some(part) = INSIDE.iter().find(|part| value.contains(**part)) {
            let message = format!("{} must not contain {part}; remove it", quoted(value));
            self.report.error(at, message);
        } else if value.ends_with("/..") || value.ends_with("/.") {
            let message = format!("{} must not end in /.. or /.; remove it", quoted(value));
            self.report.error(at, message);
        } else {
            self.check(at, path_value(value));
        }
    }

    /// Conditions on headers or parameters: each name once, a value that is there, an expression that is one.
    fn value_matches(&mut self, parent: &Cursor<'_>, key: &str) {
        self.no_repeats(parent, key);
        for at in parent.each(key) {
            let Some(value) = at.get("value") else {
                continue;
            };
            let text = value.node.as_str().unwrap_or_default();
            if text.is_empty() {
                self.report
                    .error(&value, "it is empty; write what the value must be");
            } else if at.text("type") == "RegularExpression" {
                self.check(&value, rules::regular_expression(text));
            }
        }
    }

    fn grpc_method(&mut self, at: &Cursor<'_>) {
        let (service, method) = (at.text("service"), at.text("method"));
        if at.get("service").is_none() && at.get("method").is_none() {
            self.report
                .error(at, "it says nothing; give service, or method, or both");
        }
        if at.text("type") == "RegularExpression" {
            for field in ["service", "method"] {
                if let Some(value) = at.get(field) {
                    let text = value.node.as_str().unwrap_or_default();
                    self.check(&value, rules::regular_expression(text));
                }
            }
            return;
        }
        if let Some(value) = at.get("service")
            && !SERVICE.is_match(service)
        {
            let message = format!(
                "{} is not a service; write it like shop.Cart",
                quoted(service)
            );
            self.report.error(&value, message);
        }
        if let Some(value) = at.get("method")
            && !METHOD.is_match(method)
        {
            let message = format!("{} is not a method; write it like AddItem", quoted(method));
            self.report.error(&value, message);
        }
    }

    /// A Service is reached at a port.
    pub(super) fn kube_backend(&mut self, at: &Cursor<'_>) {
        let is_service = at.text("group").is_empty() && matches!(at.text("kind"), "" | "Service");
        if is_service && at.get("port").is_none() {
            self.report.missing(
                at,
                "port",
                "a Service is called at one of its ports; add the port's number",
            );
        }
    }

    /// A redirect answers, so nothing is sent on.
    fn redirect_alone(&mut self, rule: &Cursor<'_>) {
        let redirects = |filter: &Cursor<'_>| filter.get("requestRedirect").is_some();
        if let Some(backends) = rule.get("backendRefs")
            && backends.items().next().is_some()
            && rule.each("filters").any(|filter| redirects(&filter))
        {
            self.report.error(
                &backends,
                "a rule that redirects sends nothing on; remove backendRefs, or the redirect",
            );
        }
    }

    fn kube_timeouts(&mut self, rule: &Cursor<'_>) {
        let Some(timeouts) = rule.get("timeouts") else {
            return;
        };
        let length = |key: &str| rules::length_of_time(timeouts.text(key));
        if let (Some(request), Some(one_try)) = (length("request"), length("backendRequest"))
            && !request.is_zero()
            && one_try > request
        {
            self.report.error(
                &timeouts,
                "backendRequest is the limit of one try and longer than request, the limit of all of them; \
                 shorten it",
            );
        }
    }

    fn kube_retry_codes(&mut self, rule: &Cursor<'_>) {
        let mut seen = BTreeSet::new();
        let codes = rule
            .get("retry")
            .into_iter()
            .flat_map(|retry| retry.each("codes"));
        for code in codes {
            if !seen.insert(code.node.as_integer()) {
                self.report
                    .error(&code, "the status stands here twice; remove one of them");
            }
        }
    }

    fn persistence(&mut self, rule: &Cursor<'_>) {
        let Some(session) = rule.get("sessionPersistence") else {
            return;
        };
        let Some(cookie) = session.get("cookieConfig") else {
            return;
        };
        if session.text("type") == "Header" {
            self.report.error(
                &cookie,
                "cookieConfig belongs to the type Cookie; remove it",
            );
        }
        if cookie.text("lifetimeType") == "Permanent" && session.get("absoluteTimeout").is_none() {
            self.report.missing(
                &session,
                "absoluteTimeout",
                "a permanent cookie needs its end; add absoluteTimeout",
            );
        }
    }

    /// Where a prefix is replaced, the rule has exactly one match, by prefix.
    pub(super) fn one_prefix(&mut self, at: &Cursor<'_>, rule: &Cursor<'_>) {
        let matches: Vec<_> = rule.each("matches").collect();
        let is_prefix = match matches.as_slice() {
            // Without any, the API's default is one match by the prefix /.
            [] => rule.get("matches").is_none_or(
                |list| !matches!(&list.node.value, Value::List(items) if items.is_empty()),
            ),
            [one] => one
                .get("path")
                .is_none_or(|path| matches!(path.text("type"), "" | "PathPrefix")),
            _ => false,
        };
        if !is_prefix {
            self.report.error(
                at,
                "a prefix can only be replaced where the rule has exactly one match, of the type PathPrefix; \
                 split the rule",
            );
        }
    }
}

static SERVICE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$")
        .expect("the expression is fixed and right")
});
static METHOD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^[A-Za-z_][A-Za-z_0-9]*$").expect("the expression is fixed and right")
});
