//! What a scenario comes down to: items, wishes, times, and how its buyers behave.

use onrush_proto::{Currency, CustomerId, Money, Sku};

use crate::demand::Demand;
use crate::random::mix;
use crate::schedule::Curve;

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

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
            price: Money::new(cents, Currency::USD),
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
    fn numbered_items_fit_their_sku() {
        let item = Item::numbered("hot", 1, 5, 2);
        assert_eq!(item.sku.as_str(), "hot-000001");
        assert!(item.price.minor > 0);
    }
}
