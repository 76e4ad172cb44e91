//! Conditions of routes: Envoy's path, header and string matchers become ours.
//!
//! Regular expressions are compiled here, once, and match the whole value as Envoy's do.

use mesh_xds::envoy::matcher as types;
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::route as pb;
use mesh_xds::envoy::route::header_matcher::HeaderMatchSpecifier;
use mesh_xds::envoy::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use mesh_xds::envoy::route::route_match::PathSpecifier;
use regex::Regex;

use super::field::{At, Refusal, sort_fields};
use super::{HeaderMatcher, HeaderName, PathMatcher, QueryMatcher, RouteMatcher, ValueMatcher};

/// Reads a route's conditions.
pub(super) fn route(at: &At<'_>, message: &pb::RouteMatch) -> Result<RouteMatcher, Refusal> {
    use pb::RouteMatch;
    sort_fields!(at, message => RouteMatch {
        takes { case_sensitive, headers, query_parameters, path_specifier }
        ignores {}
        refuses {
            runtime_fraction, cookies, grpc, tls_context, dynamic_metadata, filter_state,
        }
    });
    let ignore_case = case_sensitive
        .as_ref()
        .is_some_and(|sensitive| !sensitive.value);
    let path = path(at, path_specifier.as_ref(), ignore_case)?;
    let headers = headers.iter().enumerate();
    let headers = headers.map(|(i, message)| header(&at.item("headers", i), message));
    let query = query_parameters.iter().enumerate();
    let query = query.map(|(i, message)| parameter(&at.item("query_parameters", i), message));
    Ok(RouteMatcher {
        path,
        headers: headers.collect::<Result<_, _>>()?,
        query: query.collect::<Result<_, _>>()?,
    })
}

fn parameter(at: &At<'_>, message: &pb::QueryParameterMatcher) -> Result<QueryMatcher, Refusal> {
    let pb::QueryParameterMatcher {
        name,
        query_parameter_match_specifier,
    } = message;
    let mut absent = false;
    let value = match query_parameter_match_specifier {
        None => ValueMatcher::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => {
            absent = !present;
            ValueMatcher::Present
        }
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            string(&at.field("string_match"), matcher)?
        }
    };
    if name.is_empty() {
        return Err(at.field("name").refuse("is empty"));
    }
    Ok(QueryMatcher {
        name: name.clone(),
        value,
        absent,
    })
}

fn path(
    at: &At<'_>,
    specifier: Option<&PathSpecifier>,
    ignore_case: bool,
) -> Result<PathMatcher, Refusal> {
    let fold = |value: &str| {
        if ignore_case {
            value.to_ascii_lowercase()
        } else {
            value.to_owned()
        }
    };
    match specifier {
        Some(PathSpecifier::Prefix(value)) => Ok(PathMatcher::Prefix {
            value: fold(value),
            ignore_case,
        }),
        Some(PathSpecifier::Path(value)) => Ok(PathMatcher::Exact {
            value: fold(value),
            ignore_case,
        }),
        Some(PathSpecifier::SafeRegex(expression)) => {
            regex(&at.field("safe_regex"), expression).map(PathMatcher::Regex)
        }
        Some(PathSpecifier::PathSeparatedPrefix(value)) => {
            let at = at.field("path_separated_prefix");
            if value.is_empty() || value.ends_with('/') {
                return Err(at.refuse("must not be empty nor end in a slash"));
            }
            Ok(PathMatcher::Segments {
                value: fold(value),
                ignore_case,
            })
        }
        Some(PathSpecifier::ConnectMatcher(_)) => Err(at.field("connect_matcher").unsupported()),
        Some(PathSpecifier::PathMatchPolicy(_)) => Err(at.field("path_match_policy").unsupported()),
        None => {
            Err(at.refuse("names no path; set prefix, path, safe_regex or path_separated_prefix"))
        }
    }
}

fn header(at: &At<'_>, message: &pb::HeaderMatcher) -> Result<HeaderMatcher, Refusal> {
    use pb::HeaderMatcher as Message;
    sort_fields!(at, message => Message {
        takes { name, invert_match, header_match_specifier, treat_missing_header_as_empty }
        ignores {}
        refuses {}
    });
    let name = header_name(name).ok_or_else(|| {
        at.field("name")
            .refuse(format!("{name:?} is not the name of a header"))
    })?;
    #[allow(deprecated, reason = "older control planes still send the older forms")]
    let value = match header_match_specifier {
        None | Some(HeaderMatchSpecifier::PresentMatch(_)) => ValueMatcher::Present,
        Some(HeaderMatchSpecifier::ExactMatch(value)) => ValueMatcher::Exact(value.clone()),
        Some(HeaderMatchSpecifier::PrefixMatch(value)) => ValueMatcher::Prefix(value.clone()),
        Some(HeaderMatchSpecifier::SuffixMatch(value)) => ValueMatcher::Suffix(value.clone()),
        Some(HeaderMatchSpecifier::ContainsMatch(value)) => ValueMatcher::Contains(value.clone()),
        Some(HeaderMatchSpecifier::SafeRegexMatch(expression)) => {
            ValueMatcher::Regex(regex(&at.field("safe_regex_match"), expression)?)
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            string(&at.field("string_match"), matcher)?
        }
        Some(HeaderMatchSpecifier::RangeMatch(_)) => {
            return Err(at.field("range_match").unsupported());
        }
    };
    let wants_absence = matches!(
        header_match_specifier,
        Some(HeaderMatchSpecifier::PresentMatch(false))
    );
    Ok(HeaderMatcher {
        name,
        value,
        invert: *invert_match != wants_absence,
        missing_is_empty: *treat_missing_header_as_empty,
    })
}

pub(super) fn header_name(name: &str) -> Option<HeaderName> {
    match name.to_ascii_lowercase().as_str() {
        ":method" => Some(HeaderName::Method),
        ":authority" | "host" => Some(HeaderName::Authority),
        ":scheme" => Some(HeaderName::Scheme),
        ":path" => Some(HeaderName::Path),
        field => http::HeaderName::try_from(field)
            .ok()
            .map(HeaderName::Field),
    }
}

pub(super) fn string(at: &At<'_>, message: &types::StringMatcher) -> Result<ValueMatcher, Refusal> {
    let types::StringMatcher {
        ignore_case,
        match_pattern,
    } = message;
    let folded = |before: &str, literal: &str, after: &str| {
        let expression = format!("(?i){before}{}{after}", regex::escape(literal));
        anchored(at, &expression).map(ValueMatcher::Regex)
    };
    const ANY: &str = "(?s:.*)";
    match match_pattern {
        Some(MatchPattern::SafeRegex(expression)) => {
            regex(&at.field("safe_regex"), expression).map(ValueMatcher::Regex)
        }
        Some(MatchPattern::Exact(value)) if *ignore_case => folded("", value, ""),
        Some(MatchPattern::Prefix(value)) if *ignore_case => folded("", value, ANY),
        Some(MatchPattern::Suffix(value)) if *ignore_case => folded(ANY, value, ""),
        Some(MatchPattern::Contains(value)) if *ignore_case => folded(ANY, value, ANY),
        Some(MatchPattern::Exact(value)) => Ok(ValueMatcher::Exact(value.clone())),
        Some(MatchPattern::Prefix(value)) => Ok(ValueMatcher::Prefix(value.clone())),
        Some(MatchPattern::Suffix(value)) => Ok(ValueMatcher::Suffix(value.clone())),
        Some(MatchPattern::Contains(value)) => Ok(ValueMatcher::Contains(value.clone())),
        Some(MatchPattern::Custom(_)) => Err(at.field("custom").unsupported()),
        None => Err(at.refuse("names no pattern")),
    }
}

/// Compiles an expression so that it matches whole values only.
fn regex(at: &At<'_>, message: &types::RegexMatcher) -> Result<Regex, Refusal> {
    // The engine is not ours to choose: RE2's syntax is what the regex crate understands too.
    let types::RegexMatcher {
        regex,
        engine_type: _,
    } = message;
    anchored(at, regex)
}

fn anchored(at: &At<'_>, expression: &str) -> Result<Regex, Refusal> {
    // Checked alone first, so that `a)(b` cannot break out of the group that anchors it.
    Regex::new(expression)
        .and_then(|_| Regex::new(&format!(r"\A(?:{expression})\z")))
        .map_err(|error| at.refuse(format!("{expression:?} is no regular expression: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_xds::envoy::protobuf::BoolValue;

    fn on_path(specifier: PathSpecifier) -> pb::RouteMatch {
        pb::RouteMatch {
            path_specifier: Some(specifier),
            ..Default::default()
        }
    }

    fn expression(regex: &str) -> types::RegexMatcher {
        types::RegexMatcher {
            regex: regex.into(),
            ..Default::default()
        }
    }

    fn on_header(name: &str, specifier: Option<HeaderMatchSpecifier>) -> pb::HeaderMatcher {
        pb::HeaderMatcher {
            name: name.into(),
            header_match_specifier: specifier,
            ..Default::default()
        }
    }

    fn pattern(pattern: MatchPattern, ignore_case: bool) -> HeaderMatchSpecifier {
        HeaderMatchSpecifier::StringMatch(types::StringMatcher {
            ignore_case,
            match_pattern: Some(pattern),
        })
    }

    fn read_path(message: &pb::RouteMatch) -> PathMatcher {
        route(&At::ROOT, message).unwrap().path
    }

    fn regex_of(matcher: &ValueMatcher) -> &Regex {
        match matcher {
            ValueMatcher::Regex(regex) => regex,
            other => panic!("expected a regex, got {other:?}"),
        }
    }

    #[test]
    fn paths_are_prefixes_exact_or_expressions() {
        let matcher = read_path(&on_path(PathSpecifier::Prefix("/Api".into())));
        assert!(
            matches!(matcher, PathMatcher::Prefix { value, ignore_case: false } if value == "/Api")
        );
        let mut folded = on_path(PathSpecifier::Path("/Api".into()));
        folded.case_sensitive = Some(BoolValue { value: false });
        let matcher = read_path(&folded);
        assert!(
            matches!(matcher, PathMatcher::Exact { value, ignore_case: true } if value == "/api")
        );
        let PathMatcher::Regex(regex) =
            read_path(&on_path(PathSpecifier::SafeRegex(expression("/v[0-9]|/x"))))
        else {
            panic!("not a regex");
        };
        assert!(regex.is_match("/v1") && regex.is_match("/x"));
        assert!(!regex.is_match("/v1/more") && !regex.is_match("/a/x"));
    }

    #[test]
    fn a_separated_prefix_ends_at_a_slash() {
        let matcher = read_path(&on_path(PathSpecifier::PathSeparatedPrefix("/a.b".into())));
        assert!(
            matches!(matcher, PathMatcher::Segments { value, ignore_case: false } if value == "/a.b")
        );
        let bad = on_path(PathSpecifier::PathSeparatedPrefix("/a/".into()));
        assert_eq!(
            route(&At::ROOT, &bad).unwrap_err().field,
            "path_separated_prefix"
        );
    }

    #[test]
    fn headers_in_the_old_forms_and_the_new_one() {
        let read = |specifier| header(&At::ROOT, &on_header("X-Kind", Some(specifier))).unwrap();
        #[allow(deprecated, reason = "the older forms are under test")]
        let pairs = [
            (
                HeaderMatchSpecifier::ExactMatch("a".into()),
                MatchPattern::Exact("a".into()),
            ),
            (
                HeaderMatchSpecifier::PrefixMatch("a".into()),
                MatchPattern::Prefix("a".into()),
            ),
            (
                HeaderMatchSpecifier::SuffixMatch("a".into()),
                MatchPattern::Suffix("a".into()),
            ),
            (
                HeaderMatchSpecifier::ContainsMatch("a".into()),
                MatchPattern::Contains("a".into()),
            ),
        ];
        for (old, new) in pairs {
            let (old, new) = (read(old), read(pattern(new, false)));
            assert_eq!(format!("{old:?}"), format!("{new:?}"));
            assert_eq!(
                new.name,
                HeaderName::Field(http::HeaderName::from_static("x-kind"))
            );
        }
        let matcher = read(pattern(MatchPattern::SafeRegex(expression("a+")), false));
        assert!(
            regex_of(&matcher.value).is_match("aa") && !regex_of(&matcher.value).is_match("ab")
        );
    }

    #[test]
    fn case_is_folded_on_request() {
        for (given, hit, miss) in [
            (MatchPattern::Exact("A.b".into()), "a.B", "a.Bc"),
            (MatchPattern::Prefix("A.b".into()), "a.Bc", "xa.b"),
            (MatchPattern::Suffix("A.b".into()), "xa.B", "a.bx"),
            (MatchPattern::Contains("A.b".into()), "xa.Bx", "aXb"),
        ] {
            let matcher = on_header("x", Some(pattern(given, true)));
            let matcher = header(&At::ROOT, &matcher).unwrap();
            assert!(regex_of(&matcher.value).is_match(hit), "{matcher:?}");
            assert!(!regex_of(&matcher.value).is_match(miss), "{matcher:?}");
        }
    }

    #[test]
    fn presence_absence_and_inversion() {
        let invert = |specifier, invert_match| {
            let message = pb::HeaderMatcher {
                invert_match,
                ..on_header("x", specifier)
            };
            header(&At::ROOT, &message).unwrap().invert
        };
        let counted = pb::HeaderMatcher {
            treat_missing_header_as_empty: true,
            ..on_header("a", None)
        };
        assert!(header(&At::ROOT, &counted).unwrap().missing_is_empty);
        assert!(!invert(None, false));
        assert!(invert(None, true));
        assert!(!invert(
            Some(HeaderMatchSpecifier::PresentMatch(true)),
            false
        ));
        assert!(invert(
            Some(HeaderMatchSpecifier::PresentMatch(false)),
            false
        ));
        assert!(!invert(
            Some(HeaderMatchSpecifier::PresentMatch(false)),
            true
        ));
    }

    #[test]
    fn pseudo_headers_have_their_own_names() {
        let name = |name| header(&At::ROOT, &on_header(name, None)).map(|matcher| matcher.name);
        assert_eq!(name(":method"), Ok(HeaderName::Method));
        assert_eq!(name(":authority"), Ok(HeaderName::Authority));
        assert_eq!(name("Host"), Ok(HeaderName::Authority));
        assert_eq!(name(":scheme"), Ok(HeaderName::Scheme));
        assert_eq!(name(":path"), Ok(HeaderName::Path));
        assert_eq!(name(":nonsense").unwrap_err().field, "name");
        assert_eq!(name("").unwrap_err().field, "name");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let refused = |change: fn(&mut pb::RouteMatch)| {
            let mut message = on_path(PathSpecifier::Prefix("/".into()));
            change(&mut message);
            route(&At::ROOT, &message).unwrap_err().field
        };
        assert_eq!(
            refused(|m| m.query_parameters.push(Default::default())),
            "query_parameters[0].name"
        );
        assert_eq!(refused(|m| m.grpc = Some(Default::default())), "grpc");
        assert_eq!(
            refused(|m| m.runtime_fraction = Some(Default::default())),
            "runtime_fraction"
        );
        assert_eq!(
            refused(|m| m.path_specifier = Some(PathSpecifier::SafeRegex(expression("a)(b")))),
            "safe_regex"
        );
        assert_eq!(
            refused(|m| {
                let range = HeaderMatchSpecifier::RangeMatch(Default::default());
                m.headers = vec![on_header("a", None), on_header("b", Some(range))];
            }),
            "headers[1].range_match"
        );
        let none = route(&At::ROOT, &pb::RouteMatch::default()).unwrap_err();
        assert!(none.message.contains("path_separated_prefix"), "{none}");
    }
}
