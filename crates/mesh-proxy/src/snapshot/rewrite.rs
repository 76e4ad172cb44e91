//! Other paths, hosts and places: Envoy's rewrites and redirects.

use http::StatusCode;
use http::header::HeaderValue;
use mesh_xds::envoy::matcher as types;
use mesh_xds::envoy::route as pb;
use mesh_xds::envoy::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use regex::Regex;

use super::PathMatcher;
use super::field::{At, Refusal, sort_fields};

/// How a path is rewritten; the query stays.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Something else stands in for what the route's match asked for.
    Matched {
        /// So many bytes of the path's beginning; `None` for all of it.
        length: Option<usize>,
        /// What stands in for them.
        with: String,
    },
    /// Something else stands in for each part that an expression finds.
    Found {
        /// The expression.
        regex: Regex,
        /// What stands in for a part.
        with: Vec<Piece>,
    },
}

/// A piece of what stands in for a part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// What this group of the expression has found; 0 is the whole part.
    Group(usize),
}

/// An answer that sends the client elsewhere. What is absent stays as the client asked for it.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host, with a port if it has one.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<RedirectPath>,
    /// The query is left out.
    pub strip_query: bool,
}

/// The path that a client is sent to.
#[derive(Clone, Debug)]
pub enum RedirectPath {
    /// This one. If it has a query, it has it instead of the request's.
    Whole(String),
    /// The request's, rewritten.
    Rewritten(PathRewrite),
}

impl PathRewrite {
    /// What stands in for what the match takes; an empty text means that nothing does.
    pub(super) fn matched(matcher: &PathMatcher, with: &str) -> Option<Self> {
        (!with.is_empty()).then(|| Self::Matched {
            length: match matcher {
                PathMatcher::Prefix { value, .. } | PathMatcher::Segments { value, .. } => {
                    Some(value.len())
                }
                PathMatcher::Exact { .. } | PathMatcher::Regex(_) => None,
            },
            with: with.to_owned(),
        })
    }

    /// Reads an expression and what stands in for the parts that it finds.
    pub(super) fn found(
        at: &At<'_>,
        message: &types::RegexMatchAndSubstitute,
    ) -> Result<Self, Refusal> {
        let types::RegexMatchAndSubstitute {
            pattern,
            substitution,
        } = message;
        let expression = pattern.as_ref().map_or("", |pattern| &pattern.regex);
        let regex = Regex::new(expression).map_err(|error| {
            at.field("pattern")
                .refuse(format!("{expression:?} is no regular expression: {error}"))
        })?;
        let with = pieces(substitution).filter(|pieces| {
            pieces.iter().all(|piece| match piece {
                Piece::Text(_) => true,
                Piece::Group(group) => *group < regex.captures_len(),
            })
        });
        let with = with.ok_or_else(|| {
            at.field("substitution").refuse(format!(
                "{substitution:?} has a backslash that names no group of the pattern; write \\1, or \\\\ for itself"
            ))
        })?;
        Ok(Self::Found { regex, with })
    }
}

/// RE2's replacements: `\0` to `\9` are groups, `\\` is a backslash.
fn pieces(substitution: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut chars = substitution.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next()? {
            '\\' => text.push('\\'),
            digit => {
                let group = digit.to_digit(10)? as usize;
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Group(group));
            }
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Some(pieces)
}

/// A host that a request is said to be for.
pub(super) fn host(at: &At<'_>, text: &str) -> Result<Option<HeaderValue>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_host = text.parse::<http::uri::Authority>().is_ok();
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| is_host)
        .map(Some)
        .ok_or_else(|| at.refuse(format!("{text:?} is not a host with an optional port")))
}

/// Reads a redirect of a route with this matcher.
pub(super) fn redirect(
    at: &At<'_>,
    message: &pb::RedirectAction,
    matcher: &PathMatcher,
) -> Result<Redirect, Refusal> {
    use pb::RedirectAction;
    sort_fields!(at, message => RedirectAction {
        takes {
            host_redirect, port_redirect, response_code, strip_query, scheme_rewrite_specifier,
            path_rewrite_specifier,
        }
        ignores {}
        refuses {}
    });
    let status = match RedirectResponseCode::try_from(*response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => StatusCode::MOVED_PERMANENTLY,
        Ok(RedirectResponseCode::Found) => StatusCode::FOUND,
        Ok(RedirectResponseCode::SeeOther) => StatusCode::SEE_OTHER,
        Ok(RedirectResponseCode::TemporaryRedirect) => StatusCode::TEMPORARY_REDIRECT,
        Ok(RedirectResponseCode::PermanentRedirect) => StatusCode::PERMANENT_REDIRECT,
        Err(_) => return Err(at.field("response_code").refuse("is not known")),
    };
    let port = u16::try_from(*port_redirect).map_err(|_| {
        at.field("port_redirect")
            .refuse(format!("{port_redirect} is no port"))
    })?;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let scheme = match scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => text(scheme),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let path = match path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => text(path).map(RedirectPath::Whole),
        Some(PathRewriteSpecifier::PrefixRewrite(with)) => {
            PathRewrite::matched(matcher, with).map(RedirectPath::Rewritten)
        }
        Some(PathRewriteSpecifier::RegexRewrite(message)) => Some(RedirectPath::Rewritten(
            PathRewrite::found(&at.field("regex_rewrite"), message)?,
        )),
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(at.field("path_rewrite").unsupported());
        }
        None => None,
    };
    host(&at.field("host_redirect"), host_redirect)?;
    Ok(Redirect {
        status,
        scheme,
        host: text(host_redirect),
        port: (port > 0).then_some(port),
        path,
        strip_query: *strip_query,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str, substitution: &str) -> Result<PathRewrite, Refusal> {
        let message = types::RegexMatchAndSubstitute {
            pattern: Some(types::RegexMatcher {
                regex: pattern.into(),
                ..Default::default()
            }),
            substitution: substitution.into(),
        };
        PathRewrite::found(&At::ROOT, &message)
    }

    #[test]
    fn substitutions_are_those_of_re2() {
        assert_eq!(
            pieces(r"/\2/x\\\0"),
            Some(vec![
                Piece::Text("/".into()),
                Piece::Group(2),
                Piece::Text(r"/x\".into()),
                Piece::Group(0),
            ])
        );
        assert_eq!(pieces(r"\x"), None);
        assert_eq!(pieces(r"a\"), None);
        assert!(regex("/(a)/(b)", r"/\2").is_ok());
        assert_eq!(regex("/(a)", r"/\2").unwrap_err().field, "substitution");
        assert_eq!(regex("/(a", r"/\1").unwrap_err().field, "pattern");
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_name() {
        let matcher = PathMatcher::Prefix {
            value: "/a".into(),
            ignore_case: false,
        };
        let plain = redirect(&At::ROOT, &pb::RedirectAction::default(), &matcher).unwrap();
        assert_eq!(plain.status, 301);
        assert!(plain.host.is_none() && plain.port.is_none() && plain.scheme.is_none());
        assert!(plain.path.is_none());
        let refused = |message: pb::RedirectAction| {
            redirect(&At::ROOT, &message, &matcher).unwrap_err().field
        };
        let bad_port = pb::RedirectAction {
            port_redirect: 70_000,
            ..Default::default()
        };
        assert_eq!(refused(bad_port), "port_redirect");
        let bad_host = pb::RedirectAction {
            host_redirect: "a b".into(),
            ..Default::default()
        };
        assert_eq!(refused(bad_host), "host_redirect");
    }
}
