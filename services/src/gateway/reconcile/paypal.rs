//! What PayPal lists. It shows a movement late, so each comparison looks again at the last hours of the one
//! before, and passes by what it saw there.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use onrush_proto::{OrderId, Text};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{CALLS_MAX, LOOK_BACK, Reconciler, Report, UNSETTLED_MAX, unavailable};
use crate::backend::Backend;
use crate::clock::now_us;
use crate::gateway::paypal::listing::{LAG, Listed, Listing, STRETCH_MAX};
use crate::gateway::{Gateways, Trouble};
use crate::status::Rejection;

/// How far PayPal's list was read.
#[derive(Default)]
pub(super) struct Position {
    /// Up to here, in s since the epoch; 0 = nothing was.
    read_s: u64,
    /// Payments that were looked at; those that are not listed any more are forgotten.
    seen: HashSet<String>,
}

impl Reconciler {
    /// Enters the orders of what PayPal lists and was not looked at.
    pub(super) fn hear_paypal(
        &mut self,
        backend: &Backend,
        gateways: &Arc<Gateways>,
        report: &mut Report,
    ) -> Result<(), Rejection> {
        let Some(paypal) = gateways.the_paypal() else { return Ok(()) };
        let now_s = now_us() / 1_000_000;
        let from_s = match self.paypal.read_s {
            0 => now_s.saturating_sub(LOOK_BACK.as_secs()),
            read_s => read_s.saturating_sub(LAG.as_secs()),
        };
        let (mut pages, mut listed) = (first_pages(from_s, now_s), HashSet::new());
        while let Some((from_s, to_s, page)) = pages.pop_front() {
            let found = Handle::current().block_on(paypal.list((from_s, to_s), page));
            let Listed { taken, more } = match found.map_err(unavailable)? {
                Listing::Page(found) => found,
                Listing::TooMuch if to_s - from_s > 1 => {
                    let middle_s = from_s + (to_s - from_s) / 2;
                    pages.push_front((middle_s, to_s, 1));
                    pages.push_front((from_s, middle_s, 1));
                    continue;
                }
                Listing::TooMuch => return Err(unavailable(Trouble::NoAnswer)),
                Listing::Barred => {
                    tracing::warn!(
                        "PayPal does not show its list to our key (Transaction Search): only charges that we know are compared"
                    );
                    return Ok(());
                }
            };
            if more {
                pages.push_front((from_s, to_s, page + 1));
            }
            let news = taken.iter().filter(|(id, _)| !self.paypal.seen.contains(id)).cloned().collect();
            listed.extend(taken.into_iter().map(|(id, _)| id).take(UNSETTLED_MAX - listed.len()));
            let named = Handle::current().block_on(charges(gateways, news)).map_err(unavailable)?;
            self.enter_orders(backend, named)?;
            if !self.make_room(gateways, report)? {
                return Ok(());
            }
        }
        self.paypal = Position { read_s: now_s, seen: listed };
        Ok(())
    }
}

/// The first page of each stretch of a time: from, to, and the page.
fn first_pages(from_s: u64, to_s: u64) -> VecDeque<(u64, u64, u32)> {
    let step = STRETCH_MAX.as_secs();
    (from_s..to_s).step_by(step as usize).map(|from_s| (from_s, to_s.min(from_s + step), 1)).collect()
}

/// The charges that listed payments belong to, some asked for at once.
async fn charges(
    gateways: &Arc<Gateways>,
    mut listed: Vec<(String, OrderId)>,
) -> Result<Vec<(OrderId, Text<63>)>, Trouble> {
    let (mut reads, mut found) = (JoinSet::new(), Vec::new());
    loop {
        while reads.len() < CALLS_MAX
            && let Some((payment, order)) = listed.pop()
        {
            let gateways = gateways.clone();
            reads.spawn(async move {
                match gateways.the_paypal() {
                    Some(paypal) => Ok(paypal.charge_of(&payment).await?.map(|charge| (order, charge))),
                    None => Ok(None),
                }
            });
        }
        let Some(read) = reads.join_next().await else { return Ok(found) };
        // A look that broke off is one without an answer.
        found.extend(read.unwrap_or(Err(Trouble::NoAnswer))?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_is_asked_for_in_pieces() {
        const DAY: u64 = 86_400;
        assert_eq!(first_pages(0, 7 * DAY), [(0, 7 * DAY, 1)]);
        let three = [(DAY, 32 * DAY, 1), (32 * DAY, 63 * DAY, 1), (63 * DAY, 70 * DAY, 1)];
        assert_eq!(first_pages(DAY, 70 * DAY), three);
        assert!(first_pages(5, 5).is_empty());
    }
}
