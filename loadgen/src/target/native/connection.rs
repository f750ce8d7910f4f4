//! One connection of the native protocol, on a stream that never blocks.

use std::io::{self, ErrorKind};
use std::task::Context;
use std::time::Duration;

use onrush_net::client::CallError;
use onrush_net::client::native::{Dialogue, DialogueError, Heard, NotAsked, Question};
use onrush_proto::frame::Answer;
use onrush_proto::{Command, Lsn, Outcome, Receipt, Refusal, Reply, Request, Sku};

use crate::target::reply;

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

/// A connection and what is open on it.
pub(crate) struct Connection<C> {
    pub(super) carrier: C,
    dialogue: Dialogue,
    /// The driver's tags by ours, which are small numbers.
    open: Vec<Option<u64>>,
    free: Vec<u32>,
    lost: bool,
}

impl<C: Carrier> Connection<C> {
    /// A conversation that begins.
    pub(super) fn new(carrier: C) -> Self {
        let dialogue = Dialogue::new("", "loadgen");
        Self { carrier, dialogue, open: Vec::new(), free: Vec::new(), lost: false }
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
        let settled = matches!(request.command, Command::StartPayment(_));
        self.put(tag, |dialogue, tag| {
            let (key, command) = (request.key.0, &request.command);
            dialogue.ask(&Question { tag, key, patience_us: 0, command, settled })
        })
    }

    /// Takes a look at a SKU to send with the next write.
    pub(super) fn validate(&mut self, tag: u64, sku: &Sku) -> Result<(), NotAsked> {
        self.put(tag, |dialogue, tag| dialogue.validate(tag, &[(*sku, 1)]))
    }

    fn put(
        &mut self,
        tag: u64,
        ask: impl FnOnce(&mut Dialogue, u64) -> Result<(), NotAsked>,
    ) -> Result<(), NotAsked> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() as u32 - 1
        });
        let asked = ask(&mut self.dialogue, place.into());
        match asked {
            Ok(()) => self.open[place as usize] = Some(tag),
            Err(_) => self.free.push(place),
        }
        asked
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
        heard: &mut Vec<(u64, Reply)>,
    ) -> Result<(), LinkError> {
        loop {
            let read = match self.carrier.read(context, buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let Self { dialogue, open, free, .. } = self;
            dialogue.input(&buffer[..read], &mut |said| {
                let Some((place, reply)) = reply_of(said) else { return };
                // An answer to nothing open is none: the driver counts what is missing.
                if let Some(tag) = open.get_mut(place as usize).and_then(Option::take) {
                    free.push(place as u32);
                    heard.push((tag, reply));
                }
            })?;
            if read < buffer.len() && C::EMPTIES {
                return Ok(());
            }
        }
    }

    /// What is open on a connection that is lost: nobody knows whether it was done.
    pub(super) fn lose(&mut self, heard: &mut Vec<(u64, Reply)>) {
        let tags = self.open.drain(..).flatten();
        heard.extend(tags.map(|tag| (tag, refused(Refusal::Stopped))));
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

/// An answer with its tag.
fn reply_of(said: Heard<'_>) -> Option<(u64, Reply)> {
    match said {
        Heard::Outcome(entry) => {
            let reply = match entry.answer {
                Answer::Reply(reply) => reply::settled(reply),
                Answer::Rejected(rejected) => refused(reply::by_reason(&rejected.reason, 0)),
            };
            Some((entry.tag, reply))
        }
        Heard::Verdicts { tag, verdicts } => {
            let outcome = match verdicts.first() {
                Some(verdict) if verdict.price().is_some() => {
                    let on_hand = verdict.available();
                    Outcome::Accepted(Receipt::Stock { on_hand, held: 0, version: 0 })
                }
                _ => Outcome::Refused(Refusal::UnknownProduct),
            };
            Some((tag, reply::of_page(outcome)))
        }
        // What is not asked for here is no answer.
        _ => None,
    }
}
