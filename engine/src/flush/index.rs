//! What the store finds by hash: keys, customers' counts, customers' orders, in pages by bucket.

use std::ops::ControlFlow;

use onrush_proto::{CustomerId, IdempotencyKey, KeyState, LimitRow, OrderId, Row, RowTag};
use onrush_storage::store::Keyspace;

use super::keys::{COUNT_TAG, CUSTOMER_TAG, KEY_TAG, StoreKey, customer_hash};
use super::pages::{Page, partition};
use super::stored::{Stored, StoredError};
use crate::state::{Count, order_receipt};

/// In front of an order's id: what a key of an accepted order names. A row begins with its version.
pub(super) const NAMES_ORDER: u8 = 0;

/// What the index says of an idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyNames {
    /// An order that was accepted here: its row carries body and receipt.
    Order(OrderId),
    /// Anything else, in full.
    State(KeyState),
}

fn key_names(key: u128, entry: &[u8]) -> Result<KeyNames, StoredError> {
    if let [NAMES_ORDER, id @ ..] = entry {
        let id: [u8; 16] = id.try_into().map_err(|_| StoredError::Key { key, len: entry.len() })?;
        return Ok(KeyNames::Order(OrderId(u128::from_le_bytes(id))));
    }
    match Row::decode(RowTag::Key, entry)? {
        Row::Key(row) => Ok(KeyNames::State(row.state)),
        _ => Err(StoredError::Key { key, len: entry.len() }),
    }
}

/// The first answer from the newest bucket of the spans on.
fn newest<T>(
    spans: &[(u32, u32)],
    mut look: impl FnMut(u32) -> Result<Option<T>, StoredError>,
) -> Result<Option<T>, StoredError> {
    let buckets = spans.iter().flat_map(|(first, last)| (*first..=*last).rev());
    buckets.map(&mut look).find_map(Result::transpose).transpose()
}

/// A count's entry: units and limit (u32 each, little-endian).
fn count_of(hash: u128, entry: &[u8]) -> Result<Count, StoredError> {
    let (words, rest) = entry.as_chunks();
    match (words, rest) {
        ([units, limit], []) => {
            Ok(Count { units: u32::from_le_bytes(*units), limit: u32::from_le_bytes(*limit) })
        }
        _ => Err(StoredError::Count { hash, len: entry.len() }),
    }
}

impl Stored {
    /// An idempotency key, looked for in the given spans of buckets from the newest on.
    pub fn key(&self, hash: u128, spans: &[(u32, u32)]) -> Result<Option<(KeyState, u32)>, StoredError> {
        let names = newest(spans, |bucket| {
            let names = self.last_in(bucket, (KEY_TAG, hash), key_names)?;
            Ok(names.map(|names| (names, bucket)))
        })?;
        names.map(|(names, bucket)| Ok((self.key_state(hash, names)?, bucket))).transpose()
    }

    fn key_state(&self, key: u128, names: KeyNames) -> Result<KeyState, StoredError> {
        match names {
            KeyNames::State(state) => Ok(state),
            KeyNames::Order(id) => {
                let order = self.order(id)?.ok_or(StoredError::Order { key, order: id })?;
                Ok(KeyState::First { body: order.body, receipt: order_receipt(&order) })
            }
        }
    }

    /// A customer's count, looked for in the given spans of buckets: the newest one stands.
    pub fn count(&self, hash: u128, spans: &[(u32, u32)]) -> Result<Option<Count>, StoredError> {
        newest(spans, |bucket| self.last_in(bucket, (COUNT_TAG, hash), count_of))
    }

    /// What a bucket says last of a hash: a later page comes later, and knows better.
    fn last_in<T>(
        &self,
        bucket: u32,
        (tag, hash): (u8, u128),
        read: fn(u128, &[u8]) -> Result<T, StoredError>,
    ) -> Result<Option<T>, StoredError> {
        let mut last = None;
        self.each_page(bucket, (tag, Some(hash)), &mut |page| {
            if let Some(entry) = page.find(hash).next_back() {
                last = Some(read(hash, entry)?);
            }
            Ok(())
        })?;
        Ok(last)
    }

    /// Every idempotency key of a bucket, newest page last.
    pub fn each_key(
        &self,
        bucket: u32,
        mut each: impl FnMut(IdempotencyKey, KeyNames),
    ) -> Result<(), StoredError> {
        self.each_page(bucket, (KEY_TAG, None), &mut |page| {
            page.iter().try_for_each(|(hash, entry)| {
                each(IdempotencyKey(hash), key_names(hash, entry)?);
                Ok(())
            })
        })
    }

    /// The hash of every idempotency key of a bucket, without reading what they name.
    pub fn each_key_hash(&self, bucket: u32, each: impl FnMut(u128)) -> Result<(), StoredError> {
        self.each_hash(bucket, KEY_TAG, each)
    }

    /// Every customer's count that changed in a bucket; the last change of one comes last.
    pub fn each_count(&self, bucket: u32, mut each: impl FnMut(LimitRow)) -> Result<(), StoredError> {
        self.each_page(bucket, (COUNT_TAG, None), &mut |page| {
            page.iter().try_for_each(|(hash, entry)| {
                let Count { units, limit } = count_of(hash, entry)?;
                each(LimitRow { hash, units, limit, bucket });
                Ok(())
            })
        })
    }

    /// The hash of every customer's count that changed in a bucket.
    pub fn each_count_hash(&self, bucket: u32, each: impl FnMut(u128)) -> Result<(), StoredError> {
        self.each_hash(bucket, COUNT_TAG, each)
    }

    fn each_hash(&self, bucket: u32, tag: u8, mut each: impl FnMut(u128)) -> Result<(), StoredError> {
        self.each_page(bucket, (tag, None), &mut |page| {
            page.hashes().for_each(&mut each);
            Ok(())
        })
    }

    /// The pages of an index in one bucket, those of one hash's partition if it is given.
    fn each_page(
        &self,
        bucket: u32,
        (tag, hash): (u8, Option<u128>),
        each: &mut dyn FnMut(Page<'_>) -> Result<(), StoredError>,
    ) -> Result<(), StoredError> {
        let prefix = match hash {
            Some(hash) => StoreKey::pages(bucket, tag, partition(hash)),
            None => StoreKey::history_prefix(bucket, tag),
        };
        self.each_under(Keyspace::History, &prefix.bytes, &mut |_, bytes| {
            each(Page::parse(bytes)?)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Orders of a customer in one bucket, as the index tells: the rows say whose they really are.
    pub fn customer_orders(&self, bucket: u32, customer: &CustomerId) -> Result<Vec<OrderId>, StoredError> {
        let (hash, mut ids) = (customer_hash(customer.as_bytes()), Vec::new());
        self.each_page(bucket, (CUSTOMER_TAG, Some(hash)), &mut |page| {
            let found = page.find(hash).filter_map(|id| id.try_into().ok());
            ids.extend(found.map(|id| OrderId(u128::from_le_bytes(id))));
            Ok(())
        })?;
        Ok(ids)
    }
}
