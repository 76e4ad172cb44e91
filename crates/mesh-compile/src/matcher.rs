//! One match entry of a VirtualService as Envoy's RouteMatch.

use std::collections::BTreeMap;

use mesh_config::model::{HttpMatch, StringMatch};
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::matcher::{RegexMatcher, StringMatcher};
use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::route::header_matcher::HeaderMatchSpecifier;
use mesh_xds::envoy::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use mesh_xds::envoy::route::route_match::PathSpecifier;
use mesh_xds::envoy::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};

/// The match of a route that takes everything.
pub(crate) fn always() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    }
}

/// All conditions of an entry; those that are not supported are the caller's to look at.
pub(crate) fn route_match(entry: &HttpMatch) -> RouteMatch {
    let pseudo = [
        (":method", &entry.method),
        (":scheme", &entry.scheme),
        (":authority", &entry.authority),
    ];
    let mut headers: Vec<HeaderMatcher> = pseudo
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| header(name, Some(value))))
        .collect();
    headers.extend(all(&entry.headers));
    headers.extend(all(&entry.without_headers).map(|matcher| HeaderMatcher {
        invert_match: true,
        // A header that is missing counts as empty, so a condition on its value passes. Envoy would say
        // "no match" to a missing header before it turns the verdict round.
        treat_missing_header_as_empty: !is_presence(&matcher),
        ..matcher
    }));
    let case_insensitive = entry.ignore_uri_case
        && matches!(
            entry.uri,
            Some(StringMatch::Exact(_) | StringMatch::Prefix(_))
        );
    let parameter = |(name, value): (&String, &Option<StringMatch>)| {
        let specifier = match value {
            None => QueryParameterMatchSpecifier::PresentMatch(true),
            // An expression that is none: Istio takes it for presence.
            Some(StringMatch::Regex(text)) if ["", "*"].contains(&text.as_str()) => {
                QueryParameterMatchSpecifier::PresentMatch(true)
            }
            Some(value) => QueryParameterMatchSpecifier::StringMatch(string(value)),
        };
        QueryParameterMatcher {
            name: name.clone(),
            query_parameter_match_specifier: Some(specifier),
        }
    };
    RouteMatch {
        path_specifier: Some(path(entry.uri.as_ref(), entry.uri_by_segments)),
        case_sensitive: case_insensitive.then_some(BoolValue { value: false }),
        headers,
        query_parameters: entry.query_params.iter().map(parameter).collect(),
        ..RouteMatch::default()
    }
}

/// Whether a match takes every request: routes after it are never reached.
pub(crate) fn is_catch_all(matcher: &RouteMatch) -> bool {
    let every_path = match &matcher.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    every_path && matcher.headers.is_empty() && matcher.query_parameters.is_empty()
}

fn path(uri: Option<&StringMatch>, by_segments: bool) -> PathSpecifier {
    match uri {
        Some(StringMatch::Prefix(prefix))
            if by_segments && !prefix.trim_end_matches('/').is_empty() =>
        {
            PathSpecifier::PathSeparatedPrefix(prefix.trim_end_matches('/').to_owned())
        }
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(prefix)) if !prefix.is_empty() => {
            PathSpecifier::Prefix(prefix.clone())
        }
        // Envoy refuses an empty expression. It matches no path, since none is empty.
        Some(StringMatch::Regex(regex)) if regex.is_empty() => PathSpecifier::Path(String::new()),
        Some(StringMatch::Regex(regex)) => PathSpecifier::SafeRegex(expression(regex)),
        None | Some(StringMatch::Prefix(_)) => PathSpecifier::Prefix("/".to_owned()),
    }
}

fn all(
    headers: &BTreeMap<String, Option<StringMatch>>,
) -> impl Iterator<Item = HeaderMatcher> + use<'_> {
    headers
        .iter()
        .map(|(name, value)| header(name, value.as_ref()))
}

/// A condition that any value fulfils means that the header is there. Istio takes the expression `*`, which is
/// none, for that as well.
fn header(name: &str, value: Option<&StringMatch>) -> HeaderMatcher {
    let pattern = value.and_then(|value| match value {
        StringMatch::Exact(text) if !text.is_empty() => Some(MatchPattern::Exact(text.clone())),
        StringMatch::Prefix(text) if !text.is_empty() => Some(MatchPattern::Prefix(text.clone())),
        StringMatch::Regex(text) if !["", "*"].contains(&text.as_str()) => {
            Some(MatchPattern::SafeRegex(expression(text)))
        }
        StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_) => None,
    });
    let specifier = match pattern {
        Some(pattern) => HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ..StringMatcher::default()
        }),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

/// A condition on a value.
pub(crate) fn string(value: &StringMatch) -> StringMatcher {
    let pattern = match value {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        // Every value begins with nothing, which Envoy does not take for a prefix.
        StringMatch::Prefix(text) if text.is_empty() => {
            MatchPattern::SafeRegex(expression("(?s:.*)"))
        }
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(text) => MatchPattern::SafeRegex(expression(text)),
    };
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}

/// An expression for exactly this text.
pub(crate) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

fn is_presence(matcher: &HeaderMatcher) -> bool {
    matches!(
        matcher.header_match_specifier,
        Some(HeaderMatchSpecifier::PresentMatch(_))
    )
}

fn expression(regex: &str) -> RegexMatcher {
    RegexMatcher {
        regex: regex.to_owned(),
        ..RegexMatcher::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{always, is_catch_all, route_match};
    use mesh_config::model::{HttpMatch, StringMatch};
    use mesh_xds::envoy::route::header_matcher::HeaderMatchSpecifier;
    use mesh_xds::envoy::route::route_match::PathSpecifier;

    fn uri(uri: StringMatch) -> HttpMatch {
        HttpMatch {
            uri: Some(uri),
            ..HttpMatch::default()
        }
    }

    #[test]
    fn only_unconditional_matches_are_catch_alls() {
        assert!(is_catch_all(&always()));
        assert!(is_catch_all(&route_match(&HttpMatch::default())));
        for (matcher, expected) in [
            (StringMatch::Prefix("/".into()), true),
            (StringMatch::Prefix(String::new()), true),
            (StringMatch::Regex(".*".into()), true),
            (StringMatch::Regex("/.*".into()), false),
            (StringMatch::Prefix("/a".into()), false),
            (StringMatch::Exact("/".into()), false),
        ] {
            assert_eq!(
                is_catch_all(&route_match(&uri(matcher.clone()))),
                expected,
                "{matcher:?}"
            );
        }
        let mut entry = uri(StringMatch::Prefix("/".into()));
        entry.method = Some(StringMatch::Exact("GET".into()));
        assert!(!is_catch_all(&route_match(&entry)));
    }

    #[test]
    fn case_is_ignored_for_exact_and_prefix_only() {
        let sensitive = |entry: HttpMatch| {
            let entry = HttpMatch {
                ignore_uri_case: true,
                ..entry
            };
            route_match(&entry)
                .case_sensitive
                .is_none_or(|flag| flag.value)
        };
        assert!(!sensitive(uri(StringMatch::Exact("/A".into()))));
        assert!(!sensitive(uri(StringMatch::Prefix("/A".into()))));
        assert!(sensitive(uri(StringMatch::Regex("/A".into()))));
    }

    #[test]
    fn conditions_on_headers_keep_their_sense() {
        let entry = HttpMatch {
            headers: [
                ("any".to_owned(), None),
                ("star".to_owned(), Some(StringMatch::Regex("*".into()))),
                ("value".to_owned(), Some(StringMatch::Exact("v".into()))),
            ]
            .into(),
            without_headers: [
                ("absent".to_owned(), None),
                ("other".to_owned(), Some(StringMatch::Prefix("p".into()))),
            ]
            .into(),
            authority: Some(StringMatch::Exact("a.b".into())),
            ..HttpMatch::default()
        };
        let seen: Vec<_> = route_match(&entry)
            .headers
            .into_iter()
            .map(|matcher| {
                let present = matches!(
                    matcher.header_match_specifier,
                    Some(HeaderMatchSpecifier::PresentMatch(true))
                );
                let empty = matcher.treat_missing_header_as_empty;
                (matcher.name, present, matcher.invert_match, empty)
            })
            .collect();
        let expected = [
            (":authority", false, false, false),
            ("any", true, false, false),
            ("star", true, false, false),
            ("value", false, false, false),
            ("absent", true, true, false),
            ("other", false, true, true),
        ]
        .map(|(name, present, inverted, empty)| (name.to_owned(), present, inverted, empty));
        assert_eq!(seen, expected);
    }

    #[test]
    fn nothing_is_emitted_that_envoy_refuses() {
        let entry = HttpMatch {
            headers: [("h".to_owned(), Some(StringMatch::Prefix(String::new())))].into(),
            ..uri(StringMatch::Regex(String::new()))
        };
        let matcher = route_match(&entry);
        assert_eq!(
            matcher.path_specifier,
            Some(PathSpecifier::Path(String::new()))
        );
        assert_eq!(
            matcher.headers[0].header_match_specifier,
            Some(HeaderMatchSpecifier::PresentMatch(true))
        );
    }
}
