//! `meshctl apply`: texts of objects to mesh-api, all of them at once or none.
//!
//! The texts are read and checked here first, so that what is wrong is said with its file and line and
//! without an API. Then they go as one text to `POST /apply`: objects may refer to others in any file. What
//! the API finds is told by the files' own lines again.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::api::{Address, Answer, CallError, TokenError, read_token};
use crate::texts::{SourceError, Texts};
use crate::{Failure, exit, print, say};

/// What `meshctl apply` is told.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["files", "from_env"]))]
pub(crate) struct Arguments {
    /// A file, a directory (its .yaml, .yml and .json files), or - for standard input; repeatable
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,

    /// An environment variable that holds the text itself; repeatable
    #[arg(long, value_name = "VARIABLE")]
    from_env: Vec<String>,

    /// Where mesh-api serves its config API
    #[arg(
        long,
        env = "MESH_API",
        value_name = "URL",
        default_value = "http://127.0.0.1:15080"
    )]
    api: Address,

    /// File with the config API's token, which it wants from other machines
    #[arg(long, env = "MESH_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// How long to try again while the API is out of reach, for example 60s [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(
        "mesh-api at {address} is not ready (status {status}): {message}; try again, or wait for it with --wait"
    )]
    NotReady {
        address: String,
        status: StatusCode,
        message: String,
    },
    #[error("mesh-api refuses the objects, and none was applied:\n{0}")]
    Invalid(String),
    #[error(
        "mesh-api wants its token (status {status}): {message}; name the file that holds it with --token-file"
    )]
    Unauthorized { status: StatusCode, message: String },
    #[error("mesh-api applied nothing (status {status}): {message}")]
    Refused { status: StatusCode, message: String },
    #[error("{address} answers, but not as mesh-api does: {reason}; check --api")]
    Foreign { address: String, reason: String },
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

/// The answer to an apply.
#[derive(Debug, Deserialize)]
struct Applied {
    applied: Vec<Row>,
    warnings: Vec<String>,
}

/// What happened to one object.
#[derive(Debug, Deserialize)]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    action: String,
}

/// Kubernetes' `Status`: the answer of an API that says no.
#[derive(Debug, Deserialize)]
struct Status {
    message: String,
}

/// Applies, and prints per object what happened.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let applied = apply(arguments).map_err(|error| Failure {
        code: error.exit_code(),
        message: error.to_string(),
    })?;
    for warning in &applied.warnings {
        say(&format!("warning: {warning}"));
    }
    let line = |row: &Row| {
        format!(
            "{} {}/{} {}\n",
            row.kind, row.namespace, row.name, row.action
        )
    };
    print(&applied.applied.iter().map(line).collect::<String>())
}

impl ApplyError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Source(error) => error.exit_code(),
            Self::Invalid(_) => exit::DATA,
            Self::Call(_) | Self::NotReady { .. } => exit::UNAVAILABLE,
            Self::Token(_)
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::Runtime(_) => exit::FAILED,
        }
    }
}

fn apply(arguments: &Arguments) -> Result<Applied, ApplyError> {
    let texts = Texts::read(&arguments.files, &arguments.from_env)?;
    let token = arguments
        .token_file
        .as_deref()
        .map(read_token)
        .transpose()?;
    let body = Bytes::from(texts.joined());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ApplyError::Runtime)?;
    runtime.block_on(async {
        let until = arguments.wait.map(|wait| Instant::now() + wait);
        loop {
            let post = arguments
                .api
                .post_yaml("/apply", token.as_ref(), body.clone());
            let result = match post.await {
                Ok(answer) => understand(&arguments.api, &answer, &texts),
                Err(error) => Err(error.into()),
            };
            // Applying is idempotent: a lost answer is no reason not to try again.
            const PAUSE: Duration = Duration::from_millis(250);
            match (&result, until) {
                (Err(ApplyError::Call(_) | ApplyError::NotReady { .. }), Some(until))
                    if Instant::now() + PAUSE < until =>
                {
                    sleep(PAUSE).await;
                }
                _ => return result,
            }
        }
    })
}

fn understand(api: &Address, answer: &Answer, texts: &Texts) -> Result<Applied, ApplyError> {
    let status = answer.status;
    let foreign = |reason: String| ApplyError::Foreign {
        address: api.to_string(),
        reason,
    };
    if status.is_success() {
        let mut applied: Applied =
            serde_json::from_slice(&answer.body).map_err(|error| foreign(error.to_string()))?;
        for warning in &mut applied.warnings {
            *warning = texts.with_files(warning);
        }
        return Ok(applied);
    }
    let message = match serde_json::from_slice::<Status>(&answer.body) {
        Ok(said) => texts.with_files(&said.message),
        Err(_) if status.is_server_error() => "no reason given".to_owned(),
        Err(_) => return Err(foreign(format!("status {status} without a reason"))),
    };
    Err(match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ApplyError::Invalid(message),
        StatusCode::UNAUTHORIZED => ApplyError::Unauthorized { status, message },
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            ApplyError::NotReady {
                address: api.to_string(),
                status,
                message,
            }
        }
        _ => ApplyError::Refused { status, message },
    })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, for example 60s or 2m"))
}

#[cfg(test)]
mod tests;
