//! The flags by which a daemon is told how to get its identity.

use std::path::PathBuf;

use super::{JoinSettings, JoinToken};
use crate::bundle::Fingerprint;

/// The variable that may hold the join token. There is no flag for it: every user of the machine
/// can read the arguments of a process.
const TOKEN_VARIABLE: &str = "MESH_JOIN_TOKEN";

/// Flags to flatten into a daemon's own. A daemon with a state directory of its own choice sets
/// it by `#[command(mut_arg("state_dir", |arg| arg.default_value("…")))]`.
#[derive(Debug, Clone, clap::Args)]
pub struct IdentityArgs {
    /// The certificate authority, mesh-ca
    #[arg(
        long,
        env = "MESH_CA_ADDRESS",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:15011"
    )]
    pub ca_address: String,

    /// The authority's root, as `mesh-ca fingerprint` prints it; needed to join the mesh with a bare token
    #[arg(long, env = "MESH_CA_FINGERPRINT", value_name = "sha256:HEX")]
    pub ca_fingerprint: Option<Fingerprint>,

    /// File with what `mesh-ca token create` prints, as text or as JSON; needed to join the mesh, unless
    /// MESH_JOIN_TOKEN has that itself
    #[arg(long, env = "MESH_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,

    /// Where state is kept; the identity in its directory `identity`
    #[arg(
        long,
        env = "MESH_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/mesh"
    )]
    pub state_dir: PathBuf,
}

impl IdentityArgs {
    /// What they mean, together with the token in the environment.
    #[must_use]
    pub fn settings(&self) -> JoinSettings {
        self.settings_with(std::env::var(TOKEN_VARIABLE).ok())
    }

    fn settings_with(&self, variable: Option<String>) -> JoinSettings {
        let variable = variable
            .map(|token| token.trim().to_owned())
            .filter(|t| !t.is_empty());
        let token = self.join_token_file.clone().map(JoinToken::File);
        JoinSettings {
            ca_address: self.ca_address.clone(),
            ca_fingerprint: self.ca_fingerprint,
            token: token.or_else(|| variable.map(JoinToken::from)),
            state_dir: self.state_dir.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(mut_arg("state_dir", |arg| arg.default_value("/var/lib/mesh/api")))]
    struct Daemon {
        #[command(flatten)]
        identity: IdentityArgs,
    }

    #[test]
    fn a_daemon_may_have_its_own_state_directory() {
        let daemon = Daemon::try_parse_from(["daemon"]).expect("no flag is needed");
        assert_eq!(
            daemon.identity.state_dir,
            PathBuf::from("/var/lib/mesh/api")
        );
        assert_eq!(daemon.identity.ca_address, "127.0.0.1:15011");
    }

    #[test]
    fn a_wrong_fingerprint_is_refused_with_the_way_out() {
        let error = Daemon::try_parse_from(["daemon", "--ca-fingerprint", "abc"])
            .expect_err("not a fingerprint");
        assert!(error.to_string().contains("mesh-ca fingerprint"), "{error}");
    }

    #[test]
    fn the_token_comes_from_a_file_before_the_environment_and_is_never_shown() {
        let args = |flags: &[&str]| {
            Daemon::try_parse_from([&["daemon"], flags].concat())
                .expect("valid")
                .identity
        };
        let bare = args(&[]);
        assert!(bare.settings_with(None).token.is_none());
        assert!(bare.settings_with(Some(" \n".to_owned())).token.is_none());
        let settings = bare.settings_with(Some("s3cret\n".to_owned()));
        assert!(!format!("{settings:?}").contains("s3cret"));
        let Some(JoinToken::Secret(secret)) = settings.token else {
            panic!("{settings:?}")
        };
        assert_eq!(secret.as_str(), "s3cret");
        let settings = args(&["--join-token-file", "/run/token"]).settings_with(Some("x".into()));
        let Some(JoinToken::File(path)) = settings.token else {
            panic!("{settings:?}")
        };
        assert_eq!(path, PathBuf::from("/run/token"));
    }
}
