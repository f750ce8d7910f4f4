//! What PayPal says, as far as it is read.

use std::time::Duration;

use jiff::Timestamp;
use onrush_proto::{Currency, GatewayResult, Money, Text};
use serde::Deserialize;

use super::REFERENCE;
use crate::gateway::decline::kept as code;
use crate::gateway::{Approval, Booked, Trouble, exponent};

/// An order.
#[derive(Deserialize, Debug)]
pub(super) struct Order {
    pub(super) id: String,
    #[serde(default)]
    pub(super) intent: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    purchase_units: Vec<Unit>,
    #[serde(default)]
    links: Vec<Link>,
}

/// Where to go from here.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Link {
    rel: String,
    href: String,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Unit {
    custom_id: String,
    amount: Amount,
    payments: Payments,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Payments {
    captures: Vec<Capture>,
    authorizations: Vec<Authorization>,
    refunds: Vec<Refund>,
}

/// A decimal amount.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Amount {
    currency_code: String,
    value: String,
}

/// A capture.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Capture {
    pub(super) id: String,
    status: String,
    amount: Amount,
}

/// A reservation.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Authorization {
    pub(super) id: String,
    status: String,
    create_time: String,
}

impl Authorization {
    /// True if it can be captured or given back.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "CREATED" | "PENDING")
    }

    /// True while PayPal or a bank is at it.
    pub(super) fn is_pending(&self) -> bool {
        self.status == "PENDING"
    }

    /// How old it is; one that does not say when it was made is new.
    pub(super) fn age(&self, now_us: u64) -> Duration {
        let made = self.create_time.parse::<Timestamp>().ok();
        let made_us = made.and_then(|made| u64::try_from(made.as_microsecond()).ok());
        Duration::from_micros(now_us.saturating_sub(made_us.unwrap_or(now_us)))
    }
}

/// A refund.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Refund {
    status: String,
    custom_id: String,
    amount: Amount,
}

/// A refusal.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Problem {
    name: String,
    details: Vec<Detail>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Detail {
    issue: String,
}

impl Problem {
    /// The most telling name there is.
    pub(super) fn issue(&self) -> &str {
        self.details.first().map_or(&self.name, |detail| &detail.issue)
    }
}

/// An amount as PayPal writes it; `None` if it cannot.
pub(super) fn decimal(amount: Money) -> Option<String> {
    let units = exponent::paypal(amount.currency)?;
    let value = units.outward(amount).filter(|value| *value >= 0)?;
    match units.exponent {
        0 => Some(value.to_string()),
        _ => Some(format!("{}.{:02}", value / 100, value % 100)),
    }
}

impl Amount {
    /// In our minor units; what cannot be read counts as none, and shows as a difference.
    fn minor(&self, currency: Currency) -> i64 {
        let read = || {
            if self.currency_code != currency.as_str() {
                return None;
            }
            let units = exponent::paypal(currency)?;
            let (whole, part) = self.value.split_once('.').unwrap_or((&self.value, ""));
            let wide = format!("{part:0<2}");
            let value = match units.exponent {
                0 if wide == "00" => whole.parse().ok()?,
                2 if wide.len() == 2 => format!("{whole}{wide}").parse().ok()?,
                _ => return None,
            };
            units.inward(value, currency)
        };
        read().unwrap_or_default()
    }
}

impl Capture {
    /// True if it took money, false if it will not; an error while a bank is at it.
    pub(super) fn taken(&self) -> Result<bool, Trouble> {
        match self.status.as_str() {
            "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED" => Ok(true),
            "DECLINED" | "FAILED" => Ok(false),
            _ => Err(Trouble::Pending),
        }
    }
}

impl Refund {
    /// True if the money is back, false if it will not be; `None` = a bank is at it.
    pub(super) fn done(&self) -> Option<bool> {
        match self.status.as_str() {
            "COMPLETED" => Some(true),
            "FAILED" | "CANCELLED" => Some(false),
            _ => None,
        }
    }
}

impl Order {
    fn units(&self) -> impl Iterator<Item = &Unit> {
        self.purchase_units.iter()
    }

    fn captures(&self) -> impl Iterator<Item = &Capture> {
        self.units().flat_map(|unit| &unit.payments.captures)
    }

    fn reference(&self) -> Option<Text<63>> {
        Text::new(&format!("{REFERENCE}{}", self.id)).ok()
    }

    /// What we, or whoever made it, wrote on it.
    pub(super) fn custom_id(&self) -> &str {
        self.purchase_units.first().map_or("", |unit| &unit.custom_id)
    }

    /// True if it is for this amount, all in all.
    pub(super) fn asks_for(&self, value: &str, currency: Currency) -> bool {
        let [unit] = &self.purchase_units[..] else { return false };
        unit.amount.currency_code == currency.as_str() && unit.amount.value == value
    }

    /// True if the buyer approved it and nothing was taken yet.
    pub(super) fn is_approved(&self) -> bool {
        self.status == "APPROVED"
    }

    /// Where the buyer is to approve it.
    pub(super) fn approval(&self) -> Option<Approval> {
        let waits = matches!(self.status.as_str(), "CREATED" | "PAYER_ACTION_REQUIRED");
        let page = self.links.iter().find(|link| matches!(link.rel.as_str(), "payer-action" | "approve"))?;
        Approval::new(&page.href, self.reference().filter(|_| waits)?.as_str())
    }

    /// What became of the charge; `None` = it is to be captured or authorised first, or approved.
    pub(super) fn charged(&self) -> Result<Option<GatewayResult>, Trouble> {
        let reference = self.reference().ok_or(Trouble::NoAnswer)?;
        if let Some(capture) = self.captures().last() {
            let taken = capture.taken()?;
            let declined = GatewayResult::Declined { code: code("CAPTURE_DECLINED") };
            return Ok(Some(if taken { GatewayResult::Captured { reference } } else { declined }));
        }
        match self.authorizations().last().map(|authorization| authorization.status.as_str()) {
            Some("CREATED" | "CAPTURED" | "PARTIALLY_CAPTURED") => {
                return Ok(Some(GatewayResult::Authorised { reference }));
            }
            Some("DENIED") => {
                return Ok(Some(GatewayResult::Declined { code: code("AUTHORIZATION_DENIED") }));
            }
            Some("VOIDED") => return Ok(Some(GatewayResult::Declined { code: code("canceled") })),
            Some(_) => return Err(Trouble::Pending),
            None => {}
        }
        match self.status.as_str() {
            "VOIDED" => Ok(Some(GatewayResult::Declined { code: code("canceled") })),
            // Completed, and no word of how.
            "COMPLETED" => Err(Trouble::NoAnswer),
            _ => Ok(None),
        }
    }

    /// What became of the capture of a reservation; `None` = there was none.
    pub(super) fn captured(&self, reference: Text<63>) -> Result<Option<GatewayResult>, Trouble> {
        let failed = |text| GatewayResult::CaptureFailed { code: code(text) };
        if let Some(capture) = self.captures().last() {
            let taken = capture.taken()?;
            let result = GatewayResult::Captured { reference };
            return Ok(Some(if taken { result } else { failed("CAPTURE_DECLINED") }));
        }
        match self.open_authorization() {
            Some(_) => Ok(None),
            None => Ok(Some(failed("authorization_expired"))),
        }
    }

    fn authorizations(&self) -> impl Iterator<Item = &Authorization> {
        self.units().flat_map(|unit| &unit.payments.authorizations)
    }

    /// The reservation as it was made first.
    pub(super) fn authorization(&self) -> Option<&Authorization> {
        self.authorizations().next()
    }

    /// The reservation, if it can still be captured or given back.
    pub(super) fn open_authorization(&self) -> Option<&Authorization> {
        self.authorizations().find(|each| each.is_open())
    }

    /// The capture that took money.
    pub(super) fn capture(&self) -> Option<&Capture> {
        self.captures().find(|capture| capture.taken() == Ok(true))
    }

    /// The refund under a key.
    pub(super) fn refund(&self, key: &str) -> Option<&Refund> {
        self.units().flat_map(|unit| &unit.payments.refunds).find(|refund| refund.custom_id == key)
    }

    /// What the books say.
    pub(super) fn booked(&self, currency: Currency) -> Booked {
        let taken = self.captures().filter(|capture| capture.taken() == Ok(true));
        let refunds = self.units().flat_map(|unit| &unit.payments.refunds);
        let back = refunds.filter(|refund| refund.done() == Some(true));
        Booked {
            captured: taken.map(|capture| capture.amount.minor(currency)).sum(),
            refunded: back.map(|refund| refund.amount.minor(currency)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimals_and_some_currencies_have_none() {
        for (minor, code, expected) in [
            (1_099, "EUR", Some("10.99")),
            (5, "EUR", Some("0.05")),
            (500, "JPY", Some("500")),
            (150_000, "HUF", Some("1500")),
            (150_050, "HUF", None),
            (2_500, "TWD", Some("25")),
            (1_000, "KWD", None),
            (-1, "EUR", None),
        ] {
            let currency: Currency = code.parse().unwrap();
            let text = decimal(Money::new(minor, currency));
            assert_eq!(text.as_deref(), expected, "{minor} {code}");
            if let Some(value) = text {
                assert_eq!(Amount { currency_code: code.into(), value }.minor(currency), minor);
            }
        }
        let odd = Amount { currency_code: "JPY".into(), value: "5.50".into() };
        assert_eq!(odd.minor("JPY".parse().unwrap()), 0);
    }

    #[test]
    fn a_reservation_says_how_old_it_is() {
        const NOW_US: u64 = 1_700_000_000_000_000;
        for (made, age_s) in [("2023-11-14T22:13:10Z", 10), ("2023-11-14T22:13:30Z", 0), ("", 0), ("soon", 0)]
        {
            let authorization = Authorization { create_time: made.into(), ..Default::default() };
            assert_eq!(authorization.age(NOW_US), Duration::from_secs(age_s), "{made}");
        }
    }

    #[test]
    fn made_is_not_paid() {
        let order = |payments: &str| -> Order {
            let text = format!(
                r#"{{"id":"5O1","status":"COMPLETED","purchase_units":[{{"payments":{payments}}}]}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let reference = Text::new("pp_5O1").unwrap();
        let declined = |text| Ok(Some(GatewayResult::Declined { code: code(text) }));
        for (payments, expected) in [
            (r#"{"captures":[{"status":"COMPLETED"}]}"#, Ok(Some(GatewayResult::Captured { reference }))),
            (r#"{"captures":[{"status":"PENDING"}]}"#, Err(Trouble::Pending)),
            (r#"{"captures":[{"status":"DECLINED"}]}"#, declined("CAPTURE_DECLINED")),
            (
                r#"{"authorizations":[{"status":"CREATED"}]}"#,
                Ok(Some(GatewayResult::Authorised { reference })),
            ),
            (r#"{"authorizations":[{"status":"PENDING"}]}"#, Err(Trouble::Pending)),
            (r#"{"authorizations":[{"status":"DENIED"}]}"#, declined("AUTHORIZATION_DENIED")),
            ("{}", Err(Trouble::NoAnswer)),
        ] {
            assert_eq!(order(payments).charged(), expected, "{payments}");
        }
    }
}
