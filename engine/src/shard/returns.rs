//! Sold units on their way back to other shards.
//!
//! A participant asks home about what it holds, not about what it sold: that is all of history. So
//! home sends a return until the participant has recorded it, through restarts: its store stays
//! behind the first record whose return is not acknowledged, and recovery finds those records in
//! the log that it replays.

use std::collections::BTreeMap;

use onrush_proto::{Fact, OrderId, RecordKind, Row, ShardId};
use smallvec::SmallVec;

use super::baskets::returns_units;
use super::{Effects, PeerMessage, Shard};
use crate::rules::inventory::Resolution;

/// Returns that participants have not acknowledged.
#[derive(Default)]
pub(crate) struct Returns {
    owners: BTreeMap<OrderId, SmallVec<[ShardId; 4]>>,
    /// The records that say so, by position.
    orders: BTreeMap<u64, OrderId>,
}

impl Returns {
    fn begin(&mut self, order: OrderId, lsn: u64, owners: SmallVec<[ShardId; 4]>) {
        if !owners.is_empty() && self.owners.insert(order, owners).is_none() {
            self.orders.insert(lsn, order);
        }
    }

    fn done(&mut self, order: OrderId, by: ShardId) {
        let Some(owners) = self.owners.get_mut(&order) else { return };
        owners.retain(|owner| *owner != by);
        if owners.is_empty() {
            self.owners.remove(&order);
            self.orders.retain(|_, waiting| *waiting != order);
        }
    }

    /// What stands in records up to `lsn` is done.
    pub(super) fn settle_up_to(&mut self, lsn: u64) {
        let behind = self.orders.split_off(&(lsn + 1));
        for order in std::mem::replace(&mut self.orders, behind).into_values() {
            self.owners.remove(&order);
        }
    }

    /// The first record that recovery must find in the log.
    pub(crate) fn first_lsn(&self) -> Option<u64> {
        self.orders.first_key_value().map(|(lsn, _)| *lsn)
    }
}

impl Shard {
    /// Home: sends what was sold back to where it came from.
    pub(crate) fn return_units(&mut self, order: OrderId, owners: SmallVec<[ShardId; 4]>, out: &mut Effects) {
        let resolve = |owner: &ShardId| (*owner, return_of(order));
        out.outbound.extend(owners.iter().map(resolve));
        if !owners.is_empty() {
            self.owe_word(self.end().0);
        }
        self.returns.begin(order, self.end().0, owners);
    }

    /// Home: a participant has recorded the return.
    pub(crate) fn returned(&mut self, order: OrderId, by: ShardId) {
        self.returns.done(order, by);
    }

    /// Home, in recovery: finds the returns that may not have arrived.
    pub(crate) fn replay_return(&mut self, fact: &Fact, lsn: u64) {
        if fact.kind != RecordKind::RefundSucceeded {
            return;
        }
        for row in &fact.rows {
            if let Row::Order(order) = row
                && returns_units(order)
            {
                let owners = self.participants(&order.lines);
                if !owners.is_empty() {
                    self.owe_word(lsn);
                }
                self.returns.begin(order.id, lsn, owners);
            }
        }
    }

    /// Home, taking office: sends again what was not acknowledged.
    pub(crate) fn return_again(&self, out: &mut Effects) {
        for (order, owners) in &self.returns.owners {
            out.outbound.extend(owners.iter().map(|owner| (*owner, return_of(*order))));
        }
    }
}

fn return_of(order: OrderId) -> PeerMessage {
    PeerMessage::Resolve { order, how: Resolution::Return, until_us: 0 }
}
