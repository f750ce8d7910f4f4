//! Limits: no customer has more units of a SKU than the limit under which they were bought.

use hashbrown::{HashMap, HashSet};
use onrush_proto::{HoldRow, KeyHasher, LimitRow, OrderRow, ShardId, Sku, Slot, SlotMap, StockRow};

use super::AuditReport;
use crate::tables::FixedState;

pub(super) struct Limits {
    shard: ShardId,
    map: SlotMap,
    hasher: KeyHasher,
    limited: HashSet<Sku, FixedState>,
    bought: HashMap<u128, u64, FixedState>,
    /// Counts as of their last change.
    rows: HashMap<u128, LimitRow, FixedState>,
}

impl Limits {
    pub(super) fn new(shard: ShardId, map: SlotMap, hasher: KeyHasher) -> Self {
        Self {
            shard,
            map,
            hasher,
            limited: HashSet::with_hasher(FixedState),
            bought: HashMap::with_hasher(FixedState),
            rows: HashMap::with_hasher(FixedState),
        }
    }

    pub(super) fn stock(&mut self, row: &StockRow) {
        if row.limit_per_customer > 0 {
            self.limited.insert(row.sku);
        }
    }

    pub(super) fn order(&mut self, order: &OrderRow) {
        if order.state.is_held() || order.state.is_sold() {
            self.add(&order.customer, &order.lines);
        }
    }

    pub(super) fn hold(&mut self, hold: &HoldRow) {
        use onrush_proto::HoldState::{Captured, Held};
        if matches!(hold.state, Held | Captured) {
            self.add(&hold.customer, &hold.lines);
        }
    }

    fn add(&mut self, customer: &onrush_proto::CustomerId, lines: &[onrush_proto::Line]) {
        for line in lines {
            let here = self.map.shard(Slot::of(line.sku.as_bytes())) == self.shard;
            if here && self.limited.contains(&line.sku) {
                let hash = self.hasher.pair(line.sku.as_bytes(), customer.as_bytes());
                *self.bought.entry(hash).or_default() += u64::from(line.quantity);
            }
        }
    }

    /// A count; a later one of the same hash comes later.
    pub(super) fn row(&mut self, row: &LimitRow) {
        self.rows.insert(row.hash, *row);
    }

    pub(super) fn finish(self, report: &mut AuditReport) {
        let mut rows: Vec<LimitRow> = self.rows.into_values().collect();
        rows.sort_unstable_by_key(|row| row.hash);
        for LimitRow { hash, units, limit, .. } in rows {
            if units > limit {
                report.violate(format!("limit: {hash:032x}: expected at most {limit} units, found {units}"));
            }
            // Units of orders that are gone may still count, and orders from before there was a limit do not.
            let live = self.bought.get(&hash).copied().unwrap_or(0);
            if live > u64::from(limit).max(u64::from(units)) {
                report.violate(format!(
                    "limit: {hash:032x}: expected at most {limit} units in orders, found {live}"
                ));
            }
        }
    }
}
