//! Hosts: names, wildcards, addresses.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::{DOMAIN_LENGTH, LABEL_LENGTH, Verdict, is_label};
use crate::yaml::quoted;

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

/// The `clusterIP` of a service. Empty asks for one, `None` for none.
pub(crate) fn cluster_ip(text: &str) -> Verdict {
    if matches!(text, "" | "None") || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "{} is not an IP address; write one of 127.0.0.0/8 such as 127.0.0.10, at which sidecars listen for \
         the service, or leave it out",
        quoted(text)
    ))
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

/// The host of a destination: like [`wildcard_domain`], but not `*` alone.
pub(crate) fn destination_host(text: &str) -> Verdict {
    if text == "*" {
        return Err("* is no destination; name the service".to_owned());
    }
    wildcard_domain(text)
}

/// An IP address or a subnet, `10.0.0.0/8`.
pub(crate) fn subnet(text: &str) -> Verdict {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Some(32),
        Ok(IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    let fits = most.is_some_and(|most: u8| {
        bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
    });
    if fits {
        return Ok(());
    }
    Err(format!(
        "{} is not an IP address or a subnet; write it like 10.1.2.3 or 10.0.0.0/8",
        quoted(text)
    ))
}

/// Istio's address of a Unix socket, `unix:///PATH` or `unix://@NAME`.
pub(crate) fn socket_path(text: &str) -> Verdict {
    let path = text.strip_prefix("unix://").unwrap_or_default();
    if path.starts_with('@') || path.starts_with('/') && !path.ends_with('/') {
        return Ok(());
    }
    Err(format!(
        "{} is not an absolute path to a file; a socket's address is unix:///path or unix://@name",
        quoted(path)
    ))
}

/// Whether a host's wildcard covers a part of a label, as in `*bar.com`.
pub(crate) fn is_partial_wildcard(host: &str) -> bool {
    host.len() > 1 && host.starts_with('*') && !host.starts_with("*.")
}

/// Hosts and wildcards, none of which overlap.
#[derive(Default)]
pub(crate) struct DistinctHosts {
    /// By what stands behind the wildcard, backwards: what ends in the same way stands together.
    backwards: BTreeMap<String, String>,
    /// The wildcards, by what stands behind the `*`.
    wildcards: HashMap<String, String>,
}

impl DistinctHosts {
    /// Takes a host in; gives the one with which it overlaps, if there is one, and leaves it out then.
    pub(crate) fn insert(&mut self, host: &str) -> Result<(), String> {
        let suffix = host.strip_prefix('*');
        let rest = suffix.unwrap_or(host);
        let backwards: String = rest.chars().rev().collect();
        let ends = rest.char_indices().map(|(at, _)| &rest[at..]);
        let mut wider = ends.chain([""]).filter_map(|end| self.wildcards.get(end));
        let mut after = self.backwards.range(backwards.clone()..);
        let narrower = after.next().filter(|(known, _)| match suffix {
            Some(_) => known.starts_with(&backwards),
            None => **known == backwards,
        });
        if let Some(other) = wider.next().or(narrower.map(|(_, other)| other)) {
            return Err(other.clone());
        }
        if let Some(suffix) = suffix {
            self.wildcards.insert(suffix.to_owned(), host.to_owned());
        }
        self.backwards.insert(backwards, host.to_owned());
        Ok(())
    }
}

/// Whether every host of `narrow` is one of `wide`.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        // `*.foo.com` covers `*.foo.com` itself and everything that ends so.
        Some(suffix) => narrow.strip_prefix('*').unwrap_or(narrow).ends_with(suffix),
        None => wide == narrow,
    }
}

/// A host of a VirtualService: a wildcard, an IP address, or the name that stands in the SNI between
/// proxies, `outbound_.80_.v1_.reviews.default.svc.cluster.local`.
pub(crate) fn virtual_host(text: &str) -> Verdict {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    sni_domain(text)
}

/// What a TLS client may ask for: a host, or the name that stands in the SNI between proxies.
pub(crate) fn sni_domain(text: &str) -> Verdict {
    match text.strip_prefix("outbound_.").and_then(|rest| {
        let mut parts = rest.splitn(3, "_.");
        parts.next()?.parse::<u16>().ok()?;
        parts.next()?;
        parts.next()
    }) {
        Some(host) => domain(host),
        None => wildcard_domain(text),
    }
}

fn is_host_label(text: &str) -> bool {
    text.len() <= LABEL_LENGTH && is_label(text, u8::is_ascii_alphabetic)
}
