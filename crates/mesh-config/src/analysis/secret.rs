//! The Secrets that Gateways name: are they there, and can they be used now?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::pem::Pem;

use std::time::{SystemTime, UNIX_EPOCH};

use super::index::Index;
use super::view::{Found, at, spec_each, text};
use super::{BAD_CREDENTIAL, NOT_FOUND};
use crate::model::Object;

/// The Secrets of a Gateway whose workload runs in `namespace`.
pub(super) fn look(index: &Index<'_>, namespace: &str, found: &mut Found<'_>) {
    for (s, server) in spec_each(found.object, "servers") {
        let written = server
            .get("tls")
            .map_or("", |tls| text(tls, "credentialName"));
        if written.is_empty() {
            continue;
        }
        let field = format!("spec.servers[{s}].tls.credentialName");
        let bare = written.strip_prefix("kubernetes://").unwrap_or(written);
        let (namespace, name) = bare.split_once('/').unwrap_or((namespace, bare));
        match index.find("", "Secret", namespace, name) {
            None => {
                let message = format!(
                    "there is no Secret {name} in the namespace {namespace} of the gateway, so the server cannot be \
                     opened; apply it there, or correct the name"
                );
                found.tell(&NOT_FOUND, field, message);
            }
            Some(secret) => {
                if let Err(reason) = check(secret, index.options.now) {
                    let message = format!(
                        "the Secret {namespace}/{name} cannot be used: {reason}; put a certificate that is valid today \
                         and its key into it"
                    );
                    found.tell(&BAD_CREDENTIAL, field, message);
                }
            }
        }
    }
}

/// Whether a Secret holds a key and a certificate that is valid at this time.
fn check(secret: &Object, now: SystemTime) -> Result<(), String> {
    let (certificate, key) = [("tls.crt", "tls.key"), ("cert", "key")]
        .iter()
        .find_map(|(certificate, key)| Some((value(secret, certificate)?, value(secret, key)?)))
        .ok_or("it has no tls.crt and tls.key")?;
    if key.is_empty() {
        return Err("its key is empty".to_owned());
    }
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut certificates = 0;
    for pem in Pem::iter_from_buffer(&certificate) {
        let pem = pem.map_err(|_| "its certificate is no PEM")?;
        let certificate = pem
            .parse_x509()
            .map_err(|_| "its certificate cannot be read")?;
        let validity = certificate.validity();
        let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
        if now > seconds(validity.not_after.timestamp()) {
            return Err(format!("its certificate ended at {}", validity.not_after));
        }
        if now < seconds(validity.not_before.timestamp()) {
            return Err(format!(
                "its certificate begins only at {}",
                validity.not_before
            ));
        }
        certificates += 1;
    }
    if certificates == 0 {
        return Err("its certificate is no PEM".to_owned());
    }
    Ok(())
}

fn value(secret: &Object, key: &str) -> Option<Vec<u8>> {
    if let Some(plain) = at(&secret.raw, &["stringData", key]).and_then(Value::as_str) {
        return Some(plain.as_bytes().to_vec());
    }
    let encoded = at(&secret.raw, &["data", key])?.as_str()?;
    let bare: String = encoded.split_whitespace().collect();
    STANDARD.decode(bare).ok()
}
