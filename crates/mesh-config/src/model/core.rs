//! Core v1 Secret and ConfigMap. Of a Namespace, the mesh knows the labels in its metadata.

use std::collections::BTreeMap;
use std::fmt;

/// Bytes that nobody may see: no log, no message and no `Debug` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive(Vec<u8>);

impl Sensitive {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Sensitive(bytes)
    }

    /// The bytes themselves, for the one who needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes, not shown)", self.0.len())
    }
}

/// Core v1 Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// `type`, for example `kubernetes.io/tls`; `Opaque` where none is given.
    pub secret_type: String,
    /// `data`, decoded, with `stringData` over it.
    pub data: BTreeMap<String, Sensitive>,
}

impl Secret {
    /// The certificate chain and its private key, both PEM: `cert` and `key`, else `tls.crt` and
    /// `tls.key`, as Istio's gateways look for them, whatever the secret's type. Empty values count as absent.
    pub fn key_pair(&self) -> Option<(&Sensitive, &Sensitive)> {
        [("cert", "key"), ("tls.crt", "tls.key")]
            .into_iter()
            .find_map(|(chain, key)| Some((self.filled(chain)?, self.filled(key)?)))
    }

    /// The certificates, PEM, that sign those of clients: `cacert`, else `ca.crt`.
    pub fn authorities(&self) -> Option<&Sensitive> {
        self.filled("cacert").or_else(|| self.filled("ca.crt"))
    }

    /// The list of revoked certificates, PEM: `crl`, else `ca.crl`.
    pub fn revocations(&self) -> Option<&Sensitive> {
        self.filled("crl").or_else(|| self.filled("ca.crl"))
    }

    fn filled(&self, key: &str) -> Option<&Sensitive> {
        self.data.get(key).filter(|value| !value.0.is_empty())
    }
}

/// Core v1 ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// `data`.
    pub data: BTreeMap<String, String>,
    /// `binaryData`, decoded.
    pub binary_data: BTreeMap<String, Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::{Secret, Sensitive};

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let data = entries.iter().map(|(key, value)| {
            let value = Sensitive::new(value.as_bytes().to_vec());
            ((*key).to_owned(), value)
        });
        Secret {
            secret_type: "Opaque".to_owned(),
            data: data.collect(),
        }
    }

    #[test]
    fn a_pair_is_found_under_either_pair_of_names() {
        let pair = |entries: &[(&str, &str)]| {
            let secret = secret(entries);
            let found = secret.key_pair();
            found.map(|(chain, key)| [chain.expose().to_vec(), key.expose().to_vec()].concat())
        };
        let tls = [("tls.crt", "C"), ("tls.key", "K")];
        assert_eq!(pair(&tls), Some(b"CK".to_vec()));
        let both = [
            ("cert", "c"),
            ("key", "k"),
            ("tls.crt", "C"),
            ("tls.key", "K"),
        ];
        assert_eq!(pair(&both), Some(b"ck".to_vec()));
        let half = [
            ("cert", "c"),
            ("key", ""),
            ("tls.crt", "C"),
            ("tls.key", "K"),
        ];
        assert_eq!(pair(&half), Some(b"CK".to_vec()));
        assert_eq!(pair(&[("tls.crt", "C"), ("key", "k")]), None);
    }

    #[test]
    fn authorities_and_revocations_are_found_under_either_name() {
        let full = secret(&[("ca.crt", "A"), ("cacert", "a"), ("ca.crl", "R")]);
        assert_eq!(full.authorities().map(Sensitive::expose), Some(&b"a"[..]));
        assert_eq!(full.revocations().map(Sensitive::expose), Some(&b"R"[..]));
        assert_eq!(secret(&[("tls.crt", "C")]).authorities(), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", secret(&[("tls.key", "very private")]));
        assert!(
            shown.contains("tls.key") && shown.contains("12 bytes"),
            "{shown}"
        );
        assert!(!shown.contains("private"), "{shown}");
    }
}
