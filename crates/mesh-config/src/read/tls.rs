//! TLS settings of gateway servers and of callers.

use super::{Reader, is_set, texts};
use crate::analysis::NOT_ACTED_ON;
use crate::model::{CertificateFiles, ClientTls, ServerTls, ServerTlsMode, TlsMode, TlsVersion};
use crate::yaml::{Cursor, Value, quoted};

/// Where a server's own certificate can come from.
const CERTIFICATE_SOURCES: [&str; 3] = ["credentialName", "credentialNames", "tlsCertificates"];
const FILES: [&str; 3] = ["serverCertificate", "privateKey", "caCertificates"];
/// Envoy takes one certificate of each kind of key, RSA and ECDSA.
const MOST_CERTIFICATES: usize = 2;
/// The cipher suites of TLS 1.2 that our proxies have, by OpenSSL's names. Those of TLS 1.3 cannot be chosen.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

impl Reader {
    /// `servers[].tls`
    pub(super) fn server_tls(&mut self, tls: &Cursor<'_>) -> ServerTls {
        self.exclusive(tls, &CERTIFICATE_SOURCES);
        self.exclusive(tls, &["serverCertificate", "tlsCertificates"]);
        for list in ["credentialNames", "tlsCertificates"] {
            if let Some(at) = tls.get(list)
                && at.items().count() > MOST_CERTIFICATES
            {
                let message = format!("at most {MOST_CERTIFICATES} are taken; remove the others");
                self.report.error(&at, message);
            }
        }
        let mode = tls.text("mode");
        match mode {
            "ISTIO_MUTUAL" => self.mesh_certificate(tls, &CERTIFICATE_SOURCES, &FILES),
            "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL" => self.certificate(tls, mode),
            _ => self.no_certificate(tls, mode),
        }
        let mode = match mode {
            "SIMPLE" => ServerTlsMode::Simple,
            "MUTUAL" => ServerTlsMode::Mutual,
            "OPTIONAL_MUTUAL" => ServerTlsMode::OptionalMutual,
            "ISTIO_MUTUAL" => ServerTlsMode::IstioMutual,
            "AUTO_PASSTHROUGH" => ServerTlsMode::AutoPassthrough,
            // Istio's default, too.
            _ => ServerTlsMode::Passthrough,
        };
        if mode == ServerTlsMode::Simple
            && is_set(tls, "caCrl")
            && !is_set(tls, "credentialName")
            && let Some(at) = tls.get("caCrl")
        {
            let message = "SIMPLE checks no client certificates, so there is nothing to revoke; remove caCrl, or use MUTUAL";
            self.report.error(&at, message);
        } else {
            self.without_effect(tls, mode);
        }
        let min_version = self.version(tls, "minProtocolVersion");
        let max_version = self.version(tls, "maxProtocolVersion");
        if max_version != TlsVersion::Auto
            && max_version < min_version
            && let Some(at) = tls.get("maxProtocolVersion")
        {
            self.report.warn(
                &at,
                "it is older than minProtocolVersion, so the server is not opened; swap them",
            );
        }
        let text = |field: &str| {
            let text = tls.text(field);
            (!text.is_empty()).then(|| text.to_owned())
        };
        let one = text("credentialName");
        let mut certificates: Vec<_> = file_pairs(tls).into_iter().collect();
        for entry in tls.each("tlsCertificates") {
            certificates.extend(file_pairs(&entry));
        }
        let first_ca = tls.each("tlsCertificates").find_map(|entry| {
            let ca = entry.text("caCertificates").to_owned();
            (!ca.is_empty()).then_some(ca)
        });
        ServerTls {
            https_redirect: redirects(tls),
            mode,
            credentials: one
                .into_iter()
                .chain(texts(tls, "credentialNames"))
                .collect(),
            certificates,
            are_granted: false,
            misdirected: Vec::new(),
            ca_config_maps: Vec::new(),
            ca_file: text("caCertificates").or(first_ca),
            ca_credential: text("caCertCredentialName"),
            crl_file: text("caCrl"),
            subject_alt_names: texts(tls, "subjectAltNames"),
            spki: texts(tls, "verifyCertificateSpki"),
            hashes: texts(tls, "verifyCertificateHash"),
            min_version,
            max_version,
            cipher_suites: self.cipher_suites(tls),
        }
    }

    /// Files for verifying clients where none are verified, or by what a Secret has.
    fn without_effect(&mut self, tls: &Cursor<'_>, mode: ServerTlsMode) {
        let verifies = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
        let by_secret = ["credentialName", "credentialNames", "caCertCredentialName"];
        let by_secret = by_secret.into_iter().find(|field| is_set(tls, field));
        let reason = match by_secret {
            _ if !verifies => {
                "clients are only verified in the modes MUTUAL and OPTIONAL_MUTUAL".to_owned()
            }
            Some(field) => format!(
                "with {field}, clients are verified by that Secret, or the one of its name with -cacert; put this \
                 there as"
            ),
            None => return,
        };
        for (field, key) in [("caCertificates", "ca.crt"), ("caCrl", "ca.crl")] {
            if let Some(at) = tls.get(field)
                && is_set(tls, field)
            {
                let key = if verifies {
                    format!(" {key}")
                } else {
                    String::new()
                };
                let message = format!("{field} has no effect here: {reason}{key}");
                self.report.tell(&NOT_ACTED_ON, &at, message);
            }
        }
    }

    fn version(&mut self, tls: &Cursor<'_>, field: &str) -> TlsVersion {
        let Some(at) = tls.get(field) else {
            return TlsVersion::Auto;
        };
        match at.node.as_str() {
            Some(old @ ("TLSV1_0" | "TLSV1_1")) => {
                let message =
                    format!("{old} is not spoken by this mesh; TLSV1_2 is the oldest here");
                self.report.warn(&at, message);
                TlsVersion::V1_2
            }
            Some("TLSV1_2") => TlsVersion::V1_2,
            Some("TLSV1_3") => TlsVersion::V1_3,
            _ => TlsVersion::Auto,
        }
    }

    /// The suites that the proxies have; the others are named.
    fn cipher_suites(&mut self, tls: &Cursor<'_>) -> Vec<String> {
        let mut suites = Vec::new();
        for at in tls.each("cipherSuites") {
            let name = at.node.as_str().unwrap_or_default();
            if CIPHERS.contains(&name) {
                if !suites.iter().any(|known| known == name) {
                    suites.push(name.to_owned());
                }
                continue;
            }
            let message = format!(
                "{} is a cipher suite that the proxies do not have, and is left out; they have {}",
                quoted(name),
                CIPHERS.join(", ")
            );
            self.report.warn(&at, message);
        }
        suites
    }

    /// The mesh's own certificates need no others beside them.
    fn mesh_certificate(&mut self, tls: &Cursor<'_>, sources: &[&str], files: &[&str]) {
        for field in sources.iter().chain(files) {
            if is_set(tls, field)
                && let Some(at) = tls.get(field)
            {
                let message = format!(
                    "ISTIO_MUTUAL uses the mesh's own certificates; remove {field}, or use another mode"
                );
                self.report.error(&at, message);
            }
        }
    }

    /// What is passed through shows its own certificate.
    fn no_certificate(&mut self, tls: &Cursor<'_>, mode: &str) {
        let given = CERTIFICATE_SOURCES.iter().chain(&FILES);
        let Some(at) = given
            .filter(|field| is_set(tls, field))
            .find_map(|field| tls.get(field))
        else {
            return;
        };
        let mode = if mode.is_empty() {
            "no mode is PASSTHROUGH, which"
        } else {
            mode
        };
        let message = format!(
            "{mode} leaves TLS to who is behind the gateway, so that this is not used; write mode: SIMPLE, or remove it"
        );
        self.report.warn(&at, message);
    }

    /// A server needs a certificate and its key, and a mutual one something to check its clients by.
    fn certificate(&mut self, tls: &Cursor<'_>, mode: &str) {
        if is_set(tls, "credentialName") || is_set(tls, "credentialNames") {
            return;
        }
        let is_mutual = mode != "SIMPLE";
        let shared_ca = is_set(tls, "caCertificates") || is_set(tls, "caCertCredentialName");
        let mut need = |at: &Cursor<'_>, field: &str| {
            if !is_set(at, field) {
                let message = format!(
                    "{field} is missing; a server of mode {mode} needs it, or a credentialName"
                );
                self.report.missing(at, field, message);
            }
        };
        if is_set(tls, "tlsCertificates") {
            for certificate in tls.each("tlsCertificates") {
                need(&certificate, "serverCertificate");
                need(&certificate, "privateKey");
                if is_mutual && !shared_ca {
                    need(&certificate, "caCertificates");
                }
            }
            return;
        }
        need(tls, "serverCertificate");
        need(tls, "privateKey");
        if is_mutual && !shared_ca {
            need(tls, "caCertificates");
        }
    }

    /// `trafficPolicy.tls`
    pub(super) fn client_tls(&mut self, tls: &Cursor<'_>) -> ClientTls {
        const OWN: [&str; 3] = ["clientCertificate", "privateKey", "caCertificates"];
        let mode = tls.text("mode");
        let skips_verification = matches!(
            tls.get("insecureSkipVerify").map(|flag| &flag.node.value),
            Some(Value::Bool(true, _))
        );
        if skips_verification {
            for field in ["caCertificates", "credentialName", "subjectAltNames"] {
                let verifies =
                    is_set(tls, field) && (field != "credentialName" || mode == "SIMPLE");
                if verifies && let Some(at) = tls.get(field) {
                    let message = format!(
                        "{field} is there to verify the server, which insecureSkipVerify forbids; \
                         remove one of them"
                    );
                    self.report.error(&at, message);
                }
            }
        }
        match mode {
            "ISTIO_MUTUAL" => self.mesh_certificate(tls, &["credentialName"], &OWN),
            "MUTUAL" if !is_set(tls, "credentialName") => {
                for field in ["clientCertificate", "privateKey"] {
                    if !is_set(tls, field) {
                        let message =
                            format!("{field} is missing; MUTUAL needs it, or a credentialName");
                        self.report.missing(tls, field, message);
                    }
                }
            }
            _ => {}
        }
        if is_set(tls, "credentialName") && OWN.iter().any(|field| is_set(tls, field)) {
            self.report.error(
                tls,
                "credentialName brings its own certificates; remove it, or the files",
            );
        }
        let text = |field: &str| tls.text(field).to_owned();
        ClientTls {
            mode: match mode {
                "SIMPLE" => TlsMode::Simple,
                "MUTUAL" => TlsMode::Mutual,
                "ISTIO_MUTUAL" => TlsMode::IstioMutual,
                _ => TlsMode::Disable,
            },
            client_certificate: text("clientCertificate"),
            private_key: text("privateKey"),
            ca_certificates: text("caCertificates"),
            credential_name: text("credentialName"),
            subject_alt_names: texts(tls, "subjectAltNames"),
            sni: text("sni"),
            insecure_skip_verify: skips_verification,
        }
    }
}

/// A certificate and its key in files, if both are named.
fn file_pairs(at: &Cursor<'_>) -> Option<CertificateFiles> {
    let (certificate, key) = (at.text("serverCertificate"), at.text("privateKey"));
    let both = !certificate.is_empty() && !key.is_empty();
    both.then(|| CertificateFiles {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    })
}

fn redirects(tls: &Cursor<'_>) -> bool {
    matches!(
        tls.get("httpsRedirect").map(|flag| &flag.node.value),
        Some(Value::Bool(true, _))
    )
}
