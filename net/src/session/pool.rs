//! Buffers that were large once: kept for whoever needs one next, not by each connection.

use std::cell::RefCell;

use onrush_proto::frame::FRAME_BYTES_MAX;

/// What a connection keeps of its own, for each direction.
pub(super) const KEPT_BYTES_MAX: usize = 64 << 10;
/// Where a buffer begins.
const FIRST_BYTES: usize = 16 << 10;
/// Large buffers that are kept.
const LARGE_MAX: usize = 32;
/// Small ones.
const SMALL_MAX: usize = 256;

/// The spare buffers of a front.
#[derive(Default)]
pub(crate) struct Pool {
    large: RefCell<Vec<Vec<u8>>>,
    small: RefCell<Vec<Vec<u8>>>,
}

impl Pool {
    /// An empty buffer.
    pub(super) fn small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(FIRST_BYTES))
    }

    /// An empty buffer where about this much is to come.
    pub(super) fn sized(&self, bytes: usize) -> Vec<u8> {
        let large = if bytes > KEPT_BYTES_MAX { self.large.borrow_mut().pop() } else { None };
        large.unwrap_or_else(|| self.small())
    }

    /// Makes a full buffer larger: twice what has arrived, so that nobody is believed how much will come.
    pub(super) fn grow(&self, buffer: &mut Vec<u8>) {
        let wanted = buffer.capacity().max(FIRST_BYTES) * 2;
        // Taken in front of the block, where the shelf would still be borrowed when the smaller one goes back.
        let large = if wanted > KEPT_BYTES_MAX { self.large.borrow_mut().pop() } else { None };
        if let Some(mut large) = large.filter(|large| large.capacity() >= wanted) {
            large.extend_from_slice(buffer);
            self.give(std::mem::replace(buffer, large));
            return;
        }
        buffer.reserve_exact(wanted - buffer.len());
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let (shelf, most) = match buffer.capacity() {
            0..FIRST_BYTES => return,
            // Answers that nobody read for long.
            large if large > FRAME_BYTES_MAX => return,
            FIRST_BYTES..=KEPT_BYTES_MAX => (&self.small, SMALL_MAX),
            _ => (&self.large, LARGE_MAX),
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < most {
            shelf.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_by_what_has_arrived_and_is_used_again() {
        let pool = Pool::default();
        let mut buffer = pool.small();
        while buffer.capacity() < 1 << 20 {
            buffer.resize(buffer.capacity(), 7);
            let arrived = buffer.len();
            pool.grow(&mut buffer);
            assert!(buffer.capacity() <= 2 * arrived, "{} of {arrived}", buffer.capacity());
            assert_eq!(buffer, vec![7; arrived]);
        }
        let place = buffer.as_ptr();
        pool.give(buffer);
        let mut next = pool.small();
        while next.capacity() < 1 << 20 {
            next.resize(next.capacity(), 8);
            pool.grow(&mut next);
        }
        assert_eq!(next.as_ptr(), place, "it was kept");
    }

    /// A frame of a megabyte took a large buffer in exchange for one that was large itself, while the shelf of both was
    /// borrowed: the front's thread panicked, and its clients waited for ever.
    #[test]
    fn a_large_buffer_is_changed_for_a_larger_one() {
        let pool = Pool::default();
        pool.give(Vec::with_capacity(1 << 20));
        let mut buffer = vec![7; 2 * KEPT_BYTES_MAX];
        pool.grow(&mut buffer);
        assert_eq!((buffer.capacity(), buffer.len()), (1 << 20, 2 * KEPT_BYTES_MAX));
        assert_eq!(
            pool.sized(1 << 20).capacity(),
            2 * KEPT_BYTES_MAX,
            "the smaller one is there for the next"
        );
    }
}
