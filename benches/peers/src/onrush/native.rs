//! The native protocol over TCP and QUIC, asked as the client library asks: what is asked between two writes is one
//! frame.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;

use onrush_benches::Failure;
use onrush_benches::sale::Sale;
use onrush_net::client::native::{Dialogue, Heard, Question, Stream, Transport};
use onrush_net::tls::Trust;
use onrush_proto::frame::{Answer, OutcomeEntry, Verdict};
use onrush_proto::{Command, IdempotencyKey, Outcome, Request, Sku};

use super::server::Server;
use crate::client::{Answered, Line, Talk, Tasks, Use, drive, drive_tasks, exchange, repeat};
use crate::round::Round;
use crate::stage::Stage;

/// Commands of the opening that are asked at once.
const OPENING_COMMANDS: usize = 1_024;
/// Bytes of one read while a connection begins.
const READ_BYTES: usize = 64 << 10;
/// What the client calls itself.
const CLIENT: &str = "onrush-peers";

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// So many orders in a frame of their own.
    Orders(usize),
    /// An order; those that are asked between two writes share a frame.
    Order,
    /// What so many lines would meet.
    Lines(usize),
}

/// A case over the native protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) ask: Ask,
    pub(crate) skus: usize,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

impl Case {
    fn usage(&self) -> Use {
        let units = match self.ask {
            Ask::Orders(units) | Ask::Lines(units) => units,
            Ask::Order => 1,
        };
        Use { in_flight: self.in_flight, units }
    }

    fn talk(&self, dialogue: Dialogue, sale: &Rc<RefCell<Sale>>) -> Native {
        let (Use { units, in_flight }, sale) = (self.usage(), Rc::clone(sale));
        Native { ask: self.ask, units, dialogue, left: vec![0; in_flight], lines: Vec::new(), sale }
    }
}

/// Measures a case over TCP on a fresh server.
pub(crate) fn measure(case: Case, stage: &Stage<'_>) -> Result<Round, Failure> {
    let server = Server::start(stage, &[])?;
    let sale = Sale::uniform(case.skus);
    server.open(&sale)?;
    let (address, sale) = (server.native()?, Rc::new(RefCell::new(sale)));
    let line = || {
        let (stream, dialogue) = greet(TcpStream::connect(&address)?)?;
        Line::new(stream, case.talk(dialogue, &sale), case.usage())
    };
    let mut lines = (0..case.connections).map(|_| line()).collect::<Result<Vec<_>, Failure>>()?;
    drive(&mut lines, stage.span, &|| server.process().cpu_ns())
}

/// Measures a case over QUIC on a fresh server: all requests of a connection on its first stream.
pub(crate) fn measure_quic(case: Case, stage: &Stage<'_>) -> Result<Round, Failure> {
    let server = Server::start(stage, &["--native-quic-port=0"])?;
    let sale = Sale::uniform(case.skus);
    server.open(&sale)?;
    let (address, sale) = (server.quic()?, Rc::new(RefCell::new(sale)));
    let transport = Transport::Quic(Trust::Pinned(server.certificate()?));
    let begin = async |tasks: &mut Tasks, answered: &Answered| {
        for _ in 0..case.connections {
            let mut stream = Stream::open(&address, &transport).await??;
            let mut talk = case.talk(Dialogue::new("", CLIENT), &sale);
            talk.greet(&mut stream).await?;
            tasks.spawn_local(repeat(stream, talk, case.usage(), answered.clone()));
        }
        Ok(())
    };
    drive_tasks(begin, stage.span, &|| server.process().cpu_ns())
}

/// One connection's requests.
struct Native {
    ask: Ask,
    units: usize,
    dialogue: Dialogue,
    /// Answers that each slot waits for: the tag of all its commands.
    left: Vec<usize>,
    lines: Vec<(Sku, i64)>,
    sale: Rc<RefCell<Sale>>,
}

impl Native {
    /// Says hello and waits for what the server grants.
    async fn greet(&mut self, stream: &mut Stream) -> Result<(), Failure> {
        let (mut buffer, mut none) = (vec![0; READ_BYTES], Vec::new());
        while self.dialogue.welcome().is_none() {
            let bytes = exchange(stream, self, &mut buffer).await?;
            self.input(&buffer[..bytes], &mut none)?;
        }
        Ok(())
    }
}

impl Talk for Native {
    fn ask(&mut self, slot: usize) -> Result<(), Failure> {
        let (tag, mut sale) = (slot as u64, self.sale.borrow_mut());
        self.left[slot] = self.units;
        match self.ask {
            Ask::Order => ask(&mut self.dialogue, tag, sale.command()),
            Ask::Orders(orders) => {
                for _ in 0..orders {
                    ask(&mut self.dialogue, tag, sale.command())?;
                }
                // What comes next begins another frame.
                let _ = self.dialogue.output();
                Ok(())
            }
            Ask::Lines(lines) => {
                self.left[slot] = 1;
                self.lines.clear();
                self.lines.extend(sale.basket(lines).map(|sku| (sku, 1)));
                Ok(self.dialogue.validate(tag, &self.lines)?)
            }
        }
    }

    fn output(&mut self) -> &[u8] {
        self.dialogue.output()
    }

    fn written(&mut self, bytes: usize) {
        self.dialogue.written(bytes);
    }

    fn input(&mut self, bytes: &[u8], answered: &mut Vec<usize>) -> Result<(), Failure> {
        let Self { dialogue, left, units, .. } = self;
        let mut strange = None;
        dialogue.input(bytes, &mut |heard| {
            let tag = match heard {
                Heard::Outcome(OutcomeEntry { tag, answer: Answer::Reply(reply), .. })
                    if matches!(reply.outcome, Outcome::Accepted(_)) =>
                {
                    tag
                }
                Heard::Verdicts { tag, verdicts }
                    if verdicts.len() == *units && verdicts.iter().all(|verdict| verdict.valid()) =>
                {
                    tag
                }
                Heard::Welcome(_) => return,
                other => {
                    strange.get_or_insert_with(|| brief(&other));
                    return;
                }
            };
            let slot = tag as usize;
            left[slot] -= 1;
            if left[slot] == 0 {
                answered.push(slot);
            }
        })?;
        strange.map_or(Ok(()), |strange| Err(Failure::unexpected("an acceptance", strange)))
    }
}

fn ask(dialogue: &mut Dialogue, tag: u64, (key, command): (IdempotencyKey, Command)) -> Result<(), Failure> {
    let question = Question { tag, key: key.0, patience_us: 0, command: &command, settled: false };
    Ok(dialogue.ask(&question)?)
}

/// Says hello and waits for what the server grants.
fn greet(mut stream: TcpStream) -> Result<(TcpStream, Dialogue), Failure> {
    let mut dialogue = Dialogue::new("", CLIENT);
    let mut buffer = vec![0; READ_BYTES];
    say(&mut stream, &mut dialogue)?;
    while dialogue.welcome().is_none() {
        hear(&mut stream, &mut dialogue, &mut buffer)?;
    }
    Ok((stream, dialogue))
}

fn say(stream: &mut TcpStream, dialogue: &mut Dialogue) -> Result<(), Failure> {
    stream.write_all(dialogue.output())?;
    let written = dialogue.pending();
    dialogue.written(written);
    Ok(())
}

/// Reads once; an answer that is no acceptance is an error.
fn hear(stream: &mut TcpStream, dialogue: &mut Dialogue, buffer: &mut [u8]) -> Result<(), Failure> {
    let bytes = stream.read(buffer)?;
    if bytes == 0 {
        return Err(Failure::unexpected("a server that goes on", "a closed connection"));
    }
    let mut strange = None;
    dialogue.input(&buffer[..bytes], &mut |heard| match heard {
        Heard::Outcome(OutcomeEntry { answer: Answer::Reply(reply), .. })
            if matches!(reply.outcome, Outcome::Accepted(_)) => {}
        Heard::Welcome(_) => {}
        other => strange = Some(brief(&other)),
    })?;
    strange.map_or(Ok(()), |strange| Err(Failure::unexpected("an acceptance", strange)))
}

/// What was heard, as far as it says why: verdicts are many.
fn brief(heard: &Heard<'_>) -> String {
    match heard {
        Heard::Verdicts { verdicts, .. } => {
            let refused = verdicts.iter().filter_map(Verdict::reason).next();
            format!("{} verdicts, {refused:?} among them", verdicts.len())
        }
        other => format!("{other:?}"),
    }
}

/// Commands that open a sale, in their order.
pub(super) struct Commands(VecDeque<Request>);

impl Commands {
    pub(super) fn of(sale: &Sale) -> Self {
        Self(sale.opening().collect())
    }
}

/// Has commands accepted.
pub(super) fn open(stream: TcpStream, commands: Commands) -> Result<(), Failure> {
    let (mut stream, mut dialogue) = greet(stream)?;
    let (mut buffer, Commands(mut commands)) = (vec![0; READ_BYTES], commands);
    while !commands.is_empty() {
        for request in commands.drain(..commands.len().min(OPENING_COMMANDS)) {
            ask(&mut dialogue, 0, (request.key, request.command))?;
        }
        say(&mut stream, &mut dialogue)?;
        while dialogue.open() > 0 {
            hear(&mut stream, &mut dialogue, &mut buffer)?;
        }
    }
    Ok(())
}
