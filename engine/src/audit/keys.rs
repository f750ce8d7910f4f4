//! Keys: every keyed order has its key, one key names one order, and a key that lives on another
//! shard has its claim there.

use onrush_proto::{
    IdempotencyKey, KeyRow, KeyState, OrderId, OrderRow, OrderState, Receipt, ShardId, Slot, SlotMap,
};

use super::AuditReport;

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
        let accepted = !matches!(order.state, OrderState::Reserving | OrderState::Rejected);
        if accepted && !order.key.is_none() {
            self.of_orders.add(order.key, order.id.0);
        }
    }

    pub(super) fn row(&mut self, shard: ShardId, row: &KeyRow) {
        match row.state {
            KeyState::First { receipt, .. } => {
                if let Receipt::Order { order: OrderId(order), .. } = receipt {
                    self.of_rows.add(row.key, order);
                }
                if self.map.shard(Slot::of_hash(row.key.0)) != shard {
                    self.wanted.add(row.key, u128::from(shard.0));
                }
            }
            KeyState::Claim { home } => {
                let home = self.map.shard(Slot(home));
                self.claimed.add(row.key, u128::from(home.0));
            }
        }
    }

    pub(super) fn finish(self, report: &mut AuditReport) {
        report.expect(|| "keys: one per keyed order".into(), self.of_orders, self.of_rows);
        report.expect(
            || "keys: one claim per key that lives on another shard".into(),
            self.wanted,
            self.claimed,
        );
    }
}
