//! Committed frames in, sorted runs out.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use onrush_proto::{
    FactError, FactView, KeyRow, LedgerRow, OrderId, OrderRow, RecordKind, Row, RowTag,
    row::{
        ArchivedDocumentRow, ArchivedGroupRow, ArchivedHoldRow, ArchivedKeyRow, ArchivedLimitRow,
        ArchivedNameRow, ArchivedOrderRow, ArchivedOrderState, ArchivedProductRow, ArchivedStockChangeRow,
        ArchivedStockRow, DocumentRow, GroupRow, HoldRow, LimitRow, NameRow, OffsetRow, ProductRow,
        StockChangeRow, StockRow, view,
    },
};
use onrush_storage::log::FrameView;
use onrush_storage::store::{Frozen, SortedRun};

use super::index::NAMES_ORDER;
use super::keys::{COUNT_TAG, CUSTOMER_TAG, KEY_TAG, StoreKey, customer_hash};
use super::overlay::{Overlay, Pending};
use super::pages::PageBuilder;
use super::retention::Retention;
use super::stored::{Stored, checkpoint_rows};
use crate::options::RetentionOptions;
use crate::tables::{ByRecord, hash_of};

/// What is ready for the store. Current is ingested first: it holds the values as of a later
/// record, which tells a store that is ahead of a damaged log.
pub struct Flush {
    /// Rows by time.
    pub history: SortedRun,
    /// Rows that live on.
    pub current: SortedRun,
    /// Every history row of a record up to here is in the store with this run.
    pub history_applied: u64,
    /// Every current row of a record up to here is in the store with this run.
    pub current_applied: u64,
}

/// History rows that were born in one stretch of the log.
#[derive(Default)]
struct Generation {
    orders: Pending,
    keys: PageBuilder,
    counts: PageBuilder,
    customers: PageBuilder,
}

impl Generation {
    /// Turns what is kept by hash into rows.
    fn emit_pages(&mut self, lsn: u64) {
        self.keys.emit(KEY_TAG, lsn, true, &mut self.orders);
        self.counts.emit(COUNT_TAG, lsn, true, &mut self.orders);
        self.customers.emit(CUSTOMER_TAG, lsn, false, &mut self.orders);
    }

    /// Orders and entries of the indices.
    fn len(&self) -> usize {
        self.orders.len() + self.keys.len() + self.counts.len() + self.customers.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Collects rows until they are worth a run.
///
/// An order is written once if it closes while its generation is in memory: the run that is handed
/// to the store holds the orders born before the last but one, in their latest form. What changes
/// after that goes to the current keyspace.
pub struct Absorber {
    /// Orders born up to `cut`, which the next run writes.
    elder: Generation,
    /// Orders born since.
    younger: Generation,
    current: Pending,
    /// Where rows that were touched lately stand in `current`, by a hash of their key: a hot row is
    /// changed in place and sorted once.
    touched: Box<[usize; TOUCHED]>,
    /// What the store had when the present runs were begun.
    history_applied: u64,
    current_applied: u64,
    /// What the current keyspace had when the store was opened.
    current_at_open: u64,
    /// The last record of the elder generation.
    cut: u64,
    end_lsn: u64,
    /// Orders with a running deadline, as of `end_lsn`, and where their row stands in its generation.
    open: HashMap<OrderId, usize, ByRecord>,
    open_holds: BTreeSet<OrderId>,
    /// What consumer groups keep of the log.
    retention: Retention,
    /// The newest history bucket seen.
    bucket: u32,
    bytes: u64,
    bytes_since_checkpoint: u64,
}

/// The bucket that a row of a fact of this kind is put in, if it is put in one by its fact.
fn put_in(kind: RecordKind, (tag, bytes): (RowTag, &[u8])) -> Option<u32> {
    let born = matches!(kind, RecordKind::OrderCreated | RecordKind::OrderReserving);
    match tag {
        RowTag::Order if born => Some(OrderId(view::<OrderRow>(tag, bytes).ok()?.id.0.to_native()).bucket()),
        RowTag::Key => Some(view::<KeyRow>(tag, bytes).ok()?.bucket.to_native()),
        RowTag::Limit => Some(view::<LimitRow>(tag, bytes).ok()?.bucket.to_native()),
        _ => None,
    }
}

/// A list of what is open is written again after so many times its size of log.
const CHECKPOINT_WORTH: usize = 4;
/// Rows of current whose place is known.
const TOUCHED: usize = 1 << 15;
/// No row of this index: an order whose row is in the store.
const STORED: usize = usize::MAX;

impl Absorber {
    /// Continues a store. `open` and `open_holds` come from its checkpoint.
    pub fn new(
        history_applied: u64,
        current_applied: u64,
        open: Vec<OrderId>,
        open_holds: Vec<OrderId>,
    ) -> Self {
        let mut orders = HashMap::with_hasher(ByRecord);
        orders.extend(open.into_iter().map(|id| (id, STORED)));
        Self {
            elder: Generation::default(),
            younger: Generation::default(),
            current: Pending::default(),
            touched: Box::new([STORED; TOUCHED]),
            history_applied,
            current_applied,
            current_at_open: current_applied,
            cut: history_applied,
            end_lsn: 0,
            open: orders,
            open_holds: open_holds.into_iter().collect(),
            retention: Retention::new(RetentionOptions::default()),
            bucket: 0,
            bytes: 0,
            bytes_since_checkpoint: 0,
        }
    }

    /// Rows collected: orders of this generation, and rows that live on. Entries of pages do not count.
    pub fn rows(&self) -> usize {
        self.younger.orders.len() + self.current.len()
    }

    /// Log bytes collected in this generation.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if log of at least `least` bytes was collected since the last checkpoint, and of more than a list
    /// of what is open takes.
    pub fn owes_checkpoint(&self, least: u64) -> bool {
        let list = (CHECKPOINT_WORTH * size_of::<OrderId>() * self.open.len()) as u64;
        self.bytes_since_checkpoint >= least.max(list)
    }

    /// The last record absorbed.
    pub fn end_lsn(&self) -> u64 {
        self.end_lsn
    }

    /// True if the frame begins a history bucket: a run that ends in front of it holds whole buckets.
    pub fn begins_bucket(&self, frame: &FrameView<'_>) -> bool {
        let facts = frame.records().filter_map(|record| FactView::new(record.kind, record.payload).ok());
        // An order over several shards may come in front, of the bucket in which it was begun.
        let mut buckets =
            facts.flat_map(|fact| fact.rows().flatten().filter_map(move |row| put_in(fact.kind, row)));
        buckets.any(|bucket| bucket > self.bucket)
    }

    /// Notes a group's position that the store holds already.
    pub fn note_offset(&mut self, row: &OffsetRow) {
        self.retention.note(row);
    }

    /// Sets what groups that carry neither money nor goods may keep of the log.
    pub fn set_retention(&mut self, options: RetentionOptions) {
        self.retention.set_budget(options);
    }

    /// The first record that a consumer group still has a claim to; `u64::MAX` if there is none.
    pub fn first_owed(&self) -> u64 {
        self.retention.first_owed()
    }

    /// Takes the rows of a committed frame.
    pub fn absorb(&mut self, frame: &FrameView<'_>) -> Result<(), FactError> {
        for record in frame.records() {
            self.record(record.lsn, FactView::new(record.kind, record.payload)?)?;
            self.end_lsn = record.lsn;
        }
        let info = frame.info();
        self.retention.grow(info.first_lsn, frame.bytes().len() as u64, info.time_us);
        self.bytes += frame.bytes().len() as u64;
        self.bytes_since_checkpoint += frame.bytes().len() as u64;
        Ok(())
    }

    /// Ends the generation, and freezes the one before it, if there is one: its orders have had a
    /// generation's time to close, and are written once. With `checkpoint` the list of what is open
    /// goes with it.
    pub fn rotate(&mut self, checkpoint: bool) -> Option<Flush> {
        let ready = self.cut > self.history_applied && self.end_lsn > self.current_applied;
        let flush = ready.then(|| self.freeze(checkpoint));
        if ready || self.elder.is_empty() {
            std::mem::swap(&mut self.elder, &mut self.younger);
            self.cut = self.end_lsn;
            self.bytes = 0;
        }
        flush
    }

    /// Freezes everything that was collected, the running generation too: when a store is closed.
    pub fn flush(&mut self, checkpoint: bool) -> Flush {
        self.emit_pages();
        self.elder.orders.append(&mut self.younger.orders);
        self.cut = self.end_lsn;
        self.bytes = 0;
        self.freeze(checkpoint)
    }

    /// Takes back the memory of runs that the store has.
    pub fn recycle(&mut self, flush: Flush) {
        self.younger.orders.recycle(flush.history);
        self.current.recycle(flush.current);
    }

    fn freeze(&mut self, checkpoint: bool) -> Flush {
        if checkpoint {
            let mut open: Vec<OrderId> =
                self.open.keys().filter(|id| id.sequence() <= self.cut).copied().collect();
            // Their records are near each other, and come nearly in order.
            open.sort_by_key(|id| id.sequence());
            for (key, value) in checkpoint_rows(self.cut, &open, &self.open_holds) {
                self.current.push(&key.bytes, Some(&value));
            }
            self.bytes_since_checkpoint = 0;
        }
        self.elder.emit_pages(self.cut);
        self.history_applied = self.history_applied.max(self.cut);
        self.current_applied = self.current_applied.max(self.end_lsn);
        Flush {
            history: self.elder.orders.take(),
            current: self.current.take(),
            history_applied: self.cut,
            current_applied: self.end_lsn,
        }
    }

    fn emit_pages(&mut self) {
        self.elder.emit_pages(self.cut);
        self.younger.emit_pages(self.end_lsn);
    }

    /// Everything absorbed so far, laid over a frozen store: rows as of [`end_lsn`](Self::end_lsn).
    pub fn lay_over(&mut self, frozen: Frozen) -> Stored {
        self.emit_pages();
        let history = [&mut self.elder.orders, &mut self.younger.orders];
        Stored::new(Arc::new(Overlay::new(frozen, history, &mut self.current)))
    }

    fn record(&mut self, lsn: u64, fact: FactView<'_>) -> Result<(), FactError> {
        for row in fact.rows() {
            let (tag, bytes) = row?;
            match tag {
                RowTag::Order => self.order(lsn, fact.kind, bytes)?,
                RowTag::Key => self.key(lsn, bytes)?,
                RowTag::Limit => self.count(lsn, bytes)?,
                RowTag::Hold => self.hold(lsn, bytes)?,
                RowTag::Offset => self.offset(lsn, bytes)?,
                _ if lsn > self.current_applied => self.current(tag, bytes)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn order(&mut self, lsn: u64, kind: RecordKind, bytes: &[u8]) -> Result<(), FactError> {
        let row = view::<OrderRow>(RowTag::Order, bytes)?;
        let id = OrderId(row.id.0.to_native());
        self.bucket = self.bucket.max(id.bucket());
        let open = matches!(
            row.state,
            ArchivedOrderState::Pending | ArchivedOrderState::Reserving | ArchivedOrderState::Queued
        );
        let is_late = id.sequence() <= self.history_applied;
        if is_late {
            match open {
                true => drop(self.open.insert(id, STORED)),
                false => drop(self.open.remove(&id)),
            }
        } else {
            self.put_order(id, open, bytes);
        }
        // A history that was found behind may have lost a run: of its orders late rows may stand.
        if (is_late || id.sequence() <= self.current_at_open) && lsn > self.current_applied {
            self.current.push(&StoreKey::late_order(id).bytes, Some(bytes));
        }
        if kind == RecordKind::OrderCreated && lsn > self.history_applied {
            self.created(id, row);
        }
        Ok(())
    }

    /// An order whose generation is in memory: its latest form takes the place of the one before.
    fn put_order(&mut self, id: OrderId, open: bool, bytes: &[u8]) {
        let generation = if id.sequence() > self.cut { &mut self.younger } else { &mut self.elder };
        let (rows, key) = (&mut generation.orders, StoreKey::order(id).bytes);
        match self.open.entry(id) {
            Entry::Occupied(mut known) => {
                if !rows.replace(*known.get(), &key, bytes) {
                    known.insert(rows.push(&key, Some(bytes)));
                }
                if !open {
                    known.remove();
                }
            }
            Entry::Vacant(free) => {
                let index = rows.push(&key, Some(bytes));
                if open {
                    free.insert(index);
                }
            }
        }
    }

    /// What follows from an accepted order: its key, and the way from its customer.
    fn created(&mut self, id: OrderId, row: &ArchivedOrderRow) {
        let (bucket, bytes) = (id.bucket(), id.0.to_le_bytes());
        self.younger.customers.push(bucket, customer_hash(row.customer.as_bytes()), [&bytes, &[]]);
        let key = row.key.0.to_native();
        if key != 0 {
            self.younger.keys.push(bucket, key, [&[NAMES_ORDER], &bytes]);
        }
    }

    fn key(&mut self, lsn: u64, bytes: &[u8]) -> Result<(), FactError> {
        if lsn > self.history_applied {
            let row: &ArchivedKeyRow = view::<KeyRow>(RowTag::Key, bytes)?;
            self.bucket = self.bucket.max(row.bucket.to_native());
            self.younger.keys.push(row.bucket.to_native(), row.key.0.to_native(), [bytes, &[]]);
        }
        Ok(())
    }

    fn count(&mut self, lsn: u64, bytes: &[u8]) -> Result<(), FactError> {
        if lsn > self.history_applied {
            let row: &ArchivedLimitRow = view::<LimitRow>(RowTag::Limit, bytes)?;
            self.bucket = self.bucket.max(row.bucket.to_native());
            let (units, limit) = (row.units.to_native(), row.limit.to_native());
            let value = [&units.to_le_bytes()[..], &limit.to_le_bytes()];
            self.younger.counts.push(row.bucket.to_native(), row.hash.to_native(), value);
        }
        Ok(())
    }

    fn hold(&mut self, lsn: u64, bytes: &[u8]) -> Result<(), FactError> {
        let row: &ArchivedHoldRow = view::<HoldRow>(RowTag::Hold, bytes)?;
        let id = OrderId(row.order.0.to_native());
        let held = matches!(row.state, onrush_proto::row::ArchivedHoldState::Held);
        let early =
            matches!(row.state, onrush_proto::row::ArchivedHoldState::Released) && row.lines.is_empty();
        match held || early {
            true => self.open_holds.insert(id),
            false => self.open_holds.remove(&id),
        };
        if lsn > self.current_applied {
            self.current.push(&StoreKey::current_row(RowTag::Hold, &id.0.to_be_bytes()).bytes, Some(bytes));
        }
        Ok(())
    }

    fn offset(&mut self, lsn: u64, bytes: &[u8]) -> Result<(), FactError> {
        if let Row::Offset(row) = Row::decode(RowTag::Offset, bytes)? {
            self.note_offset(&row);
            if lsn > self.current_applied {
                let mut key = StoreKey::current_row(RowTag::Offset, row.group.as_bytes());
                key.bytes.push(row.topic);
                self.current.push(&key.bytes, Some(bytes));
            }
        }
        Ok(())
    }

    fn current(&mut self, tag: RowTag, bytes: &[u8]) -> Result<(), FactError> {
        let key = match tag {
            RowTag::Stock => {
                let row: &ArchivedStockRow = view::<StockRow>(tag, bytes)?;
                StoreKey::current_row(tag, row.sku.as_bytes())
            }
            RowTag::Product => {
                let row: &ArchivedProductRow = view::<ProductRow>(tag, bytes)?;
                StoreKey::current_row(tag, row.sku.as_bytes())
            }
            RowTag::Document => {
                let row: &ArchivedDocumentRow = view::<DocumentRow>(tag, bytes)?;
                StoreKey::current_row(tag, row.key.as_bytes())
            }
            RowTag::Name => {
                let row: &ArchivedNameRow = view::<NameRow>(tag, bytes)?;
                StoreKey::current_row(tag, row.name.as_bytes())
            }
            RowTag::StockChange => {
                let row: &ArchivedStockChangeRow = view::<StockChangeRow>(tag, bytes)?;
                StoreKey::stock_change(row.sku.as_bytes(), row.version.to_native())
            }
            RowTag::Ledger => StoreKey::current_row(tag, &view::<LedgerRow>(tag, bytes)?.currency.0),
            RowTag::Order | RowTag::Key | RowTag::Limit | RowTag::Hold | RowTag::Offset => return Ok(()),
            RowTag::Group => {
                let row: &ArchivedGroupRow = view::<GroupRow>(tag, bytes)?;
                let mut key = StoreKey::current_row(tag, row.group.as_bytes());
                key.bytes.push(row.topic);
                key
            }
            RowTag::Trace | RowTag::Correlation | RowTag::DeadLetter => return Ok(()),
        };
        let touched = &mut self.touched[hash_of(&key.bytes[..]) as usize % TOUCHED];
        if !self.current.replace(*touched, &key.bytes, bytes) {
            *touched = self.current.push(&key.bytes, Some(bytes));
        }
        Ok(())
    }
}
