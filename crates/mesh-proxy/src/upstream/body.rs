//! A request's body on its way to an endpoint.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::peer::Progress;

/// What is known of a request's body by the exchange that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    broken: AtomicBool,
    /// Told whether the client goes on.
    progress: Option<Arc<Progress>>,
}

impl Meter {
    pub(crate) fn new(progress: Option<Arc<Progress>>) -> Self {
        Self {
            progress,
            ..Self::default()
        }
    }

    /// Bytes received so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Did it end in an error instead of its end?
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }
}

/// The body as it is handed to the connection: nothing, or the client's as it comes, at the pace that
/// the endpoint takes.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Empty,
    Stream { body: Incoming, meter: Arc<Meter> },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Stream { body, meter } = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if let Some(progress) = &meter.progress {
            progress.read(polled.is_ready());
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    meter.bytes.fetch_add(data.len() as u64, Relaxed);
                }
            }
            Some(Err(_)) => meter.broken.store(true, Relaxed),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { body, .. } => body.size_hint(),
        }
    }
}
