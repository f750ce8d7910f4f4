//! A protocol whose answers come in the order of its requests.

use std::collections::VecDeque;

use onrush_benches::Failure;

use super::Talk;

/// What stood at the beginning of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Took {
    /// How long it is.
    pub(crate) bytes: usize,
    /// True if it is an answer, false if the server said it by itself.
    pub(crate) answers: bool,
}

/// A protocol as requests and answers.
pub(crate) trait Fifo {
    /// Appends the next request.
    fn put(&mut self, out: &mut Vec<u8>) -> Result<(), Failure>;

    /// Reads the first message; `None` while it has not arrived whole. `out` is for what the server wants to hear
    /// in between.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<Took>, Failure>;
}

/// Its bytes on one connection.
pub(crate) struct Pipe<F> {
    protocol: F,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a message whose end has not come.
    rest: Vec<u8>,
    /// Slots of what was asked.
    open: VecDeque<usize>,
}

impl<F: Fifo> Pipe<F> {
    pub(crate) fn new(protocol: F) -> Self {
        Self { protocol, out: Vec::new(), written: 0, rest: Vec::new(), open: VecDeque::new() }
    }

    /// Reads whole messages; how many bytes they are.
    fn take(&mut self, bytes: &[u8], answered: &mut Vec<usize>) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some(took) = self.protocol.take(&bytes[at..], &mut self.out)? {
            at += took.bytes;
            if took.answers {
                // What only hears was asked nothing: no slot is its own.
                answered.push(self.open.pop_front().unwrap_or(usize::MAX));
            }
        }
        Ok(at)
    }
}

impl<F: Fifo> Talk for Pipe<F> {
    fn ask(&mut self, slot: usize) -> Result<(), Failure> {
        self.protocol.put(&mut self.out)?;
        self.open.push_back(slot);
        Ok(())
    }

    fn output(&mut self) -> &[u8] {
        &self.out[self.written..]
    }

    fn written(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    fn input(&mut self, bytes: &[u8], answered: &mut Vec<usize>) -> Result<(), Failure> {
        if self.rest.is_empty() {
            let taken = self.take(bytes, answered)?;
            self.rest.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let taken = self.take(&all, answered)?;
        all.drain(..taken);
        self.rest = all;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says `?`, and is answered by a digit and as many letters.
    struct Digits;

    impl Fifo for Digits {
        fn put(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
            out.push(b'?');
            Ok(())
        }

        fn take(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<Option<Took>, Failure> {
            let Some(digit) = bytes.first() else { return Ok(None) };
            let length = 1 + usize::from(digit - b'0');
            Ok((bytes.len() >= length).then_some(Took { bytes: length, answers: *digit > b'0' }))
        }
    }

    #[test]
    fn answers_find_their_slots_however_bytes_come() {
        let wire = b"2aa03bbb1c0";
        for cut in 0..=wire.len() {
            let mut pipe = Pipe::new(Digits);
            (0..3).for_each(|slot| pipe.ask(slot).unwrap());
            assert_eq!(pipe.output(), b"???");
            pipe.written(2);
            assert_eq!(pipe.output(), b"?");
            let mut answered = Vec::new();
            pipe.input(&wire[..cut], &mut answered).unwrap();
            pipe.input(&wire[cut..], &mut answered).unwrap();
            assert_eq!(answered, [0, 1, 2], "cut at {cut}");
        }
    }
}
