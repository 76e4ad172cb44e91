//! One spelling of each path, so that routes, policies and the application read the same.
//!
//! This is Envoy's `normalize_path`, which Istio's default (`pathNormalization: BASE`) turns on: RFC 3986
//! section 6.2.2, and backslashes as the slashes that some applications take them for. Only where it is asked for,
//! repeated slashes become one (`MERGE_SLASHES`), and `%2F` and `%5C`, which are data otherwise, become slashes
//! first (`DECODE_AND_MERGE_SLASHES`).

use std::borrow::Cow;

use http::{StatusCode, Uri};

use crate::fail::Fail;
use crate::snapshot::Normalization;

const NO_NORMAL_FORM: &str =
    "the request's path has no normal form: send a percent sign that encodes nothing as %25";

/// Brings the path of a target in origin form into its normal form; the query stays. A path that is normal costs
/// a look at its bytes.
pub(crate) fn normalize(target: &mut Uri, how: Normalization) -> Result<(), Fail> {
    let path = target.path();
    if !path.starts_with('/') {
        return Ok(());
    }
    let unescaped = match how.unescape_slashes {
        true => unescape_slashes(path),
        false => Cow::Borrowed(path),
    };
    let is_done = !how.normalize || is_normal(unescaped.as_bytes());
    let is_merged = !how.merge_slashes || !unescaped.contains("//");
    if is_done && is_merged && matches!(unescaped, Cow::Borrowed(_)) {
        return Ok(());
    }
    let mut normal = if is_done {
        unescaped.into_owned()
    } else {
        remove_dot_segments(&decode_unreserved(&unescaped)?)
    };
    if how.normalize && !is_normal(normal.as_bytes()) {
        // A percent sign that encoded nothing now stands before digits: the next reader would see another path.
        return Err(bad(NO_NORMAL_FORM));
    }
    if how.merge_slashes {
        merge_slashes(&mut normal);
    }
    if let Some(query) = target.query() {
        normal.push('?');
        normal.push_str(query);
    }
    *target = normal.parse().map_err(|_| bad(NO_NORMAL_FORM))?;
    Ok(())
}

/// `%2F` and `%5C` are the slashes that they encode.
fn unescape_slashes(path: &str) -> Cow<'_, str> {
    let is_slash = |part: &str| matches!(encoded(part.as_bytes()), Some(b'/' | b'\\'));
    if !path.split('%').skip(1).any(is_slash) {
        return Cow::Borrowed(path);
    }
    let mut parts = path.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if is_slash(part) {
            // A backslash is another way to write a slash in a path.
            plain.push('/');
            plain.push_str(&part[2..]);
        } else {
            plain.push('%');
            plain.push_str(part);
        }
    }
    Cow::Owned(plain)
}

/// Several slashes in a row are one.
fn merge_slashes(path: &mut String) {
    let mut before = ' ';
    path.retain(|now| {
        let is_repeated = now == '/' && before == '/';
        before = now;
        !is_repeated
    });
}

/// Whether nothing would change.
fn is_normal(path: &[u8]) -> bool {
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let is_plain = match byte {
            b'\\' => false,
            b'%' => encoded(after).is_none_or(|byte| byte != 0 && !is_unreserved(byte)),
            b'/' => !matches!(
                after,
                [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
            ),
            _ => true,
        };
        if !is_plain {
            return false;
        }
        rest = after;
    }
    true
}

/// The byte whose two hexadecimal digits come first.
fn encoded(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Letters, digits and `-._~`.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn bad(sentence: &'static str) -> Fail {
    Fail::refused(StatusCode::BAD_REQUEST, sentence)
}

/// Percent-encoded letters, digits and `-._~` mean the same as the plain ones. Decoded once: what comes out is
/// not looked at again.
fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, Fail> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = String::with_capacity(path.len());
    let mut parts = path.split('%');
    decoded.extend(parts.next());
    for part in parts {
        match encoded(part.as_bytes()) {
            Some(0) => return Err(bad("the request's path has an encoded NUL in it")),
            Some(byte) if is_unreserved(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&part[2..]);
            }
            // Anything else, also a percent sign that encodes nothing, is the application's to understand.
            _ => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    Ok(Cow::Owned(decoded))
}

/// RFC 3986 section 5.2.4, with backslashes as slashes. Never climbs above the root.
fn remove_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut given = path.split(['/', '\\']).skip(1).peekable();
    while let Some(segment) = given.next() {
        let is_last = given.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                // What was the name of a directory still ends as one.
                if is_last {
                    segments.push("");
                }
            }
            name => segments.push(name),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in segments {
        normal.push('/');
        normal.push_str(segment);
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Normalization = Normalization {
        normalize: true,
        unescape_slashes: false,
        merge_slashes: false,
    };

    #[test]
    fn slashes_are_merged_and_decoded_where_that_is_asked_for() {
        let spelled = |given: &str, how: Normalization| {
            let mut target: Uri = given.parse().expect("a target");
            normalize(&mut target, how).map_err(|fail| fail.status)?;
            Ok::<_, StatusCode>(target.to_string())
        };
        let merge = Normalization {
            merge_slashes: true,
            ..BASE
        };
        let decode = Normalization {
            unescape_slashes: true,
            ..merge
        };
        for (given, merged, decoded) in [
            ("/a//b///c?x=//y", "/a/b/c?x=//y", "/a/b/c?x=//y"),
            ("//", "/", "/"),
            ("/a%2Fb", "/a%2Fb", "/a/b"),
            ("/a%2f%2F%5cb", "/a%2f%2F%5cb", "/a/b"),
            ("/a%2f..%2fadmin", "/a%2f..%2fadmin", "/admin"),
            ("/a%252Fb", "/a%252Fb", "/a%252Fb"),
        ] {
            assert_eq!(spelled(given, merge).as_deref(), Ok(merged), "{given}");
            assert_eq!(spelled(given, decode).as_deref(), Ok(decoded), "{given}");
            assert_eq!(
                spelled(given, Normalization::default()).as_deref(),
                Ok(given)
            );
        }
    }

    fn normal(target: &str) -> Result<String, StatusCode> {
        let mut target: Uri = target.parse().expect("a target");
        normalize(&mut target, BASE).map_err(|fail| fail.status)?;
        Ok(target.to_string())
    }

    #[test]
    fn dots_never_hide_a_path() {
        for (given, expected) in [
            ("/a/../b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/..", "/"),
            ("/../../admin", "/admin"),
            ("/a/%2e%2E/admin", "/admin"),
            ("/a/.%2e/admin?x=/../y", "/admin?x=/../y"),
            ("/public\\..\\admin", "/admin"),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(normal(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn letters_have_one_spelling() {
        assert_eq!(normal("/%61dmin/%7Eme").as_deref(), Ok("/admin/~me"));
        // Once only: what it would mean to a second reader is not ours to say.
        assert_eq!(normal("/%2561").as_deref(), Ok("/%2561"));
        // But it must not come about here.
        for nested in ["/%%361dmin", "/%6%31dmin", "/%%32E%%32E/admin"] {
            assert_eq!(normal(nested), Err(StatusCode::BAD_REQUEST), "{nested}");
        }
        assert_eq!(normal("/a%00b"), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn what_is_normal_or_data_stays() {
        for target in [
            "/",
            "*",
            "/a//b/",
            "/a%2Fb%5cc%20d",
            "/.hidden/...",
            "/a.b?c=%61\\",
            "/100%",
            "/%zz",
        ] {
            assert_eq!(normal(target).as_deref(), Ok(target), "{target}");
        }
    }

    #[test]
    fn what_is_normal_is_normal() {
        let pieces = [
            "/", "a", ".", "..", "\\", "%2e", "%2f", "%41", "%", "//", "b.",
        ];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let length = random.usize(1..12);
            let tail: String = (0..length)
                .map(|_| pieces[random.usize(..pieces.len())])
                .collect();
            let given = format!("/{tail}");
            let once = normal(&given).expect("no NUL in it");
            assert_eq!(is_normal(given.as_bytes()), once == given, "{given}");
            assert_eq!(normal(&once).as_deref(), Ok(&*once), "/{tail}");
            let is_dotted = once
                .split('/')
                .any(|segment| segment == "." || segment == "..");
            assert!(!is_dotted && !once.contains('\\'), "/{tail} is {once}");
        }
    }
}
