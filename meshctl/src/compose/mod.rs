//! `meshctl compose`: a user's own Compose file into the mesh by labels, and out of it again.
//!
//! It is an edit of the text, not a new file: comments, order and quoting stay, and what is added has marks
//! by which it is taken out to the byte (`marks`). `yaml` is the file as a tree that knows its bytes,
//! `labels` what the labels say, `project` which services there are; `hosts`, `ports` and `fleet` are what
//! is added, and [`inject`] puts it together.

mod fleet;
mod hosts;
mod inject;
mod kept;
mod labels;
mod manifest;
mod marks;
mod ports;
mod project;
mod warnings;
mod yaml;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::{Failure, exit, print, say};

/// Where Compose looks for its file, in its order.
const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// What `meshctl compose` is told.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adds an agent beside each service that is labelled mesh.service, and the control plane
    Inject(Files),
    /// Takes out what inject added, to the byte
    Uninject(Files),
}

/// Which file, and where to.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The Compose file, or - for standard input [default: the one that Compose takes]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Where the result is written [default: standard output]
    #[arg(short, long, value_name = "FILE", conflicts_with = "in_place")]
    output: Option<PathBuf>,

    /// Writes the result over the file itself
    #[arg(long)]
    in_place: bool,
}

/// Why a file cannot be edited: a place in it, and one sentence with the way out.
#[derive(Debug, thiserror::Error)]
#[error("{line}:{column}: {message}")]
struct Refusal {
    line: usize,
    column: usize,
    message: String,
}

impl Refusal {
    fn new((line, column): (usize, usize), message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            message: message.into(),
        }
    }
}

/// Edits a file.
pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    let (Command::Inject(files) | Command::Uninject(files)) = command;
    let file = files.file.clone().map_or_else(default_file, Ok)?;
    let is_stdin = file.as_os_str() == "-";
    if is_stdin && files.in_place {
        return Err(usage(
            "--in-place needs a file; name it with -f, or leave the flag out",
        ));
    }
    let name = if is_stdin {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let data = |message: String| Failure {
        code: exit::DATA,
        message,
    };
    let bytes = read(&file, is_stdin)
        .map_err(|error| failed(format!("cannot read {name}: {error}; check -f")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| data(format!("{name} is not UTF-8 text; save it as UTF-8")))?;
    let refused = |refusal: Refusal| data(format!("{name}:{refusal}"));
    let result = match command {
        Command::Inject(_) => {
            let injected = inject::inject(&text).map_err(refused)?;
            for warning in &injected.warnings {
                say(&format!("warning: {warning}"));
            }
            injected.text
        }
        Command::Uninject(_) => marks::undo(&text).map_err(refused)?,
    };
    let target = if files.in_place {
        Some(&file)
    } else {
        files.output.as_ref()
    };
    match target {
        None => print(&result),
        Some(target) => replace(target, &result)
            .map_err(|error| failed(format!("cannot write {}: {error}", target.display()))),
    }
}

fn default_file() -> Result<PathBuf, Failure> {
    let present = DEFAULT_FILES.iter().find(|name| Path::new(name).is_file());
    present.map(PathBuf::from).ok_or_else(|| {
        usage("there is no compose.yaml or docker-compose.yml here; name the Compose file with -f")
    })
}

fn read(file: &Path, is_stdin: bool) -> io::Result<Vec<u8>> {
    if !is_stdin {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file whole or not at all. What it was allowed to, it stays allowed to; a link stays a link.
fn replace(target: &Path, text: &str) -> io::Result<()> {
    let Ok(file) = target.canonicalize() else {
        return fs::write(target, text);
    };
    if !file.is_file() {
        // A pipe or a device.
        return fs::write(file, text);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::File::create_new(&beside)
        .and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            new.set_permissions(fs::metadata(&file)?.permissions())?;
            new.sync_all()
        })
        .and_then(|()| fs::rename(&beside, &file));
    if written.is_err() {
        // The reason for the failure is worth more than one for a left file.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn usage(message: &str) -> Failure {
    Failure {
        code: exit::USAGE,
        message: message.to_owned(),
    }
}

fn failed(message: String) -> Failure {
    Failure {
        code: exit::FAILED,
        message,
    }
}

#[cfg(test)]
mod tests;
