//! One direction of a session, and the two ends that both directions share.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::wire::Socket;

/// What is read before it is written: enough for few system calls, few enough to stay in the cache.
const BUFFER: usize = 64 * 1024;
/// What one direction may move before others have their turn at the worker.
const BURST: usize = 4 * BUFFER;

/// One end of a session. If it is dropped before it may rest, its peer gets a reset.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) socket: Socket,
    resting: bool,
}

impl Side {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            resting: false,
        }
    }

    /// Everything has been said.
    pub(super) fn rest(&mut self) {
        self.resting = true;
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.resting {
            // If this fails there is no connection any more to be reset.
            _ = self.socket.tcp().set_zero_linger();
        }
    }
}

/// Which end of a direction broke.
#[derive(Debug)]
pub(super) enum Broken {
    From(io::Error),
    To(io::Error),
}

thread_local! {
    /// Buffers that no flow of this worker needs right now: most flows have nothing to carry most of the time.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// How many of them are kept.
const SPARES: usize = 16;

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Has room only while there are bytes.
    buffer: Vec<u8>,
    /// How many bytes of the buffer have been written.
    written: usize,
    /// Something was written since the last flush.
    unflushed: bool,
    /// How reading has ended, once it has.
    ended: Option<io::Result<()>>,
    /// And the other side knows it.
    done: bool,
}

impl Flow {
    /// Moves what can be moved, and tells `moved` how much that was. Ready when the end of the one side has
    /// been passed on to the other.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        mut moved: impl FnMut(usize),
    ) -> Poll<Result<(), Broken>> {
        let mut burst = 0;
        while !self.done {
            self.fill(cx, from);
            if self.buffer.is_empty() {
                return self.pause(cx, to);
            }
            while self.written < self.buffer.len() {
                let rest = &self.buffer[self.written..];
                let bytes = ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(Broken::To)?;
                if bytes == 0 {
                    return Poll::Ready(Err(Broken::To(io::ErrorKind::WriteZero.into())));
                }
                self.unflushed = true;
                self.written += bytes;
                burst += bytes;
                moved(bytes);
            }
            self.buffer.clear();
            self.written = 0;
            if burst >= BURST {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether there is something that the other side has not taken yet.
    pub(super) fn is_under_way(&self) -> bool {
        !self.buffer.is_empty() || self.unflushed
    }

    /// Reads until there is nothing more for now, or no room.
    fn fill(&mut self, cx: &mut Context<'_>, from: &mut Socket) {
        if self.buffer.capacity() == 0 {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            self.buffer = spare.unwrap_or_else(|| Vec::with_capacity(BUFFER));
        }
        while self.ended.is_none() && self.buffer.len() < BUFFER {
            match pin!(from.read_buf(&mut self.buffer)).poll(cx) {
                Poll::Ready(Ok(0)) => self.ended = Some(Ok(())),
                Poll::Ready(Ok(_)) => {}
                // What came before it still goes on.
                Poll::Ready(Err(error)) => self.ended = Some(Err(error)),
                Poll::Pending => break,
            }
        }
    }

    /// There is nothing to write: passes on what is still held back, and the end if it is one.
    fn pause(&mut self, cx: &mut Context<'_>, to: &mut Socket) -> Poll<Result<(), Broken>> {
        self.give_back();
        match self.ended.take() {
            Some(Ok(())) => {
                self.ended = Some(Ok(()));
                // Flushes as well.
                ready!(Pin::new(to).poll_shutdown(cx)).map_err(Broken::To)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            Some(Err(error)) => return Poll::Ready(Err(Broken::From(error))),
            None => {}
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(Broken::To)?;
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn give_back(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARES {
                spare.push(buffer);
            }
        });
    }
}
