//! PostgreSQL's protocol (version 3), as much of it as is spoken here: prepared statements with values in binary.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use onrush_benches::Failure;

/// Version 3.0 of the protocol.
const VERSION: u32 = 3 << 16;
/// Values in binary.
const BINARY: u16 = 1;

/// A blocking connection, for what is not measured.
pub(super) struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    /// Greets the server as a user of the same database; it must believe him.
    pub(super) fn greet(stream: TcpStream, user: &str) -> Result<Self, Failure> {
        let mut client = Self { stream, heard: Vec::new() };
        let mut body = VERSION.to_be_bytes().to_vec();
        for word in ["user", user, "database", user] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        body.push(0);
        let length = (body.len() as u32 + 4).to_be_bytes();
        client.stream.write_all(&[&length[..], &body].concat())?;
        client.settle()?;
        Ok(client)
    }

    /// Has statements done.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let mut out = Vec::new();
        message(&mut out, b'Q', |out| text(out, sql));
        self.stream.write_all(&out)?;
        self.settle()
    }

    /// Prepares a statement under a name.
    pub(super) fn prepare(&mut self, name: &str, sql: &str) -> Result<(), Failure> {
        let mut out = Vec::new();
        message(&mut out, b'P', |out| {
            text(out, name);
            text(out, sql);
            out.extend_from_slice(&0u16.to_be_bytes());
        });
        message(&mut out, b'S', |_| {});
        self.stream.write_all(&out)?;
        self.settle()
    }

    /// Hears until the server is ready for the next.
    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            if let Some((_, length)) = executed(&self.heard)? {
                self.heard.drain(..length);
                return Ok(());
            }
            let mut buffer = [0; 8_192];
            match self.stream.read(&mut buffer)? {
                0 => return Err(Failure::unexpected("an answer of PostgreSQL", "a closed connection")),
                bytes => self.heard.extend_from_slice(&buffer[..bytes]),
            }
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// Appends a message; its length is found once its body is written.
fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Executes a prepared statement as a transaction of its own: Bind, Execute, Sync.
pub(super) fn execute(out: &mut Vec<u8>, statement: &str, values: &[&[u8]]) {
    message(out, b'B', |out| {
        text(out, "");
        text(out, statement);
        for number in [1, BINARY, values.len() as u16] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        values.iter().for_each(|value| element(out, value));
        for number in [1, BINARY] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    });
    message(out, b'E', |out| {
        text(out, "");
        out.extend_from_slice(&0u32.to_be_bytes());
    });
    message(out, b'S', |_| {});
}

/// Begins an array of so many elements, none of which is null.
pub(super) fn array(out: &mut Vec<u8>, oid: u32, elements: usize) {
    for number in [1, 0, oid, elements as u32, 1] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// A value with its length.
pub(super) fn element(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

/// What was answered up to the point where the server is ready again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Executed {
    /// The last row's first value, if that is a whole number of four bytes.
    pub(super) number: Option<i32>,
}

/// Reads messages up to ReadyForQuery, and their length; `None` while that has not arrived.
pub(super) fn executed(bytes: &[u8]) -> Result<Option<(Executed, usize)>, Failure> {
    let (mut at, mut number) = (0, None);
    loop {
        let Some(head) = bytes[at..].first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some(body) = bytes.get(at + 5..at + 1 + length) else { return Ok(None) };
        at += 1 + length;
        match head[0] {
            b'Z' => return Ok(Some((Executed { number }, at))),
            b'E' => return Err(Failure::unexpected("an answer of PostgreSQL", complaint(body))),
            b'R' if body != [0; 4] => {
                return Err(Failure::unexpected("a PostgreSQL that trusts us", body));
            }
            b'D' => number = first_number(body),
            _ => {}
        }
    }
}

/// Two bytes with the number of columns, four with the length of the first.
fn first_number(row: &[u8]) -> Option<i32> {
    let length = row.get(2..6)?;
    let value: [u8; 4] = row.get(6..10)?.try_into().ok()?;
    (length == 4u32.to_be_bytes()).then_some(i32::from_be_bytes(value))
}

/// The message of an error, out of its fields.
fn complaint(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0);
    let text = fields.filter_map(|field| field.strip_prefix(b"M")).next().unwrap_or(body);
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: i32) -> Vec<u8> {
        let mut wire = Vec::new();
        message(&mut wire, b'2', |_| {});
        message(&mut wire, b'D', |out| {
            out.extend_from_slice(&1u16.to_be_bytes());
            element(out, &number.to_be_bytes());
        });
        message(&mut wire, b'C', |out| text(out, "SELECT 1"));
        message(&mut wire, b'Z', |out| out.push(b'I'));
        wire
    }

    #[test]
    fn answers_are_read_once_the_server_is_ready_again() {
        let wire = answer(-7);
        for cut in 0..wire.len() {
            assert_eq!(executed(&wire[..cut]).unwrap(), None, "{cut} bytes");
        }
        let more = [wire.clone(), answer(1)].concat();
        assert_eq!(executed(&more).unwrap(), Some((Executed { number: Some(-7) }, wire.len())));
    }

    #[test]
    fn complaints_are_told() {
        let mut wire = Vec::new();
        message(&mut wire, b'E', |out| {
            text(out, "SERROR");
            text(out, "Msold out");
            out.push(0);
        });
        assert!(executed(&wire).unwrap_err().to_string().contains("\"sold out\""));
        wire.clear();
        message(&mut wire, b'R', |out| out.extend_from_slice(&10u32.to_be_bytes()));
        assert!(executed(&wire).is_err(), "a password is asked for");
    }

    #[test]
    fn a_call_has_its_values_in_binary() {
        let mut out = Vec::new();
        execute(&mut out, "s", &[&[1, 2]]);
        let bind = [b'B', 0, 0, 0, 23, 0, b's', 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 2, 1, 2, 0, 1, 0, 1];
        assert!(out.starts_with(&bind), "{out:?}");
        assert!(out.ends_with(&[b'S', 0, 0, 0, 4]));
    }
}
