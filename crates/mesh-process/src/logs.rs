//! Logs to standard error, and spans to an OTLP collector if one is named.

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

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
    /// Somebody set up logging before.
    #[error("logging is already set up in this process: {0}")]
    Again(#[from] tracing_subscriber::util::TryInitError),
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
    let filter = EnvFilter::try_new(&args.log_level).map_err(|error| LogsError::Level {
        given: args.log_level.clone(),
        reason: error.to_string(),
    })?;
    // Colours are for terminals: in a file or a pipe they are noise.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match args.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let spans = args
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| span_exporter(service, endpoint))
        .transpose()?;
    let export = spans
        .as_ref()
        .map(|spans| tracing_opentelemetry::layer().with_tracer(spans.tracer(service)));
    tracing_subscriber::registry()
        .with(export)
        .with(lines)
        .with(filter)
        .try_init()?;
    Ok(Logs { spans })
}

fn span_exporter(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, LogsError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| LogsError::Otlp {
            given: endpoint.to_owned(),
            reason: error.to_string(),
        })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}
