//! What a template may tell: plain values, taken from the event's record.

use onrush_proto::{Money, OrderRow};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;

/// Lines that a mail lists; the rest is counted.
const LINES_MAX: usize = 50;

/// The values of a template.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Story {
    /// The order's id.
    pub order_id: String,
    /// Who ordered.
    pub customer_id: String,
    /// Sum of the order.
    pub total: String,
    /// What was ordered.
    pub lines: Vec<StoryLine>,
    /// Lines beyond those.
    pub more_lines: usize,
    /// Where the parcel stands.
    pub status: String,
    /// The carrier.
    pub carrier: String,
    /// The number to follow the parcel by.
    pub tracking_number: String,
    /// Where this kind of mail is called off; empty if nobody said where the shop is.
    pub unsubscribe_url: String,
    /// The token of that link.
    pub unsubscribe_token: String,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct StoryLine {
    /// The product's name, or its SKU.
    pub name: String,
    /// The stock-keeping unit.
    pub sku: String,
    /// Units.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: String,
}

impl Story {
    /// Of an order.
    pub(super) async fn of_order(backend: &Backend, order: &OrderRow) -> Self {
        let mut lines = Vec::new();
        for line in order.lines.iter().take(LINES_MAX) {
            // A letter with the SKU is better than none.
            let product = backend.product(&line.sku).await.ok().flatten();
            lines.push(StoryLine {
                name: product.map_or_else(|| line.sku.to_string(), |found| found.name.clone()),
                sku: line.sku.to_string(),
                quantity: line.quantity,
                unit_price: amount(Money::new(line.unit_minor, order.total.currency)),
            });
        }
        Self {
            order_id: order.id.to_string(),
            customer_id: order.customer.to_string(),
            total: amount(order.total),
            lines,
            more_lines: order.lines.len().saturating_sub(LINES_MAX),
            ..Self::default()
        }
    }

    /// Something to show a template with.
    pub(super) fn example() -> Self {
        let line = StoryLine {
            name: "Green tea".into(),
            sku: "tea-1".into(),
            quantity: 2,
            unit_price: "4.99 EUR".into(),
        };
        Self {
            order_id: "00112233445566778899aabbccddeeff".into(),
            customer_id: "ada".into(),
            total: "9.98 EUR".into(),
            lines: vec![line],
            more_lines: 0,
            status: "in_transit".into(),
            carrier: "UPS".into(),
            tracking_number: "1Z999AA10123456784".into(),
            unsubscribe_url: "https://shop.example.com/unsubscribe?token=example".into(),
            unsubscribe_token: "example".into(),
        }
    }
}

/// A parcel as Shipping's event shows it: what is read here and no more.
#[derive(Deserialize)]
pub(super) struct Parcel {
    pub(super) order: String,
    pub(super) customer: String,
    pub(super) state: String,
    label: Option<ParcelLabel>,
    offer: Option<ParcelOffer>,
}

#[derive(Deserialize)]
struct ParcelLabel {
    tracking_number: String,
}

#[derive(Deserialize)]
struct ParcelOffer {
    rate: ParcelRate,
}

#[derive(Deserialize)]
struct ParcelRate {
    carrier: String,
}

impl Parcel {
    /// True if a buyer wants to know.
    pub(super) fn is_news(&self) -> bool {
        matches!(self.state.as_str(), "in_transit" | "out_for_delivery" | "delivered")
    }

    pub(super) fn story(&self) -> Story {
        Story {
            order_id: self.order.clone(),
            customer_id: self.customer.clone(),
            status: self.state.clone(),
            carrier: self.offer.as_ref().map(|offer| offer.rate.carrier.clone()).unwrap_or_default(),
            tracking_number: self
                .label
                .as_ref()
                .map(|label| label.tracking_number.clone())
                .unwrap_or_default(),
            ..Story::default()
        }
    }
}

/// An amount as people read it.
fn amount(money: Money) -> String {
    let digits = match money.currency.as_str() {
        "JPY" | "KRW" | "VND" | "CLP" | "ISK" | "UGX" | "XAF" | "XOF" | "PYG" => 0,
        "BHD" | "KWD" | "OMR" | "JOD" | "TND" | "IQD" | "LYD" => 3,
        _ => 2,
    };
    let unit = 10u64.pow(digits);
    let sign = if money.minor < 0 { "-" } else { "" };
    let (whole, rest) = (money.minor.unsigned_abs() / unit, money.minor.unsigned_abs() % unit);
    match digits {
        0 => format!("{sign}{whole} {}", money.currency),
        _ => format!("{sign}{whole}.{rest:0width$} {}", money.currency, width = digits as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        for (minor, currency, expected) in [
            (998, "EUR", "9.98 EUR"),
            (5, "EUR", "0.05 EUR"),
            (-250, "USD", "-2.50 USD"),
            (1_200, "JPY", "1200 JPY"),
            (1_234, "KWD", "1.234 KWD"),
            (i64::MIN, "EUR", "-92233720368547758.08 EUR"),
        ] {
            assert_eq!(amount(Money::new(minor, currency.parse().unwrap())), expected);
        }
    }
}
