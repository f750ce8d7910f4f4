//! The aggregator's messages.

use onrush_proto::Currency;
use serde::{Deserialize, Serialize};

use crate::shipping::address::Address;
use crate::shipping::carrier::{Label, Parcel, Rate, Tracking, Update};
use crate::shipping::state::ShipmentState;

/// Grams of an ounce, in which the aggregator weighs.
const GRAMS_PER_OUNCE: f64 = 28.349_523_125;
/// Bytes of a text that are taken over from the aggregator.
const TEXT_BYTES_MAX: usize = 200;

/// A body around a shipment.
#[derive(Serialize)]
pub(super) struct Wrapped<'a> {
    pub(super) shipment: NewShipment<'a>,
}

/// A parcel that the aggregator hears of.
#[derive(Serialize)]
pub(super) struct NewShipment<'a> {
    reference: &'a str,
    to_address: Place<'a>,
    from_address: Place<'a>,
    parcel: Weight,
}

#[derive(Serialize)]
struct Place<'a> {
    name: &'a str,
    street1: &'a str,
    street2: &'a str,
    city: &'a str,
    state: &'a str,
    zip: &'a str,
    country: &'a str,
    phone: &'a str,
}

#[derive(Serialize)]
struct Weight {
    /// Ounces.
    weight: f64,
}

/// Which rate is bought.
#[derive(Serialize)]
pub(super) struct Purchase<'a> {
    pub(super) rate: Chosen<'a>,
}

/// A rate by its id.
#[derive(Serialize)]
pub(super) struct Chosen<'a> {
    pub(super) id: &'a str,
}

/// A shipment as the aggregator has it.
#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) id: String,
    #[serde(default)]
    rates: Vec<FoundRate>,
    tracking_code: Option<String>,
    postage_label: Option<FoundLabel>,
    tracker: Option<Tracker>,
    pub(super) refund_status: Option<String>,
}

#[derive(Deserialize)]
struct FoundRate {
    id: String,
    #[serde(default)]
    carrier: String,
    #[serde(default)]
    service: String,
    rate: String,
    currency: String,
    delivery_days: Option<u32>,
}

#[derive(Deserialize)]
struct FoundLabel {
    #[serde(default)]
    label_url: String,
}

#[derive(Deserialize)]
struct Tracker {
    #[serde(default)]
    tracking_details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    status: String,
    datetime: String,
    #[serde(default)]
    message: String,
    tracking_location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    city: Option<String>,
    country: Option<String>,
}

/// What the aggregator says when it refuses.
#[derive(Deserialize, Default)]
pub(super) struct Problem {
    #[serde(default)]
    pub(super) error: ProblemBody,
}

/// The inside of it.
#[derive(Deserialize, Default)]
pub(super) struct ProblemBody {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

impl<'a> NewShipment<'a> {
    pub(super) fn new(parcel: &'a Parcel, from: &'a Address, to: &'a Address) -> Self {
        let weight = (f64::from(parcel.grams) / GRAMS_PER_OUNCE * 10.0).ceil() / 10.0;
        Self {
            reference: &parcel.key,
            to_address: Place::of(to),
            from_address: Place::of(from),
            parcel: Weight { weight },
        }
    }
}

impl<'a> Place<'a> {
    fn of(address: &'a Address) -> Self {
        Self {
            name: &address.name,
            street1: &address.street,
            street2: &address.street2,
            city: &address.city,
            state: &address.state,
            zip: &address.postal_code,
            country: &address.country,
            phone: &address.phone,
        }
    }
}

impl Found {
    /// The rates that can be read. One in a form of its own does not spoil the others.
    pub(super) fn rates(&self) -> Vec<Rate> {
        self.rates.iter().filter_map(FoundRate::read).collect()
    }

    /// The label, if one was paid for and not given back.
    pub(super) fn label(&self) -> Option<Label> {
        if self.is_voided() {
            return None;
        }
        let label = self.postage_label.as_ref()?;
        let tracking_number = cut(self.tracking_code.as_ref()?);
        Some(Label { tracking_number, url: label.label_url.clone() })
    }

    /// True if the label was given back, or is on its way.
    pub(super) fn is_voided(&self) -> bool {
        self.refund_status.as_deref().is_some_and(|status| matches!(status, "submitted" | "refunded"))
    }

    /// What was seen of it.
    pub(super) fn tracking(&self) -> Tracking {
        let details = self.tracker.iter().flat_map(|tracker| &tracker.tracking_details);
        Tracking { updates: details.filter_map(Detail::read).collect(), next: None }
    }
}

impl FoundRate {
    fn read(&self) -> Option<Rate> {
        let currency: Currency = self.currency.parse().ok()?;
        Some(Rate {
            id: self.id.clone(),
            carrier: cut(&self.carrier),
            service: cut(&self.service),
            minor: minor_units(&self.rate, currency.as_str())?,
            currency: self.currency.clone(),
            days: self.delivery_days.unwrap_or(0),
        })
    }
}

impl Detail {
    fn read(&self) -> Option<Update> {
        let state = match self.status.as_str() {
            "in_transit" => ShipmentState::InTransit,
            "out_for_delivery" | "available_for_pickup" => ShipmentState::OutForDelivery,
            "delivered" => ShipmentState::Delivered,
            "return_to_sender" | "failure" | "cancelled" | "error" => ShipmentState::Exception,
            // Known to the carrier, not handed over yet; or a word that we do not know.
            _ => return None,
        };
        let at_us = u64::try_from(self.datetime.parse::<jiff::Timestamp>().ok()?.as_microsecond()).ok()?;
        let place = self.tracking_location.as_ref().map(|at| {
            let parts = [at.city.as_deref(), at.country.as_deref()].into_iter().flatten();
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
        });
        let said = if self.message.is_empty() { &self.status } else { &self.message };
        Some(Update { state, at_us, detail: cut(said), place: cut(&place.unwrap_or_default()) })
    }
}

/// At most so many bytes, without control characters.
pub(super) fn cut(text: &str) -> String {
    let mut cut = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if cut.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        cut.push(c);
    }
    cut
}

/// A decimal amount in minor units of its currency; `None` if it has more digits than the currency.
fn minor_units(text: &str, currency: &str) -> Option<i64> {
    let exponent = match currency {
        "JPY" | "KRW" | "VND" | "CLP" | "ISK" | "UGX" | "XAF" | "XOF" | "PYG" => 0,
        "BHD" | "KWD" | "OMR" | "JOD" | "TND" | "IQD" | "LYD" => 3,
        _ => 2,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > exponent {
        return None;
    }
    format!("{whole}{fraction:0<exponent$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_minor_units_of_their_currency() {
        for (text, currency, expected) in [
            ("7.90", "USD", Some(790)),
            ("7.9", "USD", Some(790)),
            ("7", "USD", Some(700)),
            ("0.05", "EUR", Some(5)),
            ("1200", "JPY", Some(1_200)),
            ("1200.00", "JPY", Some(1_200)),
            ("1.234", "KWD", Some(1_234)),
            ("7.905", "USD", None),
            ("-1", "USD", None),
            ("1e3", "USD", None),
            ("", "USD", None),
            (".5", "USD", None),
            ("99999999999999999999", "USD", None),
        ] {
            assert_eq!(minor_units(text, currency), expected, "{text} {currency}");
        }
    }

    #[test]
    fn reads_what_the_aggregator_says_and_passes_over_what_it_does_not_know() {
        let text = r#"{"id":"shp_1","tracking_code":"1Z9","postage_label":{"label_url":"https://l/1.pdf"},
            "rates":[{"id":"r1","carrier":"UPS","service":"Ground","rate":"7.90","currency":"USD","delivery_days":3},
                     {"id":"r2","rate":"free","currency":"USD"}],
            "tracker":{"tracking_details":[
                {"status":"pre_transit","datetime":"2026-11-20T08:00:00Z"},
                {"status":"in_transit","datetime":"2026-11-20T09:00:00Z","message":"Left\r\nthe depot",
                 "tracking_location":{"city":"Bonn","country":"DE"}},
                {"status":"delivered","datetime":"yesterday"},
                {"status":"teleported","datetime":"2026-11-20T09:00:00Z"}]},"more":{"than":["we","know"]}}"#;
        let found: Found = serde_json::from_str(text).unwrap();
        assert_eq!(found.rates().len(), 1);
        assert_eq!(found.rates()[0].minor, 790);
        assert_eq!(found.label().unwrap().tracking_number, "1Z9");
        let updates = found.tracking().updates;
        assert_eq!(updates.len(), 1);
        assert_eq!((updates[0].state, updates[0].at_us), (ShipmentState::InTransit, 1_795_165_200_000_000));
        assert_eq!((updates[0].place.as_str(), updates[0].detail.as_str()), ("Bonn, DE", "Leftthe depot"));
        let voided: Found =
            serde_json::from_str(&text.replace("\"rates\"", "\"refund_status\":\"submitted\",\"rates\""))
                .unwrap();
        assert_eq!(voided.label(), None);
    }
}
