//! One connection of the native protocol, on a stream that never blocks.

use std::io::{self, ErrorKind};
use std::task::Context;
use std::time::{Duration, Instant};

use onrush_net::client::CallError;
use onrush_net::client::native::{Dialogue, DialogueError, Heard as Said, NotAsked, Question};
use onrush_proto::frame::{Answer, Welcome};
use onrush_proto::{Command, Lsn, Outcome, Receipt, Refusal, Reply, Request, Sku};

use super::course::{Asking, Astray, Heard};
use crate::target::{Page, reply};

/// How long a server may take to say what it grants.
pub(super) const WELCOME_MAX: Duration = Duration::from_secs(10);

/// Why a connection is of no use (any more).
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket.
    #[error("the connection: {0}")]
    Socket(#[from] std::io::Error),
    /// Nobody is believed there.
    #[error(transparent)]
    Trust(#[from] CallError),
    /// The server ended it.
    #[error("the server ended the connection")]
    Closed,
    /// What was said on it.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// The server did not say what it grants.
    #[error("expected a welcome within {} s, found none", WELCOME_MAX.as_secs())]
    Unwelcome,
}

/// Bytes both ways. What cannot be done now would block, and wakes the context once it can.
pub(crate) trait Carrier {
    /// True if a read that leaves room in the buffer left nothing behind.
    const EMPTIES: bool;

    /// Writes some of it.
    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize>;

    /// Reads some; 0 bytes are the end.
    fn read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize>;
}

/// What is open on a connection.
enum Opened {
    /// The driver's tag.
    Tag(u64),
    /// What is asked elsewhere if it is not answered here.
    Asking(Box<Asking>),
}

/// A connection and what is open on it.
pub(crate) struct Connection<C> {
    pub(super) carrier: C,
    dialogue: Dialogue,
    /// The place of its address.
    at: usize,
    since: Instant,
    /// True once it was looked at what was granted.
    looked: bool,
    /// By our own tags, which are small numbers.
    open: Vec<Option<Opened>>,
    free: Vec<u32>,
    lost: bool,
}

impl<C: Carrier> Connection<C> {
    /// A conversation that begins, at the address of this place.
    pub(super) fn new(carrier: C, at: usize) -> Self {
        let (dialogue, since) = (Dialogue::new("", "loadgen"), Instant::now());
        let (open, free) = (Vec::new(), Vec::new());
        Self { carrier, dialogue, at, since, looked: false, open, free, lost: false }
    }

    /// The place of its address.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What the server granted, told once; before, how long that was waited for.
    pub(super) fn granted(&mut self) -> Option<Result<Welcome, Duration>> {
        if self.looked {
            return None;
        }
        let granted = self.dialogue.welcome().cloned();
        self.looked = granted.is_some();
        Some(granted.ok_or_else(|| self.since.elapsed()))
    }

    /// True once the server has said what it grants.
    pub(super) fn is_welcome(&self) -> bool {
        self.dialogue.welcome().is_some()
    }

    /// True if something waits to be written.
    pub(super) fn writes(&self) -> bool {
        self.dialogue.pending() > 0
    }

    /// True if something can be asked on it.
    pub(super) fn has_room(&self) -> bool {
        self.dialogue.credit() > 0
    }

    /// Takes a command to send with the next write, or says why not.
    pub(super) fn ask(&mut self, tag: u64, request: &Request) -> Result<(), NotAsked> {
        self.put(|dialogue, own| dialogue.ask(&question(own, request))).map(|place| {
            self.open[place] = Some(Opened::Tag(tag));
        })
    }

    /// The same; what is not answered is given back, to be asked elsewhere.
    pub(super) fn pursue(&mut self, asking: Box<Asking>) -> Result<(), (Box<Asking>, NotAsked)> {
        match self.put(|dialogue, own| dialogue.ask(&question(own, &asking.request))) {
            Ok(place) => {
                self.open[place] = Some(Opened::Asking(asking));
                Ok(())
            }
            Err(error) => Err((asking, error)),
        }
    }

    /// Takes a look at a page of a SKU to send with the next write.
    pub(super) fn view(&mut self, tag: u64, page: Page, sku: &Sku) -> Result<(), NotAsked> {
        let ask = |dialogue: &mut Dialogue, own| match page {
            Page::Product => dialogue.details(own, &[*sku]),
            Page::Validate => dialogue.validate(own, &[(*sku, 1)]),
        };
        self.put(ask).map(|place| {
            self.open[place] = Some(Opened::Tag(tag));
        })
    }

    /// Has something asked under a tag of our own.
    fn put(
        &mut self,
        ask: impl FnOnce(&mut Dialogue, u64) -> Result<(), NotAsked>,
    ) -> Result<usize, NotAsked> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() as u32 - 1
        });
        let asked = ask(&mut self.dialogue, place.into());
        if asked.is_err() {
            self.free.push(place);
        }
        asked.map(|()| place as usize)
    }

    /// Writes what the stream takes.
    pub(super) fn write(&mut self, context: &mut Context<'_>) -> Result<(), LinkError> {
        while self.dialogue.pending() > 0 {
            match self.carrier.write(context, self.dialogue.output()) {
                Ok(written) => self.dialogue.written(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there.
    pub(super) fn read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        heard: &mut Heard,
    ) -> Result<(), LinkError> {
        loop {
            let read = match self.carrier.read(context, buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let Self { dialogue, open, free, at, .. } = self;
            dialogue.input(&buffer[..read], &mut |said| {
                let Some((place, reply)) = reply_of(said) else { return };
                // An answer to nothing open is none: the driver counts what is missing.
                let opened = open.get_mut(place as usize).and_then(Option::take);
                if opened.is_some() {
                    free.push(place as u32);
                }
                match (opened, &reply.outcome) {
                    (None, _) => {}
                    (Some(Opened::Asking(asking)), Outcome::Refused(Refusal::NotLeader { leader })) => {
                        heard.astray.push((asking, *at, Astray::Led(*leader)));
                    }
                    (Some(Opened::Asking(asking)), _) => heard.replies.push((asking.tag, reply)),
                    (Some(Opened::Tag(tag)), _) => heard.replies.push((tag, reply)),
                }
            })?;
            if read < buffer.len() && C::EMPTIES {
                return Ok(());
            }
        }
    }

    /// What is open on a connection that is lost: nobody knows whether it was done.
    pub(super) fn lose(&mut self, heard: &mut Heard) {
        for opened in self.open.drain(..).flatten() {
            match opened {
                Opened::Tag(tag) => heard.replies.push((tag, refused(Refusal::Stopped))),
                Opened::Asking(asking) => heard.astray.push((asking, self.at, Astray::Lost)),
            }
        }
        self.free.clear();
        self.dialogue.goodbye();
        self.lost = true;
    }

    /// True once it is of no use any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Says goodbye, as far as the stream takes it.
    pub(super) fn leave(&mut self, context: &mut Context<'_>) {
        self.dialogue.goodbye();
        // A server that is gone needs no goodbye.
        let _ = self.write(context);
    }
}

/// A refusal of our own.
pub(super) fn refused(refusal: Refusal) -> Reply {
    Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(0) }
}

/// A request under a tag of our own.
fn question(tag: u64, request: &Request) -> Question<'_> {
    let (key, command) = (request.key.0, &request.command);
    let settled = matches!(command, Command::StartPayment(_));
    Question { tag, key, patience_us: 0, command, settled }
}

/// An answer with its tag.
fn reply_of(said: Said<'_>) -> Option<(u64, Reply)> {
    match said {
        Said::Outcome(entry) => {
            let reply = match entry.answer {
                Answer::Reply(reply) => reply::settled(reply),
                Answer::Rejected(rejected) => refused(reply::by_reason(&rejected.reason, 0)),
            };
            Some((entry.tag, reply))
        }
        Said::Verdicts { tag, verdicts } => {
            let outcome = match verdicts.first() {
                Some(verdict) if verdict.price().is_some() => {
                    let on_hand = verdict.available();
                    Outcome::Accepted(Receipt::Stock { on_hand, held: 0, version: 0 })
                }
                _ => Outcome::Refused(Refusal::UnknownProduct),
            };
            Some((tag, reply::of_page(outcome)))
        }
        Said::Products(mut products) => {
            let tag = products.tag;
            let outcome = match products.next() {
                Some(Ok(product)) => Outcome::Accepted(Receipt::Product { version: product.version }),
                Some(Err(_)) | None => Outcome::Refused(Refusal::UnknownProduct),
            };
            Some((tag, reply::of_page(outcome)))
        }
        // What is not asked for here is no answer.
        _ => None,
    }
}
