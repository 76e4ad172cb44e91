//! Certificates, keys and lists of revoked certificates, made by openssl as users make them.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::tool;

/// Certificates that a test makes with openssl.
#[derive(Debug)]
pub struct Papers(tempfile::TempDir);

impl Papers {
    /// None yet.
    ///
    /// # Panics
    ///
    /// When no directory can be made for them.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    /// Where a paper is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes `NAME.crt` and `NAME.key`: an authority, or what one has signed for a host.
    ///
    /// # Panics
    ///
    /// When openssl or a paper that it needs is not there.
    pub async fn issue(&self, name: &str, host: &str, by: Option<&str>) {
        let elliptic = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        self.issue_with(&elliptic, name, host, by).await;
    }

    /// The same with a key of RSA.
    ///
    /// # Panics
    ///
    /// When openssl or a paper that it needs is not there.
    pub async fn issue_rsa(&self, name: &str, host: &str) {
        self.issue_with(&["rsa:2048"], name, host, None).await;
    }

    async fn issue_with(&self, kind: &[&str], name: &str, host: &str, by: Option<&str>) {
        let (certificate, key) = (
            self.text(&format!("{name}.crt")),
            self.text(&format!("{name}.key")),
        );
        let (subject, names) = (
            format!("/O=Shop/CN={host}"),
            format!("subjectAltName=DNS:{host}"),
        );
        let mut arguments = vec!["req", "-x509", "-newkey"];
        arguments.extend(kind);
        arguments.extend([
            "-nodes",
            "-days",
            "2",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-subj",
            &subject,
            "-addext",
            &names,
        ]);
        let authority = by.map(|by| {
            (
                self.text(&format!("{by}.crt")),
                self.text(&format!("{by}.key")),
            )
        });
        if let Some((certificate, key)) = &authority {
            arguments.extend([
                "-CA",
                certificate,
                "-CAkey",
                key,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ]);
        }
        tool::run("openssl", &arguments)
            .await
            .expect("openssl makes a certificate");
    }

    /// What it says.
    ///
    /// # Panics
    ///
    /// When openssl or a paper that it needs is not there.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("the paper was made")
    }

    /// YAML of a Secret of the gateway with this certificate, and the authority of clients.
    ///
    /// # Panics
    ///
    /// When openssl or a paper that it needs is not there.
    #[must_use]
    pub fn secret(&self, name: &str, certificate: &str) -> String {
        let mut yaml = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\nstringData:\n"
        );
        let parts = [
            ("tls.crt", format!("{certificate}.crt")),
            ("tls.key", format!("{certificate}.key")),
            ("ca.crt", "ca.crt".to_owned()),
        ];
        for (key, file) in parts {
            _ = writeln!(yaml, "  {key}: |");
            for line in self.read(&file).lines() {
                _ = writeln!(yaml, "    {line}");
            }
        }
        yaml
    }

    /// Makes `NAME.crl`, in which an authority takes back what it has signed.
    ///
    /// # Panics
    ///
    /// When openssl or a paper that it needs is not there.
    pub async fn revoke(&self, name: &str, by: &str, revoked: &[&str]) {
        let directory = self.text("");
        let settings = format!(
            "[ca]\ndefault_ca = d\n[d]\ndatabase = {directory}/index\ncrlnumber = {directory}/number\n\
             default_md = sha256\ndefault_crl_days = 2\n"
        );
        for (file, text) in [("settings", &*settings), ("index", ""), ("number", "01\n")] {
            std::fs::write(self.path(file), text).expect("a file can be written");
        }
        let (settings, certificate, key) = (
            self.text("settings"),
            self.text(&format!("{by}.crt")),
            self.text(&format!("{by}.key")),
        );
        let authority = [
            "ca",
            "-config",
            &settings,
            "-cert",
            &certificate,
            "-keyfile",
            &key,
        ];
        for revoked in revoked {
            let revoked = self.text(&format!("{revoked}.crt"));
            let arguments = [&authority[..], &["-revoke", &revoked]].concat();
            tool::run("openssl", &arguments)
                .await
                .expect("openssl takes a certificate back");
        }
        let list = self.text(&format!("{name}.crl"));
        let arguments = [&authority[..], &["-gencrl", "-out", &list]].concat();
        tool::run("openssl", &arguments)
            .await
            .expect("openssl makes a list");
    }
}

impl Default for Papers {
    fn default() -> Self {
        Self::new()
    }
}
