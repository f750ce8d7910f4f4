//! What must hold always: the books of a rig against its logs.

use std::collections::BTreeMap;

use onrush_engine::flush::Stored;
use onrush_engine::shard::{Found, Want};
use onrush_engine::tables::Memory;
use onrush_proto::{
    FactView, HoldState, KeyRow, KeyState, Lines, OrderId, OrderRow, OrderState, RecordKind, Row, RowTag,
    Sku, Slot,
};

use crate::rig::{Node, Rig};

/// The rows that a shard's log comes to, by kind and key.
pub(crate) type Rows = BTreeMap<(RowTag, Vec<u8>), Row>;

/// What needs no look at the log: cheap enough to run after every command.
pub(crate) fn audit(rig: &Rig) {
    for node in &rig.nodes {
        let state = node.shard.state();
        let mut held: BTreeMap<Sku, i64> = BTreeMap::new();
        let mut count = |lines: &Lines| {
            for line in lines {
                *held.entry(line.sku).or_default() += i64::from(line.quantity);
            }
        };
        state
            .orders
            .iter()
            .filter(|entry| entry.row.state.is_held())
            .for_each(|entry| count(&entry.row.lines));
        let is_held = |state| state == HoldState::Held;
        state.holds.iter().filter(|entry| is_held(entry.row.state)).for_each(|entry| count(&entry.row.lines));
        for stock in state.stock.iter() {
            let sku = stock.sku;
            assert_eq!(stock.received, stock.on_hand + stock.sold, "{sku}: received = on_hand + sold");
            assert_eq!(stock.held, held.get(&sku).copied().unwrap_or(0), "{sku}: held = open orders' units");
            assert!(stock.held >= 0 && stock.sold >= 0, "{sku}: nothing negative, found {stock:?}");
            assert!(stock.available() >= -i64::from(stock.backorder), "{sku}: oversold, found {stock:?}");
        }
        for ledger in &state.ledger {
            assert_eq!(ledger.balances.iter().sum::<i64>(), 0, "a ledger sums to zero: {ledger:?}");
        }
        state.orders.iter().for_each(|entry| audit_payment(&entry.row));
    }
}

fn audit_payment(order: &OrderRow) {
    let Some(payment) = &order.payment else { return };
    let open = payment.refunds_open_or_settled();
    assert!(0 <= payment.refunded && payment.refunded <= open, "{order:?}");
    assert!(open <= payment.captured && payment.captured <= payment.authorised, "{order:?}");
}

/// Everything: memory and store together are what the log comes to, and the log keeps the rules.
/// For a rig at rest.
pub(crate) fn verify(rig: &mut Rig) {
    audit(rig);
    let all: Vec<Rows> = rig.nodes.iter().map(rows_of_log).collect();
    for (node, rows) in rig.nodes.iter_mut().zip(&all) {
        for row in rows.values() {
            verify_row(node, row);
        }
        verify_sums(node, rows);
    }
    verify_holds(rig, &all);
}

/// Replays a log, and checks each step of each order on the way.
pub(crate) fn rows_of_log(node: &Node) -> Rows {
    let mut rows = Rows::new();
    let mut reader = node.log.reader();
    while let Some(frame) = reader.next_frame().unwrap() {
        for record in frame.records() {
            let fact = FactView::new(record.kind, record.payload).unwrap().read(record.key_hash).unwrap();
            for row in fact.rows {
                let key = key_of(&row);
                if let Row::Order(order) = &row {
                    check_step(rows.get(&key), order, fact.kind);
                    if fact.kind == RecordKind::OrderCreated && !order.key.is_none() {
                        let receipt = onrush_engine::state::order_receipt(order);
                        let state = KeyState::First { body: order.body, receipt };
                        let first = Row::Key(KeyRow { key: order.key, state, bucket: order.id.bucket() });
                        assert_eq!(rows.insert(key_of(&first), first), None, "one order per key");
                    }
                }
                rows.insert(key, row);
            }
        }
    }
    rows
}

fn check_step(before: Option<&Row>, order: &OrderRow, kind: RecordKind) {
    match before {
        Some(Row::Order(before)) if before.state == order.state => {
            assert_ne!(kind, RecordKind::OrderCreated, "accepted once: {order:?}");
        }
        Some(Row::Order(before)) => {
            assert!(before.may_become(order.state), "{before:?} -> {order:?}");
        }
        _ => assert!(order.state.is_open(), "born as {:?}", order.state),
    }
}

fn key_of(row: &Row) -> (RowTag, Vec<u8>) {
    let key = match row {
        Row::Stock(row) => row.sku.as_bytes().to_vec(),
        Row::Product(row) => row.sku.as_bytes().to_vec(),
        Row::Order(row) => row.id.0.to_be_bytes().to_vec(),
        Row::Hold(row) => row.order.0.to_be_bytes().to_vec(),
        Row::Key(row) => row.key.0.to_be_bytes().to_vec(),
        Row::Limit(row) => row.hash.to_be_bytes().to_vec(),
        Row::Document(row) => row.key.as_bytes().to_vec(),
        Row::Name(row) => row.name.as_bytes().to_vec(),
        Row::Offset(row) => [row.group.as_bytes(), &[row.topic]].concat(),
        Row::Group(row) => [row.group.as_bytes(), &[row.topic]].concat(),
        Row::DeadLetter(row) => [row.group.as_bytes(), &[row.topic], &row.lsn.to_be_bytes()].concat(),
        Row::Ledger(row) => row.currency.0.to_vec(),
        Row::StockChange(row) => [row.sku.as_bytes(), &row.version.to_be_bytes()].concat(),
        Row::Trace(context) => context.trace.to_be_bytes().to_vec(),
        Row::Correlation(id) => id.as_str().as_bytes().to_vec(),
    };
    (row.tag(), key)
}

fn stored_count(node: &Node, hash: u128) -> Option<u32> {
    node.stored.count(hash, &node.shard.count_spans(hash)).unwrap().map(|count| count.units)
}

/// A row in memory, or else in the store, is the last one that the log has.
fn verify_row(node: &Node, row: &Row) {
    let (state, stored) = (node.shard.state(), &node.stored);
    match row {
        Row::Stock(row) => assert_eq!(state.stock.row(&row.sku), Some(row)),
        // Catalogue rows live in the views and in the store.
        Row::Product(_) => {}
        // The store alone has it, or the log.
        Row::StockChange(_) | Row::Trace(_) | Row::Correlation(_) | Row::DeadLetter(_) => {}
        Row::Order(row) => assert_eq!(order(node, row.id).as_ref(), Some(row)),
        Row::Hold(row) => {
            let cold = || stored.hold(row.order).unwrap();
            assert_eq!(state.holds.row(&row.order).cloned().or_else(cold).as_ref(), Some(&**row));
        }
        Row::Key(row) => match state.keys.recall(row.key.0) {
            Memory::Known(known) => assert_eq!(known, row.state),
            Memory::Absent => panic!("the shard forgot {row:?}"),
            Memory::Cold => match fetch(node, stored, Want::Key(row.key)) {
                Found::Key(_, found) => assert_eq!(found, Some((row.state, row.bucket))),
                other => panic!("expected a key, found {other:?}"),
            },
        },
        Row::Limit(row) => match state.limits.recall(row.hash) {
            Memory::Known(count) => assert_eq!(count.units, row.units),
            Memory::Absent => panic!("the shard forgot {row:?}"),
            Memory::Cold => assert_eq!(stored_count(node, row.hash), Some(row.units)),
        },
        Row::Document(row) => {
            let cold = || stored.document(&row.key).unwrap();
            assert_eq!(state.documents.row(&row.key).cloned().or_else(cold).as_ref(), Some(&**row));
        }
        Row::Name(row) => {
            let cold = || stored.name(&row.name).unwrap();
            assert_eq!(state.names.row(&row.name).cloned().or_else(cold).as_ref(), Some(&**row));
        }
        Row::Offset(row) => assert_eq!(state.offsets.get(&(row.group, row.topic)), Some(&row.lsn)),
        Row::Group(row) => assert_eq!(state.groups.get(&(row.group, row.topic)), Some(row)),
        Row::Ledger(row) => assert!(state.ledger.contains(row), "{row:?}"),
    }
}

fn fetch(node: &Node, stored: &Stored, want: Want) -> Found {
    stored.fetch(&node.shard, want).unwrap()
}

/// An order as its home has it, in memory or in the store.
pub(crate) fn order(node: &Node, id: OrderId) -> Option<OrderRow> {
    node.shard.state().orders.row(&id).cloned().or_else(|| node.stored.order(id).unwrap())
}

/// Units sold are in paid orders; balances are the postings' sum.
fn verify_sums(node: &Node, rows: &Rows) {
    let mut sold: BTreeMap<Sku, i64> = BTreeMap::new();
    let mut balances: BTreeMap<_, [i64; 5]> = BTreeMap::new();
    for row in rows.values() {
        let lines = match row {
            Row::Order(order) => {
                audit_payment(order);
                for posting in order.payment.iter().flat_map(|payment| &payment.postings) {
                    let balances = balances.entry(order.total.currency).or_default();
                    balances[posting.from as usize] -= posting.minor;
                    balances[posting.to as usize] += posting.minor;
                }
                order.state.is_sold().then_some(&order.lines)
            }
            Row::Hold(hold) => (hold.state == HoldState::Captured).then_some(&hold.lines),
            _ => None,
        };
        for line in lines.into_iter().flatten() {
            *sold.entry(line.sku).or_default() += i64::from(line.quantity);
        }
    }
    for stock in node.shard.state().stock.iter() {
        assert_eq!(stock.sold, sold.get(&stock.sku).copied().unwrap_or(0), "{}: sold", stock.sku);
    }
    for ledger in &node.shard.state().ledger {
        assert_eq!(Some(&ledger.balances), balances.get(&ledger.currency), "{}", ledger.currency);
    }
}

/// Home and participants agree on every order over several shards.
fn verify_holds(rig: &Rig, all: &[Rows]) {
    for (at, rows) in all.iter().enumerate() {
        for row in rows.values() {
            match row {
                Row::Hold(hold) if !hold.lines.is_empty() => {
                    let home = usize::from(rig.map.shard(hold.order.slot()).0);
                    let order = order(&rig.nodes[home], hold.order).unwrap();
                    let right = match hold.state {
                        HoldState::Held => order.state.is_open(),
                        HoldState::Captured => order.state.is_sold(),
                        HoldState::Released => {
                            matches!(
                                order.state,
                                OrderState::Rejected | OrderState::Cancelled | OrderState::Expired
                            )
                        }
                        HoldState::Returned => order.state == OrderState::Cancelled,
                    };
                    assert!(right, "shard {at}: {hold:?} of {order:?}");
                }
                Row::Order(order) if order.state != OrderState::Rejected => {
                    for line in &order.lines {
                        let owner = usize::from(rig.map.shard(Slot::of(line.sku.as_bytes())).0);
                        let key = (RowTag::Hold, order.id.0.to_be_bytes().to_vec());
                        assert!(owner == at || all[owner].contains_key(&key), "no hold for {order:?}");
                    }
                }
                _ => {}
            }
        }
    }
}
