//! PayPal's own list of what moved (transaction search). It shows a movement up to three hours after it was made,
//! at most 31 days at once.

use std::time::Duration;

use jiff::Timestamp;
use onrush_proto::{OrderId, Text};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::{PayPal, REFERENCE, Said, segment, sorted};
use crate::gateway::{GatewayKey, Op, Trouble};

/// How much later than it was made a movement may show.
pub(in crate::gateway) const LAG: Duration = Duration::from_secs(3 * 3_600);
/// The longest stretch that may be asked for.
pub(in crate::gateway) const STRETCH_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Movements to a page.
const PAGE: usize = 500;
/// Payments that came in: T0000 to T0099.
const PAYMENTS: &str = "T00";
/// What PayPal says where a stretch holds more than it tells.
const TOO_MUCH: &str = "RESULTSET_TOO_LARGE";

/// A page of the list.
pub(in crate::gateway) struct Listed {
    /// Payments that took money for orders of ours: PayPal's name, and the order.
    pub(in crate::gateway) taken: Vec<(String, OrderId)>,
    /// True if another page follows.
    pub(in crate::gateway) more: bool,
}

/// What asking for a page came to.
pub(in crate::gateway) enum Listing {
    /// The page.
    Page(Listed),
    /// The stretch holds too much to be told.
    TooMuch,
    /// PayPal does not let our key see the list.
    Barred,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    transaction_details: Vec<Detail>,
    #[serde(default)]
    total_pages: u32,
}

#[derive(Deserialize)]
struct Detail {
    transaction_info: Movement,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Movement {
    transaction_id: String,
    transaction_event_code: String,
    transaction_status: String,
    custom_field: Option<String>,
}

/// A capture, as far as it says what it belongs to.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Origin {
    supplementary_data: Supplement,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Supplement {
    related_ids: Related,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Related {
    order_id: String,
}

impl Movement {
    /// The order of ours that it took money for: by the key that we wrote on it, or by the order's id that a
    /// browser did.
    fn order(&self) -> Option<OrderId> {
        // What was reversed later was taken, too.
        let took = matches!(self.transaction_status.as_str(), "S" | "V");
        let payment = took && self.transaction_event_code.starts_with(PAYMENTS);
        let custom = self.custom_field.as_deref()?;
        let key = GatewayKey::parse(custom).filter(|key| key.op == Op::Charge);
        key.map(|key| key.order).or_else(|| custom.parse().ok()).filter(|_| payment)
    }
}

impl PayPal {
    /// A page, from 1, of what moved between two times, in s since the epoch.
    pub(in crate::gateway) async fn list(
        &self,
        (from_s, to_s): (u64, u64),
        page: u32,
    ) -> Result<Listing, Trouble> {
        let query = [
            ("start_date", time(from_s)?),
            ("end_date", time(to_s)?),
            ("fields", "transaction_info".into()),
            ("page_size", PAGE.to_string()),
            ("page", page.to_string()),
        ];
        let request = || self.endpoint.request(Method::GET, "v1/reporting/transactions").query(&query);
        let answer = self.answered(request).await?;
        if answer.status == StatusCode::FORBIDDEN {
            return Ok(Listing::Barred);
        }
        let found: Page = match sorted(&answer)? {
            Said::Done(found) => found,
            Said::Refused(issue) if issue.as_str() == TOO_MUCH => return Ok(Listing::TooMuch),
            Said::Refused(_) => return Err(Trouble::NoAnswer),
        };
        let movements = found.transaction_details.into_iter().map(|detail| detail.transaction_info);
        let taken = movements.filter_map(|movement| Some((movement.order()?, movement.transaction_id)));
        let taken = taken.map(|(order, id)| (id, order)).collect();
        Ok(Listing::Page(Listed { taken, more: page < found.total_pages }))
    }

    /// Our name of the charge that a listed payment belongs to; `None` if it belongs to no order of PayPal's.
    pub(in crate::gateway) async fn charge_of(&self, payment: &str) -> Result<Option<Text<63>>, Trouble> {
        let path = format!("v2/payments/captures/{}", segment(payment));
        let origin = match self.get::<Origin>(&path).await? {
            Said::Done(origin) => origin.supplementary_data.related_ids.order_id,
            Said::Refused(_) => return Ok(None),
        };
        Ok(Text::new(&format!("{REFERENCE}{origin}")).ok().filter(|_| !origin.is_empty()))
    }
}

/// A time as PayPal reads it.
fn time(at_s: u64) -> Result<String, Trouble> {
    let at = i64::try_from(at_s).ok().and_then(|at_s| Timestamp::from_second(at_s).ok());
    at.map(|at| at.to_string()).ok_or(Trouble::NoAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_payments_for_our_orders_are_ours() {
        let order = OrderId(7);
        let key = format!("{order}:1:charge");
        for (code, status, custom, ours) in [
            ("T0006", "S", key.clone(), true),
            ("T0003", "V", key.clone(), true),
            ("T0006", "S", order.to_string(), true),
            ("T0006", "P", key.clone(), false),
            ("T0006", "D", key.clone(), false),
            ("T1107", "S", key.clone(), false),
            ("T0006", "S", format!("{order}:1:refund"), false),
            ("T0006", "S", "of another system".into(), false),
            ("T0006", "S", String::new(), false),
        ] {
            let movement = Movement {
                transaction_id: "1".into(),
                transaction_event_code: code.into(),
                transaction_status: status.into(),
                custom_field: Some(custom),
            };
            assert_eq!(
                movement.order(),
                ours.then_some(order),
                "{code} {status} {:?}",
                movement.custom_field
            );
        }
    }

    #[test]
    fn times_are_said_in_whole_seconds() {
        assert_eq!(time(1_700_000_000), Ok("2023-11-14T22:13:20Z".into()));
        assert_eq!(time(u64::MAX), Err(Trouble::NoAnswer));
    }
}
