//! Shipments as messages.

use onrush_grpc::shipping::v1 as wire;
use onrush_grpc::shipping::v1::ShipmentStatus;
use onrush_proto::{Currency, Money};

use super::carrier::Rate;
use super::shelf::Kept;
use super::shipment::{Shipment, ShipmentEvent};
use super::state::ShipmentState;
use crate::field;

pub(super) fn shipment(kept: &Kept) -> wire::Shipment {
    let Shipment { order, customer, state, lines, offer, label, events, .. } = &kept.shipment;
    let rate = offer.as_ref().map(|offer| &offer.rate);
    let line = |line: &super::shipment::Content| wire::ShipmentLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
    };
    wire::Shipment {
        shipment_id: order.clone(),
        order_id: order.clone(),
        customer_id: customer.clone(),
        status: status(*state).into(),
        lines: lines.iter().map(line).collect(),
        carrier: rate.map(|rate| rate.carrier.clone()).unwrap_or_default(),
        carrier_service: rate.map(|rate| rate.service.clone()).unwrap_or_default(),
        cost: rate.and_then(cost),
        tracking_number: label.as_ref().map(|label| label.tracking_number.clone()).unwrap_or_default(),
        label_url: label.as_ref().map(|label| label.url.clone()).unwrap_or_default(),
        events: events.iter().map(event).collect(),
        version: kept.version,
    }
}

pub(super) fn tracking(kept: &Kept, tracking_number: String) -> wire::TrackShipmentResponse {
    let rate = kept.shipment.offer.as_ref().map(|offer| &offer.rate);
    wire::TrackShipmentResponse {
        tracking_number,
        carrier: rate.map(|rate| rate.carrier.clone()).unwrap_or_default(),
        status: status(kept.shipment.state).into(),
        events: kept.shipment.events.iter().map(event).collect(),
    }
}

pub(super) fn rate(rate: &Rate) -> wire::Rate {
    wire::Rate {
        carrier: rate.carrier.clone(),
        service: rate.service.clone(),
        amount: cost(rate),
        days: rate.days,
    }
}

fn cost(rate: &Rate) -> Option<onrush_grpc::money::v1::Money> {
    let currency: Currency = rate.currency.parse().ok()?;
    Some(field::money_message(Money::new(rate.minor, currency)))
}

fn event(event: &ShipmentEvent) -> wire::ShipmentEvent {
    wire::ShipmentEvent {
        status: status(event.state).into(),
        at_us: field::time_us(event.at_us),
        code: event.code.clone(),
        detail: event.detail.clone(),
        place: event.place.clone(),
    }
}

fn status(state: ShipmentState) -> ShipmentStatus {
    match state {
        ShipmentState::Created => ShipmentStatus::Created,
        ShipmentState::LabelPurchased => ShipmentStatus::LabelPurchased,
        ShipmentState::InTransit => ShipmentStatus::InTransit,
        ShipmentState::OutForDelivery => ShipmentStatus::OutForDelivery,
        ShipmentState::Delivered => ShipmentStatus::Delivered,
        ShipmentState::Exception => ShipmentStatus::Exception,
        ShipmentState::Returned => ShipmentStatus::Returned,
    }
}
