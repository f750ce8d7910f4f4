//! NATS JetStream: messages published into a stream of files, acknowledged, and read back by a subscriber.

mod server;

use std::net::TcpStream;

use onrush_benches::Failure;

use crate::client::{Fifo, Line, Pipe, Took, Use, drive};
use crate::process::at;
use crate::round::Round;
use crate::stage::Stage;
use server::Server;
pub(crate) use server::{how, syncs_always, version};

/// Bytes of a message.
pub(crate) const MESSAGE_BYTES: usize = 128;
/// Publishers: more gain nothing.
const PUBLISHERS: usize = 2;
/// Messages that each has open: as many as the project's own clients allow to be pending at most.
const IN_FLIGHT: usize = 4_000;
/// What messages are published to.
const SUBJECT: &str = "orders";
/// Where acknowledgements and messages arrive.
const ACKS: &str = "acks";
const READ: &str = "read";

/// When an acknowledged message is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sync {
    /// Some time later, as it comes.
    Later,
    /// Before the acknowledgement.
    Always,
}

/// Measures a case: what counts is what the subscriber has read.
pub(crate) fn measure(sync: Sync, stage: &Stage<'_>) -> Result<Round, Failure> {
    let server = Server::start(stage, sync)?;
    let mut lines = Vec::new();
    for number in 0..PUBLISHERS {
        let stream = server.connect(&format!("{ACKS}.{number}"))?;
        let publisher = Nats { acks: Some(format!("{ACKS}.{number}")), payload: [0xA5; MESSAGE_BYTES] };
        let usage = Use { in_flight: IN_FLIGHT, units: 0 };
        lines.push(Line::new(stream, Pipe::new(publisher), usage)?);
    }
    let subscriber = Nats { acks: None, payload: [0; MESSAGE_BYTES] };
    let stream = server.subscribe(READ)?;
    lines.push(Line::new(stream, Pipe::new(subscriber), Use { in_flight: 0, units: 1 })?);
    drive(&mut lines, stage.span, &|| server.process.cpu_ns())
}

/// One connection: a publisher, or a subscriber that only hears.
struct Nats {
    /// Where a publisher hears of its messages.
    acks: Option<String>,
    payload: [u8; MESSAGE_BYTES],
}

impl Fifo for Nats {
    fn put(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let acks = self.acks.as_deref().unwrap_or_default();
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(SUBJECT.as_bytes());
        out.push(b' ');
        out.extend_from_slice(acks.as_bytes());
        out.extend_from_slice(b" 128\r\n");
        out.extend_from_slice(&self.payload);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<Took>, Failure> {
        let Some((message, length)) = message(bytes)? else { return Ok(None) };
        let answers = match message {
            Message::Payload(ack) if self.acks.is_some() => {
                if !ack.starts_with(b"{\"stream\":") {
                    return Err(Failure::unexpected("an acknowledgement", String::from_utf8_lossy(ack)));
                }
                true
            }
            Message::Payload(payload) => {
                if payload.len() != MESSAGE_BYTES {
                    return Err(Failure::unexpected(format!("{MESSAGE_BYTES} bytes"), payload.len()));
                }
                true
            }
            Message::Ping => {
                out.extend_from_slice(b"PONG\r\n");
                false
            }
            Message::Other => false,
        };
        Ok(Some(Took { bytes: length, answers }))
    }
}

/// What a server says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Message<'a> {
    /// A message of a subscription.
    Payload(&'a [u8]),
    Ping,
    /// What needs no answer.
    Other,
}

/// Reads the first message and its length; `None` while it has not arrived whole.
fn message(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, Failure> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, head) = (&bytes[..end], end + 2);
    if line.starts_with(b"MSG ") {
        let size = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        let size: Option<usize> = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| Failure::unexpected("a length", String::from_utf8_lossy(line)))?;
        let Some(payload) = bytes.get(head..head + size + 2) else { return Ok(None) };
        return Ok(Some((Message::Payload(&payload[..size]), head + size + 2)));
    }
    if line.starts_with(b"-ERR") {
        return Err(Failure::unexpected("a message of NATS", String::from_utf8_lossy(line)));
    }
    let said = if line == b"PING" { Message::Ping } else { Message::Other };
    Ok(Some((said, head)))
}

/// A connection of which nothing is known yet.
fn stream(port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(at(port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_once_they_are_whole() {
        let wire = b"MSG acks.0 1 5\r\nab\r\nc\r\n";
        for cut in 0..wire.len() {
            assert_eq!(message(&wire[..cut]).unwrap(), None, "{cut} bytes");
        }
        assert_eq!(message(wire).unwrap(), Some((Message::Payload(b"ab\r\nc"), wire.len())));
        assert_eq!(message(b"PING\r\nPING\r\n").unwrap(), Some((Message::Ping, 6)));
        assert_eq!(message(b"+OK\r\n").unwrap(), Some((Message::Other, 5)));
        assert!(message(b"-ERR 'no'\r\n").is_err() && message(b"MSG a 1 x\r\n").is_err());
    }

    #[test]
    fn a_publisher_takes_acknowledgements_only_and_answers_pings() {
        let mut publisher = Nats { acks: Some("acks.0".into()), payload: [7; MESSAGE_BYTES] };
        let mut out = Vec::new();
        publisher.put(&mut out).unwrap();
        assert!(out.starts_with(b"PUB orders acks.0 128\r\n\x07") && out.ends_with(b"\x07\r\n"));
        out.clear();
        let took = publisher.take(b"PING\r\n", &mut out).unwrap();
        assert_eq!((took, out.as_slice()), (Some(Took { bytes: 6, answers: false }), &b"PONG\r\n"[..]));
        let good = b"MSG acks.0 1 12\r\n{\"stream\":1}\r\n";
        assert!(publisher.take(good, &mut out).unwrap().is_some_and(|took| took.answers));
        assert!(publisher.take(b"MSG acks.0 1 11\r\n{\"error\":1}\r\n", &mut out).is_err());
    }
}
