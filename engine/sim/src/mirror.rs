//! The auditor's own books: what the durable logs say, folded without the product's tables.
//!
//! Every frame is entered the moment it is durable, and every record is checked against the books
//! before it changes them. After a crash the books are what the recovered node must agree with.

use std::collections::{BTreeMap, BTreeSet};

use onrush_proto::{
    Currency, DocKey, DocumentRow, Fact, FactView, HoldRow, KeyHasher, KeyState, LedgerRow, NameRow, OrderId,
    OrderRow, OrderState, ProductRow, Receipt, RecordKind, Row, RowTag, ShardId, Sku, Slot, SlotMap,
    StockRow, Text, row::RowEncoder,
};
use onrush_storage::log::{Frame, FrameView};
use xxhash_rust::xxh3::xxh3_64;

use crate::invariants::{self, Step};
use crate::report::{Verdict, Violation};

/// The record that wrote a row, and the row's hash.
type Version = (u64, u64);

/// One shard's rows and frames.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) end_lsn: u64,
    pub(crate) time_us: u64,
    pub(crate) frames: Vec<Frame>,
    /// The record with which each consumer group began.
    pub(crate) groups_since: BTreeMap<(Text<47>, u8), u64>,
    pub(crate) stock: BTreeMap<Sku, StockRow>,
    pub(crate) products: BTreeMap<Sku, ProductRow>,
    pub(crate) orders: BTreeMap<OrderId, OrderRow>,
    pub(crate) holds: BTreeMap<OrderId, HoldRow>,
    pub(crate) keys: BTreeMap<u128, KeyState>,
    pub(crate) limits: BTreeMap<u128, (u32, u32)>,
    pub(crate) documents: BTreeMap<DocKey, DocumentRow>,
    pub(crate) names: BTreeMap<DocKey, NameRow>,
    pub(crate) offsets: BTreeMap<(Text<47>, u8), u64>,
    pub(crate) ledger: BTreeMap<Currency, LedgerRow>,
    /// Hashes of the rows that reads show, by the record that wrote them.
    versions: BTreeMap<(RowTag, Vec<u8>), Vec<Version>>,
}

/// How often the rarer things happened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Orders over several shards that were tried a second time.
    pub(crate) second_tries: u64,
    /// Captures that were asked of the gateway.
    pub(crate) captures: u64,
    /// Repetitions that got their answer under a key of their own.
    pub(crate) kept_keys: u64,
}

/// What is in the books, counted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) orders: u64,
    pub(crate) expired: u64,
    pub(crate) spread: u64,
    pub(crate) claims: u64,
    pub(crate) refunds: u64,
}

/// The first acceptance of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct First {
    pub(crate) shard: usize,
    pub(crate) lsn: u64,
    pub(crate) body: u64,
    pub(crate) receipt: Receipt,
}

/// Orders and keys that lost records named: what other shards know of them may rest on nothing.
#[derive(Clone, Default)]
pub(crate) struct Lost {
    orders: BTreeSet<OrderId>,
    keys: BTreeSet<u128>,
}

impl Lost {
    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.keys.is_empty()
    }

    pub(crate) fn has_order(&self, order: OrderId) -> bool {
        self.orders.contains(&order)
    }

    pub(crate) fn has_key(&self, key: u128) -> bool {
        self.keys.contains(&key)
    }

    /// As the product's reports write them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let orders = self.orders.iter().map(OrderId::to_string);
        orders.chain(self.keys.iter().map(|key| format!("{key:032x}")))
    }

    fn note(&mut self, fact: &Fact) {
        for row in &fact.rows {
            match row {
                Row::Order(order) => {
                    self.orders.insert(order.id);
                    self.keys.insert(order.key.0);
                }
                Row::Hold(hold) => drop(self.orders.insert(hold.order)),
                Row::Key(key) => drop(self.keys.insert(key.key.0)),
                _ => {}
            }
        }
    }
}

/// The books of all shards.
pub(crate) struct Mirror {
    pub(crate) map: SlotMap,
    pub(crate) hasher: KeyHasher,
    pub(crate) books: Vec<Book>,
    /// Keys that stand for an acceptance, over all shards.
    pub(crate) firsts: BTreeMap<u128, First>,
    /// Attempts, captures of them, and refunds that wait for the gateway.
    pub(crate) attempts_due: BTreeSet<(OrderId, u16)>,
    pub(crate) refunds_due: BTreeSet<(OrderId, u16)>,
    /// Records of kinds that a run should have seen.
    pub(crate) seen: Seen,
    /// What was in records that a disk lost.
    pub(crate) lost: Lost,
    encoder: RowEncoder,
}

impl Mirror {
    pub(crate) fn new(map: SlotMap, hasher: KeyHasher) -> Self {
        Self {
            map,
            hasher,
            books: (0..map.shards()).map(|_| Book::default()).collect(),
            firsts: BTreeMap::new(),
            attempts_due: BTreeSet::new(),
            refunds_due: BTreeSet::new(),
            seen: Seen::default(),
            lost: Lost::default(),
            encoder: RowEncoder::default(),
        }
    }

    /// The index of the shard that owns a slot.
    pub(crate) fn owner(&self, slot: Slot) -> usize {
        usize::from(self.map.shard(slot).0)
    }

    pub(crate) fn owner_of_sku(&self, sku: &Sku) -> usize {
        self.owner(Slot::of(sku.as_bytes()))
    }

    /// An order as its home's log has it.
    pub(crate) fn order(&self, id: OrderId) -> Option<&OrderRow> {
        self.books[self.owner(id.slot())].orders.get(&id)
    }

    /// True if the order has lines that live on another shard than itself.
    pub(crate) fn is_spread(&self, order: &OrderRow) -> bool {
        let home = self.owner(order.id.slot());
        order.lines.iter().any(|line| self.owner_of_sku(&line.sku) != home)
    }

    /// Enters a durable frame: each record is checked, then written.
    pub(crate) fn enter(&mut self, shard: usize, frame: &FrameView<'_>) -> Verdict {
        invariants::lsns::follows(&self.books[shard], frame)?;
        let time_us = frame.info().time_us;
        for record in frame.records() {
            let fact = FactView::new(record.kind, record.payload).and_then(|view| view.read(record.key_hash));
            let fact =
                fact.map_err(|error| Violation::new("lsns", "a fact in every record", error.to_string()))?;
            invariants::record(&Step { mirror: self, shard, lsn: record.lsn, time_us, fact: &fact })?;
            self.write(shard, record.lsn, fact);
        }
        self.close_frame(shard, frame);
        Ok(())
    }

    fn close_frame(&mut self, shard: usize, frame: &FrameView<'_>) {
        let book = &mut self.books[shard];
        book.end_lsn = frame.info().next_lsn() - 1;
        book.time_us = frame.info().time_us;
        book.frames.push(frame.to_frame());
    }

    /// Forgets what a shard's log lost behind `end_lsn`: the one residue that is allowed.
    pub(crate) fn rewind(&mut self, shard: usize, end_lsn: u64) {
        let mut fresh = Self::new(self.map, self.hasher);
        fresh.lost = self.lost.clone();
        for (index, book) in self.books.iter().enumerate() {
            for frame in &book.frames {
                let view = frame.view();
                let gone = index == shard && view.info().next_lsn() > end_lsn + 1;
                for record in view.records() {
                    let fact = FactView::new(record.kind, record.payload);
                    match fact.and_then(|view| view.read(record.key_hash)) {
                        Ok(fact) if gone => fresh.lost.note(&fact),
                        Ok(fact) => fresh.write(index, record.lsn, fact),
                        Err(_) => {}
                    }
                }
                if !gone {
                    fresh.close_frame(index, &view);
                }
            }
        }
        *self = fresh;
    }

    /// The hash of a row as a read at `lsn` must show it.
    pub(crate) fn version_at(&self, shard: usize, tag: RowTag, key: &[u8], lsn: u64) -> Option<u64> {
        let versions = self.books[shard].versions.get(&(tag, key.to_vec()))?;
        versions.iter().rev().find(|(written, _)| *written <= lsn).map(|(_, hash)| *hash)
    }

    /// The hash under which [`version_at`](Self::version_at) knows a row.
    pub(crate) fn hash_of(&mut self, row: &Row) -> u64 {
        xxh3_64(self.encoder.encode(row))
    }

    fn write(&mut self, shard: usize, lsn: u64, fact: Fact) {
        let queued = |row: &Row| matches!(row, Row::Order(order) if order.state == OrderState::Queued);
        match fact.kind {
            RecordKind::OrderReserving => {
                self.seen.second_tries += u64::from(fact.rows.iter().any(queued));
            }
            RecordKind::CaptureStarted => self.seen.captures += 1,
            RecordKind::KeyKept => self.seen.kept_keys += 1,
            _ => {}
        }
        for row in fact.rows {
            let key = match &row {
                Row::Order(row) => Some(row.id.0.to_be_bytes().to_vec()),
                Row::Stock(row) => Some(row.sku.as_bytes().to_vec()),
                Row::Document(row) => Some(row.key.as_bytes().to_vec()),
                _ => None,
            };
            if let Some(key) = key {
                let version = (lsn, self.hash_of(&row));
                self.books[shard].versions.entry((row.tag(), key)).or_default().push(version);
            }
            match row {
                Row::Order(order) => self.write_order(shard, lsn, fact.kind, order),
                Row::Key(row) => {
                    if let KeyState::First { body, receipt } = row.state {
                        self.firsts.insert(row.key.0, First { shard, lsn, body, receipt });
                    }
                    self.books[shard].keys.insert(row.key.0, row.state);
                }
                other => self.books[shard].write(lsn, other),
            }
        }
    }

    fn write_order(&mut self, shard: usize, lsn: u64, kind: RecordKind, order: OrderRow) {
        if kind == RecordKind::OrderCreated && !order.key.is_none() {
            let receipt =
                Receipt::Order { order: order.id, total: order.total, held_until_us: order.held_until_us };
            self.firsts.insert(order.key.0, First { shard, lsn, body: order.body, receipt });
            self.books[shard].keys.insert(order.key.0, KeyState::First { body: order.body, receipt });
        }
        let payment = order.payment.as_deref();
        for attempt in payment.iter().flat_map(|payment| &payment.attempts) {
            match attempt.state.is_under_way() {
                true => self.attempts_due.insert((order.id, attempt.number)),
                false => self.attempts_due.remove(&(order.id, attempt.number)),
            };
        }
        for refund in payment.iter().flat_map(|payment| &payment.refunds) {
            match refund.state {
                onrush_proto::RefundState::Pending => self.refunds_due.insert((order.id, refund.number)),
                _ => self.refunds_due.remove(&(order.id, refund.number)),
            };
        }
        self.books[shard].orders.insert(order.id, order);
    }

    pub(crate) fn tally(&self) -> Tally {
        use OrderState::{Expired, Rejected};
        let orders = || self.books.iter().flat_map(|book| book.orders.values());
        let refunds = |order: &OrderRow| order.payment.as_ref().map_or(0, |paid| paid.refunds.len() as u64);
        let keys = self.books.iter().flat_map(|book| book.keys.values());
        Tally {
            records: self.books.iter().map(|book| book.end_lsn).sum(),
            orders: orders().filter(|order| order.state != Rejected).count() as u64,
            expired: orders().filter(|order| order.state == Expired).count() as u64,
            spread: orders().filter(|order| self.is_spread(order)).count() as u64,
            claims: keys.filter(|key| matches!(key, KeyState::Claim { .. })).count() as u64,
            refunds: orders().map(refunds).sum(),
        }
    }

    /// The shard's number as the product writes it.
    pub(crate) fn shard_id(shard: usize) -> ShardId {
        ShardId(shard as u16)
    }
}

impl Book {
    /// Time and fact of a record.
    pub(crate) fn record(&self, lsn: u64) -> Option<(u64, Fact)> {
        let at = self.frames.partition_point(|frame| frame.view().info().next_lsn() <= lsn);
        let view = self.frames.get(at)?.view();
        let record = view.records().find(|record| record.lsn == lsn)?;
        let fact = FactView::new(record.kind, record.payload).ok()?.read(record.key_hash).ok()?;
        Some((view.info().time_us, fact))
    }

    fn write(&mut self, lsn: u64, row: Row) {
        match row {
            Row::Stock(row) => drop(self.stock.insert(row.sku, row)),
            Row::Product(row) => drop(self.products.insert(row.sku, *row)),
            Row::Hold(row) => drop(self.holds.insert(row.order, *row)),
            Row::Limit(row) => drop(self.limits.insert(row.hash, (row.units, row.limit))),
            Row::Document(row) => drop(self.documents.insert(row.key, *row)),
            Row::Name(row) => drop(self.names.insert(row.name, *row)),
            Row::Offset(row) => {
                self.groups_since.entry((row.group, row.topic)).or_insert(lsn);
                self.offsets.insert((row.group, row.topic), row.lsn);
            }
            Row::Ledger(row) => drop(self.ledger.insert(row.currency, row)),
            Row::Order(_) | Row::Key(_) | Row::StockChange(_) => {}
            Row::Trace(_) | Row::Correlation(_) | Row::Group(_) | Row::DeadLetter(_) => {}
        }
    }
}
