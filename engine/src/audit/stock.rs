//! Units: received = available + held + sold, none negative; held and sold are what the orders say.

use hashbrown::HashMap;
use onrush_proto::{HoldRow, HoldState, OrderRow, ShardId, Sku, Slot, SlotMap, StockRow};

use super::AuditReport;
use crate::tables::FixedState;

#[derive(Default)]
struct Units {
    row: Option<StockRow>,
    held: i64,
    sold: i64,
}

pub(super) struct Stock {
    shard: ShardId,
    map: SlotMap,
    units: HashMap<Sku, Units, FixedState>,
}

impl Stock {
    pub(super) fn new(shard: ShardId, map: SlotMap) -> Self {
        Self { shard, map, units: HashMap::with_hasher(FixedState) }
    }

    pub(super) fn row(&mut self, row: &StockRow) {
        self.units.entry(row.sku).or_default().row = Some(*row);
    }

    pub(super) fn order(&mut self, order: &OrderRow) {
        let (held, sold) = (order.state.is_held(), order.state.is_sold());
        if !held && !sold {
            return;
        }
        for line in &order.lines {
            if self.map.shard(Slot::of(line.sku.as_bytes())) == self.shard {
                let units = self.units.entry(line.sku).or_default();
                units.held += i64::from(line.quantity) * i64::from(held);
                units.sold += i64::from(line.quantity) * i64::from(sold);
            }
        }
    }

    pub(super) fn hold(&mut self, hold: &HoldRow) {
        for line in &hold.lines {
            let units = self.units.entry(line.sku).or_default();
            match hold.state {
                HoldState::Held => units.held += i64::from(line.quantity),
                HoldState::Captured => units.sold += i64::from(line.quantity),
                HoldState::Released | HoldState::Returned => {}
            }
        }
    }

    pub(super) fn finish(self, report: &mut AuditReport) {
        let mut units: Vec<_> = self.units.into_iter().collect();
        units.sort_unstable_by_key(|(sku, _)| *sku);
        for (sku, units) in units {
            let Some(row) = units.row else {
                report
                    .violate(format!("stock: {sku}: expected a stock row for what orders hold, found none"));
                continue;
            };
            report.skus += 1;
            report.units_received += row.received;
            report.units_available += row.available();
            report.units_held += row.held;
            report.units_sold += row.sold;
            report.expect(
                || format!("stock: {sku}: received"),
                row.available() + row.held + row.sold,
                row.received,
            );
            report.expect(|| format!("stock: {sku}: held"), units.held, row.held);
            report.expect(|| format!("stock: {sku}: sold"), units.sold, row.sold);
            let oversold = row.available() < -i64::from(row.backorder) || row.held < 0 || row.sold < 0;
            if oversold {
                let (available, held, sold) = (row.available(), row.held, row.sold);
                report.violate(format!(
                    "stock: {sku}: expected nothing negative, found available {available}, held {held}, sold {sold}"
                ));
            }
        }
    }
}
