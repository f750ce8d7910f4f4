//! Bytes of a stream as they arrive.

use std::io;
use std::time::{Duration, Instant};

use onrush_proto::frame::{Frame, FrameError};

use super::limits::Limits;
use super::pool::{KEPT_BYTES_MAX, Pool};
use super::runtime::{Runtime, Source, timeout};

/// Why no frame comes any more.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed.
    Closed,
    /// Somebody here does not wait any longer, or the connection broke.
    Broken,
    /// A frame made no progress, or too little.
    Stalled,
}

/// How long a client may take.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// For each part of a frame.
    pub(super) progress: Duration,
    /// For all of a frame.
    pub(super) frame: Duration,
    /// Between frames it may not fall silent either.
    pub(super) hurry: bool,
}

impl Pace {
    /// That of a client who is known.
    pub(super) fn of(limits: &Limits, hurry: bool) -> Self {
        Self { progress: limits.progress, frame: limits.frame, hurry }
    }

    /// That of one who has this long in any case.
    pub(super) fn within(time: Duration) -> Self {
        Self { progress: time, frame: time, hurry: false }
    }
}

/// What has arrived and was not looked at.
pub(super) struct Incoming<I> {
    source: I,
    buffer: Vec<u8>,
    at: usize,
    /// The last read took all room there was.
    filled: bool,
    /// Since when the rest of a frame is waited for.
    since: Option<Instant>,
}

impl<I> Incoming<I> {
    pub(super) fn new(source: I, pool: &Pool) -> Self {
        Self { source, buffer: pool.small(), at: 0, filled: false, since: None }
    }

    /// The next frame, if it is whole.
    pub(super) fn frame(&self, bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
        let read = Frame::read(&self.buffer[self.at..], bytes_max)?;
        Ok(read.map(|(frame, _)| frame))
    }

    /// Goes on behind a frame.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        self.since = None;
    }

    /// Reads what there is. A client that says nothing may take its time, unless it is in the middle of a
    /// frame or has to hurry for another reason.
    pub(super) async fn more<R: Runtime>(
        &mut self,
        pool: &Pool,
        stop: &R::Stop,
        pace: Pace,
    ) -> Result<(), End>
    where
        I: Source<R::Stop>,
    {
        self.make_room(pool);
        let patience = self.patience::<R>(pace)?;
        let room = self.buffer.capacity() - self.buffer.len();
        let read = self.source.read(std::mem::take(&mut self.buffer), stop);
        let (read, buffer) = match patience {
            None => read.await,
            // A read that is given up keeps its buffer: nothing more is read here.
            Some(time) => timeout::<R, _>(time, read).await.ok_or(End::Stalled)?,
        };
        self.buffer = buffer;
        let read = read.map_err(|_: io::Error| End::Broken)?;
        self.filled = read == room;
        if read == 0 { Err(End::Closed) } else { Ok(()) }
    }

    /// How long the next read may take; `None`: as long as it likes.
    fn patience<R: Runtime>(&mut self, pace: Pace) -> Result<Option<Duration>, End> {
        if self.buffer.is_empty() {
            return Ok(pace.hurry.then_some(pace.progress));
        }
        let now = R::now();
        let since = *self.since.get_or_insert(now);
        match pace.frame.checked_sub(now.saturating_duration_since(since)) {
            None | Some(Duration::ZERO) => Err(End::Stalled),
            Some(left) => Ok(Some(left.min(pace.progress))),
        }
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
                if self.more::<R>(pool, stop, Pace::within(within)).await.is_err() {
                    break;
                }
            }
        };
        // Either way it is over.
        let _ = timeout::<R, _>(within, forget).await;
        pool.give(self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use onrush_proto::frame::{Kind, begin};

    use super::super::runtime::Stop;
    use super::*;

    /// A second by the clock of the tests, which goes on when nobody has anything to do.
    const S: Duration = Duration::from_secs(1);

    thread_local! {
        static START: Instant = Instant::now();
        static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    struct Virtual;

    impl Runtime for Virtual {
        type Stop = Never;

        fn now() -> Instant {
            START.with(|start| *start) + PASSED.get()
        }

        async fn sleep(time: Duration) {
            let due = Self::now() + time;
            poll_fn(|_| if Self::now() >= due { Poll::Ready(()) } else { Poll::Pending }).await;
        }

        fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
            task
        }
    }

    #[derive(Default)]
    struct Never;

    impl Stop for Never {
        fn stop(&self) {}
    }

    /// What comes, each piece so many seconds behind the one before.
    struct Script(VecDeque<(u32, Vec<u8>)>);

    impl Source<Never> for Script {
        async fn read(&mut self, mut buffer: Vec<u8>, _: &Never) -> (io::Result<usize>, Vec<u8>) {
            let Some((wait, bytes)) = self.0.pop_front() else { return (Ok(0), buffer) };
            Virtual::sleep(wait * S).await;
            buffer.extend_from_slice(&bytes);
            (Ok(bytes.len()), buffer)
        }
    }

    const PACE: Pace =
        Pace { progress: Duration::from_secs(30), frame: Duration::from_secs(120), hurry: false };

    /// How many frames are taken of a script, how it ends, and after how many seconds.
    fn taken(pace: Pace, script: impl IntoIterator<Item = (u32, Vec<u8>)>) -> (u32, End, u64) {
        PASSED.set(Duration::ZERO);
        let pool = Pool::default();
        let mut incoming = Incoming::new(Script(script.into_iter().collect()), &pool);
        let mut frames = 0;
        let mut take = pin!(async {
            loop {
                while let Some(frame) = incoming.frame(1 << 20).unwrap() {
                    frames += 1;
                    let length = onrush_proto::frame::HEADER_BYTES + frame.body.len();
                    incoming.skip(length);
                }
                if let Err(end) = incoming.more::<Virtual>(&pool, &Never, pace).await {
                    return (frames, end);
                }
            }
        });
        loop {
            if let Poll::Ready((frames, end)) = take.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return (frames, end, PASSED.get().as_secs());
            }
            PASSED.set(PASSED.get() + S);
        }
    }

    fn ping() -> Vec<u8> {
        let mut bytes = Vec::new();
        begin(&mut bytes, Kind::Ping).seal(&mut bytes, 0, 0);
        bytes
    }

    fn drip(every: u32) -> Vec<(u32, Vec<u8>)> {
        ping().iter().map(|byte| (every, vec![*byte])).collect()
    }

    #[test]
    fn a_frame_has_its_time_however_steadily_it_drips() {
        // From the first byte on: before it nobody has begun anything.
        assert!(matches!(taken(PACE, drip(29)), (0, End::Stalled, 149)));
        assert!(
            matches!(taken(PACE, drip(7)), (1, End::Closed, 112)),
            "16 bytes in less than that are a frame"
        );
        assert!(matches!(taken(PACE, [(500, ping()[..9].to_vec()), (31, vec![0])]), (0, End::Stalled, 530)));
    }

    #[test]
    fn every_frame_has_a_time_of_its_own() {
        let (first, second) = (&ping()[..5], &ping()[5..]);
        let across = [second, first].concat();
        let halves = [(1, first.to_vec())].into_iter().chain((0..100).map(|_| (29, across.clone())));
        assert!(matches!(taken(PACE, halves), (100, End::Closed, 2_901)));
        let pauses = (0..10).map(|_| (1_000, ping()));
        assert!(matches!(taken(PACE, pauses.clone()), (10, End::Closed, 10_000)));
        assert!(matches!(taken(Pace { hurry: true, ..PACE }, pauses), (0, End::Stalled, 30)));
    }
}
