//! What an HTTP route does: redirects, answers, delegates, rewrites, CORS and changes of headers.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::Reader;
use super::service::narrow;
use crate::analysis::NOT_ACTED_ON;
use crate::model::{
    CorsPolicy, Delegate, DirectResponse, HeaderChanges, HeaderOperations, HttpRoute, PathRewrite,
    Redirect, RedirectPath, RedirectPort, Rewrite, StringMatch,
};
use crate::rules;
use crate::yaml::{Cursor, Value};

/// The codes that a proxy can redirect by.
const REDIRECTS: [i64; 5] = [301, 302, 303, 307, 308];

/// From this many bytes on, a body is refused or warned about.
const LARGE_BODY: usize = 100 * 1024;
const LARGEST_BODY: usize = 1024 * 1024;

/// Why some headers stay.
const OF_CONNECTION: &str = "it belongs to the connection, so that this header stays as it is";

impl Reader {
    /// A route's own fields, besides its name, matches and destinations.
    pub(super) fn actions_of(&mut self, at: &Cursor<'_>) -> HttpRoute {
        HttpRoute {
            redirect: at.get("redirect").map(|at| self.redirect_of(&at)),
            direct_response: at.get("directResponse").map(|at| self.direct_response(&at)),
            delegate: at.get("delegate").map(|at| Delegate {
                name: at.text("name").to_owned(),
                namespace: text(&at, "namespace"),
            }),
            rewrite: at.get("rewrite").map(|at| self.rewrite_of(&at)),
            cors: at.get("corsPolicy").map(|at| cors_of(&at)),
            headers: self.header_operations(at),
            ..HttpRoute::default()
        }
    }

    fn redirect_of(&mut self, at: &Cursor<'_>) -> Redirect {
        let path = text(at, "uri").map(RedirectPath::Whole);
        let prefix = || text(at, "prefixRewrite").map(RedirectPath::Prefix);
        let port = at.get("port").and_then(|port| port.node.as_integer());
        let port = match at.text("derivePort") {
            "FROM_REQUEST_PORT" => Some(RedirectPort::OfRequest),
            "FROM_PROTOCOL_DEFAULT" => Some(RedirectPort::OfScheme),
            _ => port.and_then(narrow).map(RedirectPort::Number),
        };
        let code = at.get("redirectCode").map_or(301, |code| {
            let number = code.node.as_integer().unwrap_or(301);
            if !REDIRECTS.contains(&number) {
                let why = "clients are redirected by 301; use 301, 302, 303, 307 or 308";
                self.vain(&code, why);
                return 301;
            }
            u16::try_from(number).unwrap_or(301)
        });
        Redirect {
            path: path.or_else(prefix),
            authority: self.host_text(at),
            port,
            scheme: text(at, "scheme"),
            code,
        }
    }

    fn rewrite_of(&mut self, at: &Cursor<'_>) -> Rewrite {
        let by_regex = at.get("uriRegexRewrite").and_then(|regex| {
            let (pattern, substitution) = (regex.text("match"), regex.text("rewrite"));
            if let Err(message) = rules::substitution(pattern, substitution) {
                self.vain(
                    &regex,
                    &format!("{message}, so that paths stay as they are"),
                );
                return None;
            }
            Some(PathRewrite::Regex {
                pattern: pattern.to_owned(),
                substitution: substitution.to_owned(),
            })
        });
        Rewrite {
            path: text(at, "uri").map(PathRewrite::Matched).or(by_regex),
            authority: self.host_text(at),
        }
    }

    /// The field `authority`, if it is a host.
    fn host_text(&mut self, parent: &Cursor<'_>) -> Option<String> {
        let at = parent.get("authority")?;
        let host = text(parent, "authority")?;
        if !rules::is_authority_text(&host) {
            self.vain(&at, "it is no host, so that the host stays as it is");
            return None;
        }
        Some(host)
    }

    /// What Istio takes and no proxy could do.
    fn vain(&mut self, at: &Cursor<'_>, why: &str) {
        let message = format!("it is accepted but not acted on by this version: {why}");
        self.report.tell(&NOT_ACTED_ON, at, message);
    }

    fn direct_response(&mut self, at: &Cursor<'_>) -> DirectResponse {
        let status = at.get("status").and_then(|status| status.node.as_integer());
        let body = at.get("body");
        let mut bytes = Vec::new();
        if let Some(body) = &body {
            bytes = body.text("string").as_bytes().to_vec();
            if let Some(at) = body.get("bytes") {
                match decoded(at.node.as_str().unwrap_or_default()) {
                    Some(decoded) => bytes = decoded,
                    None => self
                        .report
                        .error(&at, "it is not base64; encode the bytes, or give string"),
                }
            }
            if bytes.len() > LARGEST_BODY {
                self.report
                    .error(body, "it has more than 1 MiB; let a service answer this");
            } else if bytes.len() > LARGE_BODY {
                self.report.warn(
                    body,
                    "it has more than 100 KiB, which every proxy keeps in memory; let a service answer this",
                );
            }
        }
        DirectResponse {
            status: status.and_then(narrow).unwrap_or(200),
            body: bytes,
        }
    }

    /// `headers` of a route or of a destination.
    pub(super) fn header_operations(&mut self, parent: &Cursor<'_>) -> HeaderOperations {
        let Some(at) = parent.get("headers") else {
            return HeaderOperations::default();
        };
        HeaderOperations {
            request: self.header_changes(at.get("request")),
            response: self.header_changes(at.get("response")),
        }
    }

    fn header_changes(&mut self, at: Option<Cursor<'_>>) -> HeaderChanges {
        let Some(at) = at else {
            return HeaderChanges::default();
        };
        HeaderChanges {
            set: self.header_values(&at, "set"),
            add: self.header_values(&at, "add"),
            remove: at
                .each("remove")
                .filter_map(|at| {
                    let name = at.node.as_str()?.to_ascii_lowercase();
                    if rules::is_framing(&name) {
                        self.vain(&at, OF_CONNECTION);
                        return None;
                    }
                    Some(name)
                })
                .collect(),
        }
    }

    /// Header name, lower case, to value. Those that no proxy could write are left out with a warning.
    fn header_values(&mut self, at: &Cursor<'_>, key: &str) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (entry, value) in at.each_entry(key) {
            let text = value.node.as_str().unwrap_or_default();
            let written = || value.clone().at_key(entry);
            let verdict = if rules::is_authority(&entry.key) {
                // The host's new name is taken as it stands; an empty one says nothing.
                let fits = text.is_empty() || rules::is_authority_text(text);
                let no_host = || "it is no host, so that the host stays as it is".to_owned();
                fits.then_some(()).ok_or_else(no_host)
            } else if rules::is_framing(&entry.key) {
                Err(OF_CONNECTION.to_owned())
            } else {
                rules::placeholders(text)
                    .map_err(|why| format!("{why}, so that this header is left out"))
            };
            if let Err(why) = verdict {
                self.vain(&written(), &why);
                continue;
            }
            values.insert(entry.key.to_ascii_lowercase(), text.to_owned());
        }
        values
    }
}

fn cors_of(at: &Cursor<'_>) -> CorsPolicy {
    let texts = |key: &str| -> Vec<String> {
        at.each(key)
            .filter_map(|at| at.node.as_str().map(str::to_owned))
            .collect()
    };
    let origins = at.each("allowOrigins").filter_map(|at| {
        text(&at, "exact")
            .map(StringMatch::Exact)
            .or_else(|| text(&at, "prefix").map(StringMatch::Prefix))
            .or_else(|| text(&at, "regex").map(StringMatch::Regex))
    });
    // The list's first form counts only where there is no second.
    let mut allow_origins: Vec<StringMatch> = origins.collect();
    if allow_origins.is_empty() {
        allow_origins = texts("allowOrigin")
            .into_iter()
            .map(StringMatch::Exact)
            .collect();
    }
    CorsPolicy {
        allow_origins,
        allow_methods: texts("allowMethods"),
        allow_headers: texts("allowHeaders"),
        expose_headers: texts("exposeHeaders"),
        max_age: at
            .get("maxAge")
            .and_then(|age| rules::length_of_time(age.node.as_str().unwrap_or_default())),
        allow_credentials: at
            .get("allowCredentials")
            .and_then(|flag| match &flag.node.value {
                Value::Bool(flag, _) => Some(*flag),
                _ => None,
            }),
        ignore_unmatched_preflights: at.text("unmatchedPreflights") == "IGNORE",
    }
}

/// A text that is there and not empty.
fn text(at: &Cursor<'_>, key: &str) -> Option<String> {
    Some(at.text(key))
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Both alphabets of base64, with padding or without, as protobuf's JSON has it.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [base64::alphabet::STANDARD, base64::alphabet::URL_SAFE];
    alphabets
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())
}
