//! Logs to standard error, and spans to an OTLP collector if one is named.

use std::io::IsTerminal as _;

use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, reload};

use crate::args::{CommonArgs, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// `--log-level` is no level and no list of directives.
    #[error(
        "--log-level {given:?} is not understood: {reason}; use error, warn, info, debug, trace or directives such as info,mesh_proxy=debug"
    )]
    Level {
        /// As typed.
        given: String,
        /// The parser's words.
        reason: String,
    },
    /// The exporter refuses its endpoint.
    #[error(
        "--otlp-endpoint {given:?} cannot be used: {reason}; give the URL of an OTLP/gRPC collector, for example http://127.0.0.1:4317"
    )]
    Otlp {
        /// As typed.
        given: String,
        /// The exporter's words.
        reason: String,
    },
    /// Nobody set up logging, so there is no level to change.
    #[error("logging is not set up in this process")]
    NotSetUp,
    /// Somebody set up logging before.
    #[error("logging is already set up in this process: {0}")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// The level of a process, which has one, and how to change it.
struct Level {
    current: Mutex<String>,
    set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

static LEVEL: OnceLock<Level> = OnceLock::new();

/// What is logged now, in the form of `--log-level`; `None` if logging is not set up.
#[must_use]
pub fn level() -> Option<String> {
    let level = LEVEL.get()?;
    Some(
        level
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

/// Changes what is logged, until the process ends.
///
/// # Errors
///
/// [`LogsError::Level`] if it is not understood, [`LogsError::NotSetUp`] if nothing is logged at all.
pub fn set_level(directives: &str) -> Result<(), LogsError> {
    let filter = parse_level(directives)?;
    let level = LEVEL.get().ok_or(LogsError::NotSetUp)?;
    (level.set)(filter).map_err(|_| LogsError::NotSetUp)?;
    directives.clone_into(&mut level.current.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

fn parse_level(directives: &str) -> Result<EnvFilter, LogsError> {
    EnvFilter::try_new(directives).map_err(|error| LogsError::Level {
        given: directives.to_owned(),
        reason: error.to_string(),
    })
}

/// Keeps the span exporter alive; when dropped, the spans that still wait are sent.
#[derive(Debug)]
#[must_use = "spans are exported only while this lives"]
pub struct Logs {
    spans: Option<SdkTracerProvider>,
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some(spans) = self.spans.take()
            && let Err(error) = spans.shutdown()
        {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Sets up the process's logging. Call it once, inside the runtime.
///
/// # Errors
///
/// [`LogsError`], in words for the user.
pub fn init(service: &'static str, args: &CommonArgs) -> Result<Logs, LogsError> {
    let (filter, handle) = reload::Layer::new(parse_level(&args.log_level)?);
    // Colours are for terminals: in a file or a pipe they are noise.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match args.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let spans = args
        .otlp_endpoint()
        .map(|endpoint| span_provider(service, endpoint))
        .transpose()?;
    let export = spans
        .as_ref()
        .map(|spans| tracing_opentelemetry::layer().with_tracer(spans.tracer(service)));
    tracing_subscriber::registry()
        .with(export)
        .with(lines)
        .with(filter)
        .try_init()?;
    LEVEL.get_or_init(|| Level {
        current: Mutex::new(args.log_level.clone()),
        set: Box::new(move |filter| handle.reload(filter)),
    });
    Ok(Logs { spans })
}

/// What sends spans to an OTLP/gRPC collector. Connects when there is something to send; call it inside the runtime.
///
/// # Errors
///
/// [`LogsError::Otlp`] if that is no endpoint.
pub fn span_exporter(endpoint: &str) -> Result<impl SpanExporter + use<>, LogsError> {
    opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| LogsError::Otlp {
            given: endpoint.to_owned(),
            reason: error.to_string(),
        })
}

fn span_provider(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, LogsError> {
    let exporter = span_exporter(endpoint)?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Sample {
        #[command(flatten)]
        common: CommonArgs,
    }

    // The only test of this crate that sets up logging, which a process can do once.
    #[tokio::test]
    async fn the_level_can_be_changed_while_the_process_runs() {
        assert_eq!(level(), None);
        assert!(matches!(set_level("debug"), Err(LogsError::NotSetUp)));
        let args = Sample::parse_from(["sample", "--log-level", "warn"]).common;
        let _logs = init("sample", &args).unwrap();
        assert_eq!(level().as_deref(), Some("warn"));
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        set_level("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert_eq!(level().as_deref(), Some("debug"));
        let error = set_level("loud=very").unwrap_err().to_string();
        assert!(
            error.contains("loud=very") && error.contains("info"),
            "{error}"
        );
        assert_eq!(level().as_deref(), Some("debug"));
    }
}
