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

/// What PayPal says where a stretch begins after its last refresh. It has no name of its own: on some days the
/// refresh is many hours late.
const NOT_YET: &str = "Data for the given start date is not available";

/// A payment that took money.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::gateway) struct Taken {
    /// PayPal's name of it.
    pub(in crate::gateway) id: String,
    /// The order that it names; `None` = none of ours.
    pub(in crate::gateway) order: Option<OrderId>,
}

/// A page of the list.
pub(in crate::gateway) struct Listed {
    /// Payments that took money.
    pub(in crate::gateway) taken: Vec<Taken>,
    /// True if another page follows.
    pub(in crate::gateway) more: bool,
    /// Up to when PayPal's list was refreshed, in s since the epoch: what moved later may be missing.
    pub(in crate::gateway) refreshed_s: Option<u64>,
}

/// What asking for a page came to.
pub(in crate::gateway) enum Listing {
    /// The page.
    Page(Listed),
    /// The stretch holds too much to be told.
    TooMuch,
    /// The list does not reach as far as the stretch begins.
    NotYet,
    /// PayPal does not let our key see the list.
    Barred,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    transaction_details: Vec<Detail>,
    #[serde(default)]
    total_pages: u32,
    last_refreshed_datetime: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    transaction_info: Movement,
}

/// Why there is no page, in words.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Excuse {
    message: String,
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
    /// The payment that it is, if it took money.
    fn taken(self) -> Option<Taken> {
        // What was reversed later was taken, too.
        let took = matches!(self.transaction_status.as_str(), "S" | "V");
        let payment = took && self.transaction_event_code.starts_with(PAYMENTS);
        payment.then(|| Taken { order: self.order(), id: self.transaction_id })
    }

    /// The order of ours that it names: by the key that we wrote on it, or by the order's id that a browser did.
    fn order(&self) -> Option<OrderId> {
        let custom = self.custom_field.as_deref()?;
        let key = GatewayKey::parse(custom).filter(|key| key.op == Op::Charge);
        key.map(|key| key.order).or_else(|| custom.parse().ok())
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
        if answer.status == StatusCode::BAD_REQUEST {
            let excuse: Excuse = serde_json::from_slice(&answer.body).unwrap_or_default();
            if excuse.message.starts_with(NOT_YET) {
                return Ok(Listing::NotYet);
            }
        }
        let found: Page = match sorted(&answer)? {
            Said::Done(found) => found,
            Said::Refused(issue) if issue.as_str() == TOO_MUCH => return Ok(Listing::TooMuch),
            Said::Refused(_) => return Err(Trouble::NoAnswer),
        };
        let refreshed_s = found.last_refreshed_datetime.as_deref().map(seconds).transpose()?;
        let movements = found.transaction_details.into_iter().map(|detail| detail.transaction_info);
        let taken = movements.filter_map(Movement::taken).collect();
        Ok(Listing::Page(Listed { taken, more: page < found.total_pages, refreshed_s }))
    }

    /// Our name of the charge that a listed payment belongs to; `None` if PayPal does not say.
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

/// A time as PayPal says it; one that cannot be read is no answer.
fn seconds(text: &str) -> Result<u64, Trouble> {
    // PayPal writes offsets without a colon.
    let at = text.parse::<Timestamp>().or_else(|_| Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text));
    let at = at.map_err(|error| tracing::warn!(%error, "PayPal's last refresh could not be read"));
    at.ok().and_then(|at| u64::try_from(at.as_second()).ok()).ok_or(Trouble::NoAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_that_took_money_is_told_with_the_order_that_it_names() {
        let order = OrderId(7);
        let key = format!("{order}:1:charge");
        for (code, status, custom, named) in [
            ("T0006", "S", key.clone(), Some(Some(order))),
            ("T0003", "V", key.clone(), Some(Some(order))),
            ("T0006", "S", order.to_string(), Some(Some(order))),
            ("T0006", "P", key.clone(), None),
            ("T0006", "D", key.clone(), None),
            ("T1107", "S", key.clone(), None),
            ("T0006", "S", format!("{order}:1:refund"), Some(None)),
            ("T0006", "S", "of another system".into(), Some(None)),
            ("T0006", "S", String::new(), Some(None)),
        ] {
            let movement = Movement {
                transaction_id: "1".into(),
                transaction_event_code: code.into(),
                transaction_status: status.into(),
                custom_field: Some(custom.clone()),
            };
            assert_eq!(movement.taken().map(|taken| taken.order), named, "{code} {status} {custom:?}");
        }
    }

    #[test]
    fn times_are_said_in_whole_seconds() {
        assert_eq!(time(1_700_000_000), Ok("2023-11-14T22:13:20Z".into()));
        assert_eq!(time(u64::MAX), Err(Trouble::NoAnswer));
        for text in ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20+0000", "2023-11-15T00:13:20.5+02:00"] {
            assert_eq!(seconds(text), Ok(1_700_000_000), "{text}");
        }
        assert_eq!(seconds("yesterday"), Err(Trouble::NoAnswer));
    }
}
