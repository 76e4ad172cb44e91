//! A request's body that is kept while it is sent, so that another endpoint can have it from its beginning.
//!
//! As much is kept as Envoy's buffers hold; of a longer body nothing is, and its request is not tried again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::body::{Broken, Inflow, Meter};
use super::tap::Tapped;

/// Envoy's default for what a connection buffers, and so for a body that can be sent again.
const LIMIT: u64 = 1024 * 1024;

/// In so many pieces at most: who sends byte by byte must not fill the memory with what belongs to each.
const PIECES: usize = 16 * 1024;

/// One try's way through a body that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    store: Arc<Mutex<Store>>,
    /// The number of the try.
    turn: u32,
    /// How many of the kept pieces this try has had.
    had: usize,
    had_trailers: bool,
}

#[derive(Debug)]
struct Store {
    inflow: Inflow,
    /// How many bytes the client has announced.
    announced: SizeHint,
    pieces: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: u64,
    ended: bool,
    /// Nothing is kept any more: it was too much, or there will be no other try.
    lost: bool,
    /// The try that reads: an older one may still be held by its connection.
    turn: u32,
    /// Wakes it; only the one who polled the client's body last is woken by that.
    reading: Option<Waker>,
}

impl Kept {
    /// Whether a body may turn out to be short enough.
    pub(super) fn fits(inflow: &Inflow) -> bool {
        inflow.size_hint().lower() <= LIMIT
    }

    pub(super) fn new(inflow: Inflow) -> Self {
        let store = Store {
            announced: inflow.size_hint(),
            inflow,
            pieces: Vec::new(),
            trailers: None,
            bytes: 0,
            ended: false,
            lost: false,
            turn: 0,
            reading: None,
        };
        Self {
            store: Arc::new(Mutex::new(store)),
            turn: 0,
            had: 0,
            had_trailers: false,
        }
    }

    /// The next try, from the beginning.
    pub(super) fn again(&self) -> Self {
        Self {
            store: self.store.clone(),
            turn: self.turn + 1,
            had: 0,
            had_trailers: false,
        }
    }

    /// Whether nothing of it is lost.
    pub(super) fn is_whole(&self) -> bool {
        !self.store().lost
    }

    pub(super) fn tap(&self) -> Tapped {
        self.store().inflow.tap()
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        self.store().inflow.meter.clone()
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Whoever could try again holds a way through the body, too.
        let last = Arc::strong_count(&self.store) == 1;
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.lost |= last;
        if self.turn < store.turn {
            return Poll::Ready(Some(Err(Broken::Superseded)));
        }
        if self.turn > store.turn {
            store.turn = self.turn;
            // The older one is over: it must not wait on its connection for ever.
            if let Some(older) = store.reading.take() {
                older.wake();
            }
        }
        if let Some(piece) = store.pieces.get(self.had) {
            self.had += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if store.ended {
            let trailers = (!self.had_trailers).then(|| store.trailers.clone());
            self.had_trailers = true;
            return Poll::Ready(trailers.flatten().map(|all| Ok(Frame::trailers(all))));
        }
        let polled = store.inflow.poll(cx);
        if polled.is_pending() {
            store.reading = Some(cx.waker().clone());
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if store.keep(data) {
                        self.had += 1;
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    store.trailers = Some(trailers.clone());
                    self.had_trailers = true;
                    store.ended = true;
                }
                store.ended |= store.inflow.is_end();
            }
            Some(Err(_)) => store.lost = true,
            None => store.ended = true,
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end(&self) -> bool {
        let store = self.store();
        let trailers = store.trailers.is_some() && !self.had_trailers;
        store.ended && self.had >= store.pieces.len() && !trailers
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.had == 0 {
            self.store().announced
        } else {
            SizeHint::default()
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Keeps a piece, unless that is too much; says whether it is kept.
    fn keep(&mut self, data: &Bytes) -> bool {
        self.bytes += data.len() as u64;
        if self.lost || self.bytes > LIMIT || self.pieces.len() >= PIECES {
            // The try that reads has had all of it.
            self.lost = true;
            self.pieces = Vec::new();
            return false;
        }
        self.pieces.push(data.clone());
        true
    }
}
