//! What a connection may cost.

use std::time::Duration;

use onrush_proto::frame::FRAME_BYTES_MAX;

/// What a frame on a stream beside the first may have at least: an order of a thousand lines.
const STREAM_FRAME_BYTES_MIN: usize = 64 << 10;

/// Bounds of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long a client may take to say who it is.
    pub hello: Duration,
    /// How long a frame that has begun, or a client that does not read, may make no progress.
    pub progress: Duration,
    /// How long a frame that has begun may take to be whole, however steadily its bytes come: a client that sends a byte now
    /// and then would keep its place for ever.
    pub frame: Duration,
    /// After how long of silence a client is probed whether it is there at all.
    pub keepalive: Duration,
    /// How long what a client still sends is taken in when its connection ends, so that it can read why.
    pub linger: Duration,
    /// Commands, frames of lines and pings that a client may have open.
    pub credit: u32,
    /// Commands among them whose answer is as long as an order: while so many are open, the next command of the
    /// connection waits.
    pub reads_max: u32,
    /// Bytes of commands that a client may have open: beyond them the next one waits.
    pub open_bytes_max: usize,
    /// Bytes of answers that may wait for a client. While there are more, nothing is taken from it.
    pub unsent_bytes_max: usize,
    /// Most bytes of a frame.
    pub frame_bytes_max: usize,
    /// Over QUIC: streams that a client may have open beside the first, each for one request.
    pub streams_max: u16,
    /// Subscriptions that a client may have open, on its first stream.
    pub subscriptions_max: u16,
}

impl Limits {
    /// What one of the streams beside the first may cost: together about as much as the first.
    pub(super) fn of_stream(mut self) -> Self {
        let share = usize::from(self.streams_max.max(1));
        self.reads_max = 1;
        self.subscriptions_max = 0;
        self.open_bytes_max /= share;
        self.unsent_bytes_max /= share;
        self.frame_bytes_max =
            (self.frame_bytes_max / share).max(STREAM_FRAME_BYTES_MIN).min(self.frame_bytes_max);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(5),
            progress: Duration::from_secs(30),
            // The longest at 35 kB a second.
            frame: Duration::from_secs(120),
            keepalive: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            credit: 16_384,
            reads_max: 16,
            open_bytes_max: 4 << 20,
            unsent_bytes_max: 1 << 20,
            frame_bytes_max: FRAME_BYTES_MAX,
            streams_max: 64,
            subscriptions_max: 16,
        }
    }
}
