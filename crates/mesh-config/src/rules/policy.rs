//! Texts in policies and extensions: selectors, attributes, ports, accounts, paths, URLs, keys.

use serde_json::Value as Json;

use super::{LABEL_LENGTH, Verdict};
use crate::yaml::quoted;

/// A text that says something.
pub(crate) fn filled(text: &str) -> Verdict {
    bounded(text, 1, usize::MAX)
}

/// A text of 1 to 253 bytes.
pub(crate) fn up_to_253(text: &str) -> Verdict {
    bounded(text, 1, 253)
}

/// A text of 1 to 256 bytes.
pub(crate) fn up_to_256(text: &str) -> Verdict {
    bounded(text, 1, 256)
}

/// A text of at most 2048 bytes.
pub(crate) fn up_to_2048(text: &str) -> Verdict {
    bounded(text, 0, 2048)
}

/// Lua code: something, and not more than 64 KiB.
pub(crate) fn lua(text: &str) -> Verdict {
    bounded(text, 1, 65_536)
}

fn bounded(text: &str, least: usize, most: usize) -> Verdict {
    if text.len() < least {
        return Err("it is empty; write something, or leave it out".to_owned());
    }
    if text.chars().count() > most {
        return Err(format!("it has more than {most} characters; shorten it"));
    }
    Ok(())
}

/// The key of a label that a policy looks for.
pub(crate) fn selector_key(text: &str) -> Verdict {
    if text.is_empty() {
        return Err("the key is empty; name the label".to_owned());
    }
    no_wildcard(text)
}

/// The value of a label that a policy looks for.
pub(crate) fn selector_value(text: &str) -> Verdict {
    bounded(text, 0, LABEL_LENGTH)?;
    no_wildcard(text)
}

fn no_wildcard(text: &str) -> Verdict {
    if text.contains('*') {
        return Err(format!(
            "{} has a wildcard; a label is looked for as it is, so write it out",
            quoted(text)
        ));
    }
    Ok(())
}

/// The key of a map by ports.
pub(crate) fn port_key(text: &str) -> Verdict {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(()),
        _ => Err(format!("{} is no port; ports are 1 to 65535", quoted(text))),
    }
}

/// A port that is written as a text.
pub(crate) fn port_text(text: &str) -> Verdict {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits && text.parse::<u16>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "{} is no port; ports are up to 65535",
        quoted(text)
    ))
}

/// A service account, `NAME` or `NAMESPACE/NAME`.
pub(crate) fn service_account(text: &str) -> Verdict {
    const LONGEST: usize = 320;
    let mut parts = text.split('/');
    let named = parts.by_ref().take(2).all(|part| !part.is_empty());
    if named && parts.next().is_none() && text.len() <= LONGEST && !text.contains('*') {
        return Ok(());
    }
    Err(format!(
        "{} is no service account; write its name, or its namespace, a / and its name",
        quoted(text)
    ))
}

/// A path of a policy: a value with `*` at one end, or a template with `{*}` and `{**}`.
pub(crate) fn policy_path(text: &str) -> Verdict {
    filled(text)?;
    let wrong = |why: &str| Err(format!("{} is no path of a policy: {why}", quoted(text)));
    let is_template = is_template(text);
    let mut is_over = false;
    for segment in text.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if is_over => {
                return wrong("{**} stands for all that follows, so let it be the last");
            }
            "{*}" => {}
            "{**}" => is_over = true,
            _ if segment.contains(['{', '}']) => {
                return wrong(
                    "{*} stands for one whole segment and {**} for any number of them; there are no other braces",
                );
            }
            _ if is_template && segment.contains('*') => {
                return wrong(
                    "beside {*} and {**} there is no *; write one of them for the whole segment",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a path of a policy is a template.
pub(crate) fn is_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

/// Attributes that stand alone.
const ATTRIBUTES: &[&str] = &[
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

/// Attributes with something in brackets.
const KEYED_ATTRIBUTES: &[&str] = &[
    "request.headers",
    "request.auth.claims",
    "experimental.envoy.filters.",
];

/// The key of a condition, for example `request.headers[x-user]`.
pub(crate) fn attribute(text: &str) -> Verdict {
    if text.is_empty() {
        return Err("the key is empty; name an attribute, for example source.ip".to_owned());
    }
    if ATTRIBUTES.contains(&text) {
        return Ok(());
    }
    if let Some(name) = KEYED_ATTRIBUTES
        .iter()
        .find(|name| text.starts_with(**name))
    {
        let has_key = text.ends_with(']')
            && text
                .find('[')
                .is_some_and(|open| open > 0 && open + 2 < text.len());
        return if has_key {
            Ok(())
        } else {
            Err(format!(
                "{} lacks what it is about; write it in brackets behind {name}",
                quoted(text)
            ))
        };
    }
    let instead = if text == "destination.namespace" {
        "a policy acts in its own metadata.namespace"
    } else if text.starts_with("destination.labels") {
        "spec.selector chooses workloads by their labels"
    } else {
        "use one of source.ip, remote.ip, source.namespace, source.principal, source.serviceAccount, \
         source.trustDomain, request.headers[…], request.auth.principal, request.auth.audiences, \
         request.auth.presenter, request.auth.claims[…], destination.ip, destination.port, connection.sni"
    };
    Err(format!("{} is no attribute; {instead}", quoted(text)))
}

/// A header into which something is written: letters, digits, `-` and `_`.
pub(crate) fn output_header(text: &str) -> Verdict {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !text.is_empty() && text.bytes().all(fine) {
        return Ok(());
    }
    Err(format!(
        "{} is no name for a header here; use letters, digits, - and _",
        quoted(text)
    ))
}

/// The address of a server's keys.
pub(crate) fn http_url(text: &str) -> Verdict {
    bounded(text, 1, 2048)?;
    match scheme(text) {
        Some("http" | "https") => Ok(()),
        _ => Err(format!(
            "{} is no URL of a server; begin with https:// or http://",
            quoted(text)
        )),
    }
}

/// The address of a WebAssembly module; without a scheme, an image.
pub(crate) fn module_url(text: &str) -> Verdict {
    let image = format!("http://{text}");
    match scheme(text).or_else(|| scheme(&image)) {
        Some("" | "file" | "http" | "https" | "oci") if !text.is_empty() => Ok(()),
        _ => Err(format!(
            "{} is no URL of a module; begin with oci://, https://, http:// or file://",
            quoted(text)
        )),
    }
}

/// The scheme of a text that is a URL or an absolute path.
fn scheme(text: &str) -> Option<&str> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => ("", text),
    };
    if !rest.starts_with('/') || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return None;
    }
    if let Some(after) = rest.strip_prefix("//") {
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let authority = &after[..end];
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (host, ""),
        };
        let fine = !host.contains(['<', '>', '"', '{', '}', '|', '\\', '^', '`'])
            && (scheme == "file" || !host.is_empty())
            && port.bytes().all(|b| b.is_ascii_digit());
        return fine.then_some(scheme);
    }
    Some(scheme)
}

/// A SHA-256 in lower-case hexadecimal digits; may be empty.
pub(crate) fn sha256(text: &str) -> Verdict {
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.is_empty() || text.len() == 64 && text.bytes().all(is_hex) {
        return Ok(());
    }
    Err(format!(
        "{} is no SHA-256; write its 64 digits, 0-9 and a-f",
        quoted(text)
    ))
}

/// A JSON Web Key Set, or one key of it.
pub(crate) fn jwks(text: &str) -> Verdict {
    let is_key = |json: &Json| json.get("kty").is_some_and(Json::is_string);
    let fine = text.is_empty()
        || serde_json::from_str::<Json>(text).is_ok_and(|json| match json.get("keys") {
            Some(keys) => keys.as_array().is_some_and(|keys| keys.iter().all(is_key)),
            None => is_key(&json),
        });
    if fine {
        return Ok(());
    }
    Err("this is no JSON Web Key Set; write {\"keys\": [{\"kty\": …}]}".to_owned())
}
