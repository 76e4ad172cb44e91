//! A copy of a request's body for a mirror, as it goes by.
//!
//! The mirror may lag behind by so many pieces; one that lags more loses its copy, and nobody else notices.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;

use super::body::Broken;

/// How many pieces a mirror may lag behind.
const PIECES: usize = 64;

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Where pieces go.
#[derive(Debug)]
pub(super) struct Tap(mpsc::Sender<Piece>);

/// Where they come out; it ends in an error if the whole did not come.
#[derive(Debug)]
pub(crate) struct Tapped {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

pub(super) fn tap() -> (Tap, Tapped) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let tapped = Tapped {
        pieces,
        ended: false,
    };
    (Tap(sender), tapped)
}

impl Tap {
    /// Passes a frame on; says whether the mirror is still there.
    pub(super) fn pass(&self, frame: &Frame<Bytes>) -> bool {
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return true,
        };
        self.0.try_send(piece).is_ok()
    }

    /// That was all.
    pub(super) fn end(self) {
        // One that has lost it already does not care.
        drop(self.0.try_send(Piece::End));
    }
}

impl Tapped {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Broken::Superseded))
            }
        })
    }
}
