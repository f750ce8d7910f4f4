//! A connection as it is driven: what the dialogue says goes out, what comes in is heard.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::dialogue::{Dialogue, Heard};
use super::link::Lost;
use super::stream::Stream;

/// What the server's log calls us.
const NAME: &str = concat!("onrush-net ", env!("CARGO_PKG_VERSION"));
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// A stream with the dialogue that is led over it.
pub(super) struct Wire {
    stream: Stream,
    pub(super) dialogue: Dialogue,
    buffer: Vec<u8>,
    /// When something was heard last, or silence began to count.
    pub(super) heard: Instant,
    /// True if the server was asked whether it is there.
    doubted: bool,
}

impl Wire {
    /// Begins on a fresh stream.
    pub(super) fn new(stream: Stream, (token, stale_ms_max): (&str, u32)) -> Self {
        Self {
            stream,
            dialogue: Dialogue::new(token, NAME).accepting(stale_ms_max),
            buffer: vec![0; READ_BYTES],
            heard: Instant::now(),
            doubted: false,
        }
    }

    /// True once the server has granted something.
    pub(super) fn is_welcome(&self) -> bool {
        self.dialogue.welcome().is_some()
    }

    /// True if nothing waits to leave.
    pub(super) fn is_quiet(&self) -> bool {
        self.dialogue.pending() == 0 && !self.stream.is_holding()
    }

    /// Writes what the stream takes, and reads what there is; ready once something moved. A write that fails is heard
    /// of by reading, with the reason.
    pub(super) fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Poll<Result<(), Lost>> {
        let written = self.poll_write(context);
        match self.poll_read(context, hear)? {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => written.map_err(|_| Lost::Closed),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut moved = false;
        while self.dialogue.pending() > 0 {
            match self.stream.poll_write(context, self.dialogue.output())? {
                Poll::Ready(written) => self.dialogue.written(written),
                Poll::Pending => break,
            }
            moved = true;
        }
        moved |= self.stream.poll_flush(context)?;
        if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Result<Poll<()>, Lost> {
        let read = match self.stream.poll_read(context, &mut self.buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0) | Err(_)) => return Err(Lost::Closed),
            Poll::Ready(Ok(read)) => read,
        };
        (self.heard, self.doubted) = (Instant::now(), false);
        match self.dialogue.input(&self.buffer[..read], hear) {
            Ok(()) => Ok(Poll::Ready(())),
            Err(error) => {
                // Said once, if the stream takes it: the connection is over.
                let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
                Err(error.into())
            }
        }
    }

    /// Nothing was heard for long: asks whether anybody is there, or gives up. True if a ping was sent: without credit
    /// it is what is open that somebody is to answer.
    pub(super) fn doubt(&mut self) -> Result<bool, Lost> {
        if self.doubted || !self.is_welcome() {
            return Err(Lost::Silent);
        }
        (self.doubted, self.heard) = (true, Instant::now());
        Ok(self.dialogue.ping().is_ok())
    }
}
