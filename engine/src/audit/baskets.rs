//! Orders over several shards: all parts or none.

use hashbrown::HashMap;
use onrush_proto::{HoldRow, HoldState, OrderId, OrderRow, OrderState, ShardId, Slot, SlotMap};

use super::{AuditReport, Between};
use crate::tables::FixedState;

#[derive(Default)]
struct Basket {
    /// State and number of lines elsewhere, as home says.
    home: Option<(OrderState, usize)>,
    held: usize,
    sold: usize,
}

pub(super) struct Baskets {
    map: SlotMap,
    baskets: HashMap<OrderId, Basket, FixedState>,
}

impl Baskets {
    pub(super) fn new(map: SlotMap) -> Self {
        Self { map, baskets: HashMap::with_hasher(FixedState) }
    }

    pub(super) fn order(&mut self, order: &OrderRow) {
        let home = self.map.shard(order.id.slot());
        let elsewhere =
            order.lines.iter().filter(|line| self.map.shard(Slot::of(line.sku.as_bytes())) != home).count();
        if elsewhere > 0 {
            self.baskets.entry(order.id).or_default().home = Some((order.state, elsewhere));
        }
    }

    pub(super) fn hold(&mut self, _: ShardId, hold: &HoldRow) {
        let basket = self.baskets.entry(hold.order).or_default();
        match hold.state {
            HoldState::Held => basket.held += hold.lines.len(),
            HoldState::Captured => basket.sold += hold.lines.len(),
            HoldState::Released | HoldState::Returned => {}
        }
    }

    pub(super) fn finish(self, between: Between, report: &mut AuditReport) {
        let mut baskets: Vec<_> = self.baskets.into_iter().collect();
        baskets.sort_unstable_by_key(|(id, _)| *id);
        for (id, Basket { home, held, sold }) in baskets {
            let Some((state, lines)) = home else {
                // Home may be cut before its record: the hold asks home, which gives it back.
                report.open_cross_shard += u64::from(held + sold > 0);
                continue;
            };
            let settled = match state {
                OrderState::Pending => held == lines && sold == 0,
                state if state.is_sold() => held == 0 && sold == lines,
                _ => held == 0 && sold == 0,
            };
            match settled {
                true => {}
                // What home decided may be on its way to a participant.
                false if held > 0 || state.is_unborn() || state == OrderState::Cancelled => {
                    report.open_cross_shard += 1;
                }
                false if between == Between::Open => report.open_cross_shard += 1,
                false => report.violate(format!(
                    "basket: {id}: expected all {lines} lines elsewhere to follow {state:?}, found {held} held, {sold} sold"
                )),
            }
        }
    }
}
