//! Finding Docker and Compose on this machine, and whether they are new enough.

use std::collections::BTreeMap;

use super::command::{Failed, output};
use super::project::docker;

/// The oldest engine that is known to do.
const OLDEST_ENGINE: Oldest = Oldest(20, 10);
/// The oldest Compose that waits until a one-shot service has done its work.
const OLDEST_COMPOSE: Oldest = Oldest(1, 29);

/// A version that is old enough to be the limit: major and minor.
#[derive(Clone, Copy, Debug)]
struct Oldest(u32, u32);

impl std::fmt::Display for Oldest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Why no containers can be started on this machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// There is no program `docker`.
    #[error(
        "there is no program `docker` here; install Docker {OLDEST} or newer, or play without it: --fleet loopback",
        OLDEST = OLDEST_ENGINE
    )]
    Missing,
    /// The daemon does not answer.
    #[error(
        "the Docker daemon does not answer ({0}); start it, let this user talk to it, or play without it: --fleet loopback"
    )]
    Unreachable(String),
    /// The daemon is too old.
    #[error(
        "this Docker engine is {0}, and the fleet needs {OLDEST} or newer; update it, or play without it: --fleet loopback",
        OLDEST = OLDEST_ENGINE
    )]
    TooOld(String),
    /// There is no Compose.
    #[error(
        "there is neither `docker compose` nor `docker-compose` here; install Compose {OLDEST} or newer, or play without it: --fleet loopback",
        OLDEST = OLDEST_COMPOSE
    )]
    NoCompose,
    /// Compose is too old.
    #[error(
        "this `{command}` is {version}, and the fleet needs {OLDEST} or newer; update it, or play without it: --fleet loopback",
        OLDEST = OLDEST_COMPOSE
    )]
    ComposeTooOld {
        /// As typed.
        command: String,
        /// What it says.
        version: String,
    },
}

/// Makes sure that Docker can be used. Returns the words by which Compose is called here.
pub(crate) async fn find() -> Result<Vec<String>, EngineError> {
    let version = docker(&["version", "--format", "{{.Server.Version}}"])
        .await
        .map_err(|error| unreachable(&error))?;
    let version = version.trim();
    if older(version, OLDEST_ENGINE) {
        return Err(EngineError::TooOld(version.to_owned()));
    }
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let asked = [&words[..], &["version".to_owned(), "--short".to_owned()]].concat();
        let Ok(version) = output(&asked, &BTreeMap::new()).await else {
            continue;
        };
        let version = version.trim();
        if older(version, OLDEST_COMPOSE) {
            return Err(EngineError::ComposeTooOld {
                command: words.join(" "),
                version: version.to_owned(),
            });
        }
        return Ok(words);
    }
    Err(EngineError::NoCompose)
}

fn unreachable(error: &Failed) -> EngineError {
    match error {
        _ if error.is_missing() => EngineError::Missing,
        Failed::Status { said, .. } => {
            let last = said.lines().last().unwrap_or_default();
            EngineError::Unreachable(last.trim_end_matches('.').to_owned())
        }
        Failed::NotRun { .. } => EngineError::Unreachable(error.to_string()),
    }
}

/// Whether a version is below the oldest one. What cannot be read is taken for new.
fn older(version: &str, oldest: Oldest) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) => (major, minor.unwrap_or_default()) < (oldest.0, oldest.1),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for new in ["20.10.24+dfsg1", "28.2.2", "v20.10.0", "20.10", "dev"] {
            assert!(!older(new, OLDEST_ENGINE), "{new}");
        }
        for old in ["19.03.15", "20.9.1", "1.13.1", "20"] {
            assert!(older(old, OLDEST_ENGINE), "{old}");
        }
        assert!(!older("v2.24.5", OLDEST_COMPOSE));
        assert!(!older("1.29.2", OLDEST_COMPOSE));
        assert!(older("1.25.0", OLDEST_COMPOSE));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for error in [
            EngineError::Missing,
            EngineError::Unreachable("permission denied".to_owned()),
            EngineError::TooOld("19.03.15".to_owned()),
            EngineError::NoCompose,
            EngineError::ComposeTooOld {
                command: "docker-compose".to_owned(),
                version: "1.25.0".to_owned(),
            },
        ] {
            let words = error.to_string();
            assert!(words.contains("--fleet loopback"), "{words}");
            assert_eq!(words.lines().count(), 1);
        }
        let words = EngineError::TooOld("19.03.15".to_owned()).to_string();
        assert!(words.contains("20.10 or newer"), "{words}");
    }
}
