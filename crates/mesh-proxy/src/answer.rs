//! A response's body on its way to the client: its end, or its loss, is the end of its exchange.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::Exchange;

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    content: Content,
    /// Nothing more is owed to the client.
    complete: bool,
    exchange: Box<Exchange>,
}

/// Why a response does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    /// The endpoint's side broke.
    #[error("the response broke off: {0}")]
    Endpoint(#[source] hyper::Error),
    /// The route's time is up.
    #[error("the response did not end in time")]
    Late,
}

/// Where the body's bytes come from.
#[derive(Debug)]
pub(crate) enum Content {
    /// From here; often none.
    Own(Bytes),
    /// From an endpoint, as they come.
    Upstream {
        body: Incoming,
        /// How many are to come, if that is known. A client that has all of them is content,
        /// whether or not the stream's formal end was still read.
        left: Option<u64>,
    },
}

impl Content {
    pub(crate) fn upstream(body: Incoming) -> Self {
        let left = body.size_hint().exact();
        Self::Upstream { body, left }
    }
}

impl Answer {
    /// `bodiless` responses are complete with their head, whatever their fields say.
    pub(crate) fn new(content: Content, bodiless: bool, exchange: Box<Exchange>) -> Self {
        Self {
            content,
            complete: bodiless,
            exchange,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let (body, left) = match &mut this.content {
            Content::Own(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Content::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                this.exchange.sent(bytes.len());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Content::Upstream { body, left } => (body, left),
        };
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_pending() && this.exchange.poll_late(cx) {
            this.complete = true;
            return Poll::Ready(Some(Err(BrokenOff::Late)));
        }
        this.exchange.offered(polled.is_ready());
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.exchange.sent(data.len());
                    *left = left.map(|left| left.saturating_sub(data.len() as u64));
                    this.complete |= *left == Some(0);
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.exchange.trailed(trailers);
                    this.complete = true;
                }
            }
            // Passed on as an error, so that the client never takes the rest for the whole.
            Some(Err(error)) => {
                this.exchange.broke_off(error);
                this.complete = true;
            }
            None => this.complete = true,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BrokenOff::Endpoint)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(bytes) => bytes.is_empty(),
            Content::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Upstream { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let ended = match &self.content {
            Content::Own(_) => true,
            Content::Upstream { body, .. } => self.complete || body.is_end_stream(),
        };
        if !ended {
            self.exchange.abandoned();
        }
    }
}
