//! What a newcomer brings along: a one-time token, and by whom it was invited.
//!
//! `mesh-ca token create` prints either the bare token or JSON that also has the fingerprint of the root.
//! Both forms are taken wherever a token is. What happens with it is in `join.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::Error;
use crate::bundle::Fingerprint;

/// A one-time secret, or the file that has it. `Debug` shows the file's name only.
#[derive(Clone)]
pub enum JoinToken {
    /// The secret itself.
    Secret(Zeroizing<String>),
    /// A file that holds the secret, read when it is needed; white space around it is ignored.
    File(PathBuf),
}

/// A join token that was read. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The one-time secret.
    pub token: Zeroizing<String>,
    /// The root of the mesh that it is for, where the token came with it.
    pub ca_fingerprint: Option<Fingerprint>,
}

impl JoinToken {
    /// Reads the token from where it is, in either form.
    ///
    /// # Errors
    /// If its file cannot be read, or there is no token in it.
    pub fn read(&self) -> Result<Invitation, Error> {
        match self {
            Self::Secret(secret) => {
                Invitation::parse(secret).map_err(|reason| Error::Token { reason })
            }
            Self::File(path) => {
                let text = read_text(path)?;
                Invitation::parse(&text).map_err(|reason| Error::TokenContent {
                    path: path.clone(),
                    reason,
                })
            }
        }
    }
}

impl Invitation {
    /// Reads a bare token or the JSON of `mesh-ca token create -o json`. What is wrong is told without
    /// quoting any of it.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if !text.starts_with('{') {
            return if text.chars().all(|c| c.is_ascii_graphic()) {
                Ok(Self {
                    token: Zeroizing::new(text.to_owned()),
                    ca_fingerprint: None,
                })
            } else {
                Err("it is more than one word".to_owned())
            };
        }
        let mut content: Content = serde_json::from_str(text).map_err(|error| {
            format!(
                "its JSON is wrong at line {}, column {}",
                error.line(),
                error.column()
            )
        })?;
        if content.token.is_empty() {
            return Err("its `token` is empty".to_owned());
        }
        let ca_fingerprint = content
            .ca_fingerprint
            .as_deref()
            .map(Fingerprint::parse)
            .transpose()
            .map_err(|_| "its `caFingerprint` is no fingerprint".to_owned())?;
        Ok(Self {
            token: Zeroizing::new(std::mem::take(&mut content.token)),
            ca_fingerprint,
        })
    }

    /// The root to join by, when `flag` is what `--ca-fingerprint` says.
    ///
    /// # Errors
    /// If neither names one, or each another.
    pub(super) fn pinned(&self, flag: Option<Fingerprint>) -> Result<Fingerprint, Error> {
        match (flag, self.ca_fingerprint) {
            (Some(flag), Some(token)) if flag != token => Err(Error::Fingerprints { flag, token }),
            (Some(pinned), _) | (None, Some(pinned)) => Ok(pinned),
            (None, None) => Err(Error::NoFingerprint),
        }
    }
}

/// The JSON form, as far as it is of interest here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    token: String,
    ca_fingerprint: Option<String>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |cause| Error::TokenFile {
        path: path.to_owned(),
        cause,
    };
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(failed)
}

impl From<String> for JoinToken {
    fn from(secret: String) -> Self {
        Self::Secret(Zeroizing::new(secret))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("ca_fingerprint", &self.ca_fingerprint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    fn json(fingerprint: &str) -> String {
        format!(
            r#"{{"token":"mesh-join-1","identity":"x","caFingerprint":"{fingerprint}","expiresAt":"y"}}"#
        )
    }

    fn read(text: &str) -> Result<Invitation, Error> {
        JoinToken::from(text.to_owned()).read()
    }

    #[test]
    fn bare_tokens_and_json_are_taken_and_not_shown() {
        let bare = read(" mesh-join-1\n").expect("a token");
        assert_eq!(
            (bare.token.as_str(), bare.ca_fingerprint),
            ("mesh-join-1", None)
        );
        let whole = read(&format!("\n{}\n", json(&fingerprint("a")))).expect("JSON");
        assert_eq!(whole.token, bare.token);
        assert_eq!(
            whole.ca_fingerprint.expect("in it").to_string(),
            fingerprint("a")
        );
        assert!(!format!("{whole:?}").contains("mesh-join"));
    }

    #[test]
    fn what_is_no_token_is_told_with_the_way_out_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, expected) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("s3cret\ns3cret", "more than one word"),
            (r#"{"token":"s3cret""#, "line 1, column 17"),
            (r#"{"token":["s3cret"]}"#, "line 1"),
            (r#"{"token":""}"#, "`token` is empty"),
            (r#"{"tokem":"s3cret"}"#, "line 1"),
            (&json("s3cret"), "`caFingerprint` is no fingerprint"),
        ] {
            std::fs::write(file.path(), text).expect("written");
            let path = file.path().to_owned();
            let error = JoinToken::File(path.clone()).read().expect_err(text);
            let error = error.to_string();
            for part in [
                expected,
                "mesh-ca token create",
                &path.display().to_string(),
            ] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("s3cret"), "{error}");
            let error = read(text).expect_err(text).to_string();
            assert!(
                error.contains("MESH_JOIN_TOKEN") && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn the_root_is_named_by_flag_or_token_and_never_by_two_that_differ() {
        let (a, b) = ["a", "b"]
            .map(|digit| fingerprint(digit).parse().expect("valid"))
            .into();
        let invitation = |ca_fingerprint| Invitation {
            token: "x".to_owned().into(),
            ca_fingerprint,
        };
        assert_eq!(invitation(None).pinned(Some(a)).expect("the flag's"), a);
        assert_eq!(invitation(Some(a)).pinned(None).expect("the token's"), a);
        assert_eq!(invitation(Some(a)).pinned(Some(a)).expect("both"), a);
        assert!(matches!(
            invitation(None).pinned(None),
            Err(Error::NoFingerprint)
        ));
        let error = invitation(Some(a)).pinned(Some(b)).expect_err("two");
        let error = error.to_string();
        for part in [&a.to_string(), &b.to_string(), "--ca-fingerprint"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
