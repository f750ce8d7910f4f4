//! What PayPal lists. It shows a movement late, so each comparison looks again at the last hours of the one
//! before, and passes by what it saw there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use onrush_proto::{OrderId, Text};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{Broken, CALLS_MAX, LOOK_BACK, Reconciler, Report, UNSETTLED_MAX};
use crate::backend::Backend;
use crate::clock::now_us;
use crate::gateway::paypal::listing::{LAG, Listed, Listing, STRETCH_MAX, Taken};
use crate::gateway::{GatewayKind, Gateways, PayPal, Trouble};

/// How far PayPal's list was read.
#[derive(Default)]
pub(super) struct Position {
    /// Up to here, in s since the epoch; 0 = nothing was.
    read_s: u64,
    /// Payments that were looked at, each with the end of the stretch that listed it: those that cannot be listed
    /// again are forgotten.
    seen: HashMap<String, u64>,
    /// Payments that name an order of ours, while PayPal does not say which order of its own they paid for.
    untraced: BTreeMap<String, OrderId>,
}

/// A stretch of time, in s since the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    from_s: u64,
    to_s: u64,
}

/// What reading a stretch came to.
enum Read {
    /// It was read up to here, its end or where PayPal's list ends.
    To(u64),
    /// It is to be read in two.
    TooMuch,
    /// PayPal does not let our key see the list.
    Barred,
    /// There is no room for more.
    Full,
}

impl Position {
    /// All was read up to here.
    fn reached(&mut self, read_s: u64) {
        self.read_s = self.read_s.max(read_s);
        let again_s = self.read_s.saturating_sub(LAG.as_secs());
        self.seen.retain(|_, to_s| *to_s >= again_s);
    }

    fn saw(&mut self, payment: String, to_s: u64) {
        if self.seen.len() < UNSETTLED_MAX {
            self.seen.insert(payment, to_s);
        }
    }

    /// What names an order of ours and belongs to no charge is a difference until it does.
    pub(super) fn tell_untraced(&self, report: &mut Report) {
        for (payment, order) in &self.untraced {
            report.of(GatewayKind::PayPal).differences += 1;
            report.differs(format!(
                "payment {order}: expected PayPal to say which order of its own {payment} paid for, found none"
            ));
        }
    }
}

impl Reconciler {
    /// Enters the orders of what PayPal lists and was not looked at. What was read counts, also if the rest
    /// cannot be read now.
    pub(super) fn hear_paypal(
        &mut self,
        backend: &Backend,
        gateways: &Arc<Gateways>,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let Some(paypal) = gateways.the_paypal() else { return Ok(()) };
        let again = self.paypal.untraced.clone();
        self.enter_taken(backend, gateways, again.into_iter().collect())?;
        let now_s = now_us() / 1_000_000;
        if self.paypal.read_s == 0 {
            self.paypal.read_s = now_s.saturating_sub(LOOK_BACK.as_secs());
        }
        let mut left = stretches(self.paypal.read_s.saturating_sub(LAG.as_secs()), now_s);
        while let Some(stretch) = left.pop_front() {
            match self.read(paypal, stretch, (backend, gateways), report)? {
                Read::To(read_s) => {
                    self.paypal.reached(read_s);
                    if read_s < stretch.to_s {
                        break;
                    }
                }
                Read::TooMuch => {
                    let [first, second] = stretch.halves().ok_or(Broken::Theirs(Trouble::NoAnswer))?;
                    left.push_front(second);
                    left.push_front(first);
                }
                Read::Barred => {
                    let message =
                        "expected PayPal to show its list to our key (Transaction Search), found it barred";
                    tracing::warn!("{message}: only charges that we know are compared");
                    report.of(GatewayKind::PayPal).trouble = Some(message.into());
                    return Ok(());
                }
                Read::Full => return Ok(()),
            }
        }
        report.of(GatewayKind::PayPal).read_s = Some(self.paypal.read_s);
        Ok(())
    }

    /// Reads a stretch, page by page.
    fn read(
        &mut self,
        paypal: &PayPal,
        Stretch { from_s, to_s }: Stretch,
        (backend, gateways): (&Backend, &Arc<Gateways>),
        report: &mut Report,
    ) -> Result<Read, Broken> {
        let mut read_s = to_s;
        for page in 1.. {
            let found = Handle::current().block_on(paypal.list((from_s, to_s), page));
            let Listed { taken, more, refreshed_s } = match found.map_err(Broken::Theirs)? {
                Listing::Page(found) => found,
                Listing::TooMuch => return Ok(Read::TooMuch),
                Listing::NotYet => return Ok(Read::To(0)),
                Listing::Barred => return Ok(Read::Barred),
            };
            // Pages may be of different refreshes: what all of them tell counts.
            read_s = read_s.min(refreshed_s.unwrap_or(read_s));
            let mut ours = Vec::new();
            for Taken { id, order } in taken {
                if self.paypal.seen.contains_key(&id) {
                    continue;
                }
                match order {
                    Some(order) => ours.push((id, order)),
                    None => {
                        report.of(GatewayKind::PayPal).stranger(&id);
                        self.paypal.saw(id, to_s);
                    }
                }
            }
            self.enter_taken(backend, gateways, ours.clone())?;
            ours.into_iter().for_each(|(id, _)| self.paypal.saw(id, to_s));
            if !self.make_room(gateways, report)? {
                return Ok(Read::Full);
            }
            if !more {
                break;
            }
        }
        Ok(Read::To(read_s))
    }

    /// Enters the orders of payments, each with the charge that it belongs to. Those that PayPal does not trace to
    /// one are kept.
    fn enter_taken(
        &mut self,
        backend: &Backend,
        gateways: &Arc<Gateways>,
        taken: Vec<(String, OrderId)>,
    ) -> Result<(), Broken> {
        let found = Handle::current().block_on(charges(gateways, taken)).map_err(Broken::Theirs)?;
        let (mut named, untraced) = (Vec::with_capacity(found.len()), &mut self.paypal.untraced);
        for (payment, order, charge) in found {
            match charge {
                Some(charge) => {
                    untraced.remove(&payment);
                    named.push((order, charge));
                }
                None if untraced.len() < UNSETTLED_MAX => drop(untraced.insert(payment, order)),
                None => {}
            }
        }
        Ok(self.enter_orders(backend, named)?)
    }
}

impl Stretch {
    /// Its halves; `None` if it cannot be cut.
    fn halves(self) -> Option<[Self; 2]> {
        let Self { from_s, to_s } = self;
        let middle_s = from_s + (to_s - from_s) / 2;
        (middle_s > from_s).then_some([Self { to_s: middle_s, ..self }, Self { from_s: middle_s, ..self }])
    }
}

/// A time in stretches that may be asked for.
fn stretches(from_s: u64, to_s: u64) -> VecDeque<Stretch> {
    let step = STRETCH_MAX.as_secs();
    let begins = (from_s..to_s).step_by(step as usize);
    begins.map(|from_s| Stretch { from_s, to_s: to_s.min(from_s + step) }).collect()
}

/// A payment with the order that it names and the charge that it belongs to, if PayPal says which.
type Traced = (String, OrderId, Option<Text<63>>);

/// The charges that listed payments belong to, some asked for at once.
async fn charges(
    gateways: &Arc<Gateways>,
    mut listed: Vec<(String, OrderId)>,
) -> Result<Vec<Traced>, Trouble> {
    let (mut reads, mut found) = (JoinSet::new(), Vec::new());
    loop {
        while reads.len() < CALLS_MAX
            && let Some((payment, order)) = listed.pop()
        {
            let gateways = gateways.clone();
            reads.spawn(async move {
                let Some(paypal) = gateways.the_paypal() else { return Err(Trouble::NoAnswer) };
                let charge = paypal.charge_of(&payment).await?;
                Ok((payment, order, charge))
            });
        }
        let Some(read) = reads.join_next().await else { return Ok(found) };
        // A look that broke off is one without an answer.
        found.push(read.unwrap_or(Err(Trouble::NoAnswer))?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_is_asked_for_in_pieces() {
        const DAY: u64 = 86_400;
        let days = |from: u64, to: u64| Stretch { from_s: from * DAY, to_s: to * DAY };
        assert_eq!(stretches(0, 7 * DAY), [days(0, 7)]);
        assert_eq!(stretches(DAY, 70 * DAY), [days(1, 32), days(32, 63), days(63, 70)]);
        assert!(stretches(5, 5).is_empty());
        assert_eq!(days(2, 4).halves(), Some([days(2, 3), days(3, 4)]));
        assert_eq!(Stretch { from_s: 5, to_s: 6 }.halves(), None);
    }

    /// What may be listed again is known; what cannot be is forgotten.
    #[test]
    fn a_payment_is_remembered_for_as_long_as_it_may_be_listed() {
        let lag_s = LAG.as_secs();
        let mut position = Position { read_s: 100, ..Position::default() };
        position.saw("CAP-1".into(), 100);
        position.saw("CAP-2".into(), 200);
        position.reached(100 + lag_s);
        assert_eq!(position.seen.len(), 2);
        position.reached(101 + lag_s);
        assert_eq!(position.seen.keys().collect::<Vec<_>>(), ["CAP-2"]);
        // A list that was refreshed before that takes nothing back.
        position.reached(0);
        assert_eq!((position.read_s, position.seen.len()), (101 + lag_s, 1));
    }
}
