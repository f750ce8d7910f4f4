//! Messages in a stream: a length of four bytes, and so many bytes.

use super::PeerRefusal;

const LENGTH_BYTES: usize = 4;
/// Room that is kept for the next messages.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Bytes that a message takes in a stream.
pub(super) fn framed(length: usize) -> usize {
    LENGTH_BYTES + length
}

/// The length of a message, as it stands before it. No message is longer than its bound, which has four bytes.
pub(super) fn prefix(length: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Puts together the messages of a stream that comes in pieces.
#[derive(Debug)]
pub(super) struct Messages {
    most: usize,
    /// The begin of a message whose end has not come, its length before it.
    begun: Vec<u8>,
}

impl Messages {
    /// Of at most so many bytes each.
    pub(super) fn new(most: usize) -> Self {
        Self { most, begun: Vec::new() }
    }

    /// Takes a piece and hands over each message that is whole with it. A length that nobody reads ends it.
    pub(super) fn take(&mut self, mut piece: &[u8], mut hand: impl FnMut(&[u8])) -> Result<(), PeerRefusal> {
        while !self.begun.is_empty() {
            let whole = match self.length(&self.begun)? {
                None => LENGTH_BYTES,
                Some(length) => framed(length),
            };
            let missing = (whole - self.begun.len()).min(piece.len());
            // As much as the message has, and no more than twice what has come.
            self.begun.extend_from_slice(&piece[..missing]);
            piece = &piece[missing..];
            match self.length(&self.begun)? {
                Some(length) if self.begun.len() == framed(length) => {
                    hand(&self.begun[LENGTH_BYTES..]);
                    self.begun.clear();
                    self.begun.shrink_to(KEPT_BYTES_MAX);
                }
                _ if piece.is_empty() => return Ok(()),
                _ => {}
            }
        }
        while let Some(length) = self.length(piece)? {
            let Some((message, rest)) = piece[LENGTH_BYTES..].split_at_checked(length) else { break };
            hand(message);
            piece = rest;
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }

    /// The length that stands there, once it is whole.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, PeerRefusal> {
        let Some(&length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(length);
        match usize::try_from(length) {
            Ok(length) if length <= self.most => Ok(Some(length)),
            _ => Err(PeerRefusal::MessageBytes { most: self.most as u64, found: length.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(messages: &[Vec<u8>]) -> Vec<u8> {
        messages.iter().flat_map(|message| [&prefix(message.len())[..], message].concat()).collect()
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in prop::collection::vec(1..50_usize, 1..20),
        ) {
            let bytes = stream(&messages);
            let (mut reader, mut found, mut rest) = (Messages::new(40), Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().cycle() {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                reader.take(piece, |message| found.push(message.to_vec())).unwrap();
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(reader.begun.is_empty());
        }
    }

    #[test]
    fn a_length_that_lies_ends_it_before_anything_is_kept_for_it() {
        for cut in 1..4 {
            let (mut reader, mut found) = (Messages::new(9), 0);
            let bytes = [&stream(&[b"message".to_vec()])[..], &prefix(10), b"and"].concat();
            let at = bytes.len() - 3 - cut;
            let hand = |count: &mut usize| *count += 1;
            reader.take(&bytes[..at], |_| hand(&mut found)).unwrap();
            let refusal = reader.take(&bytes[at..], |_| hand(&mut found)).unwrap_err();
            assert_eq!(refusal, PeerRefusal::MessageBytes { most: 9, found: 10 });
            assert_eq!(found, 1, "what came before it was whole");
            assert!(reader.begun.capacity() < 100);
        }
    }
}
