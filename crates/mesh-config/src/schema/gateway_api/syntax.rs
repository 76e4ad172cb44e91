//! What texts of the Gateway API must look like: the patterns and lengths of its own definitions.

use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;

use crate::rules::{self, Verdict};
use crate::schema::{Syntax, syntax};
use crate::yaml::quoted;

pub(super) const CONTROLLER: Syntax = syntax("the name of a controller", controller);
pub(super) const FIXED_HOST: Syntax = syntax("a host without a wildcard", fixed_host);
pub(super) const GROUP: Syntax = syntax("an API group", group);
pub(super) const HEADER_NAME: Syntax = syntax("the name of a header", header_name);
pub(super) const HEADER_VALUE: Syntax = syntax("the value of a header", header_value);
pub(super) const HOST: Syntax = syntax("a host", host);
pub(super) const KIND: Syntax = syntax("a kind", kind);
pub(super) const LENGTH_OF_TIME: Syntax = syntax("a length of time like 1h30m", length_of_time);
pub(super) const NAME: Syntax = syntax("a name", name);
pub(super) const NAMESPACE: Syntax = syntax("a namespace", rules::dns_label);
pub(super) const ORIGIN: Syntax = syntax("an origin", origin);
pub(super) const PROTOCOL: Syntax = syntax("a protocol", protocol);
pub(super) const SECTION: Syntax = syntax("a section's name", rules::dns_subdomain);
pub(super) const TEXT_64: Syntax = syntax("a text", |text| at_most(text, 64));
pub(super) const TEXT_128: Syntax = syntax("a text", |text| at_most(text, 128));
pub(super) const TEXT_253: Syntax = syntax("a text", |text| at_most(text, 253));
pub(super) const TEXT_1024: Syntax = syntax("a text", |text| at_most(text, 1024));
pub(super) const TEXT_4096: Syntax = syntax("a text", |text| at_most(text, 4096));
pub(super) const URI: Syntax = syntax("a URI", uri);
pub(super) const ADDRESS_TYPE: Syntax = syntax("a type of addresses", address_type);
pub(super) const PATH: Syntax = syntax("a path", path);

fn at_most(text: &str, longest: usize) -> Verdict {
    let length = text.chars().count();
    if length <= longest {
        return Ok(());
    }
    Err(format!(
        "it has {length} characters, at most {longest} are taken; shorten it"
    ))
}

fn some(text: &str, longest: usize) -> Verdict {
    if text.is_empty() {
        return Err("it is empty; write it, or remove the field".to_owned());
    }
    at_most(text, longest)
}

fn matches(text: &str, pattern: &Regex, what: &str) -> Verdict {
    if pattern.is_match(text) {
        return Ok(());
    }
    Err(format!("{} is not {what}", quoted(text)))
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("the expression is fixed and right"));
    };
}

const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const PATH_CHARACTERS: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

pattern!(
    CONTROLLER_PATTERN,
    &format!("^{SUBDOMAIN}/{PATH_CHARACTERS}$")
);
pattern!(KIND_PATTERN, "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$");
pattern!(HOST_PATTERN, &format!(r"^(\*\.)?{SUBDOMAIN}$"));
pattern!(FIXED_HOST_PATTERN, &format!("^{SUBDOMAIN}$"));
pattern!(TIME_PATTERN, "^([0-9]{1,5}(h|m|s|ms)){1,4}$");
pattern!(
    ORIGIN_PATTERN,
    r"(^\*$)|(^(http(s)?)://(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"
);
pattern!(
    PROTOCOL_PATTERN,
    &format!("^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|^{SUBDOMAIN}/[A-Za-z0-9]+$")
);
pattern!(HEADER_VALUE_PATTERN, r"^[!-~]+([\t ]?[!-~]+)*$");
pattern!(URI_PATTERN, "^[^:/?#]+://");
pattern!(
    ADDRESS_TYPE_PATTERN,
    &format!("^Hostname$|^IPAddress$|^NamedAddress$|^{SUBDOMAIN}/{PATH_CHARACTERS}$")
);
pattern!(
    PATH_PATTERN,
    r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
);

fn controller(text: &str) -> Verdict {
    some(text, 253)?;
    let what = "the name of a controller; write it as domain/path, example.com/gateways";
    matches(text, &CONTROLLER_PATTERN, what)
}

fn group(text: &str) -> Verdict {
    if text.is_empty() {
        return Ok(());
    }
    rules::dns_subdomain(text).map_err(|_| {
        format!(
            "{} is not an API group; \"\" stands for the core one",
            quoted(text)
        )
    })
}

fn kind(text: &str) -> Verdict {
    some(text, 63)?;
    matches(text, &KIND_PATTERN, "a kind; write it like Service")
}

fn name(text: &str) -> Verdict {
    some(text, 253)
}

fn host(text: &str) -> Verdict {
    some(text, 253)?;
    let what = "a host; use lower-case letters, digits, - and ., and *. only in front";
    matches(text, &HOST_PATTERN, what)
}

fn fixed_host(text: &str) -> Verdict {
    some(text, 253)?;
    let what = "a host without a wildcard; use lower-case letters, digits, - and .";
    matches(text, &FIXED_HOST_PATTERN, what)
}

fn header_name(text: &str) -> Verdict {
    some(text, 256)?;
    rules::header_name(text)
}

fn header_value(text: &str) -> Verdict {
    some(text, 4096)?;
    let what = "the value of a header; use visible characters, with single spaces between them";
    matches(text, &HEADER_VALUE_PATTERN, what)
}

fn length_of_time(text: &str) -> Verdict {
    let what = "a length of time; write whole numbers with h, m, s or ms, like 1h30m or 500ms";
    matches(text, &TIME_PATTERN, what)
}

fn origin(text: &str) -> Verdict {
    some(text, 253)?;
    let what =
        "an origin; write it like https://www.example.com, https://*.example.com, or * for all";
    matches(text, &ORIGIN_PATTERN, what)
}

fn protocol(text: &str) -> Verdict {
    some(text, 255)?;
    matches(
        text,
        &PROTOCOL_PATTERN,
        "a protocol; use HTTP, HTTPS, TLS or TCP",
    )
}

fn uri(text: &str) -> Verdict {
    some(text, 253)?;
    matches(
        text,
        &URI_PATTERN,
        "a URI; write it with its scheme, like spiffe://…",
    )
}

fn address_type(text: &str) -> Verdict {
    some(text, 253)?;
    matches(
        text,
        &ADDRESS_TYPE_PATTERN,
        "a type of addresses; use IPAddress or Hostname",
    )
}

/// A path for a program that judges requests.
fn path(text: &str) -> Verdict {
    at_most(text, 1024)?;
    path_value(text)
}

/// The characters that a path may have.
pub(crate) fn path_value(text: &str) -> Verdict {
    let what = "a path; use letters, digits, and -._~!$&'()*+,;=:@/, and %XX for any other";
    matches(text, &PATH_PATTERN, what)
}

/// The value of an address of this type, as far as the type asks for something.
pub(crate) fn address(kind: &str, text: &str) -> Verdict {
    match kind {
        "" | "IPAddress" if text.is_empty() => Ok(()),
        "" | "IPAddress" => ip_address(text),
        "Hostname" if text.is_empty() => Ok(()),
        "Hostname" => host(text),
        _ => Ok(()),
    }
}

fn ip_address(text: &str) -> Verdict {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "{} is not an IP address; for a name, set type: Hostname",
        quoted(text)
    ))
}
