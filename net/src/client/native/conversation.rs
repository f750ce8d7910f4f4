//! A connection while it lasts: questions that wait, questions that are open, bytes both ways.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onrush_proto::frame::Welcome;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dialogue::{Dialogue, Heard, NotAsked, Question};
use super::link::{Asked, Call, Lost, Server, Told};
use super::stream::Stream;
use crate::client::Described;

/// What the server's log calls us.
pub(super) const NAME: &str = concat!("onrush-net ", env!("CARGO_PKG_VERSION"));
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
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

/// A connection under way.
pub(super) struct Conversation {
    stream: Stream,
    dialogue: Dialogue,
    /// What was granted at the first connection, for whoever wants to know.
    welcome: Arc<OnceLock<Welcome>>,
    /// Taken from the queue, not yet asked.
    waiting: VecDeque<Call>,
    /// Asked, by tag.
    open: HashMap<u64, Sender>,
    /// Pings are answered in their order.
    pings: VecDeque<Option<Sender>>,
    next_tag: u64,
    buffer: Vec<u8>,
    /// How long nothing may be heard before the server is asked whether it is there.
    silence: Duration,
    heard: Instant,
    /// True if it was.
    doubted: bool,
    /// True once nobody can call any more.
    closing: bool,
}

impl Conversation {
    /// Begins on a fresh connection.
    pub(super) fn new(
        stream: Stream,
        server: &Server,
        welcome: Arc<OnceLock<Welcome>>,
        waiting: Vec<Call>,
    ) -> Self {
        Self {
            stream,
            dialogue: Dialogue::new(&server.token, NAME),
            welcome,
            waiting: waiting.into(),
            open: HashMap::new(),
            pings: VecDeque::new(),
            next_tag: 0,
            buffer: vec![0; READ_BYTES],
            silence: server.retry.timeout,
            heard: Instant::now(),
            doubted: false,
            closing: false,
        }
    }

    /// True once the server has granted something.
    pub(super) fn is_welcome(&self) -> bool {
        self.dialogue.welcome().is_some()
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
        let silent = self.heard + self.silence;
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
        let soon = self.dialogue.credit() > 0 || idle;
        soon && self.waiting.is_empty() && !self.closing && !self.dialogue.is_late()
    }

    /// True if nothing more will be said by either side.
    fn is_over(&self) -> bool {
        let quiet = self.open.is_empty() && self.pings.is_empty() && self.dialogue.pending() == 0;
        quiet && self.dialogue.is_late() && !self.stream.is_holding()
    }

    fn end(&mut self) -> End {
        let unasked: Vec<Call> = self.waiting.drain(..).collect();
        if self.closing && unasked.is_empty() { End::Finished } else { End::Left(unasked) }
    }

    fn take(&mut self, first: Call, calls: &mut Receiver<Call>) {
        self.waiting.push_back(first);
        let most = CALLS_MAX.min(self.dialogue.credit() as usize);
        while self.waiting.len() < most
            && let Ok(call) = calls.try_recv()
        {
            self.waiting.push_back(call);
        }
        // Silence counts from the first question that waits for an answer.
        if self.open.is_empty() && self.pings.is_empty() {
            self.heard = Instant::now();
        }
    }

    fn close(&mut self) {
        self.closing = true;
        self.dialogue.goodbye();
    }

    /// Asks what waits, as far as there is credit and room.
    fn ask(&mut self) {
        let now = Instant::now();
        while self.dialogue.pending() < PENDING_BYTES_MAX {
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
            Asked::Command { command, key, settled } => self.dialogue.ask(&Question {
                tag,
                key: *key,
                patience_us: u64::try_from(patience.as_micros()).unwrap_or(u64::MAX).max(1),
                command,
                settled: *settled,
            }),
            Asked::Lines(lines) => self.dialogue.validate(tag, lines),
            Asked::Details(skus) => self.dialogue.details(tag, skus),
            Asked::Ping => self.dialogue.ping(),
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

    /// Writes what the stream takes, and reads what there is; ready once something moved. A write that fails is heard
    /// of by reading, with the reason.
    fn poll_move(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let written = self.poll_write(context);
        match self.poll_read(context)? {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => written.map_err(|_| Lost::Closed),
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

    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Lost> {
        let read = match self.stream.poll_read(context, &mut self.buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0) | Err(_)) => return Err(Lost::Closed),
            Poll::Ready(Ok(read)) => read,
        };
        (self.heard, self.doubted) = (Instant::now(), false);
        let Self { dialogue, welcome, open, pings, buffer, .. } = self;
        let heard = dialogue.input(&buffer[..read], &mut |heard| match heard {
            Heard::Welcome(granted) => drop(welcome.set(granted.clone())),
            heard => hear(heard, open, pings),
        });
        match heard {
            Ok(()) => Ok(Poll::Ready(())),
            Err(error) => {
                // Said once, if the stream takes it: the connection is over.
                let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
                Err(error.into())
            }
        }
    }

    /// Nothing was heard for long: asks whether anybody is there, or gives up.
    fn doubt(&mut self) -> Result<(), Lost> {
        if self.doubted || !self.is_welcome() {
            return Err(Lost::Silent);
        }
        (self.doubted, self.heard) = (true, Instant::now());
        // Without credit it is the open questions that somebody is to answer.
        if self.dialogue.ping().is_ok() {
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
