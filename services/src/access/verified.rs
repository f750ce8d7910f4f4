//! Tokens that were verified and are good for a while: a bounded cache.
//!
//! A token is found by its HMAC under a key of this process, so nothing of it can be guessed piece by
//! piece, no token lies in memory, and one that differs in a bit is another one. Only tokens that were
//! believed come in. A set is full at [`WAYS`]; then the one goes that would have gone first.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use super::Identity;

/// Sets of the cache, each under a lock of its own: fronts hardly ever meet.
const SETS: usize = 1_024;
/// Tokens of a set.
const WAYS: usize = 8;

/// The cache.
pub(super) struct Verified {
    key: hmac::Key,
    sets: Box<[Mutex<[Option<Entry>; WAYS]>]>,
}

/// A token's place in the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark([u8; 32]);

/// From when until when a token is good, in Unix seconds, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) from_s: u64,
    pub(super) to_s: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    mark: Mark,
    span: Span,
    identity: Identity,
}

impl Span {
    fn has(self, now_s: u64) -> bool {
        (self.from_s..=self.to_s).contains(&now_s)
    }
}

impl Verified {
    /// An empty cache; `None` if the system has no randomness.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, sets: (0..SETS).map(|_| Mutex::default()).collect() })
    }

    /// Where a token would be.
    pub(super) fn mark(&self, token: &str) -> Mark {
        let mut mark = [0; 32];
        mark.copy_from_slice(hmac::sign(&self.key, token.as_bytes()).as_ref());
        Mark(mark)
    }

    /// Who brings a token that was verified before and is still good, and for how long it is.
    pub(super) fn find(&self, mark: Mark, now_s: u64) -> Option<(Identity, Span)> {
        let set = self.set(mark).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = set.iter().flatten().find(|entry| entry.mark == mark)?;
        entry.span.has(now_s).then_some((entry.identity, entry.span))
    }

    /// Remembers a token that was verified.
    pub(super) fn put(&self, mark: Mark, span: Span, identity: Identity) {
        let mut set = self.set(mark).lock().unwrap_or_else(PoisonError::into_inner);
        let first_out = |entry: &Option<Entry>| {
            entry.map_or(0, |entry| if entry.mark == mark { 0 } else { entry.span.to_s.max(1) })
        };
        let same = set.iter().position(|entry| entry.is_some_and(|entry| entry.mark == mark));
        let place = same.or_else(|| (0..WAYS).min_by_key(|way| first_out(&set[*way])));
        if let Some(place) = place {
            set[place] = Some(Entry { mark, span, identity });
        }
    }

    fn set(&self, mark: Mark) -> &Mutex<[Option<Entry>; WAYS]> {
        let [first, second, ..] = mark.0;
        &self.sets[usize::from(u16::from_le_bytes([first, second])) % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Roles;

    fn identity(user: &str) -> Identity {
        Identity { user: user.parse().unwrap(), roles: Roles::default(), scopes: None, machine: false }
    }

    const SPAN: Span = Span { from_s: 10, to_s: 20 };

    #[test]
    fn a_token_is_found_while_it_is_good_and_no_longer() {
        let cache = Verified::new().unwrap();
        let mark = cache.mark("token");
        cache.put(mark, SPAN, identity("ada"));
        for (now_s, found) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(cache.find(mark, now_s).is_some(), found, "at {now_s}");
        }
    }

    #[test]
    fn what_differs_in_a_bit_is_another_token() {
        let cache = Verified::new().unwrap();
        let token = "header.claims.signature";
        cache.put(cache.mark(token), SPAN, identity("ada"));
        for bit in 0..token.len() * 8 {
            let mut bytes = token.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Bits that leave UTF-8 never get this far: headers are text.
            let Ok(altered) = String::from_utf8(bytes) else { continue };
            assert!(cache.find(cache.mark(&altered), 15).is_none(), "{altered:?}");
        }
        for altered in ["header.claims", "header.claims.signature.", ""] {
            assert!(cache.find(cache.mark(altered), 15).is_none(), "{altered:?}");
        }
        assert!(Verified::new().unwrap().mark(token) != cache.mark(token), "one key for all processes");
    }

    #[test]
    fn a_full_set_lets_go_of_what_ends_first() {
        let cache = Verified::new().unwrap();
        let one = cache.mark("token");
        // Marks of the same set, as many as it holds and one more.
        let marks: Vec<Mark> = (0..=WAYS as u8)
            .map(|way| {
                let mut mark = one;
                mark.0[31] = way;
                mark
            })
            .collect();
        for (way, mark) in marks.iter().enumerate() {
            let span = Span { from_s: 0, to_s: 100 - way as u64 };
            cache.put(*mark, span, identity("ada"));
            cache.put(*mark, span, identity("bob"));
        }
        let found: Vec<bool> = marks.iter().map(|mark| cache.find(*mark, 1).is_some()).collect();
        let mut expected = [true; WAYS + 1];
        expected[WAYS - 1] = false;
        assert_eq!(found, expected);
        assert_eq!(cache.find(marks[0], 1).unwrap().0.user.as_str(), "bob", "put again is put in place");
    }
}
