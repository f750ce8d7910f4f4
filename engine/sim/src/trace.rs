//! A running hash over everything that happens: equal hashes, equal runs.

use std::fmt::{self, Write};

use onrush_proto::Request;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hash of events, frames and replies so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Trace(pub(crate) u64);

impl Trace {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// A request: under a key it has a hash of what it asks for.
    pub(crate) fn request(&mut self, request: &Request) {
        let key = request.key.0;
        self.number(key as u64);
        self.number((key >> 64) as u64);
        self.number(request.deadline_us);
        match request.key.is_none() {
            true => self.text(&request.command),
            false => self.number(request.body),
        }
    }

    /// Whatever else there is, as it is written.
    pub(crate) fn text(&mut self, what: &impl fmt::Debug) {
        let mut line = Line { trace: self, bytes: [0; 256], len: 0 };
        // A line never refuses what is written to it.
        let _ = write!(line, "{what:?}");
        line.end();
    }
}

/// What is written, hashed by pieces of 256 bytes.
struct Line<'t> {
    trace: &'t mut Trace,
    bytes: [u8; 256],
    len: usize,
}

impl Line<'_> {
    fn end(&mut self) {
        let len = std::mem::take(&mut self.len);
        self.trace.bytes(&self.bytes[..len]);
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.len == self.bytes.len() {
                self.end();
            }
            let count = rest.len().min(self.bytes.len() - self.len);
            let (piece, behind) = rest.split_at(count);
            self.bytes[self.len..self.len + count].copy_from_slice(piece);
            self.len += count;
            rest = behind;
        }
        Ok(())
    }
}
