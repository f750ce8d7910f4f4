//! What a scenario comes down to: items, wishes, times, and how its buyers behave.

use onrush_proto::{Currency, CustomerId, Money, Sku};

use crate::demand::Demand;
use crate::gateway::GatewayDays;
use crate::operation::Operation;
use crate::random::mix;
use crate::schedule::Curve;

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// What a made-up catalogue is priced in.
pub(crate) const CURRENCY: Currency = Currency::USD;

/// One thing on sale.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) sku: Sku,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) brand: String,
    pub(crate) price: Money,
    pub(crate) stock: i64,
    /// Most units per customer; 0 = no limit.
    pub(crate) limit: u32,
}

impl Item {
    /// An item of a made-up catalogue.
    pub(crate) fn numbered(prefix: &str, number: u32, stock: i64, limit: u32) -> Self {
        let text = format!("{prefix}-{number:06}");
        let cents = 199 + (mix(u64::from(number)) % 20_000) as i64;
        Self {
            sku: Sku::new(&text).unwrap_or(Sku::EMPTY),
            name: format!("Article {text}"),
            category: "Sale".into(),
            brand: "Onrush".into(),
            price: Money::new(cents, CURRENCY),
            stock,
            limit,
        }
    }
}

/// A customer's id from its number, without the formatting machinery: it is made per request.
pub(crate) fn customer_id(number: u32) -> CustomerId {
    let mut text = *b"customer-0000000000";
    let mut rest = number;
    for digit in text[9..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    std::str::from_utf8(&text).ok().and_then(|text| CustomerId::new(text).ok()).unwrap_or(CustomerId::EMPTY)
}

/// When orders come.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// Poisson arrivals along a curve.
    Along(Curve),
    /// Recorded times in ns since the start, ascending.
    Recorded(Vec<u64>),
}

impl Times {
    /// How many arrivals are expected.
    pub(crate) fn expected(&self) -> f64 {
        match self {
            Self::Along(curve) => curve.expected(),
            Self::Recorded(times) => times.len() as f64,
        }
    }
}

/// Reads beside the orders.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// When they come.
    pub(crate) curve: Curve,
    /// Share of validations before T0; the rest are product pages.
    pub(crate) validate_before: f64,
    /// Share of validations after T0.
    pub(crate) validate_after: f64,
}

/// How accepted orders are paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payer {
    /// Share of buyers that never pay: their holds expire.
    pub(crate) never: f64,
    /// A buyer starts to pay within this many seconds of the acceptance.
    pub(crate) within_s: f64,
    /// The gateway answers within this many seconds.
    pub(crate) gateway_s: f64,
    /// Share of attempts declined. A buyer declined twice calls the order off.
    pub(crate) decline: f64,
}

/// How buyers treat a slow shop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Impatience {
    /// Share of buys sent again once or twice at once, with the same key.
    pub(crate) again: f64,
    /// Those come within this time.
    pub(crate) again_within_ns: u64,
    /// Share of accepted buys followed by another body under the same key.
    pub(crate) other_body: f64,
    /// A client gives a send up after this time.
    pub(crate) timeout_ns: u64,
    /// And tries again at most this often.
    pub(crate) retries_max: u8,
    /// Back-off drawn from 0 to its bound rather than the bound itself.
    pub(crate) jitter: bool,
    /// Share of answers that never reach the client.
    pub(crate) lost: f64,
}

/// Which orders are filed apart from the others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Sorting {
    /// None.
    #[default]
    Alike,
    /// Those of customers 0..n, who are bots.
    Bots(u32),
    /// Item 0 is wanted in every other phase; the other items live on other shards.
    Neighbours {
        /// Length of a phase.
        phase_ns: u64,
    },
    /// Before, during and after an overload.
    Overload {
        /// When it begins.
        from_ns: u64,
        /// When it ends.
        until_ns: u64,
    },
}

/// What a phase begins with belongs to neither: the backlog of the one before is still there.
const SETTLING_SHARE: u64 = 10;

impl Sorting {
    /// How the first send of an order is filed.
    pub(crate) fn operation(self, customer: u32, item: u32, at_ns: u64) -> Operation {
        match self {
            Self::Bots(bots) if customer < bots => Operation::BotOrder,
            Self::Neighbours { .. } if item == 0 => Operation::HotOrder,
            Self::Neighbours { phase_ns } if at_ns % phase_ns < phase_ns / SETTLING_SHARE => {
                Operation::CreateOrder
            }
            Self::Neighbours { phase_ns } if is_hot_phase(phase_ns, at_ns) => Operation::BesideOrder,
            Self::Neighbours { .. } => Operation::AloneOrder,
            Self::Overload { from_ns, until_ns } if (from_ns..until_ns).contains(&at_ns) => {
                Operation::OverloadOrder
            }
            Self::Overload { until_ns, .. } if at_ns >= until_ns => Operation::AfterOrder,
            Self::Alike | Self::Bots(_) | Self::Overload { .. } => Operation::CreateOrder,
        }
    }
}

/// True in every other phase, the first one being without.
pub(crate) fn is_hot_phase(phase_ns: u64, at_ns: u64) -> bool {
    (at_ns / phase_ns) % 2 == 1
}

/// What is asked of an order once it is paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refunds {
    /// Refunds at once.
    pub(crate) at_once: u8,
    /// Each of this share of what was paid.
    pub(crate) share: f64,
    /// How many of them go through.
    pub(crate) granted: u8,
}

/// Where buyers are turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Door {
    /// Requests under way beyond which nobody is let in; the target's own bound may be lower.
    pub(crate) in_flight_max: usize,
}

/// What only some scenarios have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Special {
    /// Which orders are filed apart.
    pub(crate) sorting: Sorting,
    /// The bad days of the gateway; `None` = it answers as the payer says.
    pub(crate) gateway: Option<GatewayDays>,
    /// What follows a payment.
    pub(crate) refunds: Option<Refunds>,
    /// Share of accepted buyers who call the order off instead of paying.
    pub(crate) call_off: f64,
    /// A buyer for whom there is no room is turned away at once instead of waiting at the client.
    pub(crate) door: Option<Door>,
    /// How many drivers came before on the same data: it has other arrivals and wishes than they.
    pub(crate) life: u64,
    /// At the end the money of every order has come to rest.
    pub(crate) settles: bool,
}

/// A scenario, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: &'static str,
    pub(crate) seed: u64,
    pub(crate) duration_s: f64,
    /// T0: goodput counts from here.
    pub(crate) start_s: f64,
    pub(crate) items: Vec<Item>,
    pub(crate) demand: Demand,
    pub(crate) times: Times,
    pub(crate) reads: Option<Reads>,
    pub(crate) payer: Payer,
    pub(crate) impatience: Option<Impatience>,
    /// Items 0..sells_out are wanted more than there are.
    pub(crate) sells_out: u32,
    /// Hold interval in us; 0 = the engine's default.
    pub(crate) hold_us: u64,
    pub(crate) special: Special,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_have_ids_of_one_length() {
        assert_eq!(customer_id(7).as_str(), "customer-0000000007");
        assert_eq!(customer_id(u32::MAX).as_str(), "customer-4294967295");
    }

    #[test]
    fn orders_are_filed_by_who_what_and_when() {
        use Operation::{
            AfterOrder, AloneOrder, BesideOrder, BotOrder, CreateOrder, HotOrder, OverloadOrder,
        };
        let bots = Sorting::Bots(3);
        assert_eq!([2, 3].map(|customer| bots.operation(customer, 0, 0)), [BotOrder, CreateOrder]);
        let neighbours = Sorting::Neighbours { phase_ns: 100 };
        let found = [(0, 150), (7, 50), (7, 150), (7, 105)];
        let found = found.map(|(item, at_ns)| neighbours.operation(9, item, at_ns));
        assert_eq!(found, [HotOrder, AloneOrder, BesideOrder, CreateOrder]);
        let overload = Sorting::Overload { from_ns: 10, until_ns: 20 };
        let found = [9, 10, 19, 20].map(|at_ns| overload.operation(0, 0, at_ns));
        assert_eq!(found, [CreateOrder, OverloadOrder, OverloadOrder, AfterOrder]);
    }

    #[test]
    fn numbered_items_fit_their_sku() {
        let item = Item::numbered("hot", 1, 5, 2);
        assert_eq!(item.sku.as_str(), "hot-000001");
        assert!(item.price.minor > 0);
    }
}
