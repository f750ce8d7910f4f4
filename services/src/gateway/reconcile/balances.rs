//! What the gateways' books say of charges that are known by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onrush_proto::{Currency, OrderId, Text};
use tokio::task::JoinSet;

use super::CALLS_MAX;
use super::report::Report;
use crate::gateway::{Booked, GatewayKind, Gateways};
use crate::status::Rejection;

/// A charge: whose, its name at its gateway, and in what money.
pub(super) type Named = (OrderId, Text<63>, Currency);

/// What the books say of orders.
#[derive(Default)]
pub(super) struct Balances {
    /// What was taken and given back; an order that is not here has nothing.
    pub(super) booked: BTreeMap<OrderId, Booked>,
    /// Orders with a charge that nobody could be asked for.
    pub(super) unanswered: BTreeSet<OrderId>,
}

impl Balances {
    /// Asks for charges, some at once. A gateway that gave no answer is asked no more.
    pub(super) async fn of(
        gateways: &Arc<Gateways>,
        mut charges: Vec<Named>,
        report: &mut Report,
    ) -> Result<Self, Rejection> {
        let (mut reads, mut found) = (JoinSet::new(), Self::default());
        loop {
            while reads.len() < CALLS_MAX
                && let Some((order, charge, currency)) = charges.pop()
            {
                let Some(kind) = GatewayKind::of_reference(charge.as_str()) else { continue };
                if report.of(kind).away {
                    found.unanswered(order, kind, report);
                    continue;
                }
                let gateways = gateways.clone();
                reads.spawn(async move { (order, kind, gateways.booked(charge.as_str(), currency).await) });
            }
            let Some(read) = reads.join_next().await else { return Ok(found) };
            let (order, kind, booked) = read.map_err(|error| Rejection::Internal(error.to_string()))?;
            match booked {
                Ok(booked) => found.add(order, booked),
                Err(trouble) => {
                    report.of(kind).is_away(trouble);
                    found.unanswered(order, kind, report);
                }
            }
        }
    }

    fn add(&mut self, order: OrderId, Booked { captured, refunded }: Booked) {
        let sum = self.booked.entry(order).or_default();
        sum.captured = sum.captured.saturating_add(captured);
        sum.refunded = sum.refunded.saturating_add(refunded);
    }

    fn unanswered(&mut self, order: OrderId, kind: GatewayKind, report: &mut Report) {
        if self.unanswered.insert(order) {
            report.of(kind).unanswered += 1;
        }
    }
}
