//! Join tokens: one for each process that needs an identity, made by `mesh-ca token create` and left in a
//! file that only this user can read.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;

use super::layout::{Layout, identities};
use crate::fleet::parts::CA;

/// Long enough for the slowest start, and of no use afterwards.
const TTL: &str = "10m";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    token: String,
    ca_fingerprint: String,
}

/// Makes a token for each identity of the fleet. Returns the CA's fingerprint.
pub(crate) async fn create_all(layout: &Layout) -> anyhow::Result<String> {
    let mut fingerprint = None;
    for (process, namespace, account) in identities() {
        let created = create(layout, namespace, account)
            .await
            .with_context(|| format!("cannot make the join token of {process}"))?;
        write_private(&layout.token(&process), &created.token)?;
        fingerprint = Some(created.ca_fingerprint);
    }
    fingerprint.context("the fleet has no identities")
}

async fn create(layout: &Layout, namespace: &str, account: &str) -> anyhow::Result<Created> {
    let output = Command::new(layout.binaries.daemon(CA))
        .args(["token", "create"])
        .args(["--service-account", account])
        .args(["--namespace", namespace])
        .args(["--ttl", TTL])
        .args(["--output", "json"])
        .arg("--state-dir")
        .arg(layout.state(CA))
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {CA}"))?;
    if !output.status.success() {
        bail!(
            "mesh-ca token create: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("mesh-ca token create did not print its JSON")
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_file_is_for_this_user_only_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webapp-original-agent");
        write_private(&path, "secret").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_private(&path, "other").is_err());
    }
}
