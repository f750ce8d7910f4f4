//! Bytes of a connection as they arrive.

use std::io;
use std::time::Duration;

use monoio::buf::IoBufMut as _;
use monoio::io::{CancelHandle, CancelableAsyncReadRent as _, OwnedReadHalf};
use monoio::net::TcpStream;
use monoio::time::timeout;
use onrush_proto::frame::{Frame, FrameError};

use super::pool::{KEPT_BYTES_MAX, Pool};

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
pub(super) struct Incoming {
    half: OwnedReadHalf<TcpStream>,
    buffer: Vec<u8>,
    at: usize,
    /// The last read took all room there was.
    filled: bool,
}

impl Incoming {
    pub(super) fn new(half: OwnedReadHalf<TcpStream>, pool: &Pool) -> Self {
        Self { half, buffer: pool.small(), at: 0, filled: false }
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

    /// Reads what there is. A client that says nothing may take its time, one that is in the middle of a
    /// frame may not.
    pub(super) async fn more(
        &mut self,
        pool: &Pool,
        cancel: CancelHandle,
        progress: Duration,
    ) -> Result<(), End> {
        self.make_room(pool);
        let begun = self.buffer.len();
        let room = self.buffer.capacity() - begun;
        let buffer = std::mem::take(&mut self.buffer).slice_mut(begun..);
        let read = self.half.cancelable_read(buffer, cancel);
        let (read, buffer) = match begun {
            0 => read.await,
            // A read that is given up keeps its buffer: nothing more is read here.
            _ => timeout(progress, read).await.map_err(|_| End::Stalled)?,
        };
        self.buffer = buffer.into_inner();
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
    pub(super) async fn linger(mut self, pool: &Pool, cancel: CancelHandle, within: Duration) {
        let forget = async {
            loop {
                self.at = self.buffer.len();
                if self.more(pool, cancel.clone(), within).await.is_err() {
                    break;
                }
            }
        };
        // Either way it is over.
        let _ = timeout(within, forget).await;
        pool.give(self.buffer);
    }
}
