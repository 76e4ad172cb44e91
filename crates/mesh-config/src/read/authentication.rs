//! `security.istio.io` PeerAuthentication and RequestAuthentication.

use super::Reader;
use super::service_entry::texts;
use crate::model::{JwtKeys, JwtRule, MutualTls, PeerAuthentication, RequestAuthentication};
use crate::rules;
use crate::yaml::{Cursor, Value};

const MOST_RULES: usize = 4096;
const MOST_CLAIMS: usize = 64;

impl Reader {
    pub(super) fn peer_authentication(&mut self, spec: &Cursor<'_>) -> PeerAuthentication {
        let selector = self.selector(spec);
        let ports = spec.get("portLevelMtls");
        if let Some(ports) = &ports {
            if ports.entries().next().is_none() {
                let message = "it names no port; name one, or leave it out";
                self.report.error(ports, message);
            } else if selector.is_empty() {
                let message =
                    "ports are those of certain workloads; choose them by selector.matchLabels";
                self.report.error(ports, message);
            }
        }
        PeerAuthentication {
            selector,
            mode: spec.get("mtls").and_then(|mtls| mutual_tls(&mtls)),
            ports: spec
                .each_entry("portLevelMtls")
                .filter_map(|(entry, mtls)| Some((entry.key.parse().ok()?, mutual_tls(&mtls))))
                .collect(),
        }
    }

    pub(super) fn request_authentication(&mut self, spec: &Cursor<'_>) -> RequestAuthentication {
        let target = self.target(spec);
        self.at_most(spec, "jwtRules", MOST_RULES);
        RequestAuthentication {
            target,
            rules: spec
                .each("jwtRules")
                .map(|rule| self.jwt_rule(&rule))
                .collect(),
        }
    }

    fn jwt_rule(&mut self, rule: &Cursor<'_>) -> JwtRule {
        let url = match rule.text("jwksUri") {
            "" => rule.text("jwks_uri"),
            url => url,
        };
        let (issuer, inline) = (rule.text("issuer"), rule.text("jwks"));
        if issuer.is_empty() && url.is_empty() {
            let message = "nothing says whose tokens these are; give issuer, or jwksUri";
            self.report.missing(rule, "issuer", message);
        }
        self.at_most(rule, "spaceDelimitedClaims", MOST_CLAIMS);
        let pairs = |field: &str, one: &str, other: &str| {
            let items = rule.each(field);
            items
                .map(|item| (item.text(one).to_owned(), item.text(other).to_owned()))
                .collect()
        };
        JwtRule {
            issuer: issuer.to_owned(),
            audiences: texts(rule, "audiences"),
            keys: match (url, inline) {
                ("", "") => JwtKeys::Discovered,
                ("", inline) => JwtKeys::Inline(inline.to_owned()),
                (url, _) => JwtKeys::Url(url.to_owned()),
            },
            from_headers: pairs("fromHeaders", "name", "prefix"),
            from_params: texts(rule, "fromParams"),
            from_cookies: texts(rule, "fromCookies"),
            payload_header: rule.text("outputPayloadToHeader").to_owned(),
            claim_headers: pairs("outputClaimToHeaders", "header", "claim"),
            forward_token: rule
                .get("forwardOriginalToken")
                .is_some_and(|flag| matches!(flag.node.value, Value::Bool(true, _))),
            timeout: rules::length_of_time(rule.text("timeout")),
            space_delimited_claims: texts(rule, "spaceDelimitedClaims"),
        }
    }
}

/// What a `mtls` says; nothing where it leaves it to others.
fn mutual_tls(mtls: &Cursor<'_>) -> Option<MutualTls> {
    match mtls.text("mode") {
        "DISABLE" => Some(MutualTls::Disable),
        "PERMISSIVE" => Some(MutualTls::Permissive),
        "STRICT" => Some(MutualTls::Strict),
        _ => None,
    }
}
