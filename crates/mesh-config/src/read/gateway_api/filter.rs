//! Filters of rules and of backends.

use super::Reader;
use crate::yaml::Cursor;

/// The types of filters, each with its field.
const FIELDS: [(&str, &str); 8] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("CORS", "cors"),
    ("ExternalAuth", "externalAuth"),
    ("ExtensionRef", "extensionRef"),
];

/// Types that a list has several of.
const REPEATED: [&str; 2] = ["RequestMirror", "ExtensionRef"];

impl Reader {
    /// The filters of `holder`, which is the rule or one of its backends.
    pub(super) fn kube_filters(&mut self, holder: &Cursor<'_>, rule: &Cursor<'_>) {
        let mut seen: Vec<&str> = Vec::new();
        for at in holder.each("filters") {
            let kind = at.text("type");
            self.union(&at, &FIELDS);
            if seen.contains(&kind) && !REPEATED.contains(&kind) {
                let message = format!("there is a {kind} already; put all of it into one");
                self.report.error(&at, message);
            }
            if kind == "RequestRedirect" && seen.contains(&"URLRewrite")
                || kind == "URLRewrite" && seen.contains(&"RequestRedirect")
            {
                self.report.error(
                    &at,
                    "RequestRedirect and URLRewrite exclude one another; keep one",
                );
            }
            seen.push(kind);
            self.kube_filter(&at, rule);
        }
    }

    fn kube_filter(&mut self, at: &Cursor<'_>, rule: &Cursor<'_>) {
        for field in ["requestHeaderModifier", "responseHeaderModifier"] {
            if let Some(headers) = at.get(field) {
                self.no_repeats(&headers, "set");
                self.no_repeats(&headers, "add");
                self.no_twins(&headers, "remove");
            }
        }
        for field in ["requestRedirect", "urlRewrite"] {
            if let Some(path) = at.get(field).and_then(|filter| filter.get("path")) {
                self.union(
                    &path,
                    &[
                        ("ReplaceFullPath", "replaceFullPath"),
                        ("ReplacePrefixMatch", "replacePrefixMatch"),
                    ],
                );
                if path.text("type") == "ReplacePrefixMatch" {
                    self.one_prefix(&path, rule);
                }
            }
        }
        if let Some(status) = at
            .get("requestRedirect")
            .and_then(|redirect| redirect.get("statusCode"))
            && matches!(status.node.as_integer(), Some(304..=306))
        {
            self.report
                .error(&status, "it is no redirect; use 301, 302, 303, 307 or 308");
        }
        if let Some(mirror) = at.get("requestMirror") {
            self.kube_mirror(&mirror);
        }
        if let Some(cors) = at.get("cors") {
            self.kube_cors(&cors);
        }
        if let Some(auth) = at.get("externalAuth") {
            self.external_auth(&auth);
        }
    }

    fn kube_mirror(&mut self, at: &Cursor<'_>) {
        if let Some(backend) = at.get("backendRef") {
            self.kube_backend(&backend);
        }
        self.exclusive(at, &["percent", "fraction"]);
        if let Some(fraction) = at.get("fraction") {
            let number = |key: &str| fraction.get(key).and_then(|at| at.node.as_integer());
            if number("numerator").unwrap_or_default() > number("denominator").unwrap_or(100) {
                self.report
                    .error(&fraction, "it is more than the whole; lower the numerator");
            }
        }
    }

    fn kube_cors(&mut self, at: &Cursor<'_>) {
        for field in [
            "allowOrigins",
            "allowMethods",
            "allowHeaders",
            "exposeHeaders",
        ] {
            self.no_twins(at, field);
            let values: Vec<&str> = at
                .each(field)
                .filter_map(|value| value.node.as_str())
                .collect();
            if field != "exposeHeaders"
                && values.len() > 1
                && values.contains(&"*")
                && let Some(list) = at.get(field)
            {
                self.report
                    .error(&list, "* says it all; remove it, or the other entries");
            }
        }
    }

    fn external_auth(&mut self, at: &Cursor<'_>) {
        if let Some(backend) = at.get("backendRef") {
            self.kube_backend(&backend);
        }
        let protocol = at.text("protocol");
        for (value, field) in [("GRPC", "grpc"), ("HTTP", "http")] {
            if let Some(set) = at.get(field)
                && value != protocol
            {
                let message = format!(
                    "{field} belongs to the protocol {value}, and this is {protocol}; remove it"
                );
                self.report.error(&set, message);
            }
        }
    }
}
