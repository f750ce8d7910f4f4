//! A connection while it lasts: questions that wait, questions that are open, bytes both ways.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use onrush_proto::frame::Welcome;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dialogue::{Heard, NotAsked, Question};
use super::link::{Asked, Call, Lost, Server, Told};
use super::stream::Stream;
use super::wire::Wire;
use crate::client::Described;
use crate::client::whereabouts::Whereabouts;

/// While this many bytes wait to be written, no more questions are put behind them.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// Most calls that are taken from the queue in one go.
const CALLS_MAX: usize = 4_096;

type Sender = oneshot::Sender<Result<Told, Lost>>;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody can call any more, and everything is answered.
    Finished,
    /// The server leaves; these were not asked.
    Left(Vec<Call>),
    /// In the middle of it. Who waits was told.
    Lost(Lost),
}

/// Hears what is granted.
pub(super) struct Welcomed {
    whereabouts: Arc<Whereabouts>,
    address: Arc<str>,
    /// What was granted at the first connection, for whoever wants to know.
    first: Arc<OnceLock<Welcome>>,
}

impl Welcomed {
    pub(super) fn new(server: &Server, address: &Arc<str>, first: &Arc<OnceLock<Welcome>>) -> Self {
        let (address, first) = (Arc::clone(address), Arc::clone(first));
        Self { whereabouts: Arc::clone(&server.whereabouts), address, first }
    }

    fn hear(&self, granted: &Welcome) {
        self.whereabouts.learn(&self.address, granted.cluster());
        // Each connection grants the same to whoever asks.
        let _ = self.first.set(granted.clone());
    }
}

/// A connection under way.
pub(super) struct Conversation {
    wire: Wire,
    welcome: Welcomed,
    /// Taken from the queue, not yet asked.
    waiting: VecDeque<Call>,
    /// Asked, by tag.
    open: HashMap<u64, Sender>,
    /// Pings are answered in their order.
    pings: VecDeque<Option<Sender>>,
    next_tag: u64,
    /// How long nothing may be heard before the server is asked whether it is there.
    silence: Duration,
    /// True once nobody can call any more.
    closing: bool,
}

impl Conversation {
    /// Begins on a fresh connection.
    pub(super) fn new(stream: Stream, server: &Server, welcome: Welcomed, waiting: Vec<Call>) -> Self {
        Self {
            wire: Wire::new(stream, server.greeting()),
            welcome,
            waiting: waiting.into(),
            open: HashMap::new(),
            pings: VecDeque::new(),
            next_tag: 0,
            silence: server.retry.timeout,
            closing: false,
        }
    }

    /// True once the server has granted something.
    pub(super) fn is_welcome(&self) -> bool {
        self.wire.is_welcome()
    }

    /// Asks and hears until the connection ends.
    pub(super) async fn run(&mut self, calls: &mut Receiver<Call>) -> End {
        loop {
            match self.step(calls).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(lost) => {
                    self.lose(&lost);
                    return End::Lost(lost);
                }
            }
        }
    }

    async fn step(&mut self, calls: &mut Receiver<Call>) -> Result<Option<End>, Lost> {
        self.ask();
        if self.is_over() {
            return Ok(Some(self.end()));
        }
        let takes = self.may_take();
        // Somebody waits: silence has an end.
        let awaited = !self.open.is_empty() || !self.pings.is_empty() || !self.is_welcome();
        let silent = self.wire.heard + self.silence;
        tokio::select! {
            moved = poll_fn(|context| self.poll_move(context)) => moved?,
            call = calls.recv(), if takes => match call {
                Some(call) => self.take(call, calls),
                None => self.close(),
            },
            () = tokio::time::sleep_until(silent), if awaited => self.doubt()?,
        }
        Ok(None)
    }

    /// True if the next call can be asked soon: the others wait in the queue, which is bounded.
    fn may_take(&self) -> bool {
        let idle = self.is_welcome() && self.open.is_empty() && self.pings.is_empty();
        let soon = self.wire.dialogue.credit() > 0 || idle;
        soon && self.waiting.is_empty() && !self.closing && !self.wire.dialogue.is_late()
    }

    /// True if nothing more will be said by either side.
    fn is_over(&self) -> bool {
        let quiet = self.open.is_empty() && self.pings.is_empty() && self.wire.is_quiet();
        quiet && self.wire.dialogue.is_late()
    }

    fn end(&mut self) -> End {
        let unasked: Vec<Call> = self.waiting.drain(..).collect();
        if self.closing && unasked.is_empty() { End::Finished } else { End::Left(unasked) }
    }

    fn take(&mut self, first: Call, calls: &mut Receiver<Call>) {
        self.waiting.push_back(first);
        let most = CALLS_MAX.min(self.wire.dialogue.credit() as usize);
        while self.waiting.len() < most
            && let Ok(call) = calls.try_recv()
        {
            self.waiting.push_back(call);
        }
        // Silence counts from the first question that waits for an answer.
        if self.open.is_empty() && self.pings.is_empty() {
            self.wire.heard = Instant::now();
        }
    }

    fn close(&mut self) {
        self.closing = true;
        self.wire.dialogue.goodbye();
    }

    /// Asks what waits, as far as there is credit and room.
    fn ask(&mut self) {
        let now = Instant::now();
        while self.wire.dialogue.pending() < PENDING_BYTES_MAX {
            let Some(call) = self.waiting.pop_front() else { return };
            // Asked too late it would be done, and nobody would know.
            if !call.is_wanted(now) {
                continue;
            }
            match self.put(&call, now) {
                Ok(()) => self.open(call),
                Err(NotAsked::Early | NotAsked::Credit | NotAsked::Late) => {
                    self.waiting.push_front(call);
                    return;
                }
                Err(never) => call.lose(&never.into()),
            }
        }
    }

    fn put(&mut self, call: &Call, now: Instant) -> Result<(), NotAsked> {
        let (tag, patience) = (self.next_tag, call.deadline - now);
        match &call.asked {
            Asked::Command { command, key, settled } => self.wire.dialogue.ask(&Question {
                tag,
                key: *key,
                patience_us: u64::try_from(patience.as_micros()).unwrap_or(u64::MAX).max(1),
                command,
                settled: *settled,
            }),
            Asked::Lines(lines) => self.wire.dialogue.validate(tag, lines),
            Asked::Details(skus) => self.wire.dialogue.details(tag, skus),
            Asked::Ping => self.wire.dialogue.ping(),
        }
    }

    fn open(&mut self, call: Call) {
        match call.asked {
            Asked::Ping => self.pings.push_back(Some(call.answer)),
            Asked::Command { .. } | Asked::Lines(_) | Asked::Details(_) => {
                self.open.insert(self.next_tag, call.answer);
                self.next_tag += 1;
            }
        }
    }

    fn poll_move(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let Self { wire, welcome, open, pings, .. } = self;
        wire.poll_move(context, &mut |heard| match heard {
            Heard::Welcome(granted) => welcome.hear(granted),
            heard => hear(heard, open, pings),
        })
    }

    /// Nothing was heard for long.
    fn doubt(&mut self) -> Result<(), Lost> {
        if self.wire.doubt()? {
            self.pings.push_back(None);
        }
        Ok(())
    }

    fn lose(&mut self, lost: &Lost) {
        for answer in self.open.drain().map(|(_, answer)| answer).chain(self.pings.drain(..).flatten()) {
            // Who stopped waiting needs no telling.
            let _ = answer.send(Err(lost.clone()));
        }
        self.waiting.drain(..).for_each(|call| call.lose(lost));
    }
}

fn hear(heard: Heard<'_>, open: &mut HashMap<u64, Sender>, pings: &mut VecDeque<Option<Sender>>) {
    let (answer, told) = match heard {
        Heard::Outcome(entry) => (open.remove(&entry.tag), Told::Answer(entry.answer)),
        Heard::Verdicts { tag, verdicts } => (open.remove(&tag), Told::Verdicts(verdicts.to_vec())),
        Heard::Products(products) => (
            open.remove(&products.tag),
            Told::Products(products.map(|told| told.ok().map(Described::from)).collect()),
        ),
        Heard::Pong => (pings.pop_front().flatten(), Told::Pong),
        Heard::Welcome(_) | Heard::Leaving | Heard::Records(_) => return,
    };
    if let Some(answer) = answer {
        // Who stopped waiting gave up the answer, and nothing else.
        let _ = answer.send(Ok(told));
    }
}
