//! What a certificate says about its owner, and the header that passes it on.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An alternative name of a certificate's owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Dns(String),
    Uri(String),
    Email(String),
    /// An IP address.
    Address(String),
}

/// What is read of a certificate.
#[derive(Debug)]
pub(crate) struct Facts {
    /// As RFC 2253 writes it, the most specific part first.
    pub(crate) subject: String,
    pub(crate) names: Vec<Name>,
    /// SHA-256 of the whole certificate.
    pub(crate) hash: Vec<u8>,
    /// SHA-256 of its public key, with the key's algorithm.
    pub(crate) key_hash: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    pub(crate) fn of(leaf: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, read) = X509Certificate::from_der(leaf)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let names = read
            .subject_alternative_name()
            .map_err(|error| format!("the certificate has unreadable names: {error}"))?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        Ok(Self {
            subject: subject(&read),
            names: names.iter().filter_map(name).collect(),
            hash: digest(&SHA256, leaf).as_ref().to_vec(),
            key_hash: digest(&SHA256, read.public_key().raw).as_ref().to_vec(),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    Some(match name {
        GeneralName::DNSName(name) => Name::Dns((*name).to_owned()),
        GeneralName::URI(name) => Name::Uri((*name).to_owned()),
        GeneralName::RFC822Name(name) => Name::Email((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            Name::Address(v4.or(v6).ok()?.to_string())
        }
        _ => return None,
    })
}

fn subject(certificate: &X509Certificate<'_>) -> String {
    let parts: Vec<String> = certificate
        .subject()
        .iter()
        .map(|part| {
            let attributes = part.iter().map(|attribute| {
                let oid = attribute.attr_type();
                let key =
                    x509_parser::objects::oid2abbrev(oid, x509_parser::objects::oid_registry());
                let key = key.map_or_else(|_| oid.to_id_string(), str::to_owned);
                let value = attribute.as_str().unwrap_or_default();
                format!("{key}={}", escaped(value))
            });
            attributes.collect::<Vec<_>>().join("+")
        })
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// RFC 2253's escapes.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (i, c) in value.chars().enumerate() {
        let at_an_end = c == ' ' && (i == 0 || i + 1 == value.chars().count());
        if at_an_end || ",+\"\\<>;".contains(c) || (c == '#' && i == 0) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Envoy's `x-forwarded-client-cert` for one certificate, with all that Istio's gateways ask for. `None` if it
/// cannot be read.
pub(crate) fn forwarded(leaf: &CertificateDer<'_>) -> Option<HeaderValue> {
    let facts = Facts::of(leaf).ok()?;
    let mut value = String::from("Hash=");
    for byte in &facts.hash {
        // Writing to a String cannot fail.
        _ = write!(value, "{byte:02x}");
    }
    value.push_str(";Cert=\"");
    value.push_str(&encoded(&pem(leaf)));
    value.push_str("\";Subject=\"");
    for c in facts.subject.chars() {
        if c == '"' || c == '\\' {
            value.push('\\');
        }
        value.push(c);
    }
    value.push('"');
    let uris: Vec<&String> = facts
        .names
        .iter()
        .filter_map(|name| match name {
            Name::Uri(uri) => Some(uri),
            _ => None,
        })
        .collect();
    if uris.is_empty() {
        value.push_str(";URI=");
    }
    for uri in uris {
        value.push_str(";URI=");
        value.push_str(&quoted(uri));
    }
    for name in &facts.names {
        if let Name::Dns(dns) = name {
            value.push_str(";DNS=");
            value.push_str(&quoted(dns));
        }
    }
    HeaderValue::try_from(value).ok()
}

/// A value in which nothing can be taken for the end of it.
fn quoted(value: &str) -> String {
    if !value.contains([',', ';', '=', '"']) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn pem(leaf: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(leaf);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Percent-encoding of everything but what is unreserved in URLs.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
