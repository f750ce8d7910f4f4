//! Committed frames in, sorted runs out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onrush_proto::{
    FactError, FactView, KeyRow, KeyState, OrderId, OrderRow, RecordKind, Row, RowTag, Text, Topic,
    row::{
        ArchivedDocumentRow, ArchivedHoldRow, ArchivedKeyRow, ArchivedLimitRow, ArchivedNameRow,
        ArchivedProductRow, ArchivedStockRow, DocumentRow, HoldRow, LedgerRow, LimitRow, NameRow, OffsetRow,
        ProductRow, RowEncoder, StockRow, view,
    },
};
use onrush_storage::log::FrameView;
use onrush_storage::store::{Frozen, SortedRun};

use super::keys::StoreKey;
use super::overlay::{Overlay, Pending};
use super::stored::{Stored, checkpoint_rows};
use crate::state::order_receipt;

/// What is ready for the store.
pub struct Flush {
    /// Rows by time.
    pub history: SortedRun,
    /// Rows that live on.
    pub current: SortedRun,
    /// The last record whose rows are in the runs.
    pub applied: u64,
}

/// Collects rows until they are worth a run.
pub struct Absorber {
    history: Pending,
    current: Pending,
    /// What the store had when the present runs were begun.
    history_applied: u64,
    current_applied: u64,
    end_lsn: u64,
    /// Orders and holds with a running deadline, as of `end_lsn`.
    open: BTreeSet<OrderId>,
    open_holds: BTreeSet<OrderId>,
    /// Positions of the groups that carry money or goods, which hold the log.
    holding: BTreeMap<(Text<47>, u8), u64>,
    /// The newest history bucket seen.
    bucket: u32,
    bytes: u64,
    bytes_since_checkpoint: u64,
    encoder: RowEncoder,
}

impl Absorber {
    /// Continues a store. `open` and `open_holds` come from its checkpoint.
    pub fn new(
        history_applied: u64,
        current_applied: u64,
        open: Vec<OrderId>,
        open_holds: Vec<OrderId>,
    ) -> Self {
        Self {
            history: Pending::default(),
            current: Pending::default(),
            history_applied,
            current_applied,
            end_lsn: 0,
            open: open.into_iter().collect(),
            open_holds: open_holds.into_iter().collect(),
            holding: BTreeMap::new(),
            bucket: 0,
            bytes: 0,
            bytes_since_checkpoint: 0,
            encoder: RowEncoder::default(),
        }
    }

    /// Rows collected.
    pub fn rows(&self) -> usize {
        self.history.len() + self.current.len()
    }

    /// Log bytes collected since the last flush.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Log bytes collected since the last checkpoint.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.bytes_since_checkpoint
    }

    /// The last record absorbed.
    pub fn end_lsn(&self) -> u64 {
        self.end_lsn
    }

    /// True if the frame begins a history bucket: a run that ends in front of it holds whole buckets.
    pub fn begins_bucket(&self, frame: &FrameView<'_>) -> bool {
        let born = frame.records().find(|record| record.kind == RecordKind::OrderCreated as u16);
        let first =
            born.and_then(|record| FactView::new(record.kind, record.payload).ok()?.rows().next()?.ok());
        let id = first.and_then(|(tag, bytes)| Some(view::<OrderRow>(tag, bytes).ok()?.id.0.to_native()));
        id.is_some_and(|id| OrderId(id).bucket() > self.bucket)
    }

    /// Notes a group's position that the store holds already.
    pub fn note_offset(&mut self, row: &OffsetRow) {
        if Topic::holds_log(row.topic) {
            self.holding.insert((row.group, row.topic), row.lsn);
        }
    }

    /// The first record that a group which carries money or goods has not read; `u64::MAX` if
    /// there is no such group.
    pub fn first_unread(&self) -> u64 {
        self.holding.values().min().map_or(u64::MAX, |lsn| lsn + 1)
    }

    /// Takes the rows of a committed frame.
    pub fn absorb(&mut self, frame: &FrameView<'_>) -> Result<(), FactError> {
        for record in frame.records() {
            self.record(record.lsn, FactView::new(record.kind, record.payload)?)?;
            self.end_lsn = record.lsn;
        }
        self.bytes += frame.bytes().len() as u64;
        self.bytes_since_checkpoint += frame.bytes().len() as u64;
        Ok(())
    }

    /// Freezes what was collected. With `checkpoint` the list of what is open goes with it.
    pub fn flush(&mut self, checkpoint: bool) -> Flush {
        if checkpoint {
            for (key, value) in checkpoint_rows(self.end_lsn, &self.open, &self.open_holds) {
                self.current.push(&key.bytes, Some(&value));
            }
            self.bytes_since_checkpoint = 0;
        }
        self.history_applied = self.history_applied.max(self.end_lsn);
        self.current_applied = self.current_applied.max(self.end_lsn);
        self.bytes = 0;
        Flush { history: self.history.take(), current: self.current.take(), applied: self.end_lsn }
    }

    /// Everything absorbed so far, laid over a frozen store: rows as of [`end_lsn`](Self::end_lsn).
    pub fn lay_over(&mut self, frozen: Frozen) -> Stored {
        let pending = (&mut self.history, &mut self.current);
        Stored::new(Arc::new(Overlay::new(frozen, pending)))
    }

    fn record(&mut self, lsn: u64, fact: FactView<'_>) -> Result<(), FactError> {
        for row in fact.rows() {
            let (tag, bytes) = row?;
            match tag {
                RowTag::Order => self.order(lsn, fact.kind, bytes)?,
                RowTag::Key => self.key(lsn, bytes)?,
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
            onrush_proto::row::ArchivedOrderState::Pending | onrush_proto::row::ArchivedOrderState::Reserving
        );
        match open {
            true => self.open.insert(id),
            false => self.open.remove(&id),
        };
        // In two keyspaces only while one of them is behind the other after a crash.
        if id.sequence() > self.history_applied && lsn > self.history_applied {
            self.history.push(&StoreKey::order(id).bytes, Some(bytes));
        }
        if id.sequence() <= self.history_applied.max(self.current_applied) && lsn > self.current_applied {
            self.current.push(&StoreKey::late_order(id).bytes, Some(bytes));
        }
        if kind == RecordKind::OrderCreated && lsn > self.history_applied {
            self.created(bytes)?;
        }
        Ok(())
    }

    /// What follows from an accepted order: its key, and the way from its customer.
    fn created(&mut self, bytes: &[u8]) -> Result<(), FactError> {
        let Row::Order(order) = Row::decode(RowTag::Order, bytes)? else { return Ok(()) };
        self.history.push(&StoreKey::customer(&order.customer, order.id).bytes, Some(&[]));
        if !order.key.is_none() {
            let state = KeyState::First { body: order.body, receipt: order_receipt(&order) };
            let row = Row::Key(KeyRow { key: order.key, state, bucket: order.id.bucket() });
            let key = StoreKey::key(order.id.bucket(), order.key.0);
            self.history.push(&key.bytes, Some(self.encoder.encode(&row)));
        }
        Ok(())
    }

    fn key(&mut self, lsn: u64, bytes: &[u8]) -> Result<(), FactError> {
        if lsn > self.history_applied {
            let row: &ArchivedKeyRow = view::<KeyRow>(RowTag::Key, bytes)?;
            let key = StoreKey::key(row.bucket.to_native(), row.key.0.to_native());
            self.history.push(&key.bytes, Some(bytes));
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
            RowTag::Limit => {
                let row: &ArchivedLimitRow = view::<LimitRow>(tag, bytes)?;
                StoreKey::current_row(tag, &row.hash.to_native().to_be_bytes())
            }
            RowTag::Document => {
                let row: &ArchivedDocumentRow = view::<DocumentRow>(tag, bytes)?;
                StoreKey::current_row(tag, row.key.as_bytes())
            }
            RowTag::Name => {
                let row: &ArchivedNameRow = view::<NameRow>(tag, bytes)?;
                StoreKey::current_row(tag, row.name.as_bytes())
            }
            RowTag::Ledger => StoreKey::current_row(tag, &view::<LedgerRow>(tag, bytes)?.currency.0),
            RowTag::Order | RowTag::Key | RowTag::Hold | RowTag::Offset => return Ok(()),
        };
        self.current.push(&key.bytes, Some(bytes));
        Ok(())
    }
}
