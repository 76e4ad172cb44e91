//! `meshctl analyze`: what the analysis of [`mesh_config`] finds in files, or in a running mesh.
//!
//! Files are read and analysed here, without an API. With `--live` the API is asked: about its own configuration, or
//! about what it would be with these files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::StatusCode;
use mesh_config::analysis::{self, Options, WRITTEN_TWICE};
use mesh_config::{Config, DEFAULT_NAMESPACE, Finding};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{Address, Answer, CallError, TokenError, read_token};
use crate::texts::{SourceError, Texts, gather};
use crate::{Failure, exit, print, say};

/// What `meshctl analyze` is told.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["files", "named", "live"]))]
pub(crate) struct Arguments {
    /// A file, a directory (its .yaml, .yml and .json files), or - for standard input; repeatable
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,

    /// The same without -f
    #[arg(value_name = "FILE|DIR|-")]
    named: Vec<PathBuf>,

    /// Also the files of the directories in those directories
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Look at the running mesh; with files, as it would be if they were applied
    #[arg(long)]
    live: bool,

    /// The namespace of objects that name none
    #[arg(short, long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    namespace: String,

    /// How the findings are written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    /// Exit code 79 for findings of this level or worse
    #[arg(long, value_enum, default_value_t = Threshold::Warning, ignore_case = true)]
    failure_threshold: Threshold,

    /// Write only findings of this level or worse
    #[arg(long, value_enum, default_value_t = Threshold::Info, ignore_case = true)]
    output_threshold: Threshold,

    /// Where mesh-api serves its config API, for --live
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One line each, for people
    Table,
    /// A list, for programs
    Json,
    /// The same list as YAML
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Threshold {
    #[value(name = "Error")]
    Error,
    #[value(name = "Warning")]
    Warning,
    #[value(name = "Info")]
    Info,
}

/// Why nothing could be analysed.
#[derive(Debug, thiserror::Error)]
enum AnalyzeError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{address} does not answer with an analysis (status {status}): {message}; check --api")]
    Refused {
        address: String,
        status: StatusCode,
        message: String,
    },
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

impl AnalyzeError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Source(SourceError::Read { .. } | SourceError::NoFiles(_)) => exit::DATA,
            Self::Source(error) => error.exit_code(),
            Self::Call(_) => exit::UNAVAILABLE,
            Self::Token(_) | Self::Refused { .. } | Self::Runtime(_) => exit::FAILED,
        }
    }
}

/// Analyses, and writes what was found.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let findings = find(arguments).map_err(|error| Failure {
        code: error.exit_code(),
        message: error.to_string(),
    })?;
    let shown: Vec<&Value> = findings
        .iter()
        .filter(|finding| level(finding) <= arguments.output_threshold)
        .collect();
    print(&written(&shown, arguments.output))?;
    verdict(&findings, arguments.failure_threshold)
}

/// What the exit code says about the findings.
fn verdict(findings: &[Value], threshold: Threshold) -> Result<(), Failure> {
    let counts = [
        (Threshold::Error, "error"),
        (Threshold::Warning, "warning"),
        (Threshold::Info, "info"),
    ]
    .map(|(wanted, word)| {
        let count = findings
            .iter()
            .filter(|finding| level(finding) == wanted)
            .count();
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {word}{plural}")
    });
    let message = format!("analysed: {}", counts.join(", "));
    // Without a code, a finding is about a text that cannot be read.
    if findings.iter().any(|finding| finding["code"].is_null()) {
        return Err(Failure {
            code: exit::DATA,
            message,
        });
    }
    if findings.iter().any(|finding| level(finding) <= threshold) {
        return Err(Failure {
            code: exit::FINDINGS,
            message,
        });
    }
    say(&format!("meshctl: {message}"));
    Ok(())
}

fn find(arguments: &Arguments) -> Result<Vec<Value>, AnalyzeError> {
    let mut sources: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let files = [arguments.files.as_slice(), &arguments.named].concat();
    gather(&files, &[], arguments.recursive, &mut |name, bytes| {
        sources.push((name, bytes.to_vec()));
    })?;
    if arguments.live {
        let texts = Texts::checked(&sources)?;
        return ask(arguments, &texts);
    }
    let findings = in_files(&sources, &arguments.namespace);
    Ok(findings.iter().map(Finding::to_json).collect())
}

fn in_files(sources: &[(PathBuf, Vec<u8>)], namespace: &str) -> Vec<Finding> {
    let mut config = Config::new();
    let mut found = Vec::new();
    for (name, bytes) in sources {
        let Ok(text) = str::from_utf8(bytes) else {
            // Says where.
            found.extend(
                mesh_config::parse_bytes(name, bytes, namespace)
                    .err()
                    .unwrap_or_default(),
            );
            continue;
        };
        let (objects, wrong) = analysis::read(name, text, namespace);
        found.extend(wrong);
        for object in objects {
            let key = object.key();
            let Some(earlier) = config.insert(object) else {
                continue;
            };
            let first = earlier
                .origin
                .as_ref()
                .map(|origin| format!("{}:{}", origin.file.display(), origin.line));
            if let Some(later) = config.get(&key) {
                let message = format!(
                    "it is written before, in {}, and the last one counts; remove one of them",
                    first.unwrap_or_default()
                );
                found.push(Finding::about(&WRITTEN_TWICE, later, "", message));
            }
        }
    }
    let mut all = analysis::joined(found, analysis::analyze(&config, &Options::files()));
    // By the files' order on the command line.
    let place = |finding: &Finding| {
        let place = finding.origin.as_ref();
        place.map(|place| {
            let file = sources.iter().position(|(name, _)| *name == *place.file);
            (file, place.mark.line, place.mark.column)
        })
    };
    all.sort_by_key(place);
    all
}

/// The API's answer.
#[derive(Debug, Deserialize)]
struct Analysis {
    findings: Vec<Value>,
}

/// Kubernetes' `Status`: the answer of an API that says no.
#[derive(Debug, Deserialize)]
struct Status {
    message: String,
}

fn ask(arguments: &Arguments, texts: &Texts) -> Result<Vec<Value>, AnalyzeError> {
    const PATH: &str = "/api/mesh/analysis";
    let token = arguments
        .token_file
        .as_deref()
        .map(read_token)
        .transpose()?;
    let body = texts.joined();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AnalyzeError::Runtime)?;
    let answer = runtime.block_on(async {
        let api = &arguments.api;
        if body.is_empty() {
            api.get(PATH, token.as_ref()).await
        } else {
            api.post_yaml(PATH, token.as_ref(), Bytes::from(body)).await
        }
    })?;
    let mut findings = understand(arguments, &answer)?;
    for finding in &mut findings {
        place(finding, texts);
    }
    Ok(findings)
}

fn understand(arguments: &Arguments, answer: &Answer) -> Result<Vec<Value>, AnalyzeError> {
    let status = answer.status;
    let message = if status.is_success() {
        match serde_json::from_slice::<Analysis>(&answer.body) {
            Ok(analysis) => return Ok(analysis.findings),
            Err(error) => error.to_string(),
        }
    } else {
        let said = serde_json::from_slice::<Status>(&answer.body);
        said.map_or_else(|_| "no reason given".to_owned(), |said| said.message)
    };
    Err(AnalyzeError::Refused {
        address: arguments.api.to_string(),
        status,
        message,
    })
}

/// Gives a finding about the text that was sent the file and line of the user's own.
fn place(finding: &mut Value, texts: &Texts) {
    if finding["file"] != "request body" {
        return;
    }
    let line = finding["line"]
        .as_u64()
        .and_then(|line| usize::try_from(line).ok());
    if let Some((name, line)) = line.and_then(|line| texts.place_of(line)) {
        let name = name.display().to_string();
        finding["reference"] = json!(format!("{name}:{line}:{}", finding["column"]));
        finding["file"] = json!(name);
        finding["line"] = json!(line);
    }
}

fn level(finding: &Value) -> Threshold {
    match finding["level"].as_str() {
        Some("Info") => Threshold::Info,
        Some("Warning") => Threshold::Warning,
        _ => Threshold::Error,
    }
}

fn written(findings: &[&Value], output: Output) -> String {
    match output {
        Output::Table => table(findings),
        Output::Json => format!("{:#}\n", json!(findings)),
        // A list of maps of texts and numbers can always be written.
        Output::Yaml => serde_saphyr::to_string(&findings).unwrap_or_default(),
    }
}

/// One line a finding; what is said of many whole objects in the same words, like all Deployments of a file, is said
/// once, with their number.
fn table(findings: &[&Value]) -> String {
    let words = |finding: &Value| {
        let of_object = finding["field"].is_null() && !finding["origin"].is_null();
        of_object.then(|| format!("{} {}", finding["code"], finding["message"]))
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for words in findings.iter().filter_map(|finding| words(finding)) {
        *counts.entry(words).or_default() += 1;
    }
    let mut lines = String::new();
    for finding in findings {
        match words(finding).map(|words| counts.remove(&words)) {
            Some(None) => {}
            Some(Some(count)) if count > 1 => {
                let told = line(finding);
                lines += &format!("{} ({} more like it)\n", told.trim_end(), count - 1);
            }
            _ => lines += &line(finding),
        }
    }
    lines
}

/// `file:12:9: Error [IST0101] (VirtualService default/x) spec.hosts[0]: what is wrong`
fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default();
    let mut line = String::new();
    if !text("reference").is_empty() {
        line += &format!("{}: ", text("reference"));
    }
    line += text("level");
    if !text("code").is_empty() {
        line += &format!(" [{}]", text("code"));
    }
    if !text("origin").is_empty() {
        line += &format!(" ({})", text("origin"));
    }
    if !text("field").is_empty() {
        line += &format!(" {}", text("field"));
    }
    let separator = if line.ends_with(": ") { "" } else { ": " };
    line + separator + text("message") + "\n"
}

#[cfg(test)]
mod tests;
