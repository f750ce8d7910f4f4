//! Order ids: they carry their slot and sort by time within it.

use std::fmt;
use std::str::FromStr;

use rkyv::{Archive, Deserialize, Serialize};

use crate::slot::Slot;

/// Names an order (and the payment born with it) for good.
///
/// 128 bits: slot (8) | shard time in us (56) | sequence within the shard (64). The slot routes
/// every later call without a directory; the time gives the history bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct OrderId(pub u128);

/// History rows are grouped by time: one bucket is 2^26 us, about 67 s.
pub const BUCKET_SHIFT: u32 = 26;

impl OrderId {
    /// Builds an id. Times beyond 56 bits (the year 4253) are cut.
    pub fn new(slot: Slot, time_us: u64, sequence: u64) -> Self {
        let head = u64::from(slot.0) << 56 | (time_us & ((1 << 56) - 1));
        Self(u128::from(head) << 64 | u128::from(sequence))
    }

    /// The slot the order lives on.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> 120) as u8)
    }

    /// Shard time of birth in us since the epoch.
    pub fn time_us(self) -> u64 {
        (self.0 >> 64) as u64 & ((1 << 56) - 1)
    }

    /// The position of its first record in its shard's log.
    pub fn sequence(self) -> u64 {
        self.0 as u64
    }

    /// The time bucket of its history rows.
    pub fn bucket(self) -> u32 {
        bucket_of(self.time_us())
    }
}

/// The history bucket of a time in us.
pub fn bucket_of(time_us: u64) -> u32 {
    (time_us >> BUCKET_SHIFT) as u32
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Text that is not an order id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected an order id of 32 hex digits, found {0:?}")]
pub struct OrderIdError(pub String);

impl FromStr for OrderId {
    type Err = OrderIdError;

    fn from_str(text: &str) -> Result<Self, OrderIdError> {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        parsed.map(Self).ok_or_else(|| OrderIdError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_slot_and_time_and_survives_text() {
        let id = OrderId::new(Slot(200), 1_700_000_000_000_000, 42);
        assert_eq!(id.slot(), Slot(200));
        assert_eq!(id.time_us(), 1_700_000_000_000_000);
        assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
        assert!("+0".repeat(16).parse::<OrderId>().is_err());
        assert!(OrderId::new(Slot(200), 1_700_000_000_000_001, 0) > id, "sorts by time within a slot");
    }
}
