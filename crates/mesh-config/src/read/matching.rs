//! The conditions of an HTTP route.

use std::collections::BTreeMap;

use super::service::narrow;
use super::{Reader, text_map};
use crate::model::{HttpMatch, StringMatch};
use crate::rules;
use crate::yaml::{Cursor, Value, quoted};

/// How the names of claims begin that stand among the headers.
const CLAIM: &str = "@request.auth.claims";

/// Pseudo-headers that have their own fields; Istio ignores them among the headers.
const NOT_HEADERS: [&str; 4] = ["uri", "scheme", "method", "authority"];

impl Reader {
    pub(super) fn http_match(&mut self, at: &Cursor<'_>, bound_to_mesh: bool) -> HttpMatch {
        let gateways = self.gateway_names(at);
        if bound_to_mesh {
            self.no_claims(at);
        }
        let mut unsupported = Vec::new();
        let query_params = at
            .each_entry("queryParams")
            .map(|(entry, value)| {
                self.some_prefix(&value);
                (entry.key.clone(), self.condition(&value))
            })
            .collect();
        let headers = self.header_matches(at, "headers", &mut unsupported);
        let without_headers = self.header_matches(at, "withoutHeaders", &mut unsupported);
        HttpMatch {
            name: at.text("name").to_owned(),
            uri: self.string_match(at, "uri"),
            ignore_uri_case: matches!(
                at.get("ignoreUriCase").map(|flag| &flag.node.value),
                Some(Value::Bool(true, _))
            ),
            uri_by_segments: false,
            method: self.string_match(at, "method"),
            scheme: self.string_match(at, "scheme"),
            authority: self.string_match(at, "authority"),
            headers,
            without_headers,
            query_params,
            port: at
                .get("port")
                .and_then(|port| port.node.as_integer())
                .and_then(narrow),
            source_labels: text_map(at, "sourceLabels"),
            source_namespace: Some(at.text("sourceNamespace").to_owned())
                .filter(|namespace| !namespace.is_empty()),
            gateways,
            unsupported,
        }
    }

    /// `uri`, `method`, …: a condition that asks for something.
    fn string_match(&mut self, parent: &Cursor<'_>, key: &str) -> Option<StringMatch> {
        let at = parent.get(key)?;
        let condition = self.condition(&at);
        match &condition {
            None => {
                let message =
                    format!("{key} has no condition; give exact, prefix or regex, or remove it");
                self.report.error(&at, message);
            }
            // Every path begins with nothing, which is what Istio takes it for.
            Some(StringMatch::Prefix(text)) if text.is_empty() && key != "uri" => {
                let message = format!("the prefix of {key} is empty; write it, or remove {key}");
                self.report.error(&at, message);
            }
            Some(StringMatch::Exact(text)) if text.is_empty() => {
                let message = format!(
                    "{key} is never empty, so this match entry never matches; write what it asks for, \
                     or remove it"
                );
                self.report.warn(&at, message);
            }
            _ => {}
        }
        condition
    }

    /// Header name, lower case, to condition.
    fn header_matches(
        &mut self,
        parent: &Cursor<'_>,
        key: &str,
        unsupported: &mut Vec<String>,
    ) -> BTreeMap<String, Option<StringMatch>> {
        let mut headers = BTreeMap::new();
        for (entry, value) in parent.each_entry(key) {
            let at = value.clone().at_key(entry);
            let name = entry.key.as_str();
            if value.node.value == Value::Null {
                let message = format!(
                    "the condition on {} is null; use {{}} to ask for the header's presence",
                    quoted(name)
                );
                self.report.error(&at, message);
                continue;
            }
            if name.starts_with(CLAIM) {
                unsupported.push(value.path());
                self.report.warn(
                    &at,
                    "claims of tokens are not acted on by this version: this match entry never \
                     matches, so that it takes no request that it was not meant for",
                );
                continue;
            }
            self.check(&at, rules::header_name(name));
            if NOT_HEADERS.contains(&name) {
                let message =
                    format!("{name} is no header and is ignored here; use the field {name}");
                self.report.warn(&at, message);
                continue;
            }
            self.some_prefix(&value);
            let condition = self.condition(&value);
            let name = name.to_ascii_lowercase();
            if headers.insert(name.clone(), condition).is_some() {
                let message = format!(
                    "the header {name} stands here twice; case does not tell headers apart"
                );
                self.report.error(&at, message);
            }
        }
        headers
    }

    /// Claims of tokens are known at gateways only.
    fn no_claims(&mut self, at: &Cursor<'_>) {
        let headers = at.each_entry("headers");
        for (entry, value) in headers.chain(at.each_entry("withoutHeaders")) {
            if entry.key.starts_with(CLAIM) {
                self.report.error(
                    &value.at_key(entry),
                    "claims of tokens are known at gateways only; give these matches a VirtualService without mesh \
                     among its gateways",
                );
            }
        }
    }

    /// Every value begins with nothing; Envoy does not take that as a condition.
    fn some_prefix(&mut self, condition: &Cursor<'_>) {
        if let Some(prefix) = condition.get("prefix")
            && prefix.node.as_str() == Some("")
        {
            let message = "the prefix is empty; write it, or {} to ask for presence";
            self.report.error(&prefix, message);
        }
    }

    /// One condition; nothing where it is empty, which asks for presence.
    fn condition(&mut self, at: &Cursor<'_>) -> Option<StringMatch> {
        if let Some(regex) = at.get("regex") {
            let text = regex.node.as_str().unwrap_or_default();
            // Istio's way to ask for presence, though no regular expression.
            if text == "*" {
                return None;
            }
            self.check(&regex, rules::regular_expression(text));
            return Some(StringMatch::Regex(text.to_owned()));
        }
        if let Some(exact) = at.get("exact") {
            return Some(StringMatch::Exact(text_of(&exact)));
        }
        at.get("prefix")
            .map(|prefix| StringMatch::Prefix(text_of(&prefix)))
    }
}

fn text_of(at: &Cursor<'_>) -> String {
    at.node.as_str().unwrap_or_default().to_owned()
}
