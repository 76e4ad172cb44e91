//! What an app counts about itself, beside what its agent counts for it.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The app's counters. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    served: IntCounterVec,
    duration: HistogramVec,
    called: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let served = IntCounterVec::new(
            Opts::new("demo_requests_total", "Requests that the app answered."),
            &["code"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "demo_request_duration_seconds",
                "How long the app took to answer.",
            ),
            &["code"],
        )?;
        let called = IntCounterVec::new(
            Opts::new(
                "demo_calls_total",
                "Calls of other services through the agent; code 0 when no answer came.",
            ),
            &["service", "code"],
        )?;
        registry.register(Box::new(served.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(called.clone()))?;
        Ok(Self {
            served,
            duration,
            called,
        })
    }

    /// Counts a call of another service; no status when nothing came back.
    pub(crate) fn called(&self, service: &str, status: Option<StatusCode>) {
        let code = status.map_or("0".to_owned(), |status| status.as_str().to_owned());
        self.called.with_label_values(&[service, &code]).inc();
    }

    fn served(&self, status: StatusCode, took: Duration) {
        let code = [status.as_str()];
        self.served.with_label_values(&code).inc();
        self.duration
            .with_label_values(&code)
            .observe(took.as_secs_f64());
    }
}

/// Middleware that counts every request of a router.
pub(crate) async fn count(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    metrics.served(response.status(), begun.elapsed());
    response
}
