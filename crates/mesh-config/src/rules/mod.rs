//! The syntax of texts: names, labels, regular expressions; hosts, headers and lengths of time in
//! their own files.
//!
//! Each check gives nothing, or one sentence about what is wrong with the text and what to write
//! instead.

mod duration;
mod header;
mod host;
mod placeholder;
mod policy;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regex::RegexBuilder;

pub(crate) use duration::{duration, length_of_time, whole_seconds};
pub(crate) use header::{
    changeable_header, changeable_request_header, header_name, is_authority, is_authority_text,
    is_framing, probe_header,
};
pub(crate) use host::{
    DistinctHosts, cluster_ip, covers, destination_host, domain, domain_or_ip, is_partial_wildcard,
    sni_domain, socket_path, subnet, virtual_host, wildcard_domain,
};
pub(crate) use placeholder::{placeholders, substitution};
pub(crate) use policy::{
    attribute, filled, http_url, is_template, jwks, lua, module_url, output_header, policy_path,
    port_key, port_text, selector_key, selector_value, service_account, sha256, up_to_253,
    up_to_256, up_to_2048,
};

use crate::yaml::quoted;

/// What is wrong, and the way out.
pub(crate) type Verdict = Result<(), String>;

const LABEL_LENGTH: usize = 63;
/// The most characters that a name can have.
pub(crate) const DOMAIN_LENGTH: usize = 253;

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

/// Who sees an object: a namespace, `.` for its own, `*` for all, `~` for none.
pub(crate) fn visibility(text: &str) -> Verdict {
    if matches!(text, "." | "*" | "~") {
        return Ok(());
    }
    dns_label(text)
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

/// A key in the data of a Secret or a ConfigMap: it may become the name of a file.
pub(crate) fn data_key(text: &str) -> Verdict {
    let fine = (1..=DOMAIN_LENGTH).contains(&text.len())
        && text != "."
        && !text.starts_with("..")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fine {
        return Ok(());
    }
    Err(format!(
        "{} is not a key of data; use up to 253 of a-z, A-Z, 0-9, -, _ and .",
        quoted(text)
    ))
}

/// The bytes that a text in base64 stands for. Line breaks in it mean nothing.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    BASE64_STANDARD.decode(text).ok()
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

/// A regular expression as RE2 takes it; it must hold for the whole value.
pub(crate) fn regular_expression(text: &str) -> Verdict {
    const LONGEST: usize = 1024;
    /// Bytes of the compiled expression: enough for any sensible one, and compiled in milliseconds.
    const LARGEST: usize = 1 << 20;
    if text.is_empty() {
        return Err("the regular expression is empty; use .* to match everything".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!(
            "the regular expression has {} bytes, at most {LONGEST} are taken; shorten it",
            text.len()
        ));
    }
    let whole = format!("^(?:{text})$");
    match RegexBuilder::new(&whole).size_limit(LARGEST).build() {
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

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_LENGTH
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests;
