//! TLS settings of gateway servers and of callers. They are not acted on yet, but what Istio refuses
//! is refused here too.

use super::{Reader, is_set, texts};
use crate::model::{ClientTls, TlsMode};
use crate::yaml::{Cursor, Value};

/// Where a server's own certificate can come from.
const CERTIFICATE_SOURCES: [&str; 3] = ["credentialName", "credentialNames", "tlsCertificates"];
const FILES: [&str; 3] = ["serverCertificate", "privateKey", "caCertificates"];
/// Envoy takes one certificate of each kind of key, RSA and ECDSA.
const MOST_CERTIFICATES: usize = 2;

impl Reader {
    /// `servers[].tls`
    pub(super) fn server_tls(&mut self, tls: &Cursor<'_>, serves_tls: bool) {
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
            "" if serves_tls && !redirects(tls) => self.certificate(tls, "SIMPLE"),
            _ => {}
        }
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

fn redirects(tls: &Cursor<'_>) -> bool {
    matches!(
        tls.get("httpsRedirect").map(|flag| &flag.node.value),
        Some(Value::Bool(true, _))
    )
}
