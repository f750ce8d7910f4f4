//! One connection of the native protocol, on a socket that never blocks.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use onrush_net::client::native::{Dialogue, DialogueError, Heard, NotAsked, Question};
use onrush_proto::frame::Answer;
use onrush_proto::{Command, Lsn, Outcome, Receipt, Refusal, Reply, Request, Sku};
use rustix::event::{PollFd, PollFlags};

use crate::target::reply;

/// How long a server may take to say what it grants.
const WELCOME_MAX: Duration = Duration::from_secs(10);

/// Why a connection is of no use (any more).
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket.
    #[error("the connection: {0}")]
    Socket(#[from] std::io::Error),
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

/// A connection and what is open on it.
pub(super) struct Connection {
    stream: TcpStream,
    dialogue: Dialogue,
    /// The driver's tags by ours, which are small numbers.
    open: Vec<Option<u64>>,
    free: Vec<u32>,
    lost: bool,
}

impl Connection {
    /// Connects, and waits for what the server grants.
    pub(super) fn open(address: &str, buffer: &mut [u8]) -> Result<Self, LinkError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WELCOME_MAX))?;
        let dialogue = Dialogue::new("", "loadgen");
        let mut connection = Self { stream, dialogue, open: Vec::new(), free: Vec::new(), lost: false };
        let start = Instant::now();
        connection.stream.write_all(connection.dialogue.output())?;
        let written = connection.dialogue.pending();
        connection.dialogue.written(written);
        while connection.dialogue.welcome().is_none() {
            let read = match connection.stream.read(buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(LinkError::Unwelcome),
                Err(error) => return Err(error.into()),
            };
            connection.dialogue.input(&buffer[..read], &mut |_| {})?;
            if start.elapsed() > WELCOME_MAX {
                return Err(LinkError::Unwelcome);
            }
        }
        connection.stream.set_nonblocking(true)?;
        Ok(connection)
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

    /// Writes what the socket takes.
    pub(super) fn write(&mut self) -> Result<(), LinkError> {
        while self.dialogue.pending() > 0 {
            match self.stream.write(self.dialogue.output()) {
                Ok(written) => self.dialogue.written(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What it waits for.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let writes = if self.dialogue.pending() > 0 { PollFlags::OUT } else { PollFlags::empty() };
        PollFd::new(&self.stream, PollFlags::IN | writes)
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, buffer: &mut [u8], heard: &mut Vec<(u64, Reply)>) -> Result<(), LinkError> {
        loop {
            let read = match self.stream.read(buffer) {
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
            if read < buffer.len() {
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

    /// Says goodbye, as far as the socket takes it.
    pub(super) fn leave(&mut self) {
        self.dialogue.goodbye();
        // A server that is gone needs no goodbye.
        let _ = self.write();
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
        Heard::Welcome(_) | Heard::Pong | Heard::Leaving => None,
    }
}
