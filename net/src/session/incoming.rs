//! Bytes of a stream as they arrive.

use std::io;
use std::time::Duration;

use onrush_proto::frame::{Frame, FrameError};

use super::pool::{KEPT_BYTES_MAX, Pool};
use super::runtime::{Runtime, Source, timeout};

/// Why no frame comes any more.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed.
    Closed,
    /// Somebody here does not wait any longer, or the connection broke.
    Broken,
    /// A frame made no progress.
    Stalled,
}

/// What has arrived and was not looked at.
pub(super) struct Incoming<I> {
    source: I,
    buffer: Vec<u8>,
    at: usize,
    /// The last read took all room there was.
    filled: bool,
}

impl<I> Incoming<I> {
    pub(super) fn new(source: I, pool: &Pool) -> Self {
        Self { source, buffer: pool.small(), at: 0, filled: false }
    }

    /// The next frame, if it is whole.
    pub(super) fn frame(&self, bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
        let read = Frame::read(&self.buffer[self.at..], bytes_max)?;
        Ok(read.map(|(frame, _)| frame))
    }

    /// Goes on behind a frame.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Reads what there is. A client that says nothing may take its time, unless it is in the middle of a
    /// frame or has to hurry for another reason.
    pub(super) async fn more<R: Runtime>(
        &mut self,
        pool: &Pool,
        stop: &R::Stop,
        (progress, hurry): (Duration, bool),
    ) -> Result<(), End>
    where
        I: Source<R::Stop>,
    {
        self.make_room(pool);
        let begun = self.buffer.len();
        let room = self.buffer.capacity() - begun;
        let read = self.source.read(std::mem::take(&mut self.buffer), stop);
        let (read, buffer) = match begun {
            0 if !hurry => read.await,
            // A read that is given up keeps its buffer: nothing more is read here.
            _ => timeout::<R, _>(progress, read).await.ok_or(End::Stalled)?,
        };
        self.buffer = buffer;
        let read = read.map_err(|_: io::Error| End::Broken)?;
        self.filled = read == room;
        if read == 0 { Err(End::Closed) } else { Ok(()) }
    }

    /// What was looked at goes, and what was needed for a long frame goes back.
    fn make_room(&mut self, pool: &Pool) {
        if self.at > 0 {
            self.buffer.copy_within(self.at.., 0);
            self.buffer.truncate(self.buffer.len() - self.at);
            self.at = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            pool.give(std::mem::replace(&mut self.buffer, pool.small()));
        }
        let full = self.buffer.len() == self.buffer.capacity();
        if full || self.filled && self.buffer.capacity() < KEPT_BYTES_MAX {
            pool.grow(&mut self.buffer);
        }
    }

    /// Takes in what still comes and forgets it, so that the client reads what was said last: a socket that is
    /// closed with something unread throws away what is on its way.
    pub(super) async fn linger<R: Runtime>(mut self, pool: &Pool, stop: &R::Stop, within: Duration)
    where
        I: Source<R::Stop>,
    {
        let forget = async {
            loop {
                self.at = self.buffer.len();
                if self.more::<R>(pool, stop, (within, false)).await.is_err() {
                    break;
                }
            }
        };
        // Either way it is over.
        let _ = timeout::<R, _>(within, forget).await;
        pool.give(self.buffer);
    }
}
