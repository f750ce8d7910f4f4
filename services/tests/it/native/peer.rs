//! A client that writes bytes and reads frames.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use onrush_proto::frame::{
    Answer, ErrorFrame, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Hello, Kind, OutcomeEntry, Outcomes, Rejected,
    Welcome, begin, put_command,
};
use onrush_proto::{
    Command, CreateOrder, Currency, Money, OrderId, OrderLine, Outcome, PutProduct, Receipt, Refusal,
    StartPayment, StockChange, Text, UpdateStock,
};

/// How long a server may say nothing before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame as it came.
#[derive(Debug)]
pub(super) struct Said(pub(super) Vec<u8>);

impl Said {
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame::read(&self.0, FRAME_BYTES_MAX).unwrap().unwrap().0
    }

    pub(super) fn kind(&self) -> Kind {
        self.frame().kind
    }

    pub(super) fn outcomes(&self) -> Vec<OutcomeEntry> {
        Outcomes::of(&self.frame()).unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub(super) fn error(&self) -> ErrorFrame {
        assert_eq!(self.kind(), Kind::Error);
        ErrorFrame::read(&self.frame()).unwrap()
    }
}

/// A connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    /// Answers that came before somebody asked for them.
    answers: BTreeMap<u64, Answer>,
    next: u64,
}

impl Peer {
    /// Connects and says nothing.
    pub(super) fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, answers: BTreeMap::new(), next: 1 }
    }

    /// Connects and is welcome.
    pub(super) fn open(address: SocketAddr, token: &str) -> Self {
        let (peer, welcome) = Self::welcomed(address, token);
        assert_eq!((welcome.version, welcome.frame_bytes_max), (1, FRAME_BYTES_MAX as u32));
        peer
    }

    pub(super) fn welcomed(address: SocketAddr, token: &str) -> (Self, Welcome) {
        let mut peer = Self::silent(address);
        peer.hello(&Hello::new(token, "a test"));
        let said = peer.read();
        (peer, Welcome::read(&said.frame()).unwrap())
    }

    /// Connects, and hears why it is not welcome.
    pub(super) fn refused(address: SocketAddr, hello: &Hello<'_>) -> ErrorFrame {
        let mut peer = Self::silent(address);
        peer.hello(hello);
        let error = peer.read().error();
        assert!(peer.is_ended(), "an error is the last frame");
        error
    }

    fn hello(&mut self, hello: &Hello<'_>) {
        let mut bytes = Vec::new();
        hello.write(&mut bytes);
        self.write(&bytes);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Writes no more, but reads.
    pub(super) fn close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next frame; `None` at the end.
    pub(super) fn try_read(&mut self) -> Option<Said> {
        let mut bytes = vec![0; HEADER_BYTES];
        if self.stream.read(&mut bytes[..1]).unwrap() == 0 {
            return None;
        }
        self.stream.read_exact(&mut bytes[1..]).unwrap();
        let length = Frame::length(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[HEADER_BYTES..]).unwrap();
        Some(Said(bytes))
    }

    pub(super) fn read(&mut self) -> Said {
        self.try_read().expect("a frame, not the end")
    }

    pub(super) fn is_ended(&mut self) -> bool {
        self.try_read().is_none()
    }

    /// Everything that is said until the end.
    pub(super) fn rest(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.try_read()).collect()
    }

    /// Asks something under a key, and waits for the answer.
    pub(super) fn ask(&mut self, key: u128, command: &Command) -> Answer {
        self.ask_all(&[(key, command.clone())], false).remove(0)
    }

    /// Pays, and waits until it is settled.
    pub(super) fn pay(&mut self, key: u128, order: OrderId, method: &str) -> Answer {
        let start = StartPayment { order, method: Text::new(method).unwrap(), capture: true };
        self.ask_all(&[(key, Command::StartPayment(Box::new(start)))], true).remove(0)
    }

    /// Asks in one frame; the answers in the order of the commands.
    pub(super) fn ask_all(&mut self, commands: &[(u128, Command)], settled: bool) -> Vec<Answer> {
        let mut bytes = Vec::new();
        let first = self.put(&mut bytes, commands, settled);
        self.write(&bytes);
        (first..self.next).map(|tag| self.answer(tag)).collect()
    }

    /// Appends a frame of commands; the first tag.
    pub(super) fn put(&mut self, bytes: &mut Vec<u8>, commands: &[(u128, Command)], settled: bool) -> u64 {
        let first = self.next;
        let frame = begin(bytes, Kind::Commands);
        for (key, command) in commands {
            assert!(put_command(bytes, self.next, 0, *key, command, settled));
            self.next += 1;
        }
        frame.seal(bytes, commands.len() as u16, 0);
        first
    }

    /// The answer to a tag, whenever it comes.
    pub(super) fn answer(&mut self, tag: u64) -> Answer {
        loop {
            if let Some(answer) = self.answers.remove(&tag) {
                return answer;
            }
            for entry in self.read().outcomes() {
                assert!(self.answers.insert(entry.tag, entry.answer).is_none(), "answered twice");
            }
        }
    }
}

/// What was accepted.
#[track_caller]
pub(super) fn receipt(answer: &Answer) -> Receipt {
    match outcome(answer) {
        Outcome::Accepted(receipt) => receipt,
        other => panic!("expected an acceptance, found {other:?}"),
    }
}

#[track_caller]
pub(super) fn refusal(answer: &Answer) -> Refusal {
    match outcome(answer) {
        Outcome::Refused(refusal) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[track_caller]
pub(super) fn rejected(answer: &Answer) -> Rejected {
    match answer {
        Answer::Rejected(rejected) => rejected.clone(),
        Answer::Reply(reply) => panic!("expected a rejection, found {reply:?}"),
    }
}

#[track_caller]
pub(super) fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Answer::Reply(reply) => reply.outcome.clone(),
        Answer::Rejected(rejected) => panic!("expected an answer of the engine, found {rejected}"),
    }
}

/// The id of an order that was created.
#[track_caller]
pub(super) fn ordered(answer: &Answer) -> OrderId {
    match receipt(answer) {
        Receipt::Order { order, .. } => order,
        other => panic!("expected an order, found {other:?}"),
    }
}

pub(super) fn create(customer: &str, lines: &[(&str, i64)]) -> Command {
    let line = |(sku, quantity): &(&str, i64)| OrderLine::new(Text::new(sku).unwrap(), *quantity);
    let lines = lines.iter().map(line).collect();
    Command::CreateOrder(CreateOrder { customer: Text::new(customer).unwrap(), lines, hold_us: 0 })
}

pub(super) fn product(sku: &str, minor: i64) -> Command {
    Command::PutProduct(Box::new(PutProduct {
        sku: Text::new(sku).unwrap(),
        name: format!("The {sku}"),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(minor, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    }))
}

pub(super) fn stock(sku: &str, units: i64) -> Command {
    let change = StockChange::Set(units);
    Command::UpdateStock(UpdateStock { sku: Text::new(sku).unwrap(), change, reason: Text::EMPTY })
}

/// Puts something on sale.
pub(super) fn sell(peer: &mut Peer, sku: &str, minor: i64, units: i64) {
    for command in [product(sku, minor), stock(sku, units)] {
        receipt(&peer.ask(0, &command));
    }
}
