//! The syntax of names: DNS labels, hosts, labels, headers, regular expressions.
//!
//! Each check gives nothing, or one sentence about what is wrong with the text and what to write
//! instead.

use std::net::IpAddr;

use regex::Regex;

use crate::yaml::quoted;

/// What is wrong, and the way out.
pub(crate) type Verdict = Result<(), String>;

const LABEL_LENGTH: usize = 63;
const DOMAIN_LENGTH: usize = 253;

/// The name of a namespace, a service, a subset, …: a DNS label in lower case (RFC 1123).
pub(crate) fn dns_label(text: &str) -> Verdict {
    if text.len() <= LABEL_LENGTH && is_label(text, u8::is_ascii_lowercase) {
        return Ok(());
    }
    Err(format!(
        "{} is not a DNS label; use up to 63 of a-z, 0-9 and -, with a letter or a digit at both ends",
        quoted(text)
    ))
}

/// The name of most objects: DNS labels in lower case with dots between them.
pub(crate) fn dns_subdomain(text: &str) -> Verdict {
    let fine = text.len() <= DOMAIN_LENGTH
        && text
            .split('.')
            .all(|label| is_label(label, u8::is_ascii_lowercase));
    if fine {
        return Ok(());
    }
    Err(format!(
        "{} is not a name; use up to 253 of a-z, 0-9, - and ., with a letter or a digit at both ends \
         of each part",
        quoted(text)
    ))
}

/// The name of an object whose kind is free in its names: it must only fit into a path.
pub(crate) fn path_segment(text: &str) -> Verdict {
    let fine = !matches!(text, "" | "." | "..") && !text.contains(['/', '%']);
    if fine && text.len() <= DOMAIN_LENGTH {
        return Ok(());
    }
    Err(format!(
        "{} is not a name; use up to 253 characters without / and %",
        quoted(text)
    ))
}

/// A host as clients write it: a DNS name, with or without dots. Case does not matter.
pub(crate) fn domain(text: &str) -> Verdict {
    let wrong = |why: &str| Err(format!("{} is not a host: {why}", quoted(text)));
    if text.is_empty() {
        return wrong("it is empty; name one, like reviews or www.example.com");
    }
    if text.len() > DOMAIN_LENGTH {
        return wrong("it has more than 253 characters; shorten it");
    }
    let labels: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    if let Some(label) = labels.iter().find(|label| !is_host_label(label)) {
        return wrong(&format!(
            "{} is no part of one; use letters, digits and - only",
            quoted(label)
        ));
    }
    let last = labels.last().copied().unwrap_or_default();
    if labels.len() > 1 && last.bytes().all(|b| b.is_ascii_digit()) {
        return wrong("its last part must not be a number; write a name");
    }
    Ok(())
}

/// A host or an IP address.
pub(crate) fn domain_or_ip(text: &str) -> Verdict {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    domain(text)
}

/// A host with a wildcard in front: `*`, `*.example.com`, or in Istio's partial form
/// `*-test.example.com`; or a host without one.
pub(crate) fn wildcard_domain(text: &str) -> Verdict {
    match text.strip_prefix('*') {
        Some("") => Ok(()),
        Some(rest) => domain(rest.trim_start_matches(['-', '.'])).map_err(|_| {
            format!(
                "{} is not a host; a wildcard is * alone, or in front as in *.example.com",
                quoted(text)
            )
        }),
        None => domain(text),
    }
}

/// Whether a host's wildcard covers a part of a label, as in `*bar.com`.
pub(crate) fn is_partial_wildcard(host: &str) -> bool {
    host.len() > 1 && host.starts_with('*') && !host.starts_with("*.")
}

/// Whether two hosts or wildcards have a host in common.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let covers = |wide: &str, narrow: &str| match wide.strip_prefix('*') {
        // `*.foo.com` covers `*.foo.com` itself and everything that ends so.
        Some(suffix) => narrow.strip_prefix('*').unwrap_or(narrow).ends_with(suffix),
        None => wide == narrow,
    };
    covers(one, other) || covers(other, one)
}

/// The key of a label: `app`, `app.kubernetes.io/name`.
pub(crate) fn label_key(text: &str) -> Verdict {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let prefix_is_fine = prefix.is_none_or(|prefix| dns_subdomain(prefix).is_ok());
    if prefix_is_fine && !name.is_empty() && is_label_text(name) {
        return Ok(());
    }
    Err(format!(
        "{} is not a label's key; use up to 63 of a-z, A-Z, 0-9, -, _ and ., with a letter or a digit \
         at both ends, and in front of it a domain and a / if you like",
        quoted(text)
    ))
}

/// The value of a label, which may be empty.
pub(crate) fn label_value(text: &str) -> Verdict {
    if text.is_empty() || is_label_text(text) {
        return Ok(());
    }
    Err(format!(
        "{} is not a label's value; use up to 63 of a-z, A-Z, 0-9, -, _ and ., with a letter or a \
         digit at both ends",
        quoted(text)
    ))
}

/// A name that a port has on the workload's side (RFC 6335): `http-web`.
pub(crate) fn port_name(text: &str) -> Verdict {
    const LONGEST: usize = 15;
    let fine = text.len() <= LONGEST
        && is_label(text, u8::is_ascii_lowercase)
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--");
    if fine {
        return Ok(());
    }
    Err(format!(
        "{} is not a port's name; use up to 15 of a-z, 0-9 and -, with at least one letter",
        quoted(text)
    ))
}

/// A port's name in a WorkloadEntry or a WorkloadGroup.
pub(crate) fn workload_port_name(text: &str) -> Verdict {
    if text.len() <= LABEL_LENGTH && is_label(text, u8::is_ascii_alphabetic) {
        return Ok(());
    }
    Err(format!(
        "{} is not a port's name; use letters, digits and -, like http",
        quoted(text)
    ))
}

/// The name of an HTTP header (a token of RFC 9110).
pub(crate) fn header_name(text: &str) -> Verdict {
    if text.is_empty() {
        return Err("a header has no name; write it in front of the colon".to_owned());
    }
    let is_token = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if is_token {
        return Ok(());
    }
    Err(format!(
        "{} is not a header's name; use letters, digits and - only",
        quoted(text)
    ))
}

/// A regular expression as RE2 takes it; it must hold for the whole value.
pub(crate) fn regular_expression(text: &str) -> Verdict {
    const LONGEST: usize = 1024;
    if text.is_empty() {
        return Err("the regular expression is empty; use .* to match everything".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!(
            "the regular expression has {} bytes, at most {LONGEST} are taken; shorten it",
            text.len()
        ));
    }
    match Regex::new(&format!("^(?:{text})$")) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "{} is not a regular expression: {}; correct it",
            quoted(text),
            short(&error)
        )),
    }
}

/// The parser's complaint without its drawing of the expression.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn is_label(text: &str, is_letter: impl Fn(&u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let is_end = |b: &u8| b.is_ascii_digit() || is_letter(b);
    bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
        && bytes.iter().all(|b| *b == b'-' || is_end(b))
}

fn is_host_label(text: &str) -> bool {
    text.len() <= LABEL_LENGTH && is_label(text, u8::is_ascii_alphabetic)
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_LENGTH
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}
