//! A shipment as its document holds it.

use onrush_proto::{Cause, CorrelationId, DocKey, OrderId, OrderRow, Text, TraceContext};
use serde::{Deserialize, Serialize};

use super::carrier::{Label, Offer, Update};
use super::state::ShipmentState;
use crate::traces;

/// Most events that are kept of a shipment; later ones take the place of the last.
const EVENTS_MAX: usize = 64;
/// The collection of shipments.
pub(super) const COLLECTION: &str = "shipment/";
/// The version of the document's form.
const FORM: u8 = 1;

/// A parcel of an order. An order has one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shipment {
    form: u8,
    /// The order, and the shipment's id.
    pub order: String,
    /// Who ordered.
    pub customer: String,
    /// Where it stands.
    pub state: ShipmentState,
    /// What is inside.
    pub lines: Vec<Content>,
    /// The record that asked for it: shard and position.
    pub asked_by: (u16, u64),
    /// What the carrier was asked, on record before it is asked; whether it acted is for it to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// The label, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Why the shop called it off; the carrier has to give the label back first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<String>,
    /// How often it went back to `created`: each round has carrier keys of its own.
    #[serde(default)]
    pub round: u16,
    /// When the carrier saw last what is on record here, in us.
    #[serde(default)]
    pub seen_us: u64,
    /// The trace that it was opened in, as a `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    /// What it was opened for, as whoever paid called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
    /// What happened, oldest first.
    pub events: Vec<ShipmentEvent>,
}

/// One line of what is inside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// The stock-keeping unit.
    pub sku: String,
    /// Units.
    pub quantity: u32,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShipmentEvent {
    /// Where it stood from then on.
    pub state: ShipmentState,
    /// When, in us since the epoch.
    pub at_us: u64,
    /// A stable code; empty if all goes well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Where it was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
}

impl ShipmentEvent {
    /// An event without a story.
    pub fn plain(state: ShipmentState, at_us: u64) -> Self {
        Self { state, at_us, code: String::new(), detail: String::new(), place: String::new() }
    }

    /// An event with a code and what people should know.
    pub fn with_code(state: ShipmentState, at_us: u64, code: &str, detail: &str) -> Self {
        Self { code: code.into(), detail: detail.into(), ..Self::plain(state, at_us) }
    }
}

/// A document that is not a shipment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a shipment of form {FORM}, found {0}")]
pub struct NotAShipment(String);

impl Shipment {
    /// The shipment of an order that was paid by this record.
    pub fn new(order: &OrderRow, asked_by: (u16, u64)) -> Self {
        let lines = order.lines.iter();
        let cause = traces::current();
        Self {
            form: FORM,
            order: order.id.to_string(),
            customer: order.customer.to_string(),
            state: ShipmentState::Created,
            lines: lines.map(|line| Content { sku: line.sku.to_string(), quantity: line.quantity }).collect(),
            asked_by,
            offer: None,
            label: None,
            called_off: None,
            round: 0,
            seen_us: 0,
            trace: cause.and_then(|cause| Some(cause.trace?.to_string())),
            correlation: cause.and_then(|cause| Some(cause.correlation?.as_str().to_owned())),
            events: vec![ShipmentEvent::plain(ShipmentState::Created, order.changed_us)],
        }
    }

    /// The key of an order's shipment.
    pub fn key(order: OrderId) -> DocKey {
        // 9 + 32 bytes always fit.
        Text::new(&format!("{COLLECTION}{order}")).unwrap_or_default()
    }

    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAShipment> {
        let shipment: Self =
            serde_json::from_slice(bytes).map_err(|error| NotAShipment(error.to_string()))?;
        match shipment.form {
            FORM => Ok(shipment),
            form => Err(NotAShipment(format!("form {form}"))),
        }
    }

    /// The document's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The carrier's idempotency key of this round.
    pub fn carrier_key(&self) -> String {
        format!("{}:{}", self.order, self.round)
    }

    /// What it was opened for.
    pub(crate) fn cause(&self) -> Option<Cause> {
        let trace = self.trace.as_deref().and_then(TraceContext::parse);
        Cause::new(trace, self.correlation.as_deref().and_then(CorrelationId::new))
    }

    /// Units inside.
    pub fn units(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.quantity)).sum()
    }

    /// Moves along the graph; false if it has no such edge, and nothing changed.
    pub fn advance(&mut self, event: ShipmentEvent) -> bool {
        if !self.state.may_become(event.state) {
            return false;
        }
        self.state = event.state;
        if self.events.len() == EVENTS_MAX {
            self.events.pop();
        }
        self.events.push(event);
        true
    }

    /// Takes in what the carrier saw. What is older than what is on record, or says the same, came
    /// late or twice and changes nothing.
    pub fn take_in(&mut self, update: &Update) -> bool {
        if update.at_us <= self.seen_us {
            return false;
        }
        let moved = self.advance(update.event());
        if moved || update.state == self.state {
            self.seen_us = update.at_us;
        }
        moved
    }

    /// Where it stood before the exception it is in.
    pub fn before_exception(&self) -> ShipmentState {
        let calm = self.events.iter().rev().map(|event| event.state);
        let before = calm.into_iter().find(|state| *state != ShipmentState::Exception);
        before.unwrap_or(ShipmentState::Created)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use onrush_proto::{Currency, Delivery, IdempotencyKey, Money, OrderState};

    use super::*;

    pub(in crate::shipping) fn order() -> OrderRow {
        let line = onrush_proto::Line { sku: "tea".parse().unwrap(), quantity: 2, unit_minor: 499 };
        OrderRow {
            id: OrderId(7),
            customer: "ada".parse().unwrap(),
            lines: [line].into_iter().collect(),
            total: Money::new(998, Currency::EUR),
            state: OrderState::Paid,
            delivery: Delivery::Waiting,
            held_until_us: 0,
            changed_us: 5,
            key: IdempotencyKey::NONE,
            body: 0,
            history: Default::default(),
            payment: None,
        }
    }

    fn update(state: ShipmentState, at_us: u64) -> Update {
        Update { state, at_us, detail: String::new(), place: String::new() }
    }

    #[test]
    fn doubled_and_reordered_updates_change_nothing() {
        use ShipmentState::*;
        let mut shipment = Shipment::new(&order(), (0, 1));
        assert!(shipment.advance(ShipmentEvent::plain(LabelPurchased, 9)));
        // State, time, whether it changes anything.
        let heard = [
            (OutForDelivery, 30, true),
            (OutForDelivery, 30, false),
            (InTransit, 20, false),
            (InTransit, 40, true),
            (Created, 50, false),
            (Delivered, 60, true),
            (InTransit, 70, false),
        ];
        for (state, at_us, changes) in heard {
            assert_eq!(shipment.take_in(&update(state, at_us)), changes, "{} at {at_us}", state.name());
        }
        assert_eq!(shipment.state, Delivered);
        assert_eq!(shipment.events.len(), 5);
        assert_eq!(Shipment::parse(&shipment.bytes()), Ok(shipment));
    }

    #[test]
    fn a_long_story_is_cut_and_keeps_its_end() {
        use ShipmentState::*;
        let mut shipment = Shipment::new(&order(), (0, 1));
        shipment.advance(ShipmentEvent::plain(LabelPurchased, 1));
        for at_us in 2..200 {
            let state = if at_us % 2 == 0 { Exception } else { InTransit };
            assert!(shipment.advance(ShipmentEvent::plain(state, at_us)));
        }
        assert_eq!(shipment.events.len(), EVENTS_MAX);
        assert_eq!(shipment.events.last().unwrap().at_us, 199);
    }

    #[test]
    fn other_forms_are_refused() {
        let text = String::from_utf8(Shipment::new(&order(), (0, 1)).bytes()).unwrap();
        let error = Shipment::parse(text.replace("\"form\":1", "\"form\":9").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("form 9"), "{error}");
        assert!(Shipment::parse(b"{}").is_err());
    }
}
