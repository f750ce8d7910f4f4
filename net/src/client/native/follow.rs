//! What drives a subscription: a connection of its own, made again when it is lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onrush_proto::frame::{Answer, Record, Records, Start, Subscribe};
use onrush_proto::{Lsn, Outcome, Reply};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::conversation::NAME;
use super::dialogue::{Dialogue, DialogueError, Heard, NotAsked};
use super::link::{Lost, Server, connect};
use super::stream::Stream;
use super::subscription::Outlet;
use crate::client::CallError;

/// Bytes of records that may wait to be taken, or be on their way: a record may go over it by its length.
const WINDOW_BYTES: u32 = 1 << 20;
/// From so many bytes on it is worth a frame to grant them.
const GRANT_BYTES: i64 = WINDOW_BYTES as i64 / 4;
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// The only subscription of its connection.
const NUMBER: u64 = 1;
/// Least pause before another connection: it is made for as long as somebody wants records.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The driver of a subscription.
pub(super) struct Follow {
    server: Server,
    wanted: Subscribe,
    outlet: Arc<Outlet>,
    /// Who waits to hear that it has begun.
    opened: Option<oneshot::Sender<Result<Lsn, CallError>>>,
    /// The log was looked through up to here.
    seen: Lsn,
    /// Connections that came to nothing since the last that did.
    failures: u32,
}

/// Why a connection ended.
enum End {
    /// Nobody takes records any more.
    Unwanted,
    /// There is nothing more to hear on it: it broke, or the server leaves.
    Lost(CallError),
    /// The server refuses, for good.
    Refused(CallError),
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::of(lost.into())
    }
}

impl End {
    /// Another try helps where nobody knows what became of this one, or there was too much to do.
    fn of(error: CallError) -> Self {
        match &error {
            CallError::Refused(refused) if refused.reason != "OVERLOADED" => Self::Refused(error),
            _ => Self::Lost(error),
        }
    }
}

impl Follow {
    pub(super) fn new(
        server: Server,
        wanted: Subscribe,
        outlet: Outlet,
        opened: oneshot::Sender<Result<Lsn, CallError>>,
    ) -> Self {
        Self { server, wanted, outlet: Arc::new(outlet), opened: Some(opened), seen: Lsn(0), failures: 0 }
    }

    /// Follows for as long as somebody takes records.
    pub(super) async fn run(mut self) {
        loop {
            let error = match self.connection().await {
                End::Unwanted => return,
                End::Refused(error) => return self.fail(error),
                End::Lost(error) => error,
            };
            self.failures += 1;
            if self.opened.is_some() && self.failures > self.server.retry.retries {
                return self.fail(error);
            }
            let pause = self.server.retry.pause_before(self.failures, Uuid::new_v4().as_u64_pair().1);
            tokio::select! {
                () = tokio::time::sleep(pause.max(PAUSE_MIN)) => {}
                () = self.outlet.closed() => return,
            }
        }
    }

    fn fail(&mut self, error: CallError) {
        match self.opened.take() {
            // Who stopped waiting needs no telling.
            Some(opened) => drop(opened.send(Err(error))),
            None => self.outlet.fail(error),
        }
    }

    async fn connection(&mut self) -> End {
        let stream = tokio::select! {
            stream = connect(&self.server) => stream,
            () = self.outlet.closed() => return End::Unwanted,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(lost) => return lost.into(),
        };
        let mut wire = Wire {
            stream,
            dialogue: Dialogue::new(&self.server.token, NAME),
            buffer: vec![0; READ_BYTES],
            heard: Instant::now(),
            doubted: false,
            credit: 0,
        };
        loop {
            let ended = self.step(&mut wire).await;
            if let Err(end) = ended {
                return end;
            }
        }
    }

    async fn step(&mut self, wire: &mut Wire) -> Result<(), End> {
        self.ask(wire)?;
        let outlet = Arc::clone(&self.outlet);
        let silent = wire.heard + self.server.retry.timeout;
        tokio::select! {
            moved = poll_fn(|context| wire.poll_move(context, self)) => moved,
            () = outlet.taken() => Ok(()),
            () = outlet.closed() => Err(End::Unwanted),
            () = tokio::time::sleep_until(silent) => wire.doubt(),
        }
    }

    /// Subscribes as soon as that may be said, then grants what was taken.
    fn ask(&self, wire: &mut Wire) -> Result<(), End> {
        if wire.dialogue.welcome().is_none() || wire.dialogue.is_late() {
            return Ok(());
        }
        let more = i64::from(WINDOW_BYTES) - self.outlet.waiting_bytes() as i64 - wire.credit;
        let bytes = u32::try_from(more.max(0)).unwrap_or(WINDOW_BYTES);
        if !wire.dialogue.follows() {
            wire.dialogue.subscribe(NUMBER, bytes, &self.onward()).map_err(Lost::from)?;
            wire.credit = bytes.into();
        } else if more >= GRANT_BYTES {
            wire.dialogue.grant(NUMBER, bytes);
            wire.credit += i64::from(bytes);
        }
        Ok(())
    }

    /// What is wanted beyond what came.
    fn onward(&self) -> Subscribe {
        match self.opened {
            Some(_) => self.wanted,
            None => Subscribe { from: Start::At(Lsn(self.seen.0 + 1)), ..self.wanted },
        }
    }

    fn records(&mut self, records: Records<'_>) -> Result<u64, DialogueError> {
        let (reached, bytes) = (records.reached, records.bytes() as u64);
        let before = self.seen;
        for record in records {
            let record: Record = record?;
            // Of what came over an earlier connection nothing comes again.
            if record.lsn > self.seen {
                self.seen = record.lsn;
                self.outlet.record(record);
            }
        }
        self.seen = self.seen.max(reached);
        // A server that lets everybody in and then fails is no better than one that lets nobody in.
        if self.seen > before {
            self.failures = 0;
        }
        match self.opened.take() {
            Some(opened) => drop(opened.send(Ok(self.seen))),
            None => self.outlet.reached(self.seen, bytes),
        }
        Ok(bytes)
    }
}

/// What ends a subscription, as its answer.
fn ended(answer: Answer) -> End {
    match answer {
        // The server leaves.
        Answer::Reply(Reply { outcome: Outcome::Accepted(_), .. }) => End::from(Lost::Closed),
        Answer::Reply(Reply { outcome: Outcome::Refused(refusal), .. }) => End::of(refusal.into()),
        Answer::Rejected(rejected) => End::of(rejected.into()),
        Answer::Reply(_) => End::from(Lost::Closed),
    }
}

/// A connection of a subscription.
struct Wire {
    stream: Stream,
    dialogue: Dialogue,
    buffer: Vec<u8>,
    heard: Instant,
    /// True if the server was asked whether it is there.
    doubted: bool,
    /// Bytes of records that the server may still send.
    credit: i64,
}

impl Wire {
    /// Writes what the stream takes, and reads what there is; ready once something moved.
    fn poll_move(&mut self, context: &mut Context<'_>, follow: &mut Follow) -> Poll<Result<(), End>> {
        let written = self.poll_write(context);
        match self.poll_read(context, follow) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => written.map_err(|_| Lost::Closed.into()),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
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

    fn poll_read(&mut self, context: &mut Context<'_>, follow: &mut Follow) -> Poll<Result<(), End>> {
        let read = match self.stream.poll_read(context, &mut self.buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Lost::Closed.into())),
            Poll::Ready(Ok(read)) => read,
        };
        (self.heard, self.doubted) = (Instant::now(), false);
        let Self { dialogue, buffer, credit, .. } = self;
        let (mut end, mut broken) = (None, None);
        let heard = dialogue.input(&buffer[..read], &mut |heard| match heard {
            Heard::Records(records) if broken.is_none() => match follow.records(records) {
                Ok(bytes) => *credit -= bytes as i64,
                Err(error) => broken = Some(error),
            },
            Heard::Outcome(entry) if entry.tag == NUMBER => end = Some(ended(entry.answer)),
            _ => {}
        });
        if let Err(error) = broken.map_or(heard, Err) {
            // Said once, if the stream takes it: the connection is over.
            let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
            return Poll::Ready(Err(end.unwrap_or_else(|| Lost::from(error).into())));
        }
        Poll::Ready(end.map_or(Ok(()), Err))
    }

    /// Nothing was heard for long: asks whether anybody is there, or gives up.
    fn doubt(&mut self) -> Result<(), End> {
        if self.doubted || self.dialogue.welcome().is_none() {
            return Err(Lost::Silent.into());
        }
        (self.doubted, self.heard) = (true, Instant::now());
        match self.dialogue.ping() {
            Ok(()) => Ok(()),
            // A server that leaves answers soon, or never: another one may be there.
            Err(NotAsked::Late) => Err(Lost::Silent.into()),
            // All credit is out: with the answer of the subscription, which may take as long as it likes.
            Err(NotAsked::Credit) => Ok(()),
            Err(error) => Err(Lost::from(error).into()),
        }
    }
}
