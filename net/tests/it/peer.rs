//! The far end of a native connection, told step by step what to do.

use onrush_proto::frame::{
    Commands, ErrorFrame, FRAME_BYTES_MAX, Frame, Kind, Open, Welcome, begin, put_rejected, put_reply,
};
use onrush_proto::{Command, Currency, Lsn, Money, OrderId, Outcome, Receipt, Reply, SlotMap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A command as it arrived.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Arrived {
    pub(crate) tag: u64,
    pub(crate) key: u128,
    pub(crate) patience_us: u64,
    pub(crate) command: Command,
}

/// A port that somebody will call.
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// The next connection; its Hello has been read.
    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut peer = Peer { stream, bytes: Vec::new() };
        assert_eq!(peer.frame().await.0, Kind::Hello);
        peer
    }

    /// The next connection, welcomed, with its first Ping answered.
    pub(crate) async fn welcome(&self, credit: u32, shards: u16) -> Peer {
        let mut peer = self.accept().await;
        peer.welcome(credit, shards).await;
        assert_eq!(peer.frame().await.0, Kind::Ping);
        peer.say(Kind::Pong, 0, 1, |_| {}).await;
        peer
    }
}

/// One connection.
pub(crate) struct Peer {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Peer {
    /// The next frame: its kind, and its commands if it has some.
    pub(crate) async fn frame(&mut self) -> (Kind, Vec<Arrived>) {
        loop {
            if let Some((frame, rest)) = Frame::read(&self.bytes, FRAME_BYTES_MAX).unwrap() {
                let arrived = match Commands::of(&frame) {
                    Ok(commands) => commands
                        .map(|entry| Arrived {
                            tag: entry.tag,
                            key: entry.key,
                            patience_us: entry.patience_us,
                            command: entry.command().unwrap(),
                        })
                        .collect(),
                    Err(_) => Vec::new(),
                };
                let read = (frame.kind, arrived);
                self.bytes = rest.to_vec();
                return read;
            }
            let read = self.stream.read_buf(&mut self.bytes).await.unwrap();
            assert!(read > 0, "expected a frame, found the end");
        }
    }

    /// The next frame of commands. A client that heard nothing for long may ask whether anybody is there.
    pub(crate) async fn commands(&mut self) -> Vec<Arrived> {
        loop {
            match self.frame().await {
                (Kind::Commands, arrived) => return arrived,
                (Kind::Ping, _) => self.say(Kind::Pong, 0, 1, |_| {}).await,
                (kind, _) => panic!("expected commands, found {kind:?}"),
            }
        }
    }

    /// True if the client ended the connection, its goodbye included or not.
    pub(crate) async fn is_left(&mut self) -> bool {
        self.stream.read_buf(&mut self.bytes).await.is_ok_and(|read| read == 0)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, kind: Kind, count: u16, credit: u32, body: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        let frame: Open = begin(&mut out, kind);
        body(&mut out);
        frame.seal(&mut out, count, credit);
        self.send(&out).await;
    }

    pub(crate) async fn welcome(&mut self, credit: u32, shards: u16) {
        let mut out = Vec::new();
        Welcome::new(1, SlotMap::new(shards).unwrap(), 1 << 20, credit).write(&mut out);
        self.send(&out).await;
    }

    pub(crate) async fn error(&mut self, error: &ErrorFrame) {
        let mut out = Vec::new();
        error.write(&mut out);
        self.send(&out).await;
    }

    /// Accepts an order; its number is the lowest part of its key.
    pub(crate) async fn accept(&mut self, arrived: &Arrived) {
        let total = Money::new(450, Currency::EUR);
        let receipt = Receipt::Order { order: OrderId(arrived.key), total, held_until_us: 9 };
        self.answer(arrived.tag, Outcome::Accepted(receipt)).await;
    }

    pub(crate) async fn answer(&mut self, tag: u64, outcome: Outcome) {
        let reply = Reply { outcome, replayed: false, lsn: Lsn(1) };
        self.say(Kind::Outcomes, 1, 1, |out| assert!(put_reply(out, tag, &reply))).await;
    }

    pub(crate) async fn reject(&mut self, tag: u64, reason: &str) {
        self.say(Kind::Outcomes, 1, 1, |out| put_rejected(out, tag, reason, "not today")).await;
    }
}
