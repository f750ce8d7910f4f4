//! Rows read back from the store.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use onrush_proto::{
    DocKey, DocumentRow, GroupRow, HoldRow, LedgerRow, NameRow, OffsetRow, OrderId, OrderRow, ProductRow,
    Row, RowError, RowTag, Sku, StockChangeRow, StockRow,
};
use onrush_storage::store::{Frozen, KeyOrder, KeyRange, Keyspace, StoreError, StoreReader};

use super::keys::{CHECKPOINT_TAG, LATE_ORDER_TAG, StoreKey, after_prefix};
use super::pages::PageError;
use crate::shard::{Found, Shard, Want};

const IDS_PER_ROW: usize = 1 << 15;

/// Why a row could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds bytes that are not the row they should be.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The store holds bytes that are not the index page they should be.
    #[error(transparent)]
    Page(#[from] PageError),
    /// An index leads nowhere.
    #[error("expected order {order} behind key {key:032x}, found none")]
    Order {
        /// The key.
        key: u128,
        /// The order that it names.
        order: OrderId,
    },
    /// A key's entry is neither a row nor an order's id.
    #[error("expected what key {key:032x} names, found {len} bytes that do not tell")]
    Key {
        /// The key.
        key: u128,
        /// Length of the entry.
        len: usize,
    },
    /// A customer's count is not two numbers.
    #[error("expected 8 bytes in count {hash:032x}, found {len}")]
    Count {
        /// Hash of (SKU, customer).
        hash: u128,
        /// Length of the entry.
        len: usize,
    },
}

/// What was open when a checkpoint was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// The last record it counts.
    pub lsn: u64,
    /// Orders with a running deadline.
    pub orders: Vec<OrderId>,
    /// Holds with a running deadline.
    pub holds: Vec<OrderId>,
}

/// The checkpoint's rows: one that names the position and the number of parts, then the parts.
pub(super) fn checkpoint_rows(
    lsn: u64,
    orders: &[OrderId],
    holds: &BTreeSet<OrderId>,
) -> Vec<(StoreKey, Vec<u8>)> {
    let mut head = Vec::with_capacity(24);
    for number in [lsn, orders.len() as u64, holds.len() as u64] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    let mut rows = vec![(StoreKey::current(CHECKPOINT_TAG, &[]), head)];
    let ids: Vec<OrderId> = orders.iter().chain(holds).copied().collect();
    for (part, ids) in ids.chunks(IDS_PER_ROW).enumerate() {
        let bytes = ids.iter().flat_map(|id| id.0.to_le_bytes()).collect();
        rows.push((StoreKey::current(CHECKPOINT_TAG, &(part as u32).to_be_bytes()), bytes));
    }
    rows
}

/// Reads a row; says whether to go on, or what is wrong with it.
type RowReader<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoredError> + 'a;

/// Reads rows of one shard's store.
#[derive(Clone)]
pub struct Stored {
    reader: Arc<dyn StoreReader>,
}

impl Stored {
    /// Reads through `reader`.
    pub fn new(reader: Arc<dyn StoreReader>) -> Self {
        Self { reader }
    }

    /// Everything as of now.
    ///
    /// # Errors
    /// What the store said.
    pub fn freeze(&self) -> Result<Frozen, StoredError> {
        Ok(self.reader.freeze()?)
    }

    /// Answers what a shard wants.
    pub fn fetch(&self, shard: &Shard, want: Want) -> Result<Found, StoredError> {
        Ok(match want {
            Want::Key(key) => Found::Key(key, self.key(key.0, &shard.key_spans(key))?),
            Want::Limit(hash) => Found::Limit(hash, self.count(hash, &shard.count_spans(hash))?),
            Want::Order(id) => Found::Order(id, self.order(id)?.map(Box::new)),
            Want::Hold(id) => Found::Hold(id, self.hold(id)?.map(Box::new)),
            Want::Document(key) => Found::Document(key, self.document(&key)?.map(Box::new)),
            Want::Name(key) => Found::Name(key, self.name(&key)?.map(Box::new)),
        })
    }

    /// An order, in its latest form.
    pub fn order(&self, id: OrderId) -> Result<Option<OrderRow>, StoredError> {
        let late = self.row(&StoreKey::late_order(id), RowTag::Order)?;
        let row = if late.is_some() { late } else { self.row(&StoreKey::order(id), RowTag::Order)? };
        Ok(row.and_then(|row| if let Row::Order(order) = row { Some(order) } else { None }))
    }

    /// A hold for another shard's order.
    pub fn hold(&self, id: OrderId) -> Result<Option<HoldRow>, StoredError> {
        let row = self.row(&StoreKey::current_row(RowTag::Hold, &id.0.to_be_bytes()), RowTag::Hold)?;
        Ok(row.and_then(|row| if let Row::Hold(hold) = row { Some(*hold) } else { None }))
    }

    /// A document, deleted ones included.
    pub fn document(&self, key: &DocKey) -> Result<Option<DocumentRow>, StoredError> {
        let row = self.row(&StoreKey::current_row(RowTag::Document, key.as_bytes()), RowTag::Document)?;
        Ok(row.and_then(|row| if let Row::Document(document) = row { Some(*document) } else { None }))
    }

    /// A unique name.
    pub fn name(&self, key: &DocKey) -> Result<Option<NameRow>, StoredError> {
        let row = self.row(&StoreKey::current_row(RowTag::Name, key.as_bytes()), RowTag::Name)?;
        Ok(row.and_then(|row| if let Row::Name(name) = row { Some(*name) } else { None }))
    }

    fn row(&self, key: &StoreKey, tag: RowTag) -> Result<Option<Row>, StoredError> {
        let mut row = None;
        self.reader.get_with(key.keyspace, &key.bytes, &mut |bytes| row = Some(Row::decode(tag, bytes)))?;
        row.transpose().map_err(StoredError::Row)
    }

    /// Every stock row.
    pub fn each_stock(&self, mut each: impl FnMut(StockRow)) -> Result<(), StoredError> {
        self.each_current(RowTag::Stock, &mut |row| {
            if let Row::Stock(row) = row {
                each(row)
            }
        })
    }

    /// Every product row.
    pub fn each_product(&self, mut each: impl FnMut(ProductRow)) -> Result<(), StoredError> {
        self.each_current(RowTag::Product, &mut |row| {
            if let Row::Product(row) = row {
                each(*row)
            }
        })
    }

    /// Every balance.
    pub fn each_ledger(&self, mut each: impl FnMut(LedgerRow)) -> Result<(), StoredError> {
        self.each_current(RowTag::Ledger, &mut |row| {
            if let Row::Ledger(row) = row {
                each(row)
            }
        })
    }

    /// Every consumer group's position.
    pub fn each_offset(&self, mut each: impl FnMut(OffsetRow)) -> Result<(), StoredError> {
        self.each_current(RowTag::Offset, &mut |row| {
            if let Row::Offset(row) = row {
                each(row)
            }
        })
    }

    /// Every consumer group's generation.
    pub fn each_group(&self, mut each: impl FnMut(GroupRow)) -> Result<(), StoredError> {
        self.each_current(RowTag::Group, &mut |row| {
            if let Row::Group(row) = row {
                each(row)
            }
        })
    }

    /// Every hold for other shards' orders.
    pub fn each_hold(&self, mut each: impl FnMut(HoldRow)) -> Result<(), StoredError> {
        self.each_current(RowTag::Hold, &mut |row| {
            if let Row::Hold(row) = row {
                each(*row)
            }
        })
    }

    pub(crate) fn each_current(&self, tag: RowTag, each: &mut dyn FnMut(Row)) -> Result<(), StoredError> {
        let prefix = [tag as u8];
        self.each_under(Keyspace::Current, &prefix, &mut |_, bytes| {
            each(Row::decode(tag, bytes)?);
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Every row under a prefix, until `each` breaks or fails.
    pub(super) fn each_under(
        &self,
        keyspace: Keyspace,
        prefix: &[u8],
        each: &mut RowReader<'_>,
    ) -> Result<(), StoredError> {
        self.each_from(keyspace, prefix, Bound::Included(prefix), each)
    }

    /// Every row under a prefix from a key on, until `each` breaks or fails.
    fn each_from(
        &self,
        keyspace: Keyspace,
        prefix: &[u8],
        from: Bound<&[u8]>,
        each: &mut RowReader<'_>,
    ) -> Result<(), StoredError> {
        let end = after_prefix(prefix);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_slice()));
        let mut failed = None;
        let range = (from, to);
        self.reader.scan(keyspace, range, KeyOrder::Ascending, &mut |key, value| {
            each(key, value).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The first bucket at or after `from` that holds anything.
    pub fn next_bucket(&self, from: u32) -> Result<Option<u32>, StoredError> {
        let from = from.to_be_bytes();
        self.bucket_at((Bound::Included(&from), Bound::Unbounded), KeyOrder::Ascending)
    }

    /// The last bucket before `before` that holds anything.
    pub fn previous_bucket(&self, before: Option<u32>) -> Result<Option<u32>, StoredError> {
        let end = before.map(u32::to_be_bytes);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_slice()));
        self.bucket_at((Bound::Unbounded, to), KeyOrder::Descending)
    }

    /// The bucket of the first history row in this order.
    fn bucket_at(&self, range: KeyRange<'_>, order: KeyOrder) -> Result<Option<u32>, StoredError> {
        let mut found = None;
        self.reader.scan(Keyspace::History, range, order, &mut |key, _| {
            found = bucket_in(key);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Every order of a bucket, in its latest form, in the order of their first records.
    pub fn each_order(&self, bucket: u32, mut each: impl FnMut(OrderRow)) -> Result<(), StoredError> {
        let mut late = Vec::new();
        let mut late_prefix = StoreKey::current(LATE_ORDER_TAG, &[]);
        late_prefix.bytes.extend_from_slice(&bucket.to_be_bytes());
        self.each_under(Keyspace::Current, &late_prefix.bytes, &mut |_, bytes| {
            if let Row::Order(row) = Row::decode(RowTag::Order, bytes)? {
                late.push(row);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut late = late.into_iter().peekable();
        let prefix = StoreKey::history_prefix(bucket, RowTag::Order as u8);
        self.each_under(Keyspace::History, &prefix.bytes, &mut |_, bytes| {
            if let Row::Order(row) = Row::decode(RowTag::Order, bytes)? {
                let latest = late.next_if(|late| late.id == row.id);
                each(latest.unwrap_or(row));
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Documents whose key begins with `prefix`, after `after`, ascending; deleted ones are left out.
    pub fn documents(
        &self,
        prefix: &str,
        after: Option<&DocKey>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, StoredError> {
        let under = StoreKey::current_row(RowTag::Document, prefix.as_bytes());
        let after = after.map(|after| StoreKey::current_row(RowTag::Document, after.as_bytes()));
        let from = match &after {
            Some(after) if after.bytes > under.bytes => Bound::Excluded(&after.bytes[..]),
            _ => Bound::Included(&under.bytes[..]),
        };
        let mut rows = Vec::new();
        self.each_from(Keyspace::Current, &under.bytes, from, &mut |_, bytes| {
            if let Row::Document(row) = Row::decode(RowTag::Document, bytes)?
                && row.value.is_some()
            {
                rows.push(*row);
            }
            Ok(if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(rows)
    }

    /// Changes of a SKU's stock behind a version, the eldest first.
    pub fn stock_changes(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StockChangeRow>, StoredError> {
        let under = StoreKey::stock_changes(sku.as_bytes());
        let after = StoreKey::stock_change(sku.as_bytes(), after);
        let mut rows = Vec::new();
        self.each_from(
            Keyspace::Current,
            &under.bytes,
            Bound::Excluded(&after.bytes[..]),
            &mut |_, bytes| {
                if let Row::StockChange(row) = Row::decode(RowTag::StockChange, bytes)?
                    && row.sku == *sku
                {
                    rows.push(*row);
                }
                Ok(if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            },
        )?;
        Ok(rows)
    }

    /// What was open when the last checkpoint was written; empty if there is none.
    pub fn checkpoint(&self) -> Result<Checkpoint, StoredError> {
        let mut head = Vec::new();
        let mut ids = Vec::new();
        self.each_under(Keyspace::Current, &[CHECKPOINT_TAG], &mut |key, bytes| {
            if key.len() == 1 {
                head =
                    bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect();
            } else {
                ids.extend(
                    bytes.chunks_exact(16).map(|id| OrderId(id.try_into().map_or(0, u128::from_le_bytes))),
                );
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let &[lsn, orders, holds] = head.as_slice() else { return Ok(Checkpoint::default()) };
        // Parts of an older, longer checkpoint may stand behind these.
        ids.truncate((orders + holds) as usize);
        let holds = ids.split_off((orders as usize).min(ids.len()));
        Ok(Checkpoint { lsn, orders: ids, holds })
    }
}

fn bucket_in(key: &[u8]) -> Option<u32> {
    key.first_chunk::<4>().map(|bucket| u32::from_be_bytes(*bucket))
}
