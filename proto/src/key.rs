//! Idempotency keys: one effect per (caller, key) over the whole engine.

use std::hash::Hasher;

use rkyv::{Archive, Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

/// The hash of (caller, key text). 0 stands for "no key": reads, and the engine's own commands.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Archive, Serialize, Deserialize,
)]
pub struct IdempotencyKey(pub u128);

impl IdempotencyKey {
    /// No key: the command is decided each time it comes.
    pub const NONE: Self = Self(0);

    /// True for [`NONE`](Self::NONE).
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A key as a caller gave it.
#[derive(Clone, Copy, Debug)]
pub struct CallerKey<'a> {
    /// Who calls: keys of different callers never meet.
    pub caller: &'a str,
    /// The key text.
    pub key: &'a str,
}

const LENGTH_BYTES: usize = size_of::<u64>();
/// Room for the length and two ids of 39 bytes.
const ONE_MESSAGE_BYTES: usize = 96;

/// Hashes keys with a secret that is drawn when the data directory is formatted, so that no
/// caller can craft a key that collides with another caller's (SipHash-1-3, 128 bits).
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    secret: [u64; 2],
}

impl KeyHasher {
    /// A hasher with the directory's secret.
    pub fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// The secret, for a process that hashes keys for the same directory.
    pub fn secret(&self) -> [u64; 2] {
        self.secret
    }

    /// Hashes a caller's key. Lengths go in front, so no two pairs run together.
    pub fn key(&self, key: CallerKey<'_>) -> IdempotencyKey {
        let hash = self.pair(key.caller.as_bytes(), key.key.as_bytes());
        IdempotencyKey(hash.max(1))
    }

    /// Hashes an ordered pair of byte strings.
    pub fn pair(&self, first: &[u8], second: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
        let (split, end) = (LENGTH_BYTES + first.len(), LENGTH_BYTES + first.len() + second.len());
        let mut message = [0; ONE_MESSAGE_BYTES];
        if end > message.len() {
            hasher.write_u64(first.len() as u64);
            hasher.write(first);
            hasher.write(second);
            return hasher.finish128().as_u128();
        }
        // The same bytes in one piece: half the time.
        message[..LENGTH_BYTES].copy_from_slice(&(first.len() as u64).to_le_bytes());
        message[LENGTH_BYTES..split].copy_from_slice(first);
        message[split..end].copy_from_slice(second);
        hasher.hash(&message[..end]).as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_two_callers_never_meet() {
        let hasher = KeyHasher::new([1, 2]);
        let one = hasher.key(CallerKey { caller: "ab", key: "c" });
        let two = hasher.key(CallerKey { caller: "a", key: "bc" });
        assert_ne!(one, two);
        assert_ne!(one, KeyHasher::new([1, 3]).key(CallerKey { caller: "ab", key: "c" }));
    }

    #[test]
    fn one_piece_or_three_make_one_hash() {
        let hasher = KeyHasher::new([1, 2]);
        for first in 0..60 {
            for second in [0, 1, 7, 8, 9, 28, 39, 100] {
                let (first, second) = (vec![b'a'; first], vec![b'b'; second]);
                let mut pieces = SipHasher13::new_with_keys(1, 2);
                pieces.write_u64(first.len() as u64);
                pieces.write(&first);
                pieces.write(&second);
                assert_eq!(hasher.pair(&first, &second), pieces.finish128().as_u128());
            }
        }
    }
}
