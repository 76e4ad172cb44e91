//! The token that the config API asks of everybody beyond this machine's loopback.
//!
//! [`Token::open`] makes it at the first start; `mesh-api token` prints it. Who is asked for it, and how it is
//! compared, is in [`crate::http`].

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mesh_identity::disk::create_private;

/// The file's name in the state directory.
const FILE: &str = "token";

/// Random bytes of a token that is made here.
const STRENGTH: usize = 32;

/// A shorter one could be guessed.
const SHORTEST: usize = 20;

/// Longer ones do not fit into every program's headers.
const LONGEST: usize = 1000;

/// The token. It is never shown by accident.
#[derive(Clone)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// mesh-api has not been started in this state directory.
    #[error(
        "there is no token at {0}: mesh-api makes it when it starts; start it first, or name its directory by --state-dir"
    )]
    None(PathBuf),
    /// The system refused.
    #[error("cannot {action} the token file {}: {reason}; check --token-file and --state-dir", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's reason: a part of the sentence, and so no cause that is told after it.
        reason: io::Error,
    },
    /// It does not hold what can be a token.
    #[error(
        "the token in {} must be one line of {SHORTEST} to {LONGEST} letters, digits and the signs -._~+/=; write one into it, for example from `openssl rand -hex 32`",
        .0.display()
    )]
    Unusable(PathBuf),
}

impl Token {
    /// The token of a state directory, which must exist; made if there is none yet.
    ///
    /// # Errors
    ///
    /// If it can neither be read nor made, or is unusable.
    pub fn open(state_dir: &Path) -> Result<Self, TokenError> {
        match Self::in_directory(state_dir) {
            Err(TokenError::None(file)) => {
                let token = Self::random();
                let text = format!("{}\n", token.0);
                match create_private(&file, text.as_bytes()) {
                    Ok(()) => Ok(token),
                    Err(reason) => Err(TokenError::Io {
                        action: "make",
                        file,
                        reason,
                    }),
                }
            }
            other => other,
        }
    }

    /// The token that mesh-api has made in its state directory.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read or is unusable.
    pub fn in_directory(state_dir: &Path) -> Result<Self, TokenError> {
        let file = state_dir.join(FILE);
        match Self::read(&file) {
            Err(TokenError::Io { file, reason, .. })
                if reason.kind() == io::ErrorKind::NotFound =>
            {
                Err(TokenError::None(file))
            }
            other => other,
        }
    }

    /// The token in a file.
    ///
    /// # Errors
    ///
    /// If it is not there, cannot be read or is unusable.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(file).map_err(|reason| TokenError::Io {
            action: "read",
            file: file.to_owned(),
            reason,
        })?;
        let token = text.trim();
        // What RFC 6750 allows in a header.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if !(SHORTEST..=LONGEST).contains(&token.len()) || !token.chars().all(allowed) {
            return Err(TokenError::Unusable(file.to_owned()));
        }
        Ok(Self(token.to_owned()))
    }

    /// The token itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn random() -> Self {
        let mut bytes = [0; STRENGTH];
        // Without randomness there is no TLS either: that has failed long before.
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random numbers work");
        Self(hex(&bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_private_and_never_shown() {
        let state = tempfile::tempdir().unwrap();
        let none = Token::in_directory(state.path()).unwrap_err().to_string();
        assert!(none.contains("start it first"), "{none}");
        let token = Token::open(state.path()).unwrap();
        assert_eq!(token.as_str().len(), 2 * STRENGTH);
        let again = Token::open(state.path()).unwrap();
        let read = Token::in_directory(state.path()).unwrap();
        assert_eq!(again.as_str(), token.as_str());
        assert_eq!(read.as_str(), token.as_str());
        let mode = fs::metadata(state.path().join(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(!format!("{token:?}").contains(token.as_str()));
        let other = Token::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(other.as_str(), token.as_str());
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mine");
        let error = anyhow::Error::new(Token::read(&file).unwrap_err());
        let error = format!("{error:#}");
        assert_eq!(error.matches("os error").count(), 1, "{error}");
        assert!(
            error.contains("mine") && error.contains("--token-file"),
            "{error}"
        );
        for text in [
            "",
            "\n",
            "short",
            &"x".repeat(LONGEST + 1),
            "two words of some length",
        ] {
            fs::write(&file, text).unwrap();
            let error = Token::read(&file).unwrap_err().to_string();
            assert!(error.contains("mine"), "{error}");
            assert!(
                text.trim().is_empty() || !error.contains(text.trim()),
                "{error}"
            );
        }
        fs::write(&file, "a-token.of_some~length+/=\r\n").unwrap();
        let token = Token::read(&file).unwrap();
        assert_eq!(token.as_str(), "a-token.of_some~length+/=");
    }
}
