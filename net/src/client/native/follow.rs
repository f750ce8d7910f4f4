//! What drives a subscription: a connection of its own, made again when it is lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use onrush_proto::frame::{Answer, Record, Records, Start, Subscribe};
use onrush_proto::{Lsn, Outcome, Reply};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::dialogue::{DialogueError, Heard};
use super::link::{Lost, Server, connect};
use super::subscription::Outlet;
use super::wire::Wire;
use crate::client::CallError;

/// Bytes of records that may wait to be taken, or be on their way: a record may go over it by its length.
const WINDOW_BYTES: u32 = 1 << 20;
/// From so many bytes on it is worth a frame to grant them.
const GRANT_BYTES: i64 = WINDOW_BYTES as i64 / 4;
/// The only subscription of its connection.
const NUMBER: u64 = 1;
/// Least pause before another connection: it is made for as long as somebody wants records.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The driver of a subscription.
pub(super) struct Follow {
    server: Server,
    /// Where it is connected, or will be.
    at: Arc<str>,
    wanted: Subscribe,
    outlet: Arc<Outlet>,
    /// Who waits to hear that it has begun.
    opened: Option<oneshot::Sender<Result<Lsn, CallError>>>,
    /// The log was looked through up to here.
    seen: Lsn,
    /// Bytes of records that the server may still send.
    credit: i64,
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
            _ if error.leader().is_some() => Self::Lost(error),
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
        Self {
            at: server.whereabouts.at(wanted.shard.0),
            server,
            wanted,
            outlet: Arc::new(outlet),
            opened: Some(opened),
            seen: Lsn(0),
            credit: 0,
            failures: 0,
        }
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
            let Server { retry, whereabouts, .. } = &self.server;
            if self.opened.is_some() && self.failures > retry.tries(whereabouts.count()) {
                return self.fail(error);
            }
            // Every node tells what is committed; for a group, and beyond what a follower has, the one that leads.
            self.at = whereabouts.behind(&self.at, &error);
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
            stream = connect(&self.server, &self.at) => stream,
            () = self.outlet.closed() => return End::Unwanted,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(lost) => return lost.into(),
        };
        let mut wire = Wire::new(stream, self.server.greeting());
        self.credit = 0;
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
            moved = poll_fn(|context| self.poll_move(context, wire)) => moved,
            () = outlet.taken() => Ok(()),
            () = outlet.closed() => Err(End::Unwanted),
            () = tokio::time::sleep_until(silent) => Ok(wire.doubt().map(drop)?),
        }
    }

    /// Subscribes as soon as that may be said, then grants what was taken.
    fn ask(&mut self, wire: &mut Wire) -> Result<(), End> {
        if !wire.is_welcome() || wire.dialogue.is_late() {
            return Ok(());
        }
        let more = i64::from(WINDOW_BYTES) - self.outlet.waiting_bytes() as i64 - self.credit;
        let bytes = u32::try_from(more.max(0)).unwrap_or(WINDOW_BYTES);
        if !wire.dialogue.follows() {
            wire.dialogue.subscribe(NUMBER, bytes, &self.onward()).map_err(Lost::from)?;
            self.credit = bytes.into();
        } else if more >= GRANT_BYTES {
            wire.dialogue.grant(NUMBER, bytes);
            self.credit += i64::from(bytes);
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

    fn poll_move(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), End>> {
        let (mut end, mut broken) = (None, None);
        let moved = wire.poll_move(context, &mut |heard| match heard {
            Heard::Records(records) if broken.is_none() => match self.records(records) {
                Ok(bytes) => self.credit -= bytes as i64,
                Err(error) => broken = Some(Lost::from(error)),
            },
            Heard::Welcome(granted) => self.server.whereabouts.learn(&self.at, granted.cluster()),
            Heard::Outcome(entry) if entry.tag == NUMBER => end = Some(ended(entry.answer)),
            _ => {}
        });
        let moved = match (end, broken) {
            // What the server said last counts, however the connection ends.
            (Some(end), _) => return Poll::Ready(Err(end)),
            (None, Some(broken)) => Poll::Ready(Err(broken)),
            (None, None) => moved,
        };
        moved.map_err(End::from)
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
