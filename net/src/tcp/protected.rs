//! TLS between a session and its socket: rustls' own connection, fed and emptied by hand. What it wants to say
//! beside what the session says (tickets, new keys) goes out with the next write.

use std::cell::RefCell;
use std::io::{self, BufRead as _, Write as _};
use std::rc::Rc;

use monoio::io::{OwnedReadHalf, OwnedWriteHalf, Splitable as _};
use monoio::net::TcpStream;
use rustls::ServerConnection;

use super::halves::Cancel;
use crate::session::{Sink, Source};
use crate::tls::Identity;

/// Bytes of one read from the socket: a few records.
const READ_BYTES: usize = 32 << 10;
/// Most bytes that are encrypted at once.
const WRITE_BYTES: usize = 64 << 10;

type Tls = Rc<RefCell<ServerConnection>>;

/// What comes from a client, decrypted.
pub(super) struct ProtectedSource {
    tls: Tls,
    half: OwnedReadHalf<TcpStream>,
    /// Records as they came, and how far they were looked at.
    raw: Vec<u8>,
    at: usize,
}

/// What goes to a client, to be encrypted.
pub(super) struct ProtectedSink {
    tls: Tls,
    half: OwnedWriteHalf<TcpStream>,
    raw: Vec<u8>,
}

/// The handshake.
pub(super) async fn accept(
    stream: TcpStream,
    identity: &Identity,
    stop: &Cancel,
) -> io::Result<(ProtectedSource, ProtectedSink)> {
    let tls = ServerConnection::new(identity.config()).map_err(io::Error::other)?;
    let tls = Rc::new(RefCell::new(tls));
    let (source, sink) = stream.into_split();
    let mut source = ProtectedSource { tls: Rc::clone(&tls), half: source, raw: Vec::new(), at: 0 };
    let mut sink = ProtectedSink { tls, half: sink, raw: Vec::new() };
    while sink.is_handshaking() {
        let received = source.receive(stop).await;
        // What is wrong with the client's side is said before the connection ends.
        sink.send().await?;
        received?;
    }
    Ok((source, sink))
}

impl ProtectedSource {
    /// Takes in more of what the socket brings.
    async fn receive(&mut self, stop: &Cancel) -> io::Result<()> {
        if self.at == self.raw.len() {
            let mut raw = std::mem::take(&mut self.raw);
            // A read that is given up keeps its buffer: what is left here is nothing, and all of it was looked at.
            self.at = 0;
            raw.clear();
            raw.reserve(READ_BYTES);
            let (read, raw) = self.half.read(raw, stop).await;
            (self.raw, self.at) = (raw, 0);
            if read? == 0 {
                // Without a goodbye of TLS anybody on the way may have cut it.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut tls = self.tls.borrow_mut();
        let mut rest = &self.raw[self.at..];
        self.at += tls.read_tls(&mut rest)?;
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(())
    }

    /// What is decrypted already; `None` if nothing is.
    fn decrypted(&mut self, buffer: &mut Vec<u8>) -> Option<usize> {
        let mut tls = self.tls.borrow_mut();
        let mut reader = tls.reader();
        let room = buffer.capacity() - buffer.len();
        // Nothing yet is an error by name of WouldBlock.
        let chunk = reader.fill_buf().ok()?;
        let taken = chunk.len().min(room);
        buffer.extend_from_slice(&chunk[..taken]);
        reader.consume(taken);
        Some(taken)
    }
}

impl Source<Cancel> for ProtectedSource {
    async fn read(&mut self, mut buffer: Vec<u8>, stop: &Cancel) -> (io::Result<usize>, Vec<u8>) {
        let mut taken = 0;
        loop {
            match self.decrypted(&mut buffer) {
                // It said that nothing more comes.
                Some(0) => return (Ok(taken), buffer),
                Some(more) => taken += more,
                None if taken > 0 => return (Ok(taken), buffer),
                None => {
                    if let Err(error) = self.receive(stop).await {
                        return (Err(error), buffer);
                    }
                }
            }
        }
    }
}

impl ProtectedSink {
    fn is_handshaking(&self) -> bool {
        self.tls.borrow().is_handshaking()
    }

    /// Writes all that TLS wants to say.
    async fn send(&mut self) -> io::Result<()> {
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        {
            let mut tls = self.tls.borrow_mut();
            while tls.wants_write() {
                tls.write_tls(&mut raw)?;
            }
        }
        let mut written = 0;
        while written < raw.len() {
            let (more, given) = self.half.write(raw, written).await;
            raw = given;
            match more? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                more => written += more,
            }
        }
        self.raw = raw;
        Ok(())
    }
}

impl Sink for ProtectedSink {
    async fn write(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        let until = bytes.len().min(from + WRITE_BYTES);
        let taken = self.tls.borrow_mut().writer().write(&bytes[from..until]);
        let sent = match taken {
            Ok(taken) => self.send().await.map(|()| taken),
            Err(error) => Err(error),
        };
        (sent, bytes)
    }

    async fn finish(&mut self) {
        self.tls.borrow_mut().send_close_notify();
        // Errors mean that the other side is gone.
        let _ = self.send().await;
        Sink::finish(&mut self.half).await;
    }
}
