//! Core v1 Secret and ConfigMap.

use std::collections::BTreeMap;

use super::{Reader, text_map};
use crate::model::{ConfigMap, Secret, Sensitive};
use crate::rules;
use crate::yaml::Cursor;

/// What a secret of a type must have, as Kubernetes demands it.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
];

impl Reader {
    pub(super) fn secret(&mut self, root: &Cursor<'_>) -> Secret {
        let mut data: BTreeMap<String, Vec<u8>> = bytes(root, "data");
        for (key, text) in text_map(root, "stringData") {
            data.insert(key, text.into_bytes());
        }
        let secret_type = match root.text("type") {
            "" => "Opaque",
            given => given,
        };
        let required = REQUIRED.iter().find(|(known, _)| *known == secret_type);
        for key in required.map_or(&[][..], |(_, keys)| *keys) {
            if !data.contains_key(*key) {
                let message = format!("{key} is missing; a secret of type {secret_type} needs it");
                self.report.missing(root, "data", message);
            }
        }
        Secret {
            secret_type: secret_type.to_owned(),
            data: data
                .into_iter()
                .map(|(key, value)| (key, Sensitive::new(value)))
                .collect(),
        }
    }
}

pub(super) fn config_map(root: &Cursor<'_>) -> ConfigMap {
    ConfigMap {
        data: text_map(root, "data"),
        binary_data: bytes(root, "binaryData"),
    }
}

/// The decoded values of a map in base64; the table has seen that they can be decoded.
fn bytes(root: &Cursor<'_>, key: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = root.each_entry(key).map(|(entry, value)| {
        let text = value.node.as_str().unwrap_or_default();
        let decoded = rules::base64(text).unwrap_or_default();
        (entry.key.clone(), decoded)
    });
    entries.collect()
}
