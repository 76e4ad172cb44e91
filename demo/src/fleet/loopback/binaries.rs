//! Where the daemons' programs come from: built now, in the profile of this very program, or found in a
//! directory that was named.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;

/// The programs of the mesh that the fleet runs.
pub(crate) const DAEMONS: [&str; 4] = ["mesh-ca", "mesh-api", "mesh-agent", "mesh-gateway"];

/// The programs of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    daemons: BTreeMap<String, PathBuf>,
    demo: PathBuf,
}

impl Binaries {
    /// Takes them from a directory.
    pub(crate) fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("--bin-dir {}", directory.display()))?;
        let mut daemons = BTreeMap::new();
        for name in DAEMONS {
            let path = directory.join(name);
            if !path.is_file() {
                bail!(
                    "{} is not there; name the directory that has {} with --bin-dir, or leave the flag out to build them",
                    path.display(),
                    DAEMONS.join(", ")
                );
            }
            daemons.insert(name.to_owned(), path);
        }
        Ok(Self {
            daemons,
            demo: myself()?,
        })
    }

    /// Builds them by cargo, whose progress goes to standard error.
    pub(crate) async fn build() -> anyhow::Result<Self> {
        let demo = myself()?;
        // Set by `cargo run`; a toolchain that is not the default one is kept that way.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the demo lies in a workspace")?
            .join("Cargo.toml");
        if !manifest.is_file() {
            bail!(
                "the sources are no longer at {}; run `cargo demo` in the repository, or name the directory of the daemons with --bin-dir",
                manifest.display()
            );
        }
        let mut command = Command::new(&cargo);
        command
            .arg("build")
            .args(["--message-format", "json-render-diagnostics"])
            .arg("--manifest-path")
            .arg(&manifest)
            .args(["--profile", profile(&demo)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // Selected as the alias selects the demo: by program among all packages. So cargo unites the same
        // features in both builds, and compiles what they share once.
        for name in DAEMONS {
            command.args(["--bin", name]);
        }
        let output = command
            .spawn()
            .with_context(|| {
                format!(
                    "cannot run {}; install Rust, or name the directory of the daemons with --bin-dir",
                    cargo.display()
                )
            })?
            .wait_with_output()
            .await?;
        if !output.status.success() {
            bail!("the daemons could not be built; cargo says above why");
        }
        let daemons = executables(&String::from_utf8_lossy(&output.stdout));
        if let Some(missing) = DAEMONS.iter().find(|name| !daemons.contains_key(**name)) {
            bail!("cargo has built no program {missing}");
        }
        Ok(Self { daemons, demo })
    }

    /// One of the [`DAEMONS`].
    ///
    /// # Panics
    ///
    /// If it is none of them.
    pub(crate) fn daemon(&self, name: &str) -> &Path {
        self.daemons
            .get(name)
            .expect("both ways of making this have all daemons")
    }

    /// This program, which plays the apps and the load balancer.
    pub(crate) fn demo(&self) -> &Path {
        &self.demo
    }
}

fn myself() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

/// Cargo's name for the profile in whose directory a program lies.
fn profile(program: &Path) -> &str {
    match program
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
    {
        Some("debug") | None => "dev",
        Some(other) => other,
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The programs that cargo's messages name. Lines that are no message are none of ours.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| Some((message.target?.name, message.executable?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_programs_out_of_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"bytes"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"mesh-ca"},"executable":"/t/debug/mesh-ca"}
{"reason":"build-finished","success":true}
not json"#;
        let found = executables(messages);
        assert_eq!(
            found,
            BTreeMap::from([("mesh-ca".to_owned(), PathBuf::from("/t/debug/mesh-ca"))])
        );
    }

    #[test]
    fn the_profile_is_this_programs_own() {
        assert_eq!(profile(Path::new("/t/debug/demo")), "dev");
        assert_eq!(
            profile(Path::new("/t/x86_64-unknown/release/demo")),
            "release"
        );
        assert_eq!(profile(Path::new("/t/dist/demo")), "dist");
    }

    #[test]
    fn a_directory_without_a_daemon_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let error = Binaries::in_directory(directory.path()).unwrap_err();
        assert!(
            error.to_string().contains("mesh-ca is not there"),
            "{error}"
        );
        for name in DAEMONS {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let binaries = Binaries::in_directory(directory.path()).unwrap();
        assert!(binaries.daemon("mesh-agent").ends_with("mesh-agent"));
    }
}
