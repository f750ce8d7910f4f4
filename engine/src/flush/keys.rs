//! Where rows stand in the store.
//!
//! *History*: bucket (u32, big-endian), tag, key: orders in the order of their records, and pages of what is
//! found by hash: keys, customers' counts, customers' orders. A bucket is a stretch of a shard's life, ended by
//! the shard after a number of orders or a time, so a run of whole buckets lies above everything
//! older and is moved down the LSM unread. *Current*: tag, key; late versions of orders carry the
//! lowest tag and their bucket, for the same reason.

use onrush_proto::{OrderId, RowTag};
use onrush_storage::store::Keyspace;
use smallvec::SmallVec;

/// The tag of the index from idempotency key to what it names, in the history.
pub(super) const KEY_TAG: u8 = RowTag::Key as u8;
/// The tag of customers' counts, in the history.
pub(super) const COUNT_TAG: u8 = RowTag::Limit as u8;
/// The tag of the index from customer to order in the history.
pub(super) const CUSTOMER_TAG: u8 = 0x20;
/// The tag of orders that changed after their birth's run: lower than any row's.
pub(super) const LATE_ORDER_TAG: u8 = 0;
/// The tag of checkpoint rows in the current keyspace.
pub(super) const CHECKPOINT_TAG: u8 = 0x40;

/// Where a customer's orders stand in the index: who makes two names meet gains a longer look-up.
pub(super) fn customer_hash(customer: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(customer)
}

const PLACE_BYTES: usize = 13;

/// An order's id without its bucket, its record's position (48 bits) in front: orders come in the order of
/// their keys, and a key of the history has 18 bytes, which the LSM keeps in place.
fn place_in_bucket(id: OrderId) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    place[..6].copy_from_slice(&id.sequence().to_be_bytes()[2..]);
    place[6] = id.slot().0;
    place[7..].copy_from_slice(&(id.time_us() / 1_000).to_be_bytes()[2..]);
    place
}

/// A key of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreKey {
    /// Which half.
    pub keyspace: Keyspace,
    /// The key's bytes.
    pub bytes: SmallVec<[u8; 64]>,
}

impl StoreKey {
    fn history(bucket: u32, tag: u8, key: &[u8]) -> Self {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&bucket.to_be_bytes());
        bytes.push(tag);
        bytes.extend_from_slice(key);
        Self { keyspace: Keyspace::History, bytes }
    }

    pub(super) fn current(tag: u8, key: &[u8]) -> Self {
        let mut bytes = SmallVec::new();
        bytes.push(tag);
        bytes.extend_from_slice(key);
        Self { keyspace: Keyspace::Current, bytes }
    }

    /// An order, as of the run in which it was born.
    pub fn order(id: OrderId) -> Self {
        Self::history(id.bucket(), RowTag::Order as u8, &place_in_bucket(id))
    }

    /// An order that changed after the run in which it was born.
    pub fn late_order(id: OrderId) -> Self {
        let mut key = [0; 4 + PLACE_BYTES];
        key[..4].copy_from_slice(&id.bucket().to_be_bytes());
        key[4..].copy_from_slice(&place_in_bucket(id));
        Self::current(LATE_ORDER_TAG, &key)
    }

    /// A page of an index ([`KEY_TAG`], [`COUNT_TAG`] or [`CUSTOMER_TAG`]) of one bucket, written at `lsn`.
    pub(super) fn page(bucket: u32, tag: u8, partition: u8, lsn: u64) -> Self {
        let mut key = Self::pages(bucket, tag, partition);
        key.bytes.extend_from_slice(&lsn.to_be_bytes());
        key
    }

    /// What all pages of one partition begin with.
    pub(super) fn pages(bucket: u32, tag: u8, partition: u8) -> Self {
        Self::history(bucket, tag, &[partition])
    }

    /// What all rows of a kind in one bucket of the history begin with.
    pub(super) fn history_prefix(bucket: u32, tag: u8) -> Self {
        Self::history(bucket, tag, &[])
    }

    /// A row of the current keyspace that is found by bytes.
    pub fn current_row(tag: RowTag, key: &[u8]) -> Self {
        Self::current(tag as u8, key)
    }

    /// Changes of a SKU's stock, under which they lie by version.
    pub(super) fn stock_changes(sku: &[u8]) -> Self {
        let mut key = SmallVec::<[u8; 64]>::from_slice(sku);
        key.push(0);
        Self::current(RowTag::StockChange as u8, &key)
    }

    /// A change of a SKU's stock.
    pub(super) fn stock_change(sku: &[u8], version: u64) -> Self {
        let mut key = Self::stock_changes(sku);
        key.bytes.extend_from_slice(&version.to_be_bytes());
        key
    }
}

/// The first key after all that begin with `prefix`; `None` if there is no such key.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<SmallVec<[u8; 64]>> {
    let mut end: SmallVec<[u8; 64]> = SmallVec::from_slice(prefix);
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use onrush_proto::Slot;

    use super::*;

    #[test]
    fn orders_stand_in_the_order_of_their_records_and_no_two_meet() {
        let id = |slot, time_us, bucket, sequence| OrderId::new(Slot(slot), time_us, bucket, sequence);
        let ascending = [
            id(9, 5_000_000, 1, 1),
            id(3, 5_000_000, 1, 2),
            id(4, 5_000_000, 1, 2),
            id(4, 5_001_000, 1, 2),
            id(255, u64::MAX, 1, (1 << 48) - 1),
            id(0, 0, 2, 0),
        ];
        for keys in [StoreKey::order, StoreKey::late_order].map(|key| ascending.map(key)) {
            assert!(keys.is_sorted_by(|a, b| a.bytes < b.bytes), "{keys:?}");
        }
        assert_eq!(StoreKey::order(ascending[0]).bytes.len(), 18);
    }
}
