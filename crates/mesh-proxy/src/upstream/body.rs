//! A request's body on its way to an endpoint: as it comes, or kept for another try.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::keep::Kept;
use super::tap::{Tap, Tapped, tap};
use crate::peer::Progress;

/// What is known of a request's body by the exchange that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    broken: AtomicBool,
    asked_for: AtomicBool,
    ended: AtomicBool,
    /// Who waits for its end.
    waiting: AtomicWaker,
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

    /// Has anybody asked the client for it?
    pub(crate) fn is_asked_for(&self) -> bool {
        self.asked_for.load(Relaxed)
    }

    /// Has all of it come? One task is woken when it has.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.register(cx.waker());
        if self.ended.load(Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn end(&self) {
        self.ended.store(true, Relaxed);
        self.waiting.wake();
    }
}

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The client's side broke.
    #[error("the client's body broke off: {0}")]
    Client(#[source] hyper::Error),
    /// The request is being sent to another endpoint instead, or the copy of it could not keep up.
    #[error("the rest of the request goes elsewhere")]
    Superseded,
}

/// The client's body as it comes, at the pace at which it is asked for.
#[derive(Debug)]
pub(crate) struct Inflow {
    body: Incoming,
    pub(super) meter: Arc<Meter>,
    /// Who gets copies.
    taps: Vec<Tap>,
}

impl Inflow {
    pub(crate) fn new(body: Incoming, meter: Arc<Meter>) -> Self {
        Self {
            body,
            meter,
            taps: Vec::new(),
        }
    }

    pub(super) fn tap(&mut self) -> Tapped {
        let (tap, tapped) = tap();
        self.taps.push(tap);
        tapped
    }

    fn end(&mut self) {
        self.meter.end();
        self.taps.drain(..).for_each(Tap::end);
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.meter.is_asked_for() {
            self.meter.asked_for.store(true, Relaxed);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(progress) = &self.meter.progress {
            progress.read(polled.is_ready());
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.meter.bytes.fetch_add(data.len() as u64, Relaxed);
                }
                self.taps.retain(|tap| tap.pass(frame));
                if self.body.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(_)) => {
                self.meter.broken.store(true, Relaxed);
                self.taps.clear();
            }
            None => self.end(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Broken::Client)))
    }

    pub(super) fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body as it is handed to a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// There is none.
    Empty,
    /// It can be sent once.
    Stream(Inflow),
    /// It can be sent again.
    Kept(Kept),
    /// A mirror's copy.
    Tapped(Tapped),
}

impl Outgoing {
    /// Keeps what comes of the body for another try, if that is not too much from the start.
    pub(crate) fn keep(self) -> Self {
        match self {
            Self::Stream(inflow) if Kept::fits(&inflow) => Self::Kept(Kept::new(inflow)),
            other => other,
        }
    }

    /// The body, and a copy of what will come of it.
    pub(crate) fn tapped(mut self) -> (Self, Self) {
        let tapped = match &mut self {
            Self::Empty | Self::Tapped(_) => return (self, Self::Empty),
            Self::Stream(inflow) => inflow.tap(),
            Self::Kept(kept) => kept.tap(),
        };
        (self, Self::Tapped(tapped))
    }

    /// The same body from its beginning, if it is there.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Stream(_) | Self::Tapped(_) => None,
            Self::Kept(kept) => Some(Self::Kept(kept.again())),
        }
    }

    /// Whether all of it can still be sent.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Empty | Self::Stream(_) | Self::Tapped(_) => true,
            Self::Kept(kept) => kept.is_whole(),
        }
    }

    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        match self {
            Self::Empty | Self::Tapped(_) => None,
            Self::Stream(inflow) => Some(inflow.meter.clone()),
            Self::Kept(kept) => Some(kept.meter()),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(inflow) => inflow.poll(cx),
            Self::Kept(kept) => kept.poll(cx),
            Self::Tapped(tapped) => tapped.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(inflow) => inflow.is_end(),
            Self::Kept(kept) => kept.is_end(),
            Self::Tapped(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(inflow) => inflow.size_hint(),
            Self::Kept(kept) => kept.size_hint(),
            Self::Tapped(_) => SizeHint::default(),
        }
    }
}
