//! What a client says and hears on one connection, without the connection: bytes in, bytes out.
//!
//! It asks only what there is credit for, puts what is asked between two writes into one frame, and allocates
//! nothing for an order once its buffers have grown.

use onrush_proto::frame::{
    ErrorCode, ErrorFrame, FRAME_BYTES_MAX, Frame, FrameError, Grant, Hello, Kind, Open, OutcomeEntry,
    Outcomes, Products, Records, Subscribe, Unsubscribe, VERSION_MAX, VERSION_MIN, Verdict, Verdicts,
    Welcome, begin, put_command, put_line, put_sku,
};
use onrush_proto::{Command, Sku};

/// A command on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the answer brings back.
    pub tag: u64,
    /// The idempotency key; 0 = none.
    pub key: u128,
    /// How long somebody waits for the answer, in us; 0 = for ever.
    pub patience_us: u64,
    /// What is asked.
    pub command: &'a Command,
    /// True if a [`Command::StartPayment`] is to be answered once it is settled.
    pub settled: bool,
}

/// Why something cannot be asked now, or ever. Nothing of it was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAsked {
    /// The server has not said what it grants.
    #[error("the server has not welcomed us yet")]
    Early,
    /// As much is open as the server granted.
    #[error("as much is open as the server takes")]
    Credit,
    /// The conversation comes to its end.
    #[error("the connection comes to its end")]
    Late,
    /// The server reads no frame that long.
    #[error("expected a frame of at most {most} bytes, found {found}")]
    TooLarge {
        /// Most bytes of a frame.
        most: usize,
        /// Bytes that the question alone needs.
        found: usize,
    },
    /// The protocol has no operation for it.
    #[error("expected a command that the native protocol has")]
    Unknown,
}

/// Why a conversation is over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DialogueError {
    /// The server says that we did wrong, or cannot go on.
    #[error("the server ends the connection: {0}")]
    Peer(#[from] ErrorFrame),
    /// What came is no frame.
    #[error("the server's frame: {0}")]
    Frame(#[from] FrameError),
    /// The server speaks what was not offered.
    #[error("version: expected {VERSION_MIN} to {VERSION_MAX}, found {found}")]
    Version {
        /// What it speaks.
        found: u16,
    },
    /// An answer to nothing.
    #[error("expected at most {expected} answers, found {found}")]
    Unasked {
        /// Questions that were open.
        expected: usize,
        /// Answers of the frame.
        found: usize,
    },
}

/// What a server said.
#[derive(Debug)]
pub enum Heard<'a> {
    /// What it grants: questions may be asked from now on.
    Welcome(&'a Welcome),
    /// The answer to a command.
    Outcome(OutcomeEntry),
    /// The answer to lines.
    Verdicts {
        /// The tag of the lines.
        tag: u64,
        /// One for each line.
        verdicts: &'a [Verdict],
    },
    /// The answer to SKUs.
    Products(Products<'a>),
    /// Records of a subscription.
    Records(Records<'a>),
    /// The answer to a ping.
    Pong,
    /// It takes nothing more; what is open is still answered.
    Leaving,
}

/// A frame of commands that is still being filled.
#[derive(Debug)]
struct Batch {
    frame: Open,
    commands: u16,
}

/// One side of a connection.
#[derive(Debug)]
pub struct Dialogue {
    /// Frames on their way out; at the end perhaps one that is not sealed.
    output: Vec<u8>,
    /// Bytes of `output` that are gone.
    written: usize,
    batch: Option<Batch>,
    /// The beginning of a frame whose end has not come.
    input: Vec<u8>,
    welcome: Option<Welcome>,
    credit: u32,
    open: usize,
    /// How stale what is looked up may be at most, in ms; 0 = as it comes.
    stale_ms_max: u32,
    /// Something was subscribed to.
    follows: bool,
    late: bool,
}

/// Most commands of a frame.
const COMMANDS_MAX: u16 = u16::MAX;

impl Dialogue {
    /// A conversation that begins with who we are.
    pub fn new(token: &str, name: &str) -> Self {
        let mut output = Vec::new();
        Hello::new(token, name).write(&mut output);
        Self {
            output,
            written: 0,
            batch: None,
            input: Vec::new(),
            welcome: None,
            credit: 0,
            open: 0,
            stale_ms_max: 0,
            follows: false,
            late: false,
        }
    }

    /// The same, where lines and products are answered by what is no staler than this, in ms; 0 = as it comes.
    pub fn accepting(self, stale_ms_max: u32) -> Self {
        Self { stale_ms_max, ..self }
    }

    /// What the server granted, once it has.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// Questions that may be asked now.
    pub fn credit(&self) -> u32 {
        if self.late { 0 } else { self.credit }
    }

    /// Questions without an answer.
    pub fn open(&self) -> usize {
        self.open
    }

    /// True once nothing more can be asked.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// Bytes that wait to be written.
    pub fn pending(&self) -> usize {
        self.output.len() - self.written
    }

    fn may_ask(&self) -> Result<usize, NotAsked> {
        if self.late {
            return Err(NotAsked::Late);
        }
        let welcome = self.welcome.as_ref().ok_or(NotAsked::Early)?;
        if self.credit == 0 {
            return Err(NotAsked::Credit);
        }
        Ok(FRAME_BYTES_MAX.min(welcome.frame_bytes_max as usize))
    }

    fn spend(&mut self) {
        self.credit -= 1;
        self.open += 1;
    }

    /// Asks for a command. It goes out with the others that were asked since the last write.
    pub fn ask(&mut self, question: &Question<'_>) -> Result<(), NotAsked> {
        let most = self.may_ask()?;
        if self.batch.as_ref().is_some_and(|batch| batch.commands == COMMANDS_MAX) {
            self.seal();
        }
        let mut batch = self.batch.take().unwrap_or_else(|| self.begin());
        let before = self.output.len();
        if !self.put(question) {
            self.keep(batch);
            return Err(NotAsked::Unknown);
        }
        if batch.frame.length(&self.output) > most && batch.commands > 0 {
            self.output.truncate(before);
            self.keep(batch);
            self.seal();
            batch = self.begin();
            self.put(question);
        }
        let found = batch.frame.length(&self.output);
        if found > most {
            batch.frame.abandon(&mut self.output);
            return Err(NotAsked::TooLarge { most, found });
        }
        batch.commands += 1;
        self.batch = Some(batch);
        self.spend();
        Ok(())
    }

    fn begin(&mut self) -> Batch {
        Batch { frame: begin(&mut self.output, Kind::Commands), commands: 0 }
    }

    fn put(&mut self, question: &Question<'_>) -> bool {
        let Question { tag, key, patience_us, command, settled } = *question;
        put_command(&mut self.output, tag, patience_us, key, command, settled)
    }

    /// A batch goes on, if there is anything in it.
    fn keep(&mut self, batch: Batch) {
        if batch.commands > 0 {
            self.batch = Some(batch);
        } else {
            batch.frame.abandon(&mut self.output);
        }
    }

    fn seal(&mut self) {
        if let Some(batch) = self.batch.take() {
            batch.frame.seal(&mut self.output, batch.commands, 0);
        }
    }

    /// Asks for lines, in a frame of their own.
    pub fn validate(&mut self, tag: u64, lines: &[(Sku, i64)]) -> Result<(), NotAsked> {
        let most = self.may_ask()?;
        self.look_up(most, Kind::Validate, (tag, lines.len()), |out| {
            lines.iter().for_each(|(sku, quantity)| put_line(out, sku, *quantity));
        })
    }

    /// Asks for products, in a frame of their own.
    pub fn details(&mut self, tag: u64, skus: &[Sku]) -> Result<(), NotAsked> {
        let most = self.may_ask()?;
        self.look_up(most, Kind::Details, (tag, skus.len()), |out| {
            skus.iter().for_each(|sku| put_sku(out, sku));
        })
    }

    fn look_up(
        &mut self,
        most: usize,
        kind: Kind,
        (tag, count): (u64, usize),
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotAsked> {
        self.seal();
        let frame = begin(&mut self.output, kind);
        self.output.extend_from_slice(&tag.to_le_bytes());
        fill(&mut self.output);
        let found = frame.length(&self.output);
        let Some(count) = u16::try_from(count).ok().filter(|_| found <= most) else {
            frame.abandon(&mut self.output);
            return Err(NotAsked::TooLarge { most, found });
        };
        frame.seal(&mut self.output, count, self.stale_ms_max);
        self.spend();
        Ok(())
    }

    /// Follows the log of a shard; what comes is [`Heard::Records`] until a [`Heard::Outcome`] under this number ends it.
    pub fn subscribe(&mut self, number: u64, credit: u32, wanted: &Subscribe) -> Result<(), NotAsked> {
        self.may_ask()?;
        self.seal();
        wanted.write(&mut self.output, number, credit);
        self.follows = true;
        self.spend();
        Ok(())
    }

    /// True if something was subscribed to.
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// Takes so many bytes of records more.
    pub fn grant(&mut self, subscription: u64, bytes: u32) {
        self.seal();
        Grant { subscription, bytes }.write(&mut self.output);
    }

    /// Wants nothing more of a subscription.
    pub fn unsubscribe(&mut self, subscription: u64) {
        self.seal();
        Unsubscribe { subscription }.write(&mut self.output);
    }

    /// Asks for a [`Heard::Pong`].
    pub fn ping(&mut self) -> Result<(), NotAsked> {
        self.may_ask()?;
        self.say(Kind::Ping);
        self.spend();
        Ok(())
    }

    /// Says that nothing more will be asked.
    pub fn goodbye(&mut self) {
        if !self.late {
            self.say(Kind::Goodbye);
            self.late = true;
        }
    }

    fn say(&mut self, kind: Kind) {
        self.seal();
        begin(&mut self.output, kind).seal(&mut self.output, 0, 0);
    }

    /// The bytes to write. What is asked from now on goes into another frame.
    pub fn output(&mut self) -> &[u8] {
        self.seal();
        if self.written * 2 > self.output.len() {
            self.output.drain(..self.written);
            self.written = 0;
        }
        &self.output[self.written..]
    }

    /// This many bytes of [`output`](Self::output) were written.
    pub fn written(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.output.len());
        if self.written == self.output.len() && self.batch.is_none() {
            self.output.clear();
            self.written = 0;
        }
    }

    /// Takes bytes that were read, and tells what they say. After an error the conversation is over; what is
    /// left of [`output`](Self::output) tells the server why.
    pub fn input(&mut self, bytes: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<(), DialogueError> {
        let heard = self.take(bytes, hear);
        if let Err(error) = &heard {
            self.seal();
            self.late = true;
            if let Some(frame) = error.frame() {
                frame.write(&mut self.output);
            }
        }
        heard
    }

    fn take(&mut self, bytes: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<(), DialogueError> {
        if self.input.is_empty() {
            // Most reads bring whole frames: those are read where they are.
            let rest = self.frames(bytes, hear)?;
            self.input.extend_from_slice(rest);
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let rest = self.frames(&input, hear)?.len();
        input.drain(..input.len() - rest);
        self.input = input;
        Ok(())
    }

    /// Reads the whole frames; gives back what is behind them.
    fn frames<'a>(
        &mut self,
        mut bytes: &'a [u8],
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Result<&'a [u8], DialogueError> {
        while let Some((frame, rest)) = Frame::read(bytes, FRAME_BYTES_MAX)? {
            self.frame(&frame, hear)?;
            bytes = rest;
        }
        Ok(bytes)
    }

    fn frame(&mut self, frame: &Frame<'_>, hear: &mut impl FnMut(Heard<'_>)) -> Result<(), DialogueError> {
        if frame.kind == Kind::Error {
            return Err(ErrorFrame::read(frame)?.into());
        }
        if self.welcome.is_none() {
            let welcome = Welcome::read(frame)?;
            if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
                return Err(DialogueError::Version { found: welcome.version });
            }
            self.credit = welcome.credit;
            hear(Heard::Welcome(self.welcome.insert(welcome)));
            return Ok(());
        }
        self.credit = self.credit.saturating_add(frame.argument);
        match frame.kind {
            Kind::Outcomes => {
                self.answered(frame.count.into())?;
                for outcome in Outcomes::of(frame)? {
                    hear(Heard::Outcome(outcome?));
                }
            }
            Kind::Verdicts => {
                self.answered(1)?;
                let Verdicts { tag, verdicts } = Verdicts::of(frame)?;
                hear(Heard::Verdicts { tag, verdicts });
            }
            Kind::Products => {
                self.answered(1)?;
                hear(Heard::Products(Products::of(frame)?));
            }
            Kind::Records => hear(Heard::Records(Records::of(frame)?)),
            Kind::Pong => {
                self.answered(1)?;
                hear(Heard::Pong);
            }
            Kind::Credit => {}
            Kind::Leaving => {
                self.late = true;
                hear(Heard::Leaving);
            }
            found => return Err(FrameError::UnexpectedKind { expected: "an answer", found }.into()),
        }
        Ok(())
    }

    fn answered(&mut self, found: usize) -> Result<(), DialogueError> {
        let unasked = DialogueError::Unasked { expected: self.open, found };
        self.open = self.open.checked_sub(found).ok_or(unasked)?;
        Ok(())
    }
}

impl DialogueError {
    /// What tells the other side, if it does not know.
    fn frame(&self) -> Option<ErrorFrame> {
        let code = match self {
            Self::Peer(_) => return None,
            Self::Frame(_) | Self::Unasked { .. } => ErrorCode::Malformed,
            Self::Version { .. } => ErrorCode::Version,
        };
        Some(ErrorFrame::new(code, self.to_string()))
    }
}
