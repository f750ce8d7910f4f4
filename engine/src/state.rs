//! A shard's state: what facts have made of it.
//!
//! [`State::apply`] is a blind write. It is the only way in which state changes, on the shard that
//! decided, in recovery and in the simulator.

use std::collections::{BTreeMap, BTreeSet};

use onrush_proto::{
    DocKey, DocumentRow, Fact, GroupRow, HoldRow, HoldState, KeyRow, KeyState, LedgerRow, LimitRow, NameRow,
    OffsetRow, OrderId, OrderRow, ProductRow, Receipt, RecordKind, Row, Text,
};

use crate::tables::{Remembered, RowTable, StockTable};

/// How much a shard keeps in memory beyond what it must.
#[derive(Clone, Copy, Debug)]
pub struct StateLimits {
    /// Idempotency keys, and customer counts, kept exactly.
    pub recent_keys_min: usize,
    /// Closed orders, documents and names kept.
    pub closed_rows_min: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { recent_keys_min: 1 << 16, closed_rows_min: 1 << 12 }
    }
}

/// A customer's count of one SKU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Units bought.
    pub units: u32,
    /// The limit in force when the count last grew.
    pub limit: u32,
}

/// Everything one shard knows.
pub struct State {
    /// Stock rows.
    pub stock: StockTable,
    /// Orders: open ones, and closed ones that the store may not have yet.
    pub orders: RowTable<OrderId, OrderRow>,
    /// Those of them that are not decided yet, as other shards have a part in them: who takes office looks at these alone,
    /// however many orders are open.
    unborn: BTreeSet<OrderId>,
    /// Parts of other shards' orders that are held here.
    pub holds: RowTable<OrderId, HoldRow>,
    /// Idempotency keys.
    pub keys: Remembered<KeyState>,
    /// Customers' counts by hash of (SKU, customer).
    pub limits: Remembered<Count>,
    /// Documents.
    pub documents: RowTable<DocKey, DocumentRow>,
    /// Unique names.
    pub names: RowTable<DocKey, NameRow>,
    /// Consumer groups' positions by (group, topic).
    pub offsets: BTreeMap<(Text<47>, u8), u64>,
    /// Generations of consumer groups whose members share shards, by (group, topic).
    pub groups: BTreeMap<(Text<47>, u8), GroupRow>,
    /// Balances, one row per currency in use.
    pub ledger: Vec<LedgerRow>,
    /// Product rows that wait to be published.
    products: Vec<ProductRow>,
}

impl State {
    /// An empty state.
    pub fn new(limits: StateLimits) -> Self {
        Self {
            stock: StockTable::default(),
            orders: RowTable::new(limits.closed_rows_min),
            unborn: BTreeSet::new(),
            holds: RowTable::new(limits.closed_rows_min),
            keys: Remembered::new(limits.recent_keys_min),
            limits: Remembered::new(limits.recent_keys_min),
            documents: RowTable::new(limits.closed_rows_min),
            names: RowTable::new(limits.closed_rows_min),
            offsets: BTreeMap::new(),
            groups: BTreeMap::new(),
            ledger: Vec::new(),
            products: Vec::new(),
        }
    }

    /// Writes a fact's rows, which move out of it. `lsn` is its position.
    pub fn apply(&mut self, fact: &mut Fact, lsn: u64) {
        let created = fact.kind == RecordKind::OrderCreated;
        for row in fact.rows.drain(..) {
            match row {
                Row::Order(order) => self.apply_order(order, created, lsn),
                other => self.apply_row(other, lsn),
            }
        }
    }

    fn apply_order(&mut self, order: OrderRow, created: bool, lsn: u64) {
        if created && !order.key.is_none() {
            let first = KeyState::First { body: order.body, receipt: order_receipt(&order) };
            self.keys.put(order.key.0, first, lsn, order.id.bucket());
        }
        let deadline = order.state.is_open().then_some(order.held_until_us);
        self.note_unborn(&order);
        self.orders.put(order.id, order, lsn, deadline);
    }

    fn note_unborn(&mut self, order: &OrderRow) {
        if order.state.is_unborn() {
            self.unborn.insert(order.id);
        } else if !self.unborn.is_empty() {
            self.unborn.remove(&order.id);
        }
    }

    /// Takes in what the store has of an order: nothing, if it is in memory.
    pub(crate) fn warm_order(&mut self, id: OrderId, found: Option<OrderRow>) {
        if let Some(order) = found.as_ref().filter(|_| self.orders.row(&id).is_none()) {
            self.note_unborn(order);
        }
        let with_deadline = |order: OrderRow| {
            let deadline = order.state.is_open().then_some(order.held_until_us);
            (order, deadline)
        };
        self.orders.warm(id, found.map(with_deadline));
    }

    /// Orders that are not decided yet, in rising order.
    pub fn unborn(&self) -> impl Iterator<Item = &OrderRow> {
        self.unborn.iter().filter_map(|id| self.orders.row(id))
    }

    fn apply_row(&mut self, row: Row, lsn: u64) {
        match row {
            Row::Stock(row) => self.stock.put(row),
            Row::Product(row) => self.products.push(*row),
            // An order came by another way. Why stock changed, what a command belongs to, and what was given up, is
            // for no rule.
            Row::Order(_) | Row::StockChange(_) => {}
            Row::Trace(_) | Row::Correlation(_) | Row::DeadLetter(_) => {}
            Row::Hold(row) => {
                let deadline = hold_deadline(&row);
                self.holds.put(row.order, *row, lsn, deadline);
            }
            Row::Key(row) => self.apply_key(row, lsn),
            Row::Limit(LimitRow { hash, units, limit, bucket }) => {
                self.limits.put(hash, Count { units, limit }, lsn, bucket);
            }
            Row::Document(row) => self.documents.put(row.key, *row, lsn, None),
            Row::Name(row) => self.names.put(row.name, *row, lsn, None),
            Row::Offset(OffsetRow { group, topic, lsn: done }) => {
                self.offsets.insert((group, topic), done);
            }
            Row::Group(row) => drop(self.groups.insert((row.group, row.topic), row)),
            Row::Ledger(row) => self.apply_ledger(row),
        }
    }

    /// Writes a key row that stands beside its fact.
    pub(crate) fn apply_key(&mut self, KeyRow { key, state, bucket }: KeyRow, lsn: u64) {
        self.keys.put(key.0, state, lsn, bucket);
    }

    fn apply_ledger(&mut self, row: LedgerRow) {
        match self.ledger.iter_mut().find(|old| old.currency == row.currency) {
            Some(old) => *old = row,
            None => self.ledger.push(row),
        }
    }

    /// Hands over the product rows that changed since the last call.
    pub fn drain_products(&mut self) -> std::vec::Drain<'_, ProductRow> {
        self.products.drain(..)
    }

    /// Ends a batch: lets go of what the store has, up to `stored_lsn`.
    pub fn settle(&mut self, stored_lsn: u64) {
        self.orders.settle(stored_lsn);
        self.holds.settle(stored_lsn);
        self.keys.settle(stored_lsn);
        self.limits.settle(stored_lsn);
        self.documents.settle(stored_lsn);
        self.names.settle(stored_lsn);
    }

    /// Memory in bytes, from capacities; heap parts of multi-line orders and documents not counted.
    pub fn bytes(&self) -> u64 {
        self.stock.bytes()
            + self.orders.bytes()
            + self.holds.bytes()
            + self.keys.bytes()
            + self.limits.bytes()
            + self.documents.bytes()
            + self.names.bytes()
    }
}

/// The receipt of an accepted order: fields that never change.
pub fn order_receipt(order: &OrderRow) -> Receipt {
    Receipt::Order { order: order.id, total: order.total, held_until_us: order.held_until_us }
}

/// Until when a hold row must stay: a held one until it is resolved, an early release until no
/// hold can come any more.
pub fn hold_deadline(row: &HoldRow) -> Option<u64> {
    let early_release = row.state == HoldState::Released && row.lines.is_empty();
    (row.state == HoldState::Held || early_release).then_some(row.deadline_us)
}
