//! Order ids: they carry their slot and sort by time within it.

use std::fmt;
use std::str::FromStr;

use rkyv::{Archive, Deserialize, Serialize};

use crate::slot::Slot;

/// Names an order (and the payment born with it) for good.
///
/// 128 bits: slot (8) | shard time in ms (44) | history bucket (28) | position of its first record
/// (48). The slot routes every later call without a directory; the bucket says where in the store
/// its rows stand. Ids of one slot sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct OrderId(pub u128);

const SEQUENCE_BITS: u32 = 48;
const BUCKET_BITS: u32 = 28;
const TIME_BITS: u32 = 44;

/// The lowest `bits` bits of `value`.
fn low(value: u64, bits: u32) -> u128 {
    u128::from(value) & ((1 << bits) - 1)
}

impl OrderId {
    /// Builds an id. Values beyond their bits (the year 2527, 2.8e14 records) are cut.
    pub fn new(slot: Slot, time_us: u64, bucket: u32, sequence: u64) -> Self {
        let time = low(time_us / 1_000, TIME_BITS) << (SEQUENCE_BITS + BUCKET_BITS);
        let bucket = low(u64::from(bucket), BUCKET_BITS) << SEQUENCE_BITS;
        Self(u128::from(slot.0) << 120 | time | bucket | low(sequence, SEQUENCE_BITS))
    }

    /// The slot the order lives on.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> 120) as u8)
    }

    /// Shard time of birth in us since the epoch, to the millisecond.
    pub fn time_us(self) -> u64 {
        low((self.0 >> (SEQUENCE_BITS + BUCKET_BITS)) as u64, TIME_BITS) as u64 * 1_000
    }

    /// The history bucket of its rows.
    pub fn bucket(self) -> u32 {
        low((self.0 >> SEQUENCE_BITS) as u64, BUCKET_BITS) as u32
    }

    /// The position of its first record in its shard's log.
    pub fn sequence(self) -> u64 {
        low(self.0 as u64, SEQUENCE_BITS) as u64
    }
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
        let id = OrderId::new(Slot(200), 1_700_000_000_000_999, 7, 42);
        assert_eq!(id.slot(), Slot(200));
        assert_eq!(id.time_us(), 1_700_000_000_000_000);
        assert_eq!((id.bucket(), id.sequence()), (7, 42));
        assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
        assert!("+0".repeat(16).parse::<OrderId>().is_err());
        assert!(OrderId::new(Slot(200), 1_700_000_000_001_000, 0, 0) > id, "sorts by time within a slot");
    }
}
