//! Flags, environment variables and the configuration file: one set of names for all three.
//!
//! A value comes from, in falling order: the command line, the environment (`MESH_…`), the file that
//! `--config` names, the default. The file is a YAML map from flag names without their dashes to
//! values; a key that is no flag is an error, so a typing mistake never passes in silence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::healthcheck::{self, Healthcheck};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags that every daemon has. Flatten it into the daemon's own arguments.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// YAML file with any of these flags as keys, without their dashes
    #[arg(long, env = "MESH_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// What is logged: a level, or directives such as `info,mesh_proxy=debug`
    #[arg(
        long,
        env = "MESH_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        global = true
    )]
    pub log_level: String,

    /// How it is written
    #[arg(
        long,
        env = "MESH_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true
    )]
    pub log_format: LogFormat,

    /// How long work in flight may take to end after a stop was asked for
    #[arg(long, env = "MESH_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = parse_duration, default_value = "10s", global = true)]
    pub drain_timeout: Duration,

    /// OTLP/gRPC collector that receives spans, for example http://127.0.0.1:4317
    #[arg(long, env = "MESH_OTLP_ENDPOINT", value_name = "URL", global = true)]
    pub otlp_endpoint: Option<String>,

    /// Writes the bound addresses to this file, as JSON, once the daemon listens
    #[arg(long, env = "MESH_ADDRESSES_FILE", value_name = "FILE", global = true)]
    pub addresses_file: Option<PathBuf>,
}

impl CommonArgs {
    /// The collector, if there is one: a variable that is set to nothing, as Compose files do, names none.
    #[must_use]
    pub fn otlp_endpoint(&self) -> Option<&str> {
        self.otlp_endpoint
            .as_deref()
            .filter(|endpoint| !endpoint.is_empty())
    }
}

/// Why arguments could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Clap's own words; also its answer to `--help` and `--version`.
    #[error("{0}")]
    Clap(#[from] clap::Error),
    /// Not to serve, but to ask the daemon that serves: no error, and the end of reading arguments all the same.
    #[error("asked for the health at {0:?}")]
    Healthcheck(Healthcheck),
    /// The file is not there or may not be read.
    #[error("cannot read the configuration file {}: {source}; check --config", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no YAML map of scalars.
    #[error("the configuration file {} is not a YAML map of flags to values: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A key is no flag.
    #[error("the configuration file {} sets `{key}`, which is no flag of this program; known are: {known}", file.display())]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The key as written.
        key: String,
        /// The flags that there are.
        known: String,
    },
}

/// Reads the arguments of a program: command line over environment over file over default.
///
/// # Errors
///
/// [`ArgsError::Clap`] also stands for `--help` and `--version`, and [`ArgsError::Healthcheck`] for the
/// subcommand of that name; [`crate::run::refuse`] does what each of them wants.
pub fn load<A: Parser>(argv: impl IntoIterator<Item = OsString>) -> Result<A, ArgsError> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let command = Healthcheck::offer(A::command().args_override_self(true));
    if let Some(file) = config_file(&command, &argv) {
        let from_file = file_arguments(&command, &file)?;
        // What stands later wins, so the file's values go before what was typed.
        argv.splice(1.min(argv.len())..1.min(argv.len()), from_file);
    }
    if argv.iter().any(|word| word == healthcheck::NAME) {
        // Whoever asks for the health need not have what only serving needs.
        let relaxed = command.clone().subcommand_negates_reqs(true);
        let matches = relaxed.try_get_matches_from(&argv)?;
        if let Some(healthcheck) = Healthcheck::asked(&matches) {
            return Err(ArgsError::Healthcheck(healthcheck));
        }
    }
    let matches = command.try_get_matches_from(argv)?;
    Ok(A::from_arg_matches(&matches)?)
}

/// The file that `--config` or `MESH_CONFIG` names, found before anything else is understood.
fn config_file(command: &clap::Command, argv: &[OsString]) -> Option<PathBuf> {
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some("config"))?;
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.to_str().and_then(|w| w.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("MESH_CONFIG").map(PathBuf::from)
}

/// The file's entries as `--flag=value` words, without those that the environment overrides.
fn file_arguments(command: &clap::Command, file: &Path) -> Result<Vec<OsString>, ArgsError> {
    let text = std::fs::read_to_string(file).map_err(|source| ArgsError::Read {
        file: file.to_owned(),
        source,
    })?;
    let syntax = |reason: String| ArgsError::Syntax {
        file: file.to_owned(),
        reason,
    };
    let entries: BTreeMap<String, serde_json::Value> = if text.trim().is_empty() {
        BTreeMap::new()
    } else {
        serde_saphyr::from_str(&text).map_err(|error| syntax(error.to_string()))?
    };

    let mut words = Vec::new();
    for (key, value) in entries {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(key.as_str()) && key != "config")
            .ok_or_else(|| ArgsError::UnknownKey {
                file: file.to_owned(),
                key: key.clone(),
                known: known_flags(command),
            })?;
        let overridden = argument
            .get_env()
            .is_some_and(|name| std::env::var_os(name).is_some());
        if overridden {
            continue;
        }
        let is_switch = !argument.get_action().takes_values();
        match value {
            serde_json::Value::Bool(true) if is_switch => words.push(format!("--{key}").into()),
            serde_json::Value::Bool(false) if is_switch => {}
            serde_json::Value::Array(values) => {
                for value in &values {
                    words.push(word(&key, value).map_err(&syntax)?);
                }
            }
            value => words.push(word(&key, &value).map_err(&syntax)?),
        }
    }
    Ok(words)
}

fn word(key: &str, value: &serde_json::Value) -> Result<OsString, String> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::Bool(flag) => flag.to_string(),
        _ => {
            return Err(format!(
                "`{key}` must be a text, a number or a list of those"
            ));
        }
    };
    Ok(format!("--{key}={text}").into())
}

fn known_flags(command: &clap::Command) -> String {
    let mut names: Vec<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .filter(|name| !["config", "help", "version"].contains(name))
        .collect();
    names.sort_unstable();
    names.join(", ")
}

/// Reads a length of time such as `10s`, `5m` or `24h`.
///
/// # Errors
///
/// A sentence with the accepted form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, for example 10s, 5m or 24h"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[derive(Debug, Parser)]
    struct Sample {
        #[command(flatten)]
        common: CommonArgs,
        #[arg(long, default_value = "none")]
        name: String,
        #[arg(long)]
        port: Vec<u16>,
        #[arg(long)]
        loud: bool,
        // An environment variable that every process has stands for one that the user set.
        #[arg(long, env = "PATH")]
        path: Option<String>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn load_with(text: &str, more: &[&str]) -> Result<Sample, ArgsError> {
        let file = file(text);
        let mut argv: Vec<OsString> = vec!["sample".into(), "--config".into(), file.path().into()];
        argv.extend(more.iter().map(OsString::from));
        load(argv)
    }

    #[test]
    fn file_fills_what_was_not_typed() {
        let sample = load_with(
            "name: from-file\nport: [1, 2]\nloud: true\ndrain-timeout: 3s\n",
            &[],
        )
        .unwrap();
        assert_eq!(sample.name, "from-file");
        assert_eq!(sample.port, [1, 2]);
        assert!(sample.loud);
        assert_eq!(sample.common.drain_timeout, Duration::from_secs(3));
    }

    #[test]
    fn command_line_and_environment_win_over_the_file() {
        let sample = load_with("name: from-file\npath: from-file\n", &["--name", "typed"]).unwrap();
        assert_eq!(sample.name, "typed");
        assert_eq!(sample.path, std::env::var("PATH").ok());
    }

    #[test]
    fn an_empty_endpoint_names_no_collector() {
        let endpoint = |value| {
            let sample = load_with("", &["--otlp-endpoint", value]).unwrap();
            sample.common.otlp_endpoint().map(str::to_owned)
        };
        assert_eq!(endpoint(""), None);
        let url = "http://traces:4317";
        assert_eq!(endpoint(url).as_deref(), Some(url));
    }

    #[test]
    fn unknown_key_is_named_with_the_known_ones() {
        let error = load_with("nmae: x\n", &[]).unwrap_err().to_string();
        assert!(error.contains("`nmae`"), "{error}");
        assert!(error.contains("drain-timeout"), "{error}");
    }

    #[test]
    fn broken_or_absent_file_is_named() {
        let error = load_with("name: [x\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line"), "{error}");
        let argv = ["sample", "--config=/nowhere/mesh.yaml"].map(OsString::from);
        let error = load::<Sample>(argv).unwrap_err().to_string();
        assert!(error.contains("/nowhere/mesh.yaml"), "{error}");
    }

    #[derive(Debug, Parser)]
    struct Proxy {
        #[command(flatten)]
        common: CommonArgs,
        #[arg(long)]
        group: String,
        #[arg(long, default_value = "127.0.0.1:15020")]
        listen_metrics: std::net::SocketAddr,
        #[arg(long, default_value = "0.0.0.0:15021")]
        listen_ready: std::net::SocketAddr,
    }

    #[test]
    fn the_health_is_asked_for_by_the_flags_that_serve_it_and_no_others() {
        let file = file("listen-ready: 127.0.0.1:1\n");
        let config = file.path().to_str().unwrap();
        let asked = |words: &[&str]| {
            let argv = ["proxy"].iter().chain(words).map(OsString::from);
            match load::<Proxy>(argv) {
                Err(ArgsError::Healthcheck(healthcheck)) => format!("{healthcheck:?}"),
                other => panic!("{other:?}"),
            }
        };
        for (words, address) in [
            (&["healthcheck"][..], "0.0.0.0:15021"),
            (
                &["--listen-ready", "127.0.0.1:2", "healthcheck"],
                "127.0.0.1:2",
            ),
            (
                &["healthcheck", "--listen-ready", "127.0.0.1:2"],
                "127.0.0.1:2",
            ),
            (&["--config", config, "healthcheck"], "127.0.0.1:1"),
            (&["healthcheck", "--config", config], "127.0.0.1:1"),
            (
                &["healthcheck", "--config", config, "--listen-ready=[::]:3"],
                "[::]:3",
            ),
        ] {
            let healthcheck = asked(words);
            assert!(
                healthcheck.contains(&format!("address: {address} }}")),
                "{healthcheck}"
            );
            assert!(healthcheck.contains("\"listen-ready\""), "{healthcheck}");
        }
    }

    #[test]
    fn serving_needs_what_it_needed_and_may_be_called_anything() {
        let load =
            |words: &[&str]| load::<Proxy>(["proxy"].iter().chain(words).map(OsString::from));
        let error = load(&[]).unwrap_err().to_string();
        assert!(error.contains("--group"), "{error}");
        let proxy = load(&["--group", "healthcheck"]).unwrap();
        assert_eq!(proxy.group, "healthcheck");
        assert_eq!(
            (proxy.listen_ready.port(), proxy.listen_metrics.port()),
            (15021, 15020)
        );
        assert_eq!(proxy.common.log_level, "info");
        let help = load(&["--help"]).unwrap_err().to_string();
        assert!(help.contains("healthcheck"), "{help}");
        // A program without such an address has no such command.
        let words = ["sample", "healthcheck"].map(OsString::from);
        assert!(matches!(
            super::load::<Sample>(words),
            Err(ArgsError::Clap(_))
        ));
    }

    #[test]
    fn a_wrong_duration_says_what_is_right() {
        let error = parse_duration("10 parsecs").unwrap_err();
        assert!(error.contains("10s"), "{error}");
    }
}
