//! Other paths and hosts for requests that go on, and other places for clients that are sent away.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, Uri};
use regex::Captures;

use crate::fail::{Fail, Flag};
use crate::snapshot::{Changes, PathRewrite, Piece, Redirect, RedirectPath};

/// Rewrites the target of a request and the host that it is for, as the route and the chosen target say.
pub(crate) fn request(
    changes: &Changes,
    target: usize,
    head: &mut Parts,
    authority: &mut HeaderValue,
) -> Result<(), Fail> {
    let of_target = changes.targets.get(target);
    let host = changes.host.as_ref();
    if let Some(host) = host.or_else(|| of_target.and_then(|target| target.host.as_ref())) {
        authority.clone_from(host);
    }
    if let Some(rewrite) = &changes.path {
        let path = path(rewrite, head.uri.path());
        head.uri = with_query(&path, head.uri.query())
            .parse()
            .map_err(|_| no_path())?;
    }
    Ok(())
}

fn no_path() -> Fail {
    let cause = "the route rewrites this path to something that is none";
    Fail::new(Flag::NoRoute, cause)
}

/// The path that a rewrite makes of another one. It begins with a slash, whatever the rewrite says.
fn path<'p>(rewrite: &PathRewrite, path: &'p str) -> Cow<'p, str> {
    let rewritten = match rewrite {
        PathRewrite::Matched { length, with } => {
            // What the match compared, so the cut is between characters.
            let rest = length.map_or("", |length| path.get(length..).unwrap_or_default());
            Cow::Owned(format!("{with}{rest}"))
        }
        PathRewrite::Found { regex, with } => {
            regex.replace_all(path, |found: &Captures<'_>| substitute(with, found))
        }
    };
    if rewritten.starts_with('/') {
        rewritten
    } else {
        Cow::Owned(format!("/{rewritten}"))
    }
}

fn substitute(pieces: &[Piece], found: &Captures<'_>) -> String {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text,
        Piece::Group(group) => found.get(*group).map_or("", |group| group.as_str()),
    });
    texts.collect()
}

fn with_query<'p>(path: &'p str, query: Option<&str>) -> Cow<'p, str> {
    match query {
        None => Cow::Borrowed(path),
        Some(query) => Cow::Owned(format!("{path}?{query}")),
    }
}

/// The answer that sends a client elsewhere. `scheme` and `authority` are what it asked for.
pub(crate) fn redirect(
    redirect: &Redirect,
    scheme: &str,
    authority: &HeaderValue,
    uri: &Uri,
) -> Result<Response<Bytes>, Fail> {
    let to_scheme = redirect.scheme.as_deref().unwrap_or(scheme);
    let asked = authority.to_str().unwrap_or_default();
    let host = match &redirect.host {
        Some(host) => host,
        None => stripped(asked, scheme, redirect),
    };
    let query = uri.query().filter(|_| !redirect.strip_query);
    let path = match &redirect.path {
        Some(RedirectPath::Whole(whole)) if whole.contains('?') => Cow::Borrowed(whole.as_str()),
        Some(RedirectPath::Whole(whole)) => with_query(whole, query),
        Some(RedirectPath::Rewritten(rewrite)) => {
            Cow::Owned(with_query(&path(rewrite, uri.path()), query).into_owned())
        }
        None => with_query(uri.path(), query),
    };
    let mut location = format!("{to_scheme}://{host}");
    if let Some(port) = redirect.port {
        // Writing to a String does not fail.
        let _ = write!(location, ":{port}");
    }
    location.push_str(&path);
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = redirect.status;
    let location = HeaderValue::from_str(&location).map_err(|_| no_path())?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The host that was asked for, without a port that would be wrong at the other place: where another one is named,
/// and where it is the old scheme's own and the scheme changes.
fn stripped<'h>(asked: &'h str, scheme: &str, redirect: &Redirect) -> &'h str {
    let colon = asked
        .rfind(':')
        .filter(|colon| !asked[*colon..].contains(']'));
    let Some(colon) = colon else {
        return asked;
    };
    let other_scheme = redirect.scheme.as_deref().is_some_and(|to| to != scheme);
    let of_scheme = matches!(
        (scheme, &asked[colon..]),
        ("http", ":80") | ("https", ":443")
    );
    if redirect.port.is_some() || (other_scheme && of_scheme) {
        &asked[..colon]
    } else {
        asked
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;
    use crate::snapshot::TargetChanges;

    fn matched(length: Option<usize>, with: &str) -> PathRewrite {
        PathRewrite::Matched {
            length,
            with: with.to_owned(),
        }
    }

    fn found(pattern: &str, with: Vec<Piece>) -> PathRewrite {
        PathRewrite::Found {
            regex: regex::Regex::new(pattern).expect("a regex"),
            with,
        }
    }

    #[test]
    fn what_was_matched_is_replaced_and_the_query_stays() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let groups = vec![text("/"), Piece::Group(2), text("/"), Piece::Group(1)];
        let table = [
            (matched(Some(4), "/new"), "/old/a?b=c", "/new/a?b=c"),
            (matched(Some(1), "/"), "/old", "/old"),
            (matched(Some(4), "/"), "/old/a", "//a"),
            (matched(Some(4), "/x"), "/older?", "/xer?"),
            (matched(None, "/whole"), "/old/a?q", "/whole?q"),
            (matched(Some(4), "bare"), "/old/a", "/bare/a"),
            (found("^/([^/]+)/([^/]+)$", groups), "/a/b?x", "/b/a?x"),
            (found("b", vec![text("c")]), "/abba", "/acca"),
            (found("none", vec![text("c")]), "/abba", "/abba"),
        ];
        for (rewrite, from, to) in table {
            let changes = Changes {
                path: Some(rewrite),
                ..Changes::default()
            };
            let (mut head, ()) = Request::get(from).body(()).expect("a request").into_parts();
            let mut host = HeaderValue::from_static("web");
            request(&changes, 0, &mut head, &mut host).expect("a path");
            assert_eq!(head.uri.to_string(), to, "{from}");
            assert_eq!(host, "web");
        }
    }

    #[test]
    fn a_path_that_is_none_is_no_route() {
        let changes = Changes {
            path: Some(matched(None, "/a b")),
            ..Changes::default()
        };
        let (mut head, ()) = Request::get("/").body(()).expect("a request").into_parts();
        let mut host = HeaderValue::from_static("web");
        let fail = request(&changes, 0, &mut head, &mut host).expect_err("no path");
        assert_eq!(fail.status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_routes_host_comes_before_the_targets() {
        let host = |text: &'static str| Some(HeaderValue::from_static(text));
        let target = |text| TargetChanges {
            host: host(text),
            ..TargetChanges::default()
        };
        let mut changes = Changes {
            targets: vec![TargetChanges::default(), target("b")],
            ..Changes::default()
        };
        let rewritten = |changes: &Changes, target| {
            let (mut head, ()) = Request::get("/").body(()).expect("a request").into_parts();
            let mut host = HeaderValue::from_static("asked");
            request(changes, target, &mut head, &mut host).expect("a path");
            host
        };
        assert_eq!(rewritten(&changes, 0), "asked");
        assert_eq!(rewritten(&changes, 1), "b");
        changes.host = host("a");
        assert_eq!(rewritten(&changes, 1), "a");
    }

    #[test]
    fn clients_are_sent_where_the_redirect_says() {
        let plain = || Redirect {
            status: StatusCode::FOUND,
            scheme: None,
            host: None,
            port: None,
            path: None,
            strip_query: false,
        };
        let whole = |path: &str| Some(RedirectPath::Whole(path.to_owned()));
        let to = |redirect: Redirect, scheme: &str, host: &'static str, uri: &str| {
            let uri: Uri = uri.parse().expect("a URI");
            let response =
                super::redirect(&redirect, scheme, &HeaderValue::from_static(host), &uri)
                    .expect("a place");
            assert_eq!(response.status(), StatusCode::FOUND);
            response.headers()["location"]
                .to_str()
                .expect("text")
                .to_owned()
        };
        let https = || Some("https".to_owned());
        assert_eq!(to(plain(), "http", "a:81", "/p?q"), "http://a:81/p?q");
        assert_eq!(
            to(
                Redirect {
                    scheme: https(),
                    ..plain()
                },
                "http",
                "a:80",
                "/p"
            ),
            "https://a/p"
        );
        assert_eq!(
            to(
                Redirect {
                    scheme: https(),
                    ..plain()
                },
                "http",
                "a:81",
                "/p"
            ),
            "https://a:81/p"
        );
        assert_eq!(
            to(
                Redirect {
                    port: Some(8443),
                    ..plain()
                },
                "https",
                "[::1]:443",
                "/p"
            ),
            "https://[::1]:8443/p"
        );
        assert_eq!(
            to(
                Redirect {
                    host: Some("b".into()),
                    ..plain()
                },
                "http",
                "a:81",
                "/p"
            ),
            "http://b/p"
        );
        assert_eq!(
            to(
                Redirect {
                    path: whole("/new"),
                    ..plain()
                },
                "http",
                "a",
                "/p?q"
            ),
            "http://a/new?q"
        );
        assert_eq!(
            to(
                Redirect {
                    path: whole("/new?z"),
                    ..plain()
                },
                "http",
                "a",
                "/p?q"
            ),
            "http://a/new?z"
        );
        let prefix = Some(RedirectPath::Rewritten(matched(Some(2), "/n")));
        assert_eq!(
            to(
                Redirect {
                    path: prefix,
                    strip_query: true,
                    ..plain()
                },
                "http",
                "a",
                "/p/x?q"
            ),
            "http://a/n/x"
        );
    }
}
