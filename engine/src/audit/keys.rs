//! Keys: every keyed order has its key, one key names one order, and a key that lives on another
//! shard has its claim there.

use onrush_proto::{
    IdempotencyKey, KeyState, OrderId, OrderRow, OrderState, Receipt, ShardId, Slot, SlotMap,
};

use hashbrown::HashMap;

use super::{AuditReport, Between, ShardCut};
use crate::flush::{KeyNames, StoredError};
use crate::tables::FixedState;

/// Order-independent sums of hashes: two equal sets have equal sums. Millions of keys are compared
/// without being held.
#[derive(Default, PartialEq, Eq, Debug, Clone, Copy)]
struct Sum {
    count: u64,
    hash: u64,
}

impl Sum {
    fn add(&mut self, key: IdempotencyKey, value: u128) {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&key.0.to_le_bytes());
        bytes[16..].copy_from_slice(&value.to_le_bytes());
        self.count += 1;
        self.hash = self.hash.wrapping_add(xxhash_rust::xxh3::xxh3_64(&bytes));
    }
}

pub(super) struct Keys {
    map: SlotMap,
    /// (key, order) as orders and as key rows say.
    of_orders: Sum,
    of_rows: Sum,
    /// (key, home shard) of keys that live elsewhere, and of claims.
    wanted: Sum,
    claimed: Sum,
}

impl Keys {
    pub(super) fn new(map: SlotMap) -> Self {
        let none = Sum::default();
        Self { map, of_orders: none, of_rows: none, wanted: none, claimed: none }
    }

    pub(super) fn order(&mut self, _: ShardId, order: &OrderRow) {
        let accepted = !(order.state.is_unborn() || order.state == OrderState::Rejected);
        if accepted && !order.key.is_none() {
            self.of_orders.add(order.key, order.id.0);
        }
    }

    pub(super) fn key(&mut self, shard: ShardId, key: IdempotencyKey, names: KeyNames) {
        if let KeyNames::State(KeyState::Claim { home }) = names {
            let home = self.map.shard(Slot(home));
            return self.claimed.add(key, u128::from(home.0));
        }
        if let Some(OrderId(order)) = order_of(names) {
            self.of_rows.add(key, order);
        }
        if self.map.shard(Slot::of_hash(key.0)) != shard {
            self.wanted.add(key, u128::from(shard.0));
        }
    }

    /// False if the claims have to be compared one by one.
    pub(super) fn finish(self, report: &mut AuditReport) -> bool {
        report.expect(|| "keys: one per keyed order".into(), self.of_orders, self.of_rows);
        self.wanted == self.claimed
    }
}

/// The order that a key names.
fn order_of(names: KeyNames) -> Option<OrderId> {
    match names {
        KeyNames::Order(order)
        | KeyNames::State(KeyState::First { receipt: Receipt::Order { order, .. }, .. }) => Some(order),
        KeyNames::State(_) => None,
    }
}

/// What one side says of a key: the home shard, and where its record stands if that is known.
type Told = HashMap<IdempotencyKey, (ShardId, u64), FixedState>;

/// Compares claims one by one. In a running engine a key may be accepted on its home and not yet
/// claimed where it lives, or the cut of its home may be the older one: those are under way.
pub(super) fn compare_claims(
    shards: &[ShardCut],
    (map, between): (SlotMap, Between),
    report: &mut AuditReport,
) -> Result<(), StoredError> {
    let (wanted, claimed) = tell(shards, map)?;
    let running = |shard: ShardId| shards[usize::from(shard.0)].ceiling;
    let mut lines = Vec::new();
    for (key, (home, lsn)) in &wanted {
        if claimed.get(key).is_some_and(|(claimed, _)| claimed == home) {
            continue;
        }
        match running(*home) {
            _ if between == Between::Open => report.open_cross_shard += 1,
            Some(ceiling) if *lsn == 0 || *lsn > ceiling => report.open_cross_shard += 1,
            _ => lines.push(format!(
                "keys: {:032x}: expected a claim that names shard {}, found none",
                key.0, home.0
            )),
        }
    }
    for (key, (home, _)) in claimed.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        match running(*home) {
            Some(_) => report.open_cross_shard += 1,
            None => lines.push(format!(
                "keys: {:032x}: expected what shard {} accepted, found a claim alone",
                key.0, home.0
            )),
        }
    }
    lines.sort_unstable();
    lines.into_iter().for_each(|line| report.violate(line));
    Ok(())
}

/// Keys that live elsewhere as their homes tell, and as their claims tell.
fn tell(shards: &[ShardCut], map: SlotMap) -> Result<(Told, Told), StoredError> {
    let (mut wanted, mut claimed) = (Told::with_hasher(FixedState), Told::with_hasher(FixedState));
    for (number, ShardCut { rows, .. }) in shards.iter().enumerate() {
        let shard = ShardId(number as u16);
        let mut next = rows.next_bucket(0)?;
        while let Some(bucket) = next {
            rows.each_key(bucket, |key, names| match names {
                KeyNames::State(KeyState::Claim { home }) => {
                    claimed.insert(key, (map.shard(Slot(home)), 0));
                }
                names if map.shard(Slot::of_hash(key.0)) != shard => {
                    wanted.insert(key, (shard, order_of(names).map_or(0, OrderId::sequence)));
                }
                _ => {}
            })?;
            next = rows.next_bucket(bucket + 1)?;
        }
    }
    Ok((wanted, claimed))
}
